//! The proxy as HTTP clients meet it, hostile ones above all. Time is paused: what waits for a deadline is at it at once.
use crate::world::{PUBLIC, Server, World, allow, dial, hear, hear_until, say};
use std::sync::Arc;
use std::time::Duration;
use tenure_worker::egress::EgressListener;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

const OTHER: &str = "93.184.216.35";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// a.test and b.test may be reached at port 80, evil.test has an address and may not.
fn world(server: Server) -> (Arc<World>, EgressListener) {
    let world = World::new()
        .name("a.test", &[PUBLIC])
        .name("b.test", &[OTHER])
        .name("evil.test", &[OTHER])
        .server(&format!("{PUBLIC}:80"), server)
        .server(&format!("{OTHER}:80"), Server::Answers(OK));
    let door = world.door(&allow(&["a.test", "b.test", "slow.test", "dead.test"]));
    (world, door)
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or(answer)
}

#[tokio::test(start_paused = true)]
async fn a_request_is_sent_on_without_what_was_for_the_proxy() {
    let made = "HTTP/1.1 201 Created\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nProxy-Authenticate: Basic\r\nX-End: 2\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nmade\r\n0\r\n\r\n";
    let (world, door) = world(Server::Answers(made));
    let answer = say(
        door.gate(),
        "POST http://A.test:80/p?q=1 HTTP/1.1\r\nhost: a.TEST\r\nProxy-Authorization: Basic eDp5\r\nProxy-Connection: keep-alive\r\nConnection: X-Secret, close\r\nX-Secret: s\r\nTE: trailers\r\nX-Own: o\r\nContent-Length: 4\r\n\r\nbody",
    )
    .await;
    let heard = world.heard(0);
    assert!(heard.starts_with("POST /p?q=1 HTTP/1.1\r\n") && heard.ends_with("\r\n\r\nbody"), "{heard}");
    let low = heard.to_ascii_lowercase();
    assert!(
        low.contains("host: a.test\r\n") && low.contains("x-own: o\r\n") && low.contains("content-length: 4\r\n"),
        "{heard}"
    );
    for gone in ["proxy-", "x-secret", "\r\nte:", "connection:"] {
        assert!(!low.contains(gone), "{gone} in {heard}");
    }
    let low = answer.to_ascii_lowercase();
    assert!(
        answer.starts_with("HTTP/1.1 201 Created\r\n") && low.contains("x-end: 2") && low.contains("made"),
        "{answer}"
    );
    for gone in ["x-hop", "proxy-"] {
        assert!(!low.contains(gone), "{gone} in {answer}");
    }
    let traffic = door.gate().traffic();
    assert_eq!((traffic.connections, traffic.requests, traffic.refused), (1, 1, 0));
    assert_eq!((traffic.sent_bytes, traffic.received_bytes), (heard.len() as u64, made.len() as u64));
}

#[tokio::test(start_paused = true)]
async fn each_of_several_pipelined_requests_is_judged_by_itself() {
    let (world, door) = world(Server::Answers(OK));
    let request = |host: &str| format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let all = ["a.test", "evil.test", "b.test", "169.254.169.254", "a.test"].map(request).concat();
    let answer = say(door.gate(), all).await;
    let statuses: Vec<&str> = answer.match_indices("HTTP/1.1 ").map(|(at, _)| &answer[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "403", "200", "403", "200"], "{answer}");
    assert!(answer.contains("HTTP/1.1 403 Refused (not on the allowlist)\r\n"), "{answer}");
    assert!(answer.contains("evil.test:80 is refused (not on the allowlist); its owner can add the host"), "{answer}");
    assert!(answer.contains("169.254.169.254:80 is refused (metadata address 169.254.169.254)"), "{answer}");
    assert_eq!(world.lookups(), ["a.test", "b.test", "a.test"]);
    assert_eq!(world.connected(), [PUBLIC, OTHER, PUBLIC].map(|at| format!("{at}:80")));
    assert_eq!(door.gate().traffic().refused, 2);
}

#[tokio::test(start_paused = true)]
async fn requests_to_one_place_share_its_connection_and_a_closed_one_is_made_anew() {
    let (world, door) = world(Server::Answers(OK));
    let request = "GET http://a.test/ HTTP/1.1\r\n\r\n";
    let mut program = dial(door.gate());
    for _ in 0..3 {
        program.write_all(request.as_bytes()).await.unwrap();
        hear_until(&mut program, "ok").await;
    }
    assert_eq!(world.connected().len(), 1);
    world.server(&format!("{PUBLIC}:80"), Server::AnswersOnce(OK));
    let mut program = dial(door.gate());
    for _ in 0..3 {
        program.write_all(request.as_bytes()).await.unwrap();
        hear_until(&mut program, "ok").await;
    }
    assert_eq!(world.connected().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_two_readers_could_cut_apart_differently_is_answered_400_and_goes_nowhere() {
    let (world, door) = world(Server::Answers(OK));
    let post = "POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\n";
    let refused = [
        ("400", format!("{post}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX")),
        ("400", format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n1\r\nZ\r\nQ")),
        ("400", format!("{post}Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody")),
        ("400", format!("{post}Content-Length: 4\r\nContent-Length: 5\r\n\r\nbody")),
        ("400", format!("{post}Content-Length: 4, 4\r\n\r\nbody")),
        ("400", format!("{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n")),
        ("400", format!("{post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n")),
        ("400", format!("{post}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n")),
        ("400", format!("{post}X: a\r\n Content-Length: 4\r\n\r\nbody")),
        ("400", format!("{post}X: a\nContent-Length: 4\r\n\r\nbody")),
        ("400", format!("{post}Content-Length : 4\r\n\r\nbody")),
        ("400", "GET http://a.test/ HTTP/1.1\nHost: a.test\n\n".to_owned()),
        ("400", format!("{post}Host: evil.test\r\n\r\n")),
        ("400", "GET http://a.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n".to_owned()),
        ("400", "GET http://a.test/ HTTP/1.1\r\nHost: a.test:8080\r\n\r\n".to_owned()),
        ("400", "GET http://a.test/ HTTP/1.1\r\nHost:\r\n\r\n".to_owned()),
        ("400", "GET http://evil.test@a.test/ HTTP/1.1\r\n\r\n".to_owned()),
        ("400", "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n".to_owned()),
        ("400", "OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n".to_owned()),
        ("400", "GET https://a.test/ HTTP/1.1\r\n\r\n".to_owned()),
        ("400", "GET ftp://a.test/ HTTP/1.1\r\n\r\n".to_owned()),
        ("400", "CONNECT a.test HTTP/1.1\r\n\r\n".to_owned()),
        ("400", "CONNECT a.test:80 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc".to_owned()),
        ("400", "GET  http://a.test/ HTTP/1.1\r\n\r\n".to_owned()),
        ("400", "GET http://a.test/ HTTP/1.7\r\n\r\n".to_owned()),
        ("431", format!("{post}X: {}\r\n\r\n", "y".repeat(33 << 10))),
        ("431", format!("{post}{}\r\n", "X: y\r\n".repeat(64))),
        ("431", format!("GET http://a.test/{} HTTP/1.1\r\n\r\n", "y".repeat(33 << 10))),
        ("505", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
    ];
    for (wanted, request) in refused {
        let answer = say(door.gate(), &request).await;
        let shown = &request[..request.len().min(120)];
        assert_eq!(status(&answer), wanted, "{shown:?}: {answer}");
        assert_eq!(answer.lines().filter(|line| line.starts_with("HTTP/")).count(), 1, "{shown:?}: {answer}");
        assert!(answer.contains("tenure: "), "{answer}");
    }
    assert!(world.connected().is_empty() && world.lookups().is_empty());
    // Controls: the same, well formed, arrive; also at the bounds.
    let taken = [
        format!("{post}Content-Length: 4\r\n\r\nbody"),
        format!("{post}Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"),
        format!("{post}{}\r\n", "X: y\r\n".repeat(63)),
        format!("\r\n{post}X: {}\r\n\r\n", "y".repeat(31 << 10)),
    ];
    for (number, request) in taken.iter().enumerate() {
        let answer = say(door.gate(), request).await;
        assert_eq!(status(&answer), "200", "{answer}");
        assert_eq!(world.connected().len(), number + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_inside_a_body_stays_a_body() {
    let (world, door) = world(Server::Answers(OK));
    let inner = "GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n";
    let sized = format!("POST http://a.test/ HTTP/1.1\r\nContent-Length: {}\r\n\r\n{inner}", inner.len());
    let chunked = format!(
        "POST http://a.test/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{inner}\r\n0\r\n\r\n",
        inner.len()
    );
    for request in [sized, chunked] {
        let answer = say(door.gate(), &request).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert_eq!(status(&answer), "200", "{answer}");
    }
    assert!(world.heard(0).ends_with(inner) && world.heard(1).contains(inner));
    assert_eq!((world.lookups(), door.gate().traffic().refused), (vec!["a.test".to_owned(); 2], 0));
    // A chunk that is none ends the connection; nothing behind it is read as a request.
    let broken =
        format!("POST http://a.test/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n{inner}");
    say(door.gate(), &broken).await;
    assert!(!world.heard(2).contains("evil") && door.gate().traffic().refused == 0);
}

#[tokio::test(start_paused = true)]
async fn the_body_of_a_refused_request_goes_nowhere_and_is_no_next_request() {
    let (world, door) = world(Server::Answers(OK));
    let body = "GET http://a.test/ HTTP/1.1\r\n\r\n";
    let request = format!("POST http://evil.test/ HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let answer = say(door.gate(), request).await;
    assert_eq!((status(&answer), answer.matches("HTTP/1.1 ").count()), ("403", 1), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    assert!(world.connected().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_body_is_asked_for_only_once_its_request_is_permitted() {
    let (world, door) = world(Server::Answers(OK));
    let mut program = dial(door.gate());
    let head =
        |host: &str| format!("POST http://{host}/ HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    program.write_all(head("a.test").as_bytes()).await.unwrap();
    assert_eq!(hear_until(&mut program, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    program.write_all(b"body").await.unwrap();
    assert!(hear_until(&mut program, "ok").await.starts_with("HTTP/1.1 200 OK"));
    assert!(world.heard(0).ends_with("body") && !world.heard(0).to_ascii_lowercase().contains("expect"));
    assert!(say(door.gate(), head("evil.test")).await.starts_with("HTTP/1.1 403 "));
}

#[tokio::test(start_paused = true)]
async fn one_place_is_enough_for_one_connection_after_another() {
    let world = World::new().name("a.test", &[PUBLIC]).name("b.test", &[OTHER]);
    let world =
        world.server(&format!("{PUBLIC}:80"), Server::Answers(OK)).server(&format!("{OTHER}:80"), Server::Echoes);
    let mut network = allow(&["a.test", "b.test"]);
    network.connections_max = 1;
    let door = world.door(&network);
    for host in ["a.test", "a.test"] {
        let request = format!("GET http://{host}/ HTTP/1.1\r\n\r\n");
        assert_eq!(status(&say(door.gate(), request).await), "200");
    }
    for _ in 0..5 {
        let mut program = dial(door.gate());
        program.write_all(b"CONNECT b.test:80 HTTP/1.1\r\n\r\nx").await.unwrap();
        hear_until(&mut program, "\r\n\r\nx").await;
    }
    assert_eq!(door.gate().traffic().refused, 0);
}

#[tokio::test(start_paused = true)]
async fn connect_makes_a_tunnel_both_ways() {
    let (world, door) = world(Server::Echoes);
    let mut program = dial(door.gate());
    // Bytes that come with the head belong to the tunnel.
    program.write_all(b"CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\nfirst").await.unwrap();
    let head = hear_until(&mut program, "first").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(!head.to_ascii_lowercase().contains("content-length"), "{head}");
    for piece in ["\r\n\r\nGET http://evil.test/ HTTP/1.1\r\n\r\n", "\0\n\n", "last"] {
        program.write_all(piece.as_bytes()).await.unwrap();
        hear_until(&mut program, piece).await;
    }
    program.shutdown().await.unwrap();
    assert_eq!(hear(&mut program).await, "");
    let heard = world.heard(0);
    assert!(heard.starts_with("first") && heard.ends_with("last"), "{heard}");
    let traffic = door.gate().traffic();
    assert_eq!((traffic.sent_bytes, traffic.received_bytes), (heard.len() as u64, heard.len() as u64));
    assert_eq!((traffic.connections, traffic.requests, traffic.refused), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn connect_is_refused_by_name_by_address_and_by_spelling() {
    let (world, door) = world(Server::Echoes);
    let places = [
        ("evil.test:443", "not on the allowlist"),
        ("93.184.216.34:80", "not on the allowlist"),
        ("10.0.0.5:22", "private address 10.0.0.5"),
        ("127.0.0.1:7800", "loopback address 127.0.0.1"),
        ("127.0.0.1:3128", "loopback address 127.0.0.1"),
        ("[::ffff:169.254.169.254]:80", "metadata address 169.254.169.254"),
        ("[::1]:80", "loopback address ::1"),
        ("2130706433:80", "no host: it ends in a number"),
        ("0x7f.1:80", "no host: it ends in a number"),
    ];
    for (place, rule) in places {
        let answer = say(
            door.gate(),
            format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\nGET http://a.test/ HTTP/1.1\r\n\r\n"),
        )
        .await;
        assert_eq!((status(&answer), answer.matches("HTTP/1.1 ").count()), ("403", 1), "{answer}");
        assert!(answer.contains(&format!("Refused ({rule}")), "{place}: {answer}");
    }
    assert!(world.connected().is_empty());
    assert_eq!(door.gate().traffic().refused, places.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_reached_is_a_bad_gateway_and_no_refusal() {
    let (world, door) = world(Server::Hangs);
    world.name("dead.test", &["93.184.216.99"]);
    for (host, wanted) in [("a.test", "504"), ("dead.test", "502"), ("slow.test", "502")] {
        let answer = say(door.gate(), format!("CONNECT {host}:80 HTTP/1.1\r\n\r\n")).await;
        assert_eq!(status(&answer), wanted, "{answer}");
    }
    let (_, silent) = self::world(Server::AnswersOnce("nonsense\r\n\r\n"));
    assert_eq!(status(&say(silent.gate(), "GET http://a.test/ HTTP/1.1\r\n\r\n").await), "502");
    assert_eq!(door.gate().traffic().refused, 0);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_end_is_waited_for_ten_seconds() {
    let (world, door) = world(Server::Answers(OK));
    for start in ["", "G", "GET http://a.test/ HTTP/1.1\r\n", "GET http://a.test/ HTTP/1.1\r\nX:"] {
        let began = Instant::now();
        assert_eq!(say(door.gate(), start).await, "", "{start:?}");
        assert!((10..=20).contains(&began.elapsed().as_secs()), "{start:?}: {:?}", began.elapsed());
    }
    // One byte at a time does not stretch it.
    let mut program = dial(door.gate());
    let began = Instant::now();
    program.write_all(b"GET http://a.test/ HTTP/1.1\r\nX: ").await.unwrap();
    while program.write_all(b"y").await.is_ok() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(began.elapsed().as_secs() <= 20, "{:?}", began.elapsed());
    assert!(world.connected().is_empty());
    // Control: a head in two halves, five seconds apart, is served.
    let mut program = dial(door.gate());
    program.write_all(b"GET http://a.test/ HTTP/1.1\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    program.write_all(b"\r\n").await.unwrap();
    assert!(hear_until(&mut program, "ok").await.contains("200 OK"));
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_in_which_nothing_moves_ends_after_five_minutes() {
    let (_, door) = world(Server::Echoes);
    let mut program = dial(door.gate());
    program.write_all(b"CONNECT a.test:80 HTTP/1.1\r\n\r\nx").await.unwrap();
    hear_until(&mut program, "x").await;
    // What moves keeps it.
    tokio::time::sleep(Duration::from_secs(250)).await;
    program.write_all(b"y").await.unwrap();
    hear_until(&mut program, "y").await;
    let began = Instant::now();
    assert_eq!(program.read(&mut [0; 8]).await.unwrap_or(0), 0);
    assert!((299..=301).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_websocket_passes_and_another_upgrade_does_not() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s\r\n\r\nhello";
    let (world, door) = world(Server::Answers(switch));
    let request = "GET http://a.test/chat HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n";
    let mut program = dial(door.gate());
    program.write_all(request.as_bytes()).await.unwrap();
    let head = hear_until(&mut program, "hello").await;
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("s\r\n"), "{head}");
    program.write_all(b"\x81\x00frame").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let heard = world.heard(0);
    assert!(
        heard.starts_with("GET /chat HTTP/1.1\r\n") && heard.to_ascii_lowercase().contains("upgrade: websocket"),
        "{heard}"
    );
    assert!(heard.ends_with("frame"), "{heard}");

    // A server that answers plainly is heard plainly, and the connection ends there.
    let (_, plain) = self::world(Server::Answers(OK));
    let answer = say(plain.gate(), format!("{request}GET http://evil.test/ HTTP/1.1\r\n\r\n")).await;
    assert_eq!((status(&answer), answer.matches("HTTP/1.1 ").count()), ("200", 1), "{answer}");
    assert_eq!(plain.gate().traffic().refused, 0);

    // HTTP/2 is not asked for on a program's behalf, and a server that changes to it unasked is not followed.
    let (world, h2c) =
        self::world(Server::Answers("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"));
    let answer = say(h2c.gate(), request.replace("websocket\r\n", "h2c\r\nHTTP2-Settings: x\r\n")).await;
    assert_eq!(status(&answer), "502", "{answer}");
    assert!(!world.heard(0).to_ascii_lowercase().contains("upgrade"), "{}", world.heard(0));
}
