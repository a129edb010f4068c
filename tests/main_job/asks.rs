//! What users of such systems ask for again and again, each as a test of that name. Those that want a clock of their own are in
//! the daemon's tests (schedules): `agents_and_cron_survive_a_restart`, `one_policy_for_missed_runs_without_a_stampede` and
//! `one_stuck_job_blocks_nobody`.
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tests::daemon::Daemon;
use tests::processes::Process;
use tests::scripted::{Say, Script, ScriptedDaemon};

const WITHIN: Duration = Duration::from_secs(60);
const MANIFEST: &str = r#"
apiVersion: tenure.dev/v1
kind: Agent
metadata: {name: worker-bee}
spec:
  task: {instruction: Work for long.}
  tools: ["process.run"]
"#;

fn deployed() -> ScriptedDaemon {
    let house = ScriptedDaemon::start(works_for_long());
    house.daemon.deploy(MANIFEST);
    house
}

/// A program that has children, one of them in a session of its own, and waits for none.
fn works_for_long() -> Script {
    Arc::new(|_, answered| match answered {
        0 => {
            let script = "sleep 3971 & setsid sleep 3972 & trap '' TERM; while :; do sleep 3973; done";
            Say::Calls(vec![("process.run", json!({"command": "sh", "args": ["-c", script]}))])
        }
        _ => Say::Text("Done.".to_string()),
    })
}

fn sleepers(daemon: &Daemon) -> Vec<Process> {
    let tree = daemon.tree();
    tree.into_iter().filter(|process| process.command.starts_with("sleep 397")).collect()
}

fn until(what: &str, daemon: &Daemon, holds: impl Fn(&Daemon) -> bool) -> Duration {
    let begin = Instant::now();
    while !holds(daemon) {
        assert!(begin.elapsed() < WITHIN, "{what}: not within {WITHIN:?}\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    begin.elapsed()
}

fn status(daemon: &Daemon, execution: &str) -> Value {
    daemon.json(&["execution", "get", execution])["status"].clone()
}

#[test]
fn kill_kills_the_process_tree_and_the_shown_state_is_right() {
    let house = deployed();
    let daemon = &house.daemon;
    let started = daemon.json(&["execute", "--agent", "worker-bee", "--input", "x"]);
    let execution = started["id"].as_str().expect("an id").to_string();
    until("its programs run", daemon, |daemon| sleepers(daemon).len() == 3);
    assert_eq!(status(daemon, &execution), "running");
    let was = sleepers(daemon);
    daemon.ok(&["kill", "worker-bee", "--yes"]);
    let took = until("it is shown as cancelled", daemon, |daemon| status(daemon, &execution) == "cancelled");
    assert!(was.iter().all(|process| !process.alive()), "shown as ended while a program of it lives");
    assert_eq!(daemon.json(&["execution", "list", "--status", "running"]), json!([]));
    println!("figure: shown and gone {} ms after `tenure kill`", took.as_millis());
}

#[test]
fn there_is_no_phantom_running_also_after_kill_9_of_everything() {
    let mut house = deployed();
    let started = house.daemon.json(&["execute", "--agent", "worker-bee", "--input", "x"]);
    let execution = started["id"].as_str().expect("an id").to_string();
    until("its programs run", &house.daemon, |daemon| sleepers(daemon).len() == 3);
    let tree = house.daemon.tree();
    house.daemon.kill();
    tree.iter().for_each(Process::kill);
    until("nothing of it runs any more", &house.daemon, |_| tree.iter().all(|process| !process.alive()));
    house.daemon.start_again();
    // The call is known to be lost, the model is told, and says that it is done.
    let record = house.daemon.ended(&execution, WITHIN);
    assert_eq!(record["status"], "completed", "{record:#}");
    let logs = house.daemon.json(&["execution", "logs", &execution]);
    assert_eq!(logs[0]["log"][0]["calls"][0]["outcome"], "lost", "{logs:#}");
    assert!(sleepers(&house.daemon).is_empty(), "it was not done a second time");
    let running = house.daemon.json(&["execution", "list", "--status", "running"]);
    assert_eq!(running, json!([]));
}

const SPENDER: &str = r#"
apiVersion: tenure.dev/v1
kind: Agent
metadata: {name: spender}
spec:
  task: {instruction: Ask again.}
  tools: ["system.time"]
  execution: {max_turns: 500}
"#;

/// Of the day, in millionths of a US dollar, as `--day` has it below.
const LIMIT: u64 = 5_000_000;
/// What the provider charges for one answer of 100 and 10 tokens, by the prices below.
const ANSWER: u64 = 100_000 + 100;

#[test]
fn money_has_a_hard_stop() {
    let script: Script =
        Arc::new(|_, _| Say::After(Duration::from_millis(50), Box::new(Say::Calls(vec![("system.time", json!({}))]))));
    let mut house = ScriptedDaemon::start(script);
    house.daemon.ok(&["model", "prices", "set", "openai/scripted", "--in", "1000", "--out", "10"]);
    house.daemon.deploy(SPENDER);
    house.daemon.ok(&["budget", "set", "spender", "--day", "5USD"]);
    let used = |daemon: &Daemon| {
        let used = daemon.json(&["budget", "list", "spender"])[0]["used"].as_u64().expect("micro-dollars");
        assert!(used <= LIMIT, "{used} of {LIMIT} are used or held");
        used
    };
    let started = house.daemon.json(&["execute", "spender", "--input", "go"]);
    let execution = started["id"].as_str().expect("an id").to_string();
    for _ in 0..4 {
        let before = used(&house.daemon);
        until("more is spent, or it has ended", &house.daemon, |daemon| {
            used(daemon) > before || status(daemon, &execution) == "failed"
        });
        house.daemon.kill();
        house.daemon.start_again();
    }
    let record = house.daemon.ended(&execution, WITHIN);
    assert_eq!((&record["status"], &record["reason"]), (&json!("failed"), &json!("cost_budget")), "{record:#}");
    // A new conversation is shorter, and its call may still fit: until nothing does, and what begins ends before it asks.
    let (mut answers, mut stopped) = (house.model.asked().len() as u64, false);
    assert!(answers > 4, "the control: money was spent");
    for _ in 0..50 {
        let again = house.daemon.run(&["execute", "spender", "--input", "go", "--watch"]);
        assert!(!again.status.success(), "{again:?}");
        let asked = house.model.asked().len() as u64;
        (answers, stopped) = (answers + asked, asked == 0);
        if stopped {
            break;
        }
    }
    assert!(stopped, "a model is asked again and again");
    // What the provider would have on its bill: it counts answers that nobody got, too.
    let (bill, charged) = (answers * ANSWER, used(&house.daemon));
    assert!(bill <= charged, "{answers} answers are {bill}, and only {charged} is told");
    house.daemon.ok(&["audit", "verify"]);
    println!("figure: {charged} of {LIMIT} micro-dollars told, {bill} on the provider's bill, over 4 kills");
}
