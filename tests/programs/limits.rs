//! What a program may not: spend beyond a limit, ask for another agent, or be forgotten with a daemon.
use crate::world::{WITHIN, is_agents, manifest, records, run, start};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tests::scripted::{Say, ScriptedDaemon};

const SPEND: &str = r#"
import json, os, urllib.request, urllib.error
out = []
for _ in range(40):
    body = {"model": "openai/scripted", "max_tokens": 100, "messages": [{"role": "user", "content": "PROGRAM"}]}
    request = urllib.request.Request(os.environ["OPENAI_BASE_URL"] + "/chat/completions", json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=60) as answer: out.append(answer.status)
    except urllib.error.HTTPError as error:
        out.append({"status": error.code, "retry": error.headers.get("x-should-retry"), **json.loads(error.read())})
        break
open("/workspace/out.json", "w").write(json.dumps(out))
"#;

fn asked_nobody(house: &ScriptedDaemon, out: &Value, code: &str) {
    let last = out.as_array().and_then(|out| out.last()).expect("it was refused");
    assert_eq!((&last["status"], &last["error"]["code"]), (&json!(403), &json!(code)), "{out:#}");
    assert_eq!(last["retry"], "false", "libraries must not ask again by themselves");
    let paid = out.as_array().map_or(0, |out| out.len() - 1);
    assert_eq!(records(&house.daemon, "proxy.called").len(), paid, "what was refused asked nobody: {out:#}");
}

#[test]
fn a_program_is_refused_beyond_the_tokens_of_its_execution_with_the_reason() {
    let house = start(SPEND, &[], &[]);
    house.daemon.deploy(&manifest("spender", &json!({"limits": {"tokens": 400}})));
    let (_, out) = run(&house.daemon, "spender");
    assert_eq!(out.as_array().map(Vec::len), Some(4), "110 of its agent's turn, then three calls: {out:#}");
    asked_nobody(&house, &out, "token_budget");
}

#[test]
fn a_program_is_refused_beyond_the_money_of_its_agents_day() {
    let house = start(SPEND, &[], &[]);
    house.daemon.deploy(&manifest("spender", &json!({})));
    // Room for its agent's turn, whose prompt holds more than a program's, and for some thirty calls.
    house.daemon.ok(&["budget", "set", "spender", "--day", "3USD"]);
    let (_, out) = run(&house.daemon, "spender");
    asked_nobody(&house, &out, "cost_budget");
}

const OTHERS: &str = r#"
import json, os, socket
seen = {}
for host, port in [("127.0.0.1", 7899), ("127.0.0.1", 3128)]:
    s = socket.socket(); s.settimeout(5)
    try:
        s.connect((host, port)); seen[str(port)] = "open"
    except OSError as error: seen[str(port)] = error.errno
s = socket.create_connection(("127.0.0.1", 7899)); s.settimeout(20)
body = json.dumps({"model": "openai/scripted", "messages": [{"role": "user", "content": "PROGRAM"}], "user": "other"}).encode()
s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-agent: other\r\nauthorization: Bearer other\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
seen["status"] = s.recv(100).decode().split(" ")[1]
for bad in [b"\xff\xff\xff\r\n\r\n", b"GET /v1/models HTTP/1.1\r\ncontent-length: x\r\n\r\n", b"GET " + b"a" * 70000 + b" HTTP/1.1\r\n\r\n"]:
    b = socket.create_connection(("127.0.0.1", 7899)); b.settimeout(20); b.sendall(bad)
    try: seen.setdefault("bad", []).append(b.recv(100).decode("latin-1")[9:12])
    except OSError: seen.setdefault("bad", []).append("")
open("/workspace/out.json", "w").write(json.dumps(seen))
"#;

#[test]
fn identity_is_the_listener_and_bad_http_ends_its_own_connection_alone() {
    let house = start(OTHERS, &[], &[]);
    for name in ["one", "other"] {
        house.daemon.deploy(&manifest(name, &json!({})));
    }
    let (record, out) = run(&house.daemon, "one");
    assert_eq!(out["status"], "200", "{out:#}");
    assert_eq!(
        (&out["7899"], &out["3128"]),
        (&json!("open"), &json!(111)),
        "with no network the models are there alone"
    );
    let bad = out["bad"].as_array().expect("answers");
    assert!(
        bad.iter().all(|status| status.as_str().is_some_and(|status| status.is_empty() || status.starts_with('4'))),
        "{out:#}"
    );
    let by = house.daemon.json(&["cost", "--by", "agent"]);
    let items = by["items"].as_array().expect("a list");
    assert_eq!(items.len(), 1, "whatever it says of itself, it is its jail's agent that pays: {by:#}");
    assert_eq!(items[0]["name"], record["agent_name"]);
    assert_eq!(records(&house.daemon, "proxy.called").len(), 1);
}

const WAIT: &str = r#"
import json, os, urllib.request
body = {"model": "openai/scripted", "max_tokens": 100, "messages": [{"role": "user", "content": "PROGRAM"}]}
request = urllib.request.Request(os.environ["OPENAI_BASE_URL"] + "/chat/completions", json.dumps(body).encode())
urllib.request.urlopen(request, timeout=300).read()
"#;

fn waits() -> ScriptedDaemon {
    let script = Arc::new(|request: &Value, answered: usize| {
        if !is_agents(request) {
            return Say::After(Duration::from_secs(300), Box::new(Say::Text("late".to_string())));
        }
        match answered {
            0 => Say::Calls(vec![("process.run", json!({"command": "python3", "args": ["-c", WAIT]}))]),
            _ => Say::Text("done".to_string()),
        }
    });
    let house = ScriptedDaemon::start(script);
    house.daemon.ok(&["model", "prices", "set", "openai/scripted", "--in", "1000", "--out", "10"]);
    house.daemon.deploy(&manifest("waiter", &json!({})));
    house
}

fn until_called(house: &ScriptedDaemon) -> String {
    let started = house.daemon.json(&["execute", "--agent", "waiter", "--input", "x", "--text"]);
    let begun = Instant::now();
    while records(&house.daemon, "proxy.called").is_empty() {
        assert!(begun.elapsed() < WITHIN, "its program asks nothing\n{}", house.daemon.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    started["id"].as_str().expect("an id").to_string()
}

#[test]
fn a_call_that_is_open_when_the_daemon_is_killed_is_lost_and_charged_at_its_reservation() {
    let mut house = waits();
    let id = until_called(&house);
    house.daemon.kill();
    house.daemon.start_again();
    let record = house.daemon.ended(&id, WITHIN);
    assert_eq!(record["status"], "completed", "{record:#}");
    let ends: usize = ["proxy.lost", "proxy.failed"].iter().map(|kind| records(&house.daemon, kind).len()).sum();
    assert_eq!((ends, records(&house.daemon, "proxy.answered").len()), (1, 0), "it ends once, and not as answered");
    let charged = record["cost_micro_usd"].as_u64().expect("a number");
    assert!(charged > 2 * crate::world::ANSWER_MICRO_USD, "what it held is used up: {charged}");
    house.daemon.ok(&["audit", "verify"]);
}

#[test]
fn a_cancelled_execution_withdraws_what_its_programs_asked() {
    let house = waits();
    let id = until_called(&house);
    house.daemon.ok(&["execution", "cancel", &id]);
    let record = house.daemon.ended(&id, WITHIN);
    assert_eq!(record["status"], "cancelled", "{record:#}");
    let failed = records(&house.daemon, "proxy.failed");
    assert_eq!(failed.len(), 1, "{failed:#?}");
    house.daemon.ok(&["audit", "verify"]);
}
