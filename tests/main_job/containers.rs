//! Agents in containers, on the whole product: engines of the test's own, a scripted model, and what kills, missing images
//! and engines that come and go do to an execution.
mod house;
mod kills;
mod trouble;

use crate::engines::{Kind, processes_with};
use house::{House, IMAGE, calls, shell, shown_file};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tests::scripted::{Say, Script};

const NONE: [String; 0] = [];

#[test]
fn an_agent_works_in_a_container_of_docker_and_nothing_of_it_is_left() {
    works(Kind::Docker);
}

#[test]
fn an_agent_works_in_a_container_of_podman_and_nothing_of_it_is_left() {
    works(Kind::Podman);
}

/// What a program inside says of where it is, and then waits until the test has looked at it from outside.
fn first_look(mark: &str) -> String {
    format!(
        "cat by-call.txt; echo by-program > by-program.txt; cat /mark; command -v python3 || echo no-python; \
         echo uid $(id -u) of $(id -un 2>/dev/null || echo nobody-known); \
         for f in /mark /x /bin/x /etc/x /run/x; do echo x 2>/dev/null > $f && echo wrote $f; done; \
         echo looked; : > here; while [ ! -e go ]; do usleep 50000; done; : {mark}"
    )
}

/// By the proxy that the usual variables name: a static wget ends with a fault where no resolver is. The end of what is piped in
/// would be the end of the connection, so it waits for the answer.
fn fetch(host: &str) -> String {
    format!(
        "rm -f /tmp/answer; {{ printf 'GET http://{host}/ HTTP/1.0\\r\\n\\r\\n'; i=0; \
         until grep -q 'refused\\|outside' /tmp/answer 2>/dev/null || [ $i -gt 400 ]; do usleep 50000; i=$((i+1)); done; }} \
         | nc -w 20 127.0.0.1 ${{http_proxy##*:}} > /tmp/answer; cat /tmp/answer"
    )
}

fn story(mark: String, allowed: SocketAddr) -> Script {
    Arc::new(move |_, answered| match answered {
        0 => Say::Calls(vec![
            ("filesystem.write", json!({"path": "by-call.txt", "content": "by-call\n"})),
            shell(&first_look(&mark)),
        ]),
        1 => Say::Calls(vec![
            shell("dd if=/dev/zero of=/dev/null bs=200M count=1"),
            shell("dd if=/dev/zero of=/dev/null bs=2M count=1 2>/dev/null; echo fits"),
            shell("i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done; wait"),
            shell("for i in 1 2 3; do true & done; wait; echo few"),
        ]),
        2 => Say::Calls(vec![shell(&fetch("169.254.169.254")), shell(&fetch(&allowed.to_string()))]),
        _ => Say::Text("That is what I saw.".to_string()),
    })
}

fn manifest(allowed: SocketAddr) -> String {
    format!(
        "{}\n  security:\n    network: {{mode: allow, allowlist: [\"{allowed}\"]}}\n    resources: {{memory: 64Mi, pids: 24}}\n",
        house::manifest(IMAGE)
    )
}

fn works(kind: Kind) {
    let greeter = Greeter::serve();
    let mark = format!("tenure-story-{kind:?}-{}", std::process::id());
    let Some(house) = House::open(kind, story(mark.clone(), greeter.address)) else { return };
    house::eventually("the status tells of the engine, which nobody asked for yet", || {
        let status = house.daemon.json(&["status"]);
        !status["worker"]["engine"].as_str().unwrap_or("it has not answered yet").contains("has not answered yet")
    });
    let deployed = house.daemon.deploy(&manifest(greeter.address));
    let work = house.daemon.work_folder(deployed["id"].as_str().expect("an id"));
    let (lines, groups) = std::thread::scope(|scope| {
        let watch = || house.daemon.ok(&["execute", "--agent", "clerk", "--input", "look around", "--watch"]);
        let watching = scope.spawn(watch);
        shown_file(&work.join("here"), &house.daemon);
        assert_eq!(house.engine.containers().len(), 1, "one container for the iteration");
        let groups = house::groups_of(&mark);
        assert!(!groups.is_empty(), "the program is in no control group");
        std::fs::write(work.join("go"), "").expect("the agent may go on");
        (watching.join().expect("it is watched to its end"), groups)
    });
    for expected in
        ["Started", "Tool: filesystem.write /workspace/by-call.txt", "Tool: process.run sh", "Completed (1 iteration"]
    {
        assert!(lines.contains(expected), "the watch lacks `{expected}`:\n{lines}");
    }
    let seen = house.only_execution();
    looked_around(&seen, kind);
    hit_its_limits(&seen);
    reached_what_it_may(&seen, &house, greeter.address);
    for file in ["by-call.txt", "by-program.txt"] {
        let metadata = std::fs::metadata(work.join(file)).expect("it is in the agent's folder");
        let owner = std::fs::metadata(&work).expect("its folder");
        assert_eq!(house::owner(&metadata), house::owner(&owner), "{file} is the agent's");
        assert_ne!(house::owner(&metadata).0, 0, "{file} is not root's");
    }
    by_hand(&house, kind);
    house::eventually("the container and what held it are gone", || {
        house.engine.containers() == NONE
            && processes_with(&mark).is_empty()
            && !groups.iter().any(|group| group.exists())
    });
    house.daemon.ok(&["audit", "verify"]);
}

fn looked_around(seen: &[Value], kind: Kind) {
    let name = format!("{kind:?}").to_lowercase();
    for call in seen {
        let level = call["level"].as_str().unwrap_or_default();
        assert!(level.starts_with(&format!("{name} ")) && level.contains("memory engine"), "{call:#}");
        assert!(level.contains("seccomp on") && level.contains("disk "), "{call:#}");
    }
    let told = house::stdout(&seen[1]);
    for expected in ["by-call\n", "of the image\n", "no-python\n", "looked\n"] {
        assert!(told.contains(expected), "the program did not say `{expected}`: {told}");
    }
    assert!(!told.contains("wrote ") && !told.contains("uid 0 "), "{told}");
    assert_eq!((seen[0]["outcome"].as_str(), seen[1]["outcome"].as_str()), (Some("done"), Some("done")), "{seen:#?}");
}

fn hit_its_limits(seen: &[Value]) {
    for (call, limit, was) in [(&seen[2], "memory", 64 << 20), (&seen[4], "pids", 24)] {
        let outcome = call["outcome"].as_str().unwrap_or_default();
        assert!(outcome.starts_with("resource_exhausted"), "{call:#}");
        let result = house::result(call);
        assert_eq!((result["limit"].as_str(), result["limit_was"].as_u64()), (Some(limit), Some(was)), "{call:#}");
    }
    for (call, word) in [(&seen[3], "fits\n"), (&seen[5], "few\n")] {
        assert_eq!(
            (call["outcome"].as_str(), house::stdout(call).as_str()),
            (Some("done"), word),
            "with room: {call:#}"
        );
    }
}

fn reached_what_it_may(seen: &[Value], house: &House, allowed: SocketAddr) {
    assert!(house::stdout(&seen[6]).contains(" 403 "), "{:#}", seen[6]);
    assert!(house::stdout(&seen[7]).ends_with(Greeter::WORDS), "the control at {allowed}: {:#}", seen[7]);
    let refused = house.events("network.refused");
    let told = serde_json::to_string(&refused).expect("JSON");
    assert!(told.contains("169.254.169.254") && told.contains("\"rule\""), "{told}");
    assert!(!told.contains(&allowed.port().to_string()), "{told}");
}

/// `sandbox explain` and `sandbox run`, which an operator tries before an agent does.
fn by_hand(house: &House, kind: Kind) {
    let told = house.daemon.ok(&["sandbox", "explain", "clerk"]);
    for expected in [&format!("from the image {IMAGE}"), "64 MiB of memory", "24 processes", "read; the image"] {
        assert!(told.contains(expected), "explain lacks `{expected}`:\n{told}");
    }
    let name = format!("this host gives {kind:?} ").to_lowercase();
    assert!(told.contains(&name), "explain tells another sandbox's level:\n{told}");
    let script = format!("cat /mark; ls -A; echo x > kept; {} | grep -c refused; exit 7", fetch("192.0.2.7"));
    let host = house.engine.host();
    let words = ["sandbox", "run", "--profile", "clerk", "--", "sh", "-c", &script];
    let tried = house.daemon.run_with(&words, &[("DOCKER_HOST", &host)]);
    let (out, err) = (String::from_utf8_lossy(&tried.stdout), String::from_utf8_lossy(&tried.stderr));
    assert_eq!((tried.status.code(), out.as_ref()), (Some(7), "of the image\n1\n"), "{err}");
    assert!(err.contains("network refused: 192.0.2.7:80"), "{err}");
    let work = house.daemon.json(&["agent", "get", "clerk"]);
    let work = house.daemon.work_folder(work["id"].as_str().expect("an id"));
    assert!(!work.join("kept").exists(), "a trial is not in the agent's folder");
}

/// A server on loopback that says one thing.
struct Greeter {
    address: SocketAddr,
}

impl Greeter {
    const WORDS: &'static str = "hello from outside";

    /// Ends with the test's process.
    fn serve() -> Greeter {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
        let address = listener.local_addr().expect("it is bound");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
                let mut request = [0; 4096];
                let _ = std::io::Read::read(&mut stream, &mut request);
                let words = Self::WORDS;
                let answer =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{words}", words.len());
                let _ = std::io::Write::write_all(&mut stream, answer.as_bytes());
            }
        });
        Greeter { address }
    }
}

fn outcomes(house: &House, id: &str) -> Vec<(String, String)> {
    let pair = |call: &Value| {
        (
            call["capability"].as_str().unwrap_or_default().to_string(),
            call["outcome"].as_str().unwrap_or_default().to_string(),
        )
    };
    calls(&house.daemon, id).iter().map(pair).collect()
}
