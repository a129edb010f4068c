//! The gate: what it pins, bounds, counts and reports.
use crate::world::{PUBLIC, Server, World, allow, network};
use std::time::Duration;
use tenure_core::id::{AgentId, Mint};
use tenure_core::manifest::NetworkMode;
use tenure_core::network::host::Host;
use tenure_core::time::Time;
use tenure_worker::egress::gate::{ConnectError, Gate};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::Instant;

async fn open(gate: &Gate, host: &str, port: u16) -> Result<(), String> {
    gate.open(&Host::parse(host).unwrap(), port).await.map(drop).map_err(|denied| match denied {
        ConnectError::Refused(refused) => refused.rule.to_string(),
        other => other.to_string(),
    })
}

#[tokio::test(start_paused = true)]
async fn a_name_is_looked_up_once_a_connection_and_the_address_that_was_judged_is_connected_to() {
    let at = format!("{PUBLIC}:80");
    let world = World::new().name("a.test", &[PUBLIC]).name("a.test", &["127.0.0.1"]).server(&at, Server::Silent);
    let world = world.server("127.0.0.1:80", Server::Silent);
    let door = world.door(&allow(&["a.test"]));
    assert_eq!(open(door.gate(), "a.test", 80).await, Ok(()));
    assert_eq!((world.lookups().len(), world.connected()), (1, vec![at.clone()]));
    // The second answer leads inside: no connection, whatever the first one was.
    assert_eq!(open(door.gate(), "a.test", 80).await, Err("loopback address 127.0.0.1".to_owned()));
    assert_eq!((world.lookups().len(), world.connected()), (2, vec![at]));
    // Control: named, the same address is reached.
    let door = world.door(&allow(&["a.test", "127.0.0.1:80"]));
    assert_eq!(open(door.gate(), "a.test", 80).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn an_address_of_the_workers_own_host_is_reached_only_where_it_is_named() {
    const SIX: &str = "2606:2800:220:1::1";
    let at = format!("{PUBLIC}:80");
    let closed = |address: &str| Err(format!("this host's own address {address}"));
    let world = World::new().name("a.test", &[PUBLIC]).name("b.test", &[SIX]).name("c.test", &["64:ff9b::5db8:d822"]);
    let world = world.server(&at, Server::Silent).server(&format!("[{SIX}]:80"), Server::Silent);
    let deny = world.door(&network(NetworkMode::Deny, &[], &[]));
    assert_eq!(open(deny.gate(), PUBLIC, 80).await, Ok(()), "the control: another host's is public");
    let world = world.own(PUBLIC).own(SIX);
    // By address, by a name, however the name's answer comes to be, and through a translator.
    for (host, address) in [(PUBLIC, PUBLIC), ("a.test", PUBLIC), ("b.test", SIX), ("c.test", "64:ff9b::5db8:d822")] {
        assert_eq!(open(deny.gate(), host, 80).await, closed(address), "{host}");
    }
    let wide = world.door(&allow(&["a.test", "0.0.0.0/0", "93.184.216.0/24"]));
    assert_eq!(open(wide.gate(), "a.test", 80).await, closed(PUBLIC), "a range around it does not name it");
    let looked = deny.gate().look_up(&Host::parse("a.test").unwrap()).await.unwrap();
    assert!(looked.iter().all(|judged| judged.against.is_some()), "{looked:?}");
    assert_eq!(world.connected(), vec![at.clone()], "nothing was connected to but by the control");
    let named = world.door(&network(NetworkMode::Deny, &[PUBLIC], &[]));
    assert_eq!(open(named.gate(), "a.test", 80).await, Ok(()), "the control: its manifest names it");
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_address_became_the_hosts_own_meanwhile_is_dropped_unused() {
    let at = format!("{PUBLIC}:80");
    let world = World::new().name("a.test", &[PUBLIC]).server(&at, Server::Silent);
    let door = world.door(&network(NetworkMode::Deny, &[], &[]));
    assert_eq!(open(door.gate(), "a.test", 80).await, Ok(()), "the control");
    let world = world.own_soon(PUBLIC);
    assert_eq!(open(door.gate(), "a.test", 80).await, Err(format!("this host's own address {PUBLIC}")));
    assert_eq!(world.heard(1), "");
}

#[tokio::test(start_paused = true)]
async fn of_several_answers_only_permitted_ones_are_tried() {
    let world = World::new()
        .name("a.test", &["127.0.0.1", "::ffff:10.0.0.1", "93.184.216.1", PUBLIC, "169.254.169.254"])
        .server(&format!("{PUBLIC}:80"), Server::Silent);
    let door = world.door(&allow(&["a.test"]));
    assert_eq!(open(door.gate(), "a.test", 80).await, Ok(()));
    assert_eq!(world.connected(), ["93.184.216.1:80".to_owned(), format!("{PUBLIC}:80")]);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_not_listed_is_not_even_looked_up() {
    let world = World::new().name("secret-in-a-label.evil.test", &[PUBLIC]);
    let door = world.door(&allow(&["a.test"]));
    assert_eq!(open(door.gate(), "secret-in-a-label.evil.test", 80).await, Err("not on the allowlist".to_owned()));
    let none = world.door(&network(NetworkMode::None, &[], &[]));
    assert_eq!(open(none.gate(), "a.test", 80).await, Err("mode none".to_owned()));
    assert!(world.lookups().is_empty() && world.connected().is_empty());
    // Control: what is not forbidden is.
    let deny = world.door(&network(NetworkMode::Deny, &[], &["other.test"]));
    assert!(open(deny.gate(), "secret-in-a-label.evil.test", 80).await.unwrap_err().contains("cannot be reached"));
    assert_eq!(world.lookups().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_resolver_or_a_server_that_is_silent_is_not_waited_for_without_end() {
    let world = World::new().name("a.test", &[PUBLIC]).server(&format!("{PUBLIC}:80"), Server::Hangs);
    let door = world.door(&allow(&["*.test"]));
    let began = Instant::now();
    let told = open(door.gate(), "slow.test", 80).await.unwrap_err();
    assert!(told.contains("did not answer within 5 s"), "{told}");
    let told = open(door.gate(), "a.test", 80).await.unwrap_err();
    assert!(told.contains("no answer within 10 s"), "{told}");
    assert_eq!(began.elapsed().as_secs(), 15);
    // Lookups that hang take up their places, and then nothing more than the deadline.
    for _ in 0..20 {
        open(door.gate(), "slow.test", 80).await.unwrap_err();
    }
    assert_eq!(world.lookups().iter().filter(|name| *name == "slow.test").count(), 8);
}

#[tokio::test(start_paused = true)]
async fn no_agent_keeps_another_from_looking_a_name_up_however_many_jails_and_lookups_of_its_own_hang() {
    let world = World::new().name("a.test", &[PUBLIC]).server(&format!("{PUBLIC}:80"), Server::Silent);
    let (resolver, network) = (world.resolver(), allow(&["*.test"]));
    let mut mint = Mint::new(Time::from_millis(1), 7);
    let (hostile, other) = (AgentId::mint(&mut mint), AgentId::mint(&mut mint));
    let slow = Host::parse("slow.test").unwrap();
    let mut waiting = JoinSet::new();
    for _ in 0..50 {
        let gate = world.door_by(&network, resolver.of(hostile)).gate().clone();
        for _ in 0..20 {
            let (gate, slow) = (gate.clone(), slow.clone());
            waiting.spawn(async move { gate.look_up(&slow).await });
        }
    }
    // All of them give up by the clock; what they began hangs on.
    while let Some(ended) = waiting.join_next().await {
        assert!(matches!(ended, Ok(Err(ConnectError::Unresolved { .. }))));
    }
    let begun = world.lookups().len();
    assert!((1..=8).contains(&begun), "{begun} look-ups of one agent hold a thread each");
    let door = world.door_by(&network, resolver.of(other));
    let began = Instant::now();
    assert_eq!(open(door.gate(), "a.test", 80).await, Ok(()));
    assert_eq!(began.elapsed(), Duration::ZERO, "nothing is waited for");
    // Control: the hostile agent itself finds no place, in a new jail neither.
    let again = world.door_by(&network, resolver.of(hostile));
    assert!(open(again.gate(), "a.test", 80).await.unwrap_err().contains("did not answer"));
}

#[tokio::test(start_paused = true)]
async fn connections_are_bounded_and_a_closed_one_makes_room() {
    let world = World::new().name("a.test", &[PUBLIC]).server(&format!("{PUBLIC}:80"), Server::Silent);
    let mut network = allow(&["a.test"]);
    network.connections_max = 2;
    let door = world.door(&network);
    let host = Host::parse("a.test").unwrap();
    let first = door.gate().open(&host, 80).await.unwrap();
    let _second = door.gate().open(&host, 80).await.unwrap();
    assert_eq!(open(door.gate(), "a.test", 80).await, Err("connections: 2".to_owned()));
    drop(first);
    assert_eq!(open(door.gate(), "a.test", 80).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn the_bandwidth_holds_for_all_connections_together_and_both_ways() {
    let world = World::new()
        .name("a.test", &[PUBLIC])
        .server(&format!("{PUBLIC}:80"), Server::Floods(64 << 10))
        .server(&format!("{PUBLIC}:81"), Server::Silent);
    let time = async |bandwidth| {
        let mut network = allow(&["a.test"]);
        network.bandwidth = bandwidth;
        let door = world.door(&network);
        let host = Host::parse("a.test").unwrap();
        let began = Instant::now();
        let reading = async {
            let mut passage = door.gate().open(&host, 80).await.unwrap();
            tokio::io::copy(&mut passage, &mut tokio::io::sink()).await.unwrap()
        };
        let writing = async {
            let mut passage = door.gate().open(&host, 81).await.unwrap();
            passage.write_all(&vec![b'y'; 64 << 10]).await.unwrap();
        };
        let (read, ()) = tokio::join!(reading, writing);
        let traffic = door.gate().traffic();
        assert_eq!((read, traffic.received_bytes, traffic.sent_bytes), (64 << 10, 64 << 10, 64 << 10));
        assert_eq!(traffic.connections, 2);
        began.elapsed()
    };
    let paced = time(Some(16 << 10)).await;
    assert!((Duration::from_secs(7)..Duration::from_secs(9)).contains(&paced), "{paced:?}");
    // Control: without a bound the same takes no time.
    assert_eq!(time(None).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn refusals_are_told_at_once_then_folded_and_the_rest_at_the_end() {
    let world = World::new();
    let mut door = world.door(&allow(&["a.test"]));
    let gate = door.gate().clone();
    open(&gate, "evil.test", 443).await.unwrap_err();
    let first = door.refused().await.unwrap();
    assert_eq!((first.len(), first[0].host.as_str(), first[0].port, first[0].count), (1, "evil.test", 443, 1));
    assert_eq!(first[0].rule, "not on the allowlist");
    let began = Instant::now();
    for _ in 0..50 {
        open(&gate, "evil.test", 443).await.unwrap_err();
        tokio::task::yield_now().await;
    }
    let folded = door.refused().await.unwrap();
    assert_eq!((folded.len(), folded[0].count), (1, 50));
    assert!(began.elapsed() <= Duration::from_secs(10) && began.elapsed() > Duration::ZERO);
    open(&gate, "evil.test", 443).await.unwrap_err();
    open(&gate, "worse.test", 443).await.unwrap_err();
    let (rest, traffic) = door.close().await;
    let rest: Vec<(String, u32)> = rest.concat().into_iter().map(|refusal| (refusal.host, refusal.count)).collect();
    assert_eq!(rest, [("worse.test".to_owned(), 1), ("evil.test".to_owned(), 1)]);
    assert_eq!(traffic.refused, 53);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_refusals_is_counted_whole_and_reported_in_bounds() {
    let mut door = World::new().door(&allow(&["a.test"]));
    let gate = door.gate().clone();
    let flood = tokio::spawn(async move {
        for number in 0..2000 {
            open(&gate, &format!("h{number}.test"), 443).await.unwrap_err();
            if number % 100 == 0 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    });
    let mut reported = Vec::new();
    while !flood.is_finished() {
        if let Ok(Some(report)) = tokio::time::timeout(Duration::from_secs(1), door.refused()).await {
            assert!(report.len() <= 64);
            reported.extend(report);
        }
    }
    let (rest, traffic) = door.close().await;
    reported.extend(rest.concat());
    assert_eq!(traffic.refused, 2000);
    assert_eq!(reported.len(), 256);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_alone_answers_for_permitted_names_and_says_what_is_closed() {
    let world = World::new().name("a.test", &[PUBLIC, "10.0.0.5"]);
    let door = world.door(&network(NetworkMode::Allow, &["a.test:443"], &["b.test:80"]));
    let found = door.gate().look_up(&Host::parse("a.test").unwrap()).await.unwrap();
    let told: Vec<(String, Option<String>)> = found
        .iter()
        .map(|judged| (judged.address.to_string(), judged.against.as_ref().map(ToString::to_string)))
        .collect();
    assert_eq!(told, [(PUBLIC.to_owned(), None), ("10.0.0.5".to_owned(), Some("private address 10.0.0.5".to_owned()))]);
    let refused = door.gate().look_up(&Host::parse("evil.test").unwrap()).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Refused(_)), "{refused}");
    assert_eq!(world.lookups(), ["a.test"]);
}
