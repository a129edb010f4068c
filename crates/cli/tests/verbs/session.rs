//! An agent that is a program of its own: how it gets its key, connects, and is seen.
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::house::{House, cassette};

/// Nothing here takes as long.
const PATIENCE: Duration = Duration::from_secs(60);

const OUTSIDE: &str = "\
apiVersion: tenure.dev/v1
kind: Agent
metadata: {name: outside}
spec:
  task: {instruction: It is told by its own program.}
  tools: [state.*, agent.*]
";

const WORKER: &str = "\
apiVersion: tenure.dev/v1
kind: Agent
metadata: {name: outside}
spec:
  task: {instruction: It is told by its own program.}
  tools: [filesystem.read, filesystem.write, process.run]
";

/// Asks as the program of an agent does.
struct Program<'h> {
    house: &'h House,
    key: String,
}

impl Program<'_> {
    fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u32, Value) {
        let (url, header) =
            (format!("{}/v1/agent/{path}", self.house.url), format!("Authorization: Bearer {}", self.key));
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-w", "\n%{http_code}", "-X", method, "-H", &header, &url]);
        if let Some(body) = body {
            curl.args(["-H", "Content-Type: application/json", "-d", &body.to_string()]);
        }
        let answer = self.house.run(curl);
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        let (body, status) = answer.raw.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), serde_json::from_str(body).unwrap())
    }

    fn call(&self, capability: &str, arguments: &Value) -> (u32, Value) {
        let body = serde_json::json!({"capability": capability, "arguments": arguments});
        self.ask("POST", "invoke", Some(body))
    }

    /// Begins to sleep in its jail, under a number of seconds by which the sleep is known; the call's id.
    fn sleeps(&self, seconds: u32) -> String {
        let arguments = serde_json::json!({"command": "sleep", "args": [seconds.to_string()], "timeout_ms": 600_000});
        let body = serde_json::json!({"capability": "process.run", "arguments": arguments, "wait_ms": 0});
        let (status, open) = self.ask("POST", "invoke", Some(body));
        assert_eq!(status, 202, "{open}");
        let begun = Instant::now();
        while !runs(seconds) {
            assert!(begun.elapsed() < PATIENCE, "it never began to sleep");
            std::thread::sleep(Duration::from_millis(20));
        }
        open["call"].as_str().unwrap().to_string()
    }

    fn ended(&self, call: &str) -> Value {
        let (status, ended) = self.ask("GET", &format!("calls/{call}?wait_ms=60000"), None);
        assert_eq!((status, ended["state"].as_str()), (200, Some("ended")), "{ended}");
        ended
    }

    fn set(&self, value: u32) -> (u32, Value) {
        let arguments = serde_json::json!({"key": "total", "value": value});
        let body = serde_json::json!({"capability": "state.persistent.set", "arguments": arguments});
        self.ask("POST", "invoke", Some(body))
    }
}

/// Whether any process of this host sleeps for so many seconds.
fn runs(seconds: u32) -> bool {
    let wanted = format!("sleep\0{seconds}\0");
    let mut processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .any(|entry| std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line.ends_with(wanted.as_bytes())))
}

fn deployed() -> House {
    let house = House::up(&cassette(1));
    let file = house.write("outside.yaml", OUTSIDE);
    house.tenure(&["agent", "deploy", &file]).ok();
    house
}

fn rotated<'h>(house: &'h House, more: &[&str]) -> Program<'h> {
    let made = house.tenure(&[&["agent", "rotate", "outside", "-o", "json"], more].concat()).ok().json();
    Program { house, key: made["secret"].as_str().unwrap().to_string() }
}

#[test]
fn an_agents_key_is_shown_once_and_a_new_one_ends_it_at_once_or_after_the_overlap() {
    let house = deployed();
    insta::assert_snapshot!(house.tenure(&["agent", "rotate", "outside"]).ok().stdout);
    let first = rotated(&house, &[]);
    assert_eq!(first.ask("POST", "session", None).0, 201);
    let second = rotated(&house, &["--overlap", "10m"]);
    assert_eq!((first.ask("GET", "whoami", None).0, second.ask("GET", "whoami", None).0), (200, 200));
    let third = rotated(&house, &[]);
    for dead in [&first, &second] {
        assert_eq!(dead.ask("GET", "whoami", None).0, 401);
    }
    let (status, who) = third.ask("GET", "whoami", None);
    assert_eq!((status, who["name"].as_str()), (200, Some("outside")));
    let shut = house.tenure(&["--base-url", &house.url, "--api-key", &third.key, "agent", "list"]);
    assert!(shut.code == 7 && shut.stderr.contains("the key of an agent"), "{} {}", shut.code, shut.stderr);
    let long = house.tenure(&["agent", "rotate", "outside", "--overlap", "8d"]);
    assert!(long.code != 0 && long.stderr.contains("7 days"), "{}", long.stderr);
}

#[test]
fn a_connected_agent_is_active_paused_watched_and_killed_from_the_terminal() {
    let house = deployed();
    let program = rotated(&house, &[]);
    let status = || house.tenure(&["agent", "get", "outside", "-o", "json"]).ok().json()["status"].clone();
    assert_eq!(status(), "registered");
    let (_, opened) = program.ask("POST", "session", None);
    assert_eq!((status(), opened["briefing"]["messages"]["waiting"].clone()), (Value::from("active"), Value::from(0)));
    assert_eq!(program.set(1).1["result"]["version"], 1);
    house.tenure(&["pause", "outside", "--note", "too fast"]).ok();
    let (code, problem) = program.set(2);
    assert_eq!((code, problem["code"].as_str()), (409, Some("session_paused")));
    assert!(problem["detail"].as_str().unwrap().starts_with("SessionPaused"), "{problem}");
    house.tenure(&["resume", "outside"]).ok();
    assert_eq!(program.set(2).1["result"]["version"], 2);
    let tail = |kind: &str| {
        house.tenure(&["audit", "tail", "--agent", "outside", "--kind", kind, "--limit", "50"]).ok().stdout
    };
    assert!(tail("session.").contains("session.opened") && tail("session.").contains("ses_"), "{}", tail("session."));
    assert!(tail("call.").contains("call.called"), "the calls of its sessions are its own: {}", tail("call."));
    insta::assert_snapshot!("list", house.tenure(&["session", "list", "--agent", "outside"]).ok().stdout);
    house.tenure(&["kill", "outside"]).ok();
    assert_eq!((status(), program.set(3).1["code"].as_str()), (Value::from("idle"), Some("session_none")));
    assert_eq!(program.ask("POST", "session", None).0, 201, "it may connect again");
    let live = house.tenure(&["session", "list", "--quiet"]).ok().raw;
    house.tenure(&["session", "close", live.lines().next().unwrap()]).ok();
    assert_eq!(program.set(3).0, 409);
}

#[test]
fn a_watch_shows_the_calls_that_are_wanted_line_by_line_and_goes_on_after_an_index() {
    let house = deployed();
    let program = rotated(&house, &[]);
    program.ask("POST", "session", None);
    program.ask("POST", "invoke", Some(serde_json::json!({"capability": "agent.whoami"})));
    program.set(1);
    let lines = |words: &[&str], count: usize| {
        let mut command = house.command(words);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        let lines: Vec<String> = out.take(count).map(Result::unwrap).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        lines
    };
    let all = ["watch", "--after", "0", "--agent", "outside", "--capability", "state.*"];
    insta::assert_snapshot!("watch", house.steady(&lines(&all, 3).join("\n")));
    let json = lines(&[&all[..], &["-o", "json"]].concat(), 3);
    let json: Vec<Value> = json.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json[2]["outcome"], "done");
    let after = json[1]["index"].to_string();
    let last = lines(&["watch", "--after", &after, "--capability", "state.*", "-o", "json"], 1);
    assert_eq!(serde_json::from_str::<Value>(&last[0]).unwrap()["index"], json[2]["index"]);
}

#[test]
fn an_agents_own_program_works_in_its_jail_and_a_cancel_or_a_kill_ends_what_runs_there() {
    let house = House::up(&cassette(1));
    let file = house.write("outside.yaml", WORKER);
    house.tenure(&["agent", "deploy", &file]).ok();
    let program = rotated(&house, &[]);
    program.ask("POST", "session", None);
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let (status, written) = program.call("filesystem.write", &json(r#"{"path": "a.txt", "content": "hello"}"#));
    assert_eq!(status, 200, "{written}");
    let (_, shouted) =
        program.call("process.run", &json(r#"{"command": "tr", "args": ["a-z", "A-Z"], "stdin": "quiet"}"#));
    assert_eq!(shouted["result"]["stdout"], "QUIET", "{shouted}");
    let (_, seen) = program.call("process.run", &json(r#"{"command": "cat", "args": ["a.txt"]}"#));
    assert_eq!(seen["result"]["stdout"], "hello", "one jail sees what the other call wrote: {seen}");
    let (_, read) = program.call("filesystem.read", &json(r#"{"path": "a.txt"}"#));
    assert_eq!(read["result"]["content"], "hello", "{read}");
    let (status, denied) = program.call("filesystem.delete", &json(r#"{"path": "a.txt"}"#));
    assert_eq!((status, denied["code"].as_str()), (403, Some("call_blocked")), "what is not allowed stays so");
    let call = program.sleeps(80_001);
    let (status, cancelled) = program.ask("DELETE", &format!("calls/{call}"), None);
    assert_eq!((status, program.ended(&call)["outcome"].as_str()), (200, Some("killed")), "{cancelled}");
    assert!(!runs(80_001), "what was taken back runs on");
    let call = program.sleeps(80_002);
    house.tenure(&["kill", "outside"]).ok();
    assert_eq!(program.ended(&call)["outcome"], "killed");
    assert!(!runs(80_002), "what was killed runs on");
    program.ask("POST", "session", None);
    let (_, read) = program.call("filesystem.read", &json(r#"{"path": "a.txt"}"#));
    assert_eq!(read["result"]["content"], "hello", "the work folder outlives the session: {read}");
}

/// The first line that a program prints in which `said` stands; the program is ended then.
fn first_line(mut command: Command, said: &str) -> String {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let found = lines.find_map(|line| line.ok().filter(|line| line.contains(said)));
    child.kill().unwrap();
    child.wait().unwrap();
    found.unwrap_or_else(|| panic!("the stream ended before `{said}`"))
}

#[test]
fn what_a_sessions_program_prints_is_seen_while_it_runs_and_stands_between_its_events() {
    let house = House::up(&cassette(1));
    let file = house.write("outside.yaml", WORKER);
    house.tenure(&["agent", "deploy", &file]).ok();
    let program = rotated(&house, &[]);
    program.ask("POST", "session", None);
    // It prints again and again until it is told to end, so that whoever joins at any time sees it.
    let script = "until [ -e stop ]; do echo line of mine; sleep 0.05; done; echo last";
    let arguments = serde_json::json!({"command": "sh", "args": ["-c", script], "timeout_ms": 600_000});
    let body = serde_json::json!({"capability": "process.run", "arguments": arguments, "wait_ms": 0});
    let (status, open) = program.ask("POST", "invoke", Some(body));
    assert_eq!(status, 202, "{open}");
    let call = open["call"].as_str().unwrap();
    let line = first_line(house.command(&["watch", "--agent", "outside"]), "line of mine");
    assert!(line.trim_start().starts_with("stdout") && line.contains("outside ses_"), "{line}");
    let mut stream = Command::new("curl");
    let (url, header) = (format!("{}/v1/agent/events", house.url), format!("Authorization: Bearer {}", program.key));
    stream.args(["-sS", "-N", "-H", &header, &url]);
    let piece = first_line(stream, "line of mine");
    let piece: Value = serde_json::from_str(piece.strip_prefix("data:").unwrap()).unwrap();
    assert_eq!((piece["piece"].as_str(), piece["of"]["call"].as_str()), (Some("output"), Some(call)), "{piece}");
    assert_eq!(
        program.ask("GET", &format!("calls/{call}"), None).1["state"],
        "running",
        "the control: it has not ended"
    );
    let mut watch = house.command(&["watch", "--capability", "process.*", "-o", "json"]);
    let mut watch = watch.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().contains("line of mine"));
    program.call("filesystem.write", &serde_json::json!({"path": "stop", "content": ""}));
    let seen: Vec<Value> = lines
        .map(|line| serde_json::from_str(&line).unwrap())
        .take_while(|line: &Value| line["kind"] != "call.ended")
        .collect();
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert!(
        seen.last().unwrap()["text"].as_str().unwrap().ends_with("last\n"),
        "all of it came before the end: {seen:?}"
    );
    assert!(seen.iter().all(|line| line["kind"] != "call.called"), "and after the beginning: {seen:?}");
    let unseen = first_line(house.command(&["watch", "--after", "0", "--capability", "filesystem.*"]), "call.ended");
    assert!(unseen.contains("filesystem.write"), "the control: what is not wanted is not shown: {unseen}");
}

#[test]
fn what_a_sessions_calls_were_asked_and_answered_is_erased_once_it_has_ended_and_its_keys_stay_taken() {
    let house = deployed();
    let program = rotated(&house, &[]);
    let (_, opened) = program.ask("POST", "session", None);
    let id = opened["session"]["id"].as_str().unwrap().to_string();
    let arguments = serde_json::json!({"key": "total", "value": "a word that nobody else says"});
    let body =
        serde_json::json!({"capability": "state.persistent.set", "arguments": arguments, "idempotency_key": "once"});
    let (_, set) = program.ask("POST", "invoke", Some(body.clone()));
    assert_eq!(program.ask("POST", "invoke", Some(body.clone())).1["repeated"], true, "the control: {set}");
    let erase = ["audit", "erase", &id, "--why", "a customer asked", "--yes"];
    let open = house.tenure(&erase);
    assert!(open.code == 5 && open.stderr.contains("has not ended"), "{} {}", open.code, open.stderr);
    let kept = || house.tenure(&["retention", "show", "-o", "json"]).ok().json()["kept_bytes"].as_u64().unwrap();
    assert_eq!(kept(), 0);
    house.tenure(&["session", "close", &id]).ok();
    assert!(kept() > 0, "it counts from its end on");
    let told = house.tenure(&erase).ok();
    assert!(told.stdout.contains("is erased; its records stay"), "{}", told.stdout);
    assert_eq!(kept(), 0);
    let again = house.tenure(&erase);
    assert!(again.code == 5 && again.stderr.contains("erased before"), "{} {}", again.code, again.stderr);
    program.ask("POST", "session", None);
    let (status, gone) = program.ask("POST", "invoke", Some(body));
    assert_eq!((status, gone["code"].as_str()), (409, Some("erased")), "{gone}");
    let (_, call) = program.ask("GET", &format!("calls/{}", set["call"].as_str().unwrap()), None);
    assert!(call["outcome"] == "done" && call["result"].is_null(), "{call}");
    let (_, read) = program.call("state.persistent.get", &serde_json::json!({"key": "total"}));
    assert_eq!(read["result"], "a word that nobody else says", "a stored value is not its own: {read}");
    let records = house.tenure(&["audit", "tail", "--kind", "session.erased", "-o", "json"]).ok().json();
    assert_eq!(records[0]["data"]["reason"], "a customer asked");
    house.tenure(&["audit", "verify"]).ok();
}

#[test]
fn a_call_whose_secret_nobody_bound_stays_blocked_under_every_candidate_and_asks_for_no_rule() {
    let house = House::up(&cassette(1));
    let file = house.write("outside.yaml", &OUTSIDE.replace("state.*", "network.credentialed_request"));
    house.tenure(&["agent", "deploy", &file]).ok();
    let program = rotated(&house, &[]);
    assert_eq!(program.ask("POST", "session", None).0, 201);
    let arguments = serde_json::json!({"url": "https://api.example.com/v1", "method": "GET", "secret": "nobodys"});
    let (status, blocked) = program.call("network.credentialed_request", &arguments);
    assert_eq!(status, 403, "{blocked}");
    let records = house.tenure(&["audit", "tail", "--agent", "outside", "--kind", "call.blocked", "-o", "json"]).ok();
    let record = records.json()[0].clone();
    assert!(record.to_string().contains("floor:secret_unbound"), "{record}");
    let told = house.tenure(&["policy", "replay", "--template", "permissive"]).ok().stdout;
    assert!(told.contains("Blocked whatever rules say, for no secret is bound for them: 1"), "{told}");
    let learned = house.tenure(&["policy", "learn", "-o", "json"]).ok().json();
    assert_eq!(learned["proposals"], serde_json::json!([]), "{learned}");
    assert!(learned["notes"].to_string().contains("names a secret that is not bound to it"), "{learned}");
    let call = record["data"]["call"].as_str().unwrap_or_else(|| panic!("{record}"));
    let explained = house.tenure(&["policy", "explain", call, "-o", "json"]).ok().json();
    assert_eq!(explained["rules"], serde_json::json!(["floor:secret_unbound"]), "{explained}");
}
