//! What users of such systems ask for again and again, each as a test of that name. Those that want a clock of their own are in
//! the daemon's tests (schedules).
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
