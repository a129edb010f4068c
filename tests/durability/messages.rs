//! SIGKILL of the daemon at random moments while people write to agents that their messages wake: no message is lost, doubled or
//! taken out of order, no wake is lost or doubled, and no version of a value is skipped. `TENURE_KILLS` says how many.
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tenure_wire::api::message::SendMessage;
use tenure_wire::client::{Client, Endpoint};
use tests::daemon::Daemon;
use tests::scripted::{Say, Script, ScriptedDaemon, woken_with};

const AGENTS: [&str; 2] = ["left", "right"];
const WITHIN: Duration = Duration::from_secs(120);
const MANIFEST: &str = r#"
apiVersion: tenure.dev/v1
kind: Agent
metadata: {name: NAME}
spec:
  task: {instruction: Keep what you are told.}
  triggers: [comms]
  tools: ["state.*"]
"#;

/// Each message is kept under its own number, and each execution adds one to a total.
fn script() -> Script {
    Arc::new(|request, answered| {
        let kept = |message: &Value| {
            let number = &message["message"];
            let arguments = json!({"key": format!("seen:{number}"), "value": number, "expected_version": 0});
            ("state.persistent.set", arguments)
        };
        // A turn proposes 16 calls at most.
        let messages = woken_with(request);
        match messages.chunks(16).nth(answered) {
            Some(messages) => Say::Calls(messages.iter().map(kept).collect()),
            None => Say::Text("Kept.".to_string()),
        }
    })
}

/// Writes one number after the other; gives the last one that was taken.
async fn write(client: Client, agent: &'static str, stop: Arc<AtomicBool>) -> u64 {
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let body = SendMessage { message: json!(sent + 1), priority: None, correlation: None, deadline_seconds: None };
        let key = format!("{agent}-{sent}");
        while client.send_message(agent, &body, Some(&key)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        sent += 1;
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    sent
}

fn at_rest(daemon: &Daemon, agent: &str) -> bool {
    let open = daemon.json(&["execution", "list", "--agent", agent, "--limit", "5"]);
    let open = open.as_array().expect("a list").iter().any(|execution| execution["ended_at"].is_null());
    !open && daemon.json(&["agent", "get", agent])["messages_waiting"] == 0
}

/// The numbers that woke an agent, execution by execution.
fn woken(daemon: &Daemon, agent: &str) -> Vec<u64> {
    let listed = daemon.json(&["execution", "list", "--agent", agent, "--limit", "10000"]);
    let mut executions: Vec<Value> = listed.as_array().expect("a list").clone();
    executions.reverse();
    let mut numbers = Vec::new();
    for execution in executions {
        assert_eq!(execution["status"], "completed", "{execution:#}\n{}", daemon.log());
        let record = daemon.json(&["execution", "get", execution["id"].as_str().expect("an id")]);
        let input = record["input"].as_array().expect("the messages").clone();
        assert!(!input.is_empty(), "it was woken by nothing: {record:#}");
        numbers.extend(input.iter().map(|message| message["message"].as_u64().expect("a number")));
    }
    numbers
}

#[test]
fn whatever_is_killed_each_message_wakes_its_agent_once_and_in_order() {
    let kills = super::number("TENURE_KILLS", 10);
    let mut house = ScriptedDaemon::start(script());
    let (daemon, runtime) = (&mut house.daemon, &house.runtime);
    for agent in AGENTS {
        daemon.deploy(&MANIFEST.replace("NAME", agent));
    }
    let client = Client::new(Endpoint::Unix(daemon.data.join("tenure.sock")), None);
    let stop = Arc::new(AtomicBool::new(false));
    let writers = AGENTS.map(|agent| runtime.spawn(write(client.clone(), agent, Arc::clone(&stop))));
    for kill in 0..kills {
        std::thread::sleep(Duration::from_millis(150 + 53 * (kill % 7)));
        daemon.kill();
        daemon.start_again();
    }
    stop.store(true, Ordering::Relaxed);
    let mut all = 0;
    for (agent, writer) in AGENTS.into_iter().zip(writers) {
        let within = async { tokio::time::timeout(WITHIN, writer).await };
        let sent = runtime.block_on(within).expect("it is answered in the end").expect("nobody panics");
        let begin = Instant::now();
        while !at_rest(daemon, agent) {
            assert!(begin.elapsed() < WITHIN, "{agent} does not come to rest\n{}", daemon.log());
            std::thread::sleep(Duration::from_millis(100));
        }
        let every: Vec<u64> = (1..=sent).collect();
        assert_eq!(woken(daemon, agent), every, "{agent}: a message was lost, doubled or out of order");
        let kept = daemon.json(&["state", "list", agent, "--prefix", "seen:", "--limit", "100000"]);
        let kept = kept.as_array().expect("a list");
        assert_eq!(kept.len() as u64, sent, "{agent} kept another number");
        assert!(kept.iter().all(|entry| entry["version"] == 1), "{agent}: a value was set twice: {kept:#?}");
        all += sent;
    }
    daemon.stop();
    daemon.ok(&["audit", "verify"]);
    println!("figure: {all} messages over {kills} kills, each taken once and in order");
}
