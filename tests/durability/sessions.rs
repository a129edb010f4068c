//! SIGKILL of the daemon at random moments under programs that are agents: each asks for the same call, by its idempotency key,
//! until it is answered. None is lost, none is done twice, and the sessions live on. `TENURE_KILLS` says how many.
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tenure_wire::api::session::{Answered, CallState, Invoke};
use tenure_wire::client::{Client, Endpoint};
use tests::daemon::Daemon;

const PROGRAMS: usize = 4;
const MANIFEST: &str = r#"
apiVersion: tenure.dev/v1
kind: Agent
metadata: {name: outside}
spec:
  task: {instruction: It is told by its own program.}
  tools: ["state.*", "agent.*"]
"#;

/// Sets one value again and again; gives how often it was told that it is set.
async fn count(agent: Client, program: usize, stop: Arc<AtomicBool>) -> u64 {
    let mut set = 0;
    while !stop.load(Ordering::Relaxed) {
        let arguments = json!({"key": format!("total-{program}"), "value": set + 1});
        let idempotency_key = Some(format!("{program}-{set}"));
        let invoke =
            Invoke { capability: "state.persistent.set".to_string(), arguments, idempotency_key, wait_ms: None };
        // Whatever became of it: the same is asked for until it is answered.
        let invoked = loop {
            match agent.invoke(&invoke).await {
                Ok(answered) => break answered.done().expect("it needs no sandbox"),
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        set += 1;
        assert_eq!(invoked.result["version"], json!(set), "the call {set} of {program} was lost or made twice");
    }
    set
}

#[test]
fn whatever_is_killed_each_call_of_a_session_is_made_once_and_the_session_lives_on() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let kills = super::number("TENURE_KILLS", 10);
    let mut daemon = Daemon::start(&folder.path().join("data"), &[]);
    daemon.deploy(MANIFEST);
    let secret = daemon.json(&["agent", "rotate", "outside"])["secret"].as_str().expect("a key").to_string();
    let agent = Client::new(Endpoint::Unix(daemon.data.join("tenure.sock")), Some(secret));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let session = runtime.block_on(agent.open_session()).expect("its key lives").session.id;
    let stop = Arc::new(AtomicBool::new(false));
    let programs: Vec<_> =
        (0..PROGRAMS).map(|program| runtime.spawn(count(agent.clone(), program, Arc::clone(&stop)))).collect();
    for kill in 0..kills {
        std::thread::sleep(Duration::from_millis(100 + 37 * (kill % 7)));
        daemon.kill();
        daemon.start_again();
    }
    stop.store(true, Ordering::Relaxed);
    let mut all = 0;
    for program in programs {
        let within = async { tokio::time::timeout(Duration::from_secs(60), program).await };
        all += runtime.block_on(within).expect("it is answered in the end").expect("no call was lost or made twice");
    }
    let sessions = daemon.json(&["session", "list", "--agent", "outside"]);
    assert_eq!(sessions[0]["id"], json!(session), "the session outlived every kill");
    assert_eq!((sessions[0]["status"].clone(), sessions[0]["invocations"].clone()), (json!("live"), json!(all)));
    daemon.stop();
    daemon.ok(&["audit", "verify"]);
    println!("figure: {all} calls over {kills} kills, each made once");
}

const RUNNER: &str = "\
apiVersion: tenure.dev/v1
kind: Agent
metadata: {name: runner}
spec:
  task: {instruction: It is told by its own program.}
  tools: [process.run]
";

#[test]
fn a_call_in_a_sandbox_that_a_kill_of_the_daemon_meets_has_one_end_and_its_caller_can_ask_for_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut daemon = Daemon::start(&folder.path().join("data"), &[]);
    daemon.deploy(RUNNER);
    let secret = daemon.json(&["agent", "rotate", "runner"])["secret"].as_str().expect("a key").to_string();
    let agent = Client::new(Endpoint::Unix(daemon.data.join("tenure.sock")), Some(secret));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(agent.open_session()).expect("its key lives");
    let arguments = json!({"command": "sleep", "args": ["600"], "timeout_ms": 600_000});
    let idempotency_key = Some("once".to_string());
    let invoke = Invoke { capability: "process.run".to_string(), arguments, idempotency_key, wait_ms: Some(0) };
    let Ok(Answered::Open(open)) = runtime.block_on(agent.invoke(&invoke)) else { panic!("it sleeps for long") };
    let until = |wanted: CallState, wait_ms: u64| {
        let asking = async {
            loop {
                match agent.session_call(open.call, wait_ms).await {
                    Ok(call) if call.state == wanted => return call,
                    Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(120), asking).await }).expect("in time")
    };
    until(CallState::Running, 0);
    daemon.kill();
    daemon.start_again();
    let ended = until(CallState::Ended, 10_000);
    assert_eq!(ended.outcome.as_deref(), Some("lost"), "it may have run or not, and is not done again");
    let again = runtime.block_on(agent.invoke(&invoke)).expect_err("the same key is the same call");
    assert!(again.to_string().contains("lost"), "{again}");
    let done = Invoke { arguments: json!({"command": "true"}), idempotency_key: None, wait_ms: Some(60_000), ..invoke };
    runtime.block_on(agent.invoke(&done)).expect("the session goes on").done().expect("it is short");
    daemon.stop();
    daemon.ok(&["audit", "verify"]);
}
