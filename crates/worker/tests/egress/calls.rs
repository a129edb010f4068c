//! `network.*` calls in a real worker with a real jail, over the simulated network.
use crate::house::House;
use crate::world::{PUBLIC, Server, World, allow, network};
use serde_json::json;
use std::sync::Arc;
use tenure_core::call::Outcome;
use tenure_core::manifest::NetworkMode;

const OTHER: &str = "93.184.216.35";

fn answer(status: &str, headers: &str, body: &str) -> Server {
    let length = body.len();
    Server::Answers(format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}").leak())
}

/// a.test answers with this, b.test with `ok`.
fn world(server: Server) -> Arc<World> {
    World::new()
        .name("a.test", &[PUBLIC])
        .name("b.test", &[OTHER])
        .server(&format!("{PUBLIC}:80"), server)
        .server(&format!("{OTHER}:80"), answer("200 OK", "Content-Type: text/plain\r\n", "ok"))
}

async fn house(world: &Arc<World>) -> House {
    House::over(Arc::clone(world) as _, allow(&["a.test", "b.test"])).await
}

#[tokio::test]
async fn a_request_gives_status_headers_and_body_and_is_counted() {
    let world = world(answer("404 Not Found", "X-Own: 1\r\nX-Own: 2\r\n", "nothing here"));
    let mut house = house(&world).await;
    let arguments = json!({"url": "http://a.test/p?q=1", "method": "POST", "headers": {"X-Asked": "y"}, "body": "{}"});
    let result = house.does("network.http_request", arguments).await;
    assert_eq!(result["status"], 404);
    assert_eq!(
        (&result["body"], &result["encoding"], &result["size"]),
        (&json!("nothing here"), &json!("utf-8"), &json!(12))
    );
    assert_eq!((&result["truncated"], &result["redirects"]), (&json!(false), &json!(0)));
    assert_eq!(result["headers"]["x-own"], "1, 2");
    let heard = world.heard(0).to_ascii_lowercase();
    assert!(heard.starts_with("post /p?q=1 http/1.1\r\n") && heard.ends_with("\r\n\r\n{}"), "{heard}");
    assert!(
        heard.contains("host: a.test\r\n") && heard.contains("x-asked: y\r\n") && heard.contains("user-agent: tenure/")
    );
    let traffic = house.release().await.expect("something went through");
    assert_eq!((traffic.connections, traffic.requests, traffic.refused), (1, 1, 0));
    assert_eq!(traffic.sent_bytes, heard.len() as u64);
    // Each iteration has a door of its own.
    house.does("network.http_request", json!({"url": "http://b.test/"})).await;
    assert_eq!(house.release().await.map(|traffic| traffic.connections), Some(1));
}

#[tokio::test]
async fn what_a_jail_moved_that_a_later_iteration_ended_is_told_at_its_release() {
    let world = world(answer("200 OK", "", "nothing here"));
    let mut house = house(&world).await;
    house.does("network.http_request", json!({"url": "http://b.test/"})).await;
    house.iteration = 2;
    house.does("filesystem.write", json!({"path": "later", "content": ""})).await;
    house.iteration = 1;
    assert_eq!(house.release().await.map(|traffic| traffic.connections), Some(1));
    assert_eq!(house.release().await, None, "the later iteration moved nothing");
}

#[tokio::test]
async fn what_no_rule_permits_fails_by_its_rule_and_is_reported() {
    let world = world(answer("200 OK", "", "ok"));
    let mut house = house(&world).await;
    let places = [
        ("http://evil.test/", "not on the allowlist", "evil.test", 80),
        ("http://169.254.169.254/latest/meta-data/", "metadata address 169.254.169.254", "169.254.169.254", 80),
        ("http://127.0.0.1:7800/v1/agents", "loopback address 127.0.0.1", "127.0.0.1", 7800),
        ("https://[::ffff:10.0.0.5]:8443/", "private address 10.0.0.5", "10.0.0.5", 8443),
        ("http://0x7f.1/", "no host: it ends in a number", "0x7f.1", 0),
    ];
    for (url, rule, ..) in places {
        let (code, told) = house.fails("network.http_request", json!({ "url": url })).await;
        assert_eq!(code, "network_refused", "{url}");
        assert!(told.contains(rule), "{url}: {told}");
    }
    for (capability, arguments) in [
        ("network.download", json!({"url": "http://evil.test/f", "path": "f"})),
        ("network.dns_lookup", json!({"name": "worse.test"})),
        ("network.port_check", json!({"host": "worst.test", "port": 22})),
    ] {
        assert_eq!(house.fails(capability, arguments).await.0, "network_refused", "{capability}");
    }
    assert!(world.connected().is_empty() && world.lookups().is_empty());
    let traffic = house.release().await.expect("refusals are traffic too");
    assert_eq!((traffic.refused, traffic.connections), (8, 0));
    let refused = house.refused();
    for (url, rule, host, port) in places {
        assert!(refused.iter().any(|(h, p, r)| h == host && *p == port && r.starts_with(rule)), "{url}: {refused:?}");
    }
    assert!(refused.contains(&("worse.test".to_owned(), 0, "not on the allowlist".to_owned())), "{refused:?}");
    assert!(refused.contains(&("worst.test".to_owned(), 22, "not on the allowlist".to_owned())), "{refused:?}");
}

#[tokio::test]
async fn without_a_network_every_call_fails_by_the_mode() {
    let world = world(answer("200 OK", "", "ok"));
    let mut house = House::over(Arc::clone(&world) as _, network(NetworkMode::None, &[], &[])).await;
    let calls = [
        ("network.http_request", json!({"url": "http://a.test/"})),
        ("network.download", json!({"url": "http://a.test/", "path": "f"})),
        ("network.dns_lookup", json!({"name": "a.test"})),
        ("network.port_check", json!({"host": "a.test", "port": 80})),
    ];
    for (capability, arguments) in calls {
        let (code, told) = house.fails(capability, arguments).await;
        assert_eq!(code, "network_refused", "{capability}");
        assert!(told.contains("mode none"), "{told}");
    }
    assert!(world.lookups().is_empty());
    assert_eq!(house.release().await.map(|traffic| traffic.refused), Some(4));
    // Programs have no proxy there either.
    let (code, said) = house
        .run(
            "python3",
            &[
                "-c",
                "import os,socket;print(os.environ.get('http_proxy'));socket.create_connection(('127.0.0.1',3128),3)",
            ],
        )
        .await;
    assert!(code != 0 && said.starts_with("None\n"), "{said}");
    assert_eq!(house.release().await, None);
}

#[tokio::test]
async fn a_redirect_within_the_host_is_followed_with_all_that_was_sent() {
    const IN_TURN: [&str; 2] = [
        "HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere",
    ];
    let world = world(Server::AnswersInTurn(&IN_TURN));
    let mut house = house(&world).await;
    let headers = json!({"Authorization": "Bearer s3cret", "X-Own": "o"});
    let asked = json!({"url": "http://a.test/", "method": "POST", "headers": headers, "body": "b0dy"});
    let result = house.does("network.http_request", asked).await;
    assert_eq!((&result["url"], &result["redirects"]), (&json!("http://a.test/next"), &json!(1)));
    assert_eq!((&result["body"], &result["location"]), (&json!("here"), &json!(null)));
    let second = world.heard(1);
    assert!(second.starts_with("GET /next HTTP/1.1\r\n") && second.contains("s3cret"), "{second}");
    assert!(second.contains("x-own: o") && !second.contains("b0dy"), "{second}");
    // Without an end.
    let mut house = self::house(&self::world(answer("307 Temporary Redirect", "Location: /again\r\n", ""))).await;
    let (code, told) = house.fails("network.http_request", json!({"url": "http://a.test/"})).await;
    assert!(code == "too_many_redirects" && told.contains("more than 10 times"), "{told}");
}

#[tokio::test]
async fn a_redirect_to_where_nobody_has_judged_is_told_and_not_followed() {
    let long = format!("http://b.test/{}", "x".repeat(2000));
    let elsewhere = [
        ("http://b.test/next", Some("http://b.test/next")),
        (long.as_str(), Some(long.as_str())),
        ("//b.test/next", Some("http://b.test/next")),
        ("http://a.test:8080/", Some("http://a.test:8080/")),
        ("https://a.test/", Some("https://a.test/")),
        ("https://a.test:80/", Some("https://a.test:80/")),
        ("http://169.254.169.254/latest/meta-data/iam/", Some("http://169.254.169.254/latest/meta-data/iam/")),
        ("http://2852039166/", None),
        ("file:///etc/passwd", None),
        ("http://user:pw@b.test/", None),
    ];
    for (location, target) in elsewhere {
        let world = world(answer("307 Temporary Redirect", &format!("Location: {location}\r\n"), "moved"));
        let mut house = house(&world).await;
        let headers = json!({"Authorization": "Bearer s3cret", "X-Api-Key": "s3cret"});
        let asked = json!({"url": "http://a.test/", "method": "POST", "headers": headers, "body": "b0dy"});
        let result = house.does("network.http_request", asked).await;
        assert_eq!((&result["status"], &result["body"]), (&json!(307), &json!("moved")), "{location}");
        assert_eq!((&result["url"], &result["redirects"]), (&json!("http://a.test/"), &json!(0)), "{location}");
        assert_eq!(result["location"].as_str(), target, "{location}");
        let (code, told) =
            house.fails("network.download", json!({"url": "http://a.test/f", "path": "f", "headers": headers})).await;
        assert_eq!(code, "redirect_refused", "{location}");
        match target {
            Some(target) => assert!(told.contains(&format!("call again with the url {target};")), "{told}"),
            None => assert!(told.contains("cannot be followed"), "{told}"),
        }
        assert!(!house.work_folder().join("f").exists());
        assert_eq!(world.connected(), [format!("{PUBLIC}:80"), format!("{PUBLIC}:80")], "{location}");
    }
    // The control: asked for by a call of its own, it is judged like any other.
    let world = world(answer("302 Found", "Location: http://b.test/next\r\n", ""));
    let mut house = house(&world).await;
    let first = house.does("network.http_request", json!({"url": "http://a.test/"})).await;
    let next = house.does("network.http_request", json!({"url": first["location"]})).await;
    assert_eq!((&next["status"], &next["body"]), (&json!(200), &json!("ok")));
}

#[tokio::test]
async fn a_long_body_shows_its_head_and_tail_and_what_is_no_text_is_base64() {
    let long = format!("begin{}end", "x".repeat(200_000));
    let mut house = house(&world(answer("200 OK", "", &long))).await;
    let result = house.does("network.http_request", json!({"url": "http://a.test/"})).await;
    let body = result["body"].as_str().unwrap();
    assert!(
        body.starts_with("begin") && body.ends_with("end") && body.contains("bytes left out") && body.len() < 70_000
    );
    assert_eq!((&result["truncated"], &result["size"]), (&json!(true), &json!(long.len())));
    let result = house.does("network.http_request", json!({"url": "http://a.test/", "max_bytes": 7})).await;
    assert_eq!((&result["body"], &result["truncated"], &result["size"]), (&json!("beginxx"), &json!(true), &json!(7)));

    let mut house = self::house(&world(answer("200 OK", "", "a\0b"))).await;
    let result = house.does("network.http_request", json!({"url": "http://a.test/"})).await;
    assert_eq!((&result["body"], &result["encoding"]), (&json!("YQBi"), &json!("base64")));
    let silent = World::new().name("a.test", &[PUBLIC]).server(&format!("{PUBLIC}:80"), Server::Silent);
    let mut house = self::house(&silent).await;
    let late = house.perform("network.http_request", json!({"url": "http://a.test/", "timeout_ms": 50})).await;
    assert_eq!(late.outcome, Outcome::TimedOut);
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_refused_before_anything_is_reached() {
    let world = world(answer("200 OK", "", "ok"));
    let mut house = house(&world).await;
    let wrong = [
        json!({"url": "http://u:p@a.test/"}),
        json!({"url": "gopher://a.test/"}),
        json!({"url": "http://a.test/ x"}),
        json!({"url": "http://a.test:0/"}),
        json!({"url": "http://a.test/", "method": "CONNECT"}),
        json!({"url": "http://a.test/", "headers": {"Host": "evil.test"}}),
        json!({"url": "http://a.test/", "headers": {"Transfer-Encoding": "chunked"}}),
        json!({"url": "http://a.test/", "headers": {"Proxy-Authorization": "x"}}),
        json!({"url": "http://a.test/", "headers": {"X": "a\r\nY: b"}}),
        json!({"url": "http://a.test/", "headers": {"X Y": "a"}}),
        json!({"url": "http://a.test/", "verify": false}),
    ];
    for arguments in wrong {
        let (code, told) = house.fails("network.http_request", arguments.clone()).await;
        assert_eq!(code, "invalid_arguments", "{arguments}: {told}");
    }
    assert_eq!(house.fails("network.dns_lookup", json!({"name": "8.8.8.8"})).await.0, "invalid_arguments");
    assert_eq!(house.fails("network.port_check", json!({"host": "a.test", "port": 0})).await.0, "invalid_arguments");
    assert_eq!(
        house.fails("network.download", json!({"url": "http://a.test/", "path": "f", "sha256": "0"})).await.0,
        "invalid_arguments"
    );
    assert!(world.connected().is_empty());
}

#[tokio::test]
async fn a_download_lands_whole_and_checked_or_not_at_all() {
    let content: String = (0..300_000).map(|number: u32| format!("{number:07}\n")).collect();
    let sum = "e6f5f6cd9ba5dbb4a4d3f4ea8d04ac9a3a5be0ad5e4dd4b3b9e4ac1e2ee2ec39";
    let world = world(answer("200 OK", "", &content));
    let mut house = house(&world).await;
    let result = house.does("network.download", json!({"url": "http://a.test/f", "path": "in/f.txt"})).await;
    assert_eq!((&result["size"], &result["status"]), (&json!(content.len()), &json!(200)));
    let landed = house.work_folder().join("in/f.txt");
    assert!(std::fs::read_to_string(&landed).unwrap() == content);
    let right = result["sha256"].as_str().unwrap().to_ascii_uppercase();
    house.does("network.download", json!({"url": "http://a.test/f", "path": "in/g.txt", "sha256": right})).await;

    house.does("filesystem.write", json!({"path": "kept", "content": "before"})).await;
    let (code, told) =
        house.fails("network.download", json!({"url": "http://a.test/f", "path": "kept", "sha256": sum})).await;
    assert!(code == "checksum" && told.contains(sum) && told.contains("nothing was written"), "{told}");
    let limited =
        house.perform("network.download", json!({"url": "http://a.test/f", "path": "kept", "max_bytes": 1000})).await;
    assert!(matches!(&limited.outcome, Outcome::ResourceExhausted { limit: Some(1000), .. }), "{limited:?}");
    assert_eq!(house.fails("network.download", json!({"url": "http://a.test/f", "path": "../kept"})).await.0, "escape");
    assert_eq!(
        house.fails("network.download", json!({"url": "http://a.test/f", "path": "in"})).await.0,
        "is_directory"
    );
    assert_eq!(std::fs::read_to_string(house.work_folder().join("kept")).unwrap(), "before");
    // Nor through a link: nothing is even asked of a server.
    let connected = world.connected().len();
    house.does("process.run", json!({"command": "ln", "args": ["-s", "in", "link"]})).await;
    let led = house.perform("network.download", json!({"url": "http://a.test/f", "path": "link/f"})).await;
    assert_eq!(led.outcome, Outcome::Redirected { path: "/workspace/in/f".to_owned() });
    assert_eq!(world.connected().len(), connected);
    // Nor may it take what the agent's disk has not left.
    house
        .does(
            "process.run",
            json!({"command": "dd", "args": ["if=/dev/zero", "of=x", "bs=1M", "count=26", "status=none"]}),
        )
        .await;
    let full = house.perform("network.download", json!({"url": "http://a.test/f", "path": "kept"})).await;
    assert!(matches!(&full.outcome, Outcome::ResourceExhausted { resource, .. } if resource == "disk"), "{full:?}");
    assert_eq!(std::fs::read_to_string(house.work_folder().join("kept")).unwrap(), "before");
    // Nothing is left of any of them beside the jails.
    let left: Vec<_> =
        std::fs::read_dir(house.run_folder()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("spool")), "{left:?}");

    let missing = self::world(answer("404 Not Found", "", "no"));
    let mut house = self::house(&missing).await;
    assert_eq!(house.fails("network.download", json!({"url": "http://a.test/f", "path": "f"})).await.0, "http_status");
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    let mut house = self::house(&self::world(Server::AnswersOnce(cut))).await;
    assert_eq!(house.fails("network.download", json!({"url": "http://a.test/f", "path": "f"})).await.0, "broken_off");
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        format!("400\r\n{}\r\n", "x".repeat(1024)).repeat(8)
    );
    let mut house = self::house(&self::world(Server::Answers(chunked.leak()))).await;
    let limited =
        house.perform("network.download", json!({"url": "http://a.test/f", "path": "f", "max_bytes": 5000})).await;
    assert!(matches!(&limited.outcome, Outcome::ResourceExhausted { limit: Some(5000), .. }), "{limited:?}");
    assert!(!house.work_folder().join("f").exists());
    house.does("network.download", json!({"url": "http://a.test/f", "path": "f", "max_bytes": 8192})).await;
    assert_eq!(std::fs::metadata(house.work_folder().join("f")).unwrap().len(), 8192);
}

#[tokio::test]
async fn lookups_and_port_checks_tell_what_is_so() {
    let world = world(Server::Silent).name("mixed.test", &[PUBLIC, "10.0.0.5"]);
    let mut house = House::over(Arc::clone(&world) as _, allow(&["a.test", "mixed.test", "gone.test"])).await;
    let result = house.does("network.dns_lookup", json!({"name": "MIXED.test."})).await;
    assert_eq!(
        result,
        json!({"name": "mixed.test", "addresses": [{"address": PUBLIC}, {"address": "10.0.0.5", "refused": "private address 10.0.0.5"}]})
    );
    assert_eq!(house.fails("network.dns_lookup", json!({"name": "gone.test"})).await.0, "unresolved");
    assert_eq!(house.does("network.port_check", json!({"host": "a.test", "port": 80})).await, json!({"open": true}));
    let closed = house.does("network.port_check", json!({"host": "a.test", "port": 81})).await;
    assert!(closed["open"] == json!(false) && closed["why"].is_string(), "{closed}");
    assert_eq!(house.fails("network.port_check", json!({"host": "gone.test", "port": 81})).await.0, "unresolved");
}
