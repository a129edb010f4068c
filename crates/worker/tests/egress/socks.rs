//! SOCKS5 as clients meet it.
use crate::world::{PUBLIC, Server, World, allow, dial, hear};
use std::sync::Arc;
use tenure_worker::egress::EgressListener;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HELLO: &[u8] = &[5, 1, 0];

fn world() -> (Arc<World>, EgressListener) {
    let world = World::new()
        .name("a.test", &[PUBLIC])
        .name("dead.test", &["93.184.216.99"])
        .server(&format!("{PUBLIC}:80"), Server::Echoes)
        .server("[2606:4700::1]:80", Server::Echoes);
    let door = world.door(&allow(&["*.test", "93.184.216.34:80", "[2606:4700::1]:80"]));
    (world, door)
}

fn domain(command: u8, name: &[u8], port: u16) -> Vec<u8> {
    let length = u8::try_from(name.len()).unwrap();
    [&[5, command, 0, 3, length], name, &port.to_be_bytes()].concat()
}

fn address(address: &[u8], port: u16) -> Vec<u8> {
    let kind = if address.len() == 4 { 1 } else { 4 };
    [&[5, 1, 0, kind], address, &port.to_be_bytes()].concat()
}

/// The answer to one request: its reply byte.
async fn ask(door: &EgressListener, request: &[u8]) -> u8 {
    let mut program = dial(door.gate());
    program.write_all(HELLO).await.unwrap();
    let mut chosen = [0; 2];
    program.read_exact(&mut chosen).await.unwrap();
    assert_eq!(chosen, [5, 0]);
    program.write_all(request).await.unwrap();
    let mut answer = [0; 10];
    program.read_exact(&mut answer).await.unwrap();
    assert_eq!((answer[0], &answer[2..]), (5, &[0, 1, 0, 0, 0, 0, 0, 0][..]));
    let reply = answer[1];
    if reply == 0 {
        program.write_all(b"both ways").await.unwrap();
        let mut back = [0; 9];
        program.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"both ways");
    } else {
        assert_eq!(hear(&mut program).await, "", "a refused connection ends");
    }
    reply
}

#[tokio::test(start_paused = true)]
async fn connect_leads_to_names_and_to_addresses_of_both_kinds() {
    let (world, door) = world();
    assert_eq!(ask(&door, &domain(1, b"A.test.", 80)).await, 0);
    assert_eq!(ask(&door, &address(&[93, 184, 216, 34], 80)).await, 0);
    let v6 = "2606:4700::1".parse::<std::net::Ipv6Addr>().unwrap();
    assert_eq!(ask(&door, &address(&v6.octets(), 80)).await, 0);
    assert_eq!(ask(&door, &domain(1, b"2606:4700::1", 80)).await, 0);
    assert_eq!(world.lookups(), ["a.test"]);
    assert_eq!(door.gate().traffic().connections, 4);
    assert_eq!(door.gate().traffic().sent_bytes, 36);
}

#[tokio::test(start_paused = true)]
async fn what_no_rule_permits_is_told_as_refused() {
    let (world, door) = world();
    let mapped = "::ffff:127.0.0.1".parse::<std::net::Ipv6Addr>().unwrap().octets();
    let long = vec![b'a'; 255];
    let refused = [
        domain(1, b"evil.example", 80),
        domain(1, b"a.test\0.evil.example", 80),
        domain(1, b"evil.example\0.test", 80),
        domain(1, b"a.test\n", 80),
        domain(1, b"\xff\xfe.test", 80),
        domain(1, "а.test".as_bytes(), 80),
        domain(1, &long, 80),
        domain(1, b"", 80),
        domain(1, b"127.1", 80),
        domain(1, b"017700000001", 80),
        domain(1, b"127.0.0.1", 7800),
        domain(1, b"localhost", 80),
        domain(1, b"[::1]", 80),
        address(&[127, 0, 0, 1], 7800),
        address(&[169, 254, 169, 254], 80),
        address(&[93, 184, 216, 34], 81),
        address(&mapped, 80),
    ];
    for request in &refused {
        assert_eq!(ask(&door, request).await, 2, "{:?}", String::from_utf8_lossy(request));
    }
    assert!(world.connected().is_empty() && world.lookups().is_empty());
    assert_eq!(door.gate().traffic().refused, refused.len() as u64);
    let (reports, _) = door.close().await;
    let hosts: Vec<String> = reports.concat().into_iter().map(|refusal| refusal.host).collect();
    assert!(hosts.iter().all(|host| host.len() <= 256 && !host.chars().any(char::is_control)), "{hosts:?}");
}

#[tokio::test(start_paused = true)]
async fn what_it_cannot_do_and_what_cannot_be_reached_have_replies_of_their_own() {
    let (world, door) = world();
    for (command, reply) in [(2, 7), (3, 7), (0, 7), (9, 7)] {
        assert_eq!(ask(&door, &domain(command, b"a.test", 80)).await, reply, "command {command}");
    }
    assert_eq!(ask(&door, &[5, 1, 0, 9]).await, 8);
    assert_eq!(ask(&door, &[5, 1, 1, 1, 1, 1, 1, 1, 0, 80]).await, 1);
    assert_eq!(ask(&door, &[4, 1, 0, 1, 1, 1, 1, 1, 0, 80]).await, 1);
    assert!(world.connected().is_empty());
    assert_eq!(ask(&door, &domain(1, b"unknown.test", 80)).await, 4);
    assert_eq!(ask(&door, &domain(1, b"slow.test", 80)).await, 4);
    assert_eq!(ask(&door, &domain(1, b"dead.test", 80)).await, 5);
    assert_eq!(door.gate().traffic().refused, 0);
}

#[tokio::test(start_paused = true)]
async fn a_login_is_not_taken_and_a_greeting_that_does_not_end_is_not_waited_for() {
    let (_, door) = world();
    let mut program = dial(door.gate());
    program.write_all(&[5, 2, 1, 2]).await.unwrap();
    let mut chosen = [0; 2];
    program.read_exact(&mut chosen).await.unwrap();
    assert_eq!(chosen, [5, 0xff]);
    assert_eq!(hear(&mut program).await, "");
    for start in [&[5][..], &[5, 3, 0], &[5, 1, 0, 5, 1, 0, 3, 200, b'a']] {
        let mut program = dial(door.gate());
        program.write_all(start).await.unwrap();
        let mut heard = Vec::new();
        program.read_to_end(&mut heard).await.unwrap();
        assert!(heard.is_empty() || heard == [5, 0], "{heard:?}");
    }
}
