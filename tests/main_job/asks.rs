//! What users of such systems ask for again and again, each as a test of that name. Those that want a clock of their own are in
//! the daemon's tests (schedules).
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tests::daemon::Daemon;
use tests::processes::Process;
use tests::scripted::{Say, Script, Scripted};

const WITHIN: Duration = Duration::from_secs(60);
const MANIFEST: &str = r#"
apiVersion: tenure.dev/v1
kind: Agent
metadata: {name: worker-bee}
spec:
  task: {instruction: Work for long.}
  tools: ["process.run"]
"#;

struct Stage {
    _folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
    _model: Scripted,
    daemon: Daemon,
}

fn stage(script: Script) -> Stage {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let model = runtime.block_on(Scripted::serve(script));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let url = model.base_url();
    let environment =
        [("OPENAI_BASE_URL", url.as_str()), ("OPENAI_API_KEY", "sk-test"), ("TENURE_DEFAULT_MODEL", "openai/scripted")];
    let daemon = Daemon::start(&folder.path().join("data"), &environment);
    daemon.deploy(MANIFEST);
    Stage { _folder: folder, _runtime: runtime, _model: model, daemon }
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

fn until(what: &str, stage: &Stage, holds: impl Fn(&Daemon) -> bool) -> Duration {
    let begin = Instant::now();
    while !holds(&stage.daemon) {
        assert!(begin.elapsed() < WITHIN, "{what}: not within {WITHIN:?}\n{}", stage.daemon.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    begin.elapsed()
}

fn status(daemon: &Daemon, execution: &str) -> Value {
    daemon.json(&["execution", "get", execution])["status"].clone()
}

#[test]
fn kill_kills_the_process_tree_and_the_shown_state_is_right() {
    let stage = stage(works_for_long());
    let daemon = &stage.daemon;
    let started = daemon.json(&["execute", "--agent", "worker-bee", "--input", "x"]);
    let execution = started["id"].as_str().expect("an id").to_string();
    until("its programs run", &stage, |daemon| sleepers(daemon).len() == 3);
    assert_eq!(status(daemon, &execution), "running");
    let was = sleepers(daemon);
    daemon.ok(&["kill", "worker-bee", "--yes"]);
    let took = until("it is shown as cancelled", &stage, |daemon| status(daemon, &execution) == "cancelled");
    assert!(was.iter().all(|process| !process.alive()), "shown as ended while a program of it lives");
    assert_eq!(daemon.json(&["execution", "list", "--status", "running"]), json!([]));
    println!("figure: shown and gone {} ms after `tenure kill`", took.as_millis());
}

#[test]
fn there_is_no_phantom_running_also_after_kill_9_of_everything() {
    let mut stage = stage(works_for_long());
    let started = stage.daemon.json(&["execute", "--agent", "worker-bee", "--input", "x"]);
    let execution = started["id"].as_str().expect("an id").to_string();
    until("its programs run", &stage, |daemon| sleepers(daemon).len() == 3);
    let tree = stage.daemon.tree();
    stage.daemon.kill();
    tree.iter().for_each(Process::kill);
    until("nothing of it runs any more", &stage, |_| tree.iter().all(|process| !process.alive()));
    stage.daemon.start_again();
    // The call is known to be lost, the model is told, and says that it is done.
    let record = stage.daemon.ended(&execution, WITHIN);
    assert_eq!(record["status"], "completed", "{record:#}");
    let logs = stage.daemon.json(&["execution", "logs", &execution]);
    assert_eq!(logs[0]["log"][0]["calls"][0]["outcome"], "lost", "{logs:#}");
    assert!(sleepers(&stage.daemon).is_empty(), "it was not done a second time");
    let running = stage.daemon.json(&["execution", "list", "--status", "running"]);
    assert_eq!(running, json!([]));
}
