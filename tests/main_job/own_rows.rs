//! Capabilities that touch only our own rows: no sandbox is made for them, and what is kept outlives its execution.
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tests::daemon::Daemon;
use tests::scripted::{self as model, Say, Script, ScriptedDaemon, said};

const WITHIN: Duration = Duration::from_secs(60);

const MANIFEST: &str = r#"
apiVersion: tenure.dev/v1
kind: Agent
metadata: {name: keeper, version: "1.0.0"}
spec:
  task: {instruction: Do what the input says.}
  tools: ["state.*", "agent.*", "filesystem.*"]
"#;

/// What the model was sent back last, each time that it was asked.
type Heard = Arc<Mutex<Vec<String>>>;

fn start(heard: &Heard) -> ScriptedDaemon {
    let heard = Arc::clone(heard);
    let script: Script = Arc::new(move |request, answered| {
        let told = model::heard(request);
        heard.lock().expect("no test thread panicked with it").push(told.clone());
        match (said(request).contains("READ"), answered) {
            (true, 0) => Say::Calls(vec![("state.persistent.get", json!({"key": "plan"}))]),
            (true, _) => Say::Text(told),
            (false, answered) => keep(answered),
        }
    });
    ScriptedDaemon::start(script)
}

fn keep(answered: usize) -> Say {
    let set = |step: u32, version: u32| {
        let arguments = json!({"key": "plan", "value": {"step": step}, "expected_version": version});
        Say::Calls(vec![("state.persistent.set", arguments)])
    };
    match answered {
        0 => Say::Calls(vec![("agent.whoami", json!({}))]),
        1 => Say::Calls(vec![("agent.capabilities", json!({"name": "state.persistent.set"}))]),
        2 => set(1, 0),
        3 => Say::Calls(vec![("state.persistent.get", json!({"key": "plan"}))]),
        4 => set(2, 7),
        _ => Say::Text("Kept.".to_string()),
    }
}

fn execute(daemon: &Daemon, input: &str) -> String {
    let started = daemon.json(&["execute", "--agent", "keeper", "--input", input]);
    let id = started["id"].as_str().expect("an id").to_string();
    let record = daemon.ended(&id, WITHIN);
    assert_eq!(record["status"], "completed", "{record:#}\n{}", daemon.log());
    id
}

#[test]
fn what_an_agent_asks_of_itself_and_keeps_is_told_logged_proven_and_opens_no_sandbox() {
    let heard = Heard::default();
    let ScriptedDaemon { daemon, .. } = &start(&heard);
    let agent = daemon.deploy(MANIFEST);
    let agent = agent["id"].as_str().expect("an id");
    let kept = execute(daemon, "keep it");
    let told = heard.lock().expect("no test thread panicked with it").split_off(0);
    let expected: [&[&str]; 6] = [
        &["keep it"],
        &["name: keeper", "revision: 1", agent, &kept, "max_iterations"],
        &["state.persistent.set", "expected_version", "additionalProperties"],
        &["version: 1"],
        &["value: {\"step\":1}", "version: 1", agent, "updated_at: "],
        &["failed:VersionConflict", "its version is 1"],
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, words) in told.iter().zip(expected) {
        for word in words {
            assert!(told.contains(word), "`{word}` was not told: {told}");
        }
    }

    let logs = daemon.json(&["execution", "logs", &kept]);
    let turns = logs[0]["log"].as_array().expect("turns");
    let calls: Vec<&Value> = turns.iter().flat_map(|turn| turn["calls"].as_array().expect("calls")).collect();
    let shown: Vec<(&str, &str, Option<&str>)> = calls
        .iter()
        .map(|call| {
            let word = |value: &'static str| call[value].as_str().unwrap_or_default();
            (word("capability"), word("outcome"), call["key"].as_str())
        })
        .collect();
    let plan = Some("plan");
    let wanted = [
        ("agent.whoami", "done", None),
        ("agent.capabilities", "done", None),
        ("state.persistent.set", "done", plan),
        ("state.persistent.get", "done", plan),
        ("state.persistent.set", "failed:VersionConflict", plan),
    ];
    assert_eq!(shown, wanted, "{logs:#}");
    assert_eq!(calls[3]["result"], "{\"step\":1}");

    let read = execute(daemon, "READ");
    let output = daemon.json(&["execution", "get", &read])["output"].as_str().expect("an output").to_string();
    assert!(output.contains("value: {\"step\":1}") && output.contains("version: 1"), "{output}");
    let records = daemon.json(&["audit", "tail", "--limit", "500"]);
    let records = records.as_array().expect("records");
    let of = |id: &str| records.iter().filter(|record| record["stream"] == id).collect::<Vec<_>>();
    for (id, count) in [(&kept, 5), (&read, 1)] {
        let events = of(id);
        let called: Vec<_> = events.iter().filter(|event| event["kind"] == "call.called").collect();
        assert_eq!(called.len(), count, "{events:#?}");
        let jail =
            events.iter().find(|event| !event["data"]["lease"].is_null() || event["kind"] == "iteration.released");
        assert!(jail.is_none(), "a sandbox was opened: {jail:#?}");
    }
    let set = of(agent).into_iter().filter(|event| event["kind"] == "state.set").count();
    assert_eq!(set, 1, "what met a conflict changed nothing");
    daemon.ok(&["audit", "verify"]);
}
