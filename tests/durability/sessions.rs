//! SIGKILL of the daemon at random moments under programs that are agents: each asks for the same call, by its idempotency key,
//! until it is answered. None is lost, none is done twice, and the sessions live on. `TENURE_KILLS` says how many.
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tenure_wire::api::session::Invoke;
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

fn kills() -> u64 {
    std::env::var("TENURE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

/// Sets one value again and again; gives how often it was told that it is set.
async fn count(agent: Client, program: usize, stop: Arc<AtomicBool>) -> u64 {
    let mut set = 0;
    while !stop.load(Ordering::Relaxed) {
        let arguments = json!({"key": format!("total-{program}"), "value": set + 1});
        let idempotency_key = Some(format!("{program}-{set}"));
        let invoke = Invoke { capability: "state.persistent.set".to_string(), arguments, idempotency_key };
        // Whatever became of it: the same is asked for until it is answered.
        let invoked = loop {
            match agent.invoke(&invoke).await {
                Ok(invoked) => break invoked,
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
    let mut daemon = Daemon::start(&folder.path().join("data"), &[]);
    daemon.deploy(MANIFEST);
    let secret = daemon.json(&["agent", "rotate", "outside"])["secret"].as_str().expect("a key").to_string();
    let agent = Client::new(Endpoint::Unix(daemon.data.join("tenure.sock")), Some(secret));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let session = runtime.block_on(agent.open_session()).expect("its key lives").session.id;
    let stop = Arc::new(AtomicBool::new(false));
    let programs: Vec<_> =
        (0..PROGRAMS).map(|program| runtime.spawn(count(agent.clone(), program, Arc::clone(&stop)))).collect();
    for kill in 0..kills() {
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
    println!("figure: {all} calls over {} kills, each made once", kills());
}
