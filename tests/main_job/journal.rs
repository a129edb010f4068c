//! A cassette run is exact to the byte: recorded once, replayed on fresh data directories, the same conversation gives
//! the same turns, the same calls and the same files.
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tests::daemon::Daemon;
use tests::scripted::{Say, Script, Scripted};

const MANIFEST: &str = r#"
apiVersion: tenure.dev/v1
kind: Agent
metadata: {name: scribe, version: "1.0.0"}
spec:
  task: {instruction: Write the file.}
  tools: ["filesystem.*", "process.run"]
  execution:
    validation: [{type: exit_code}]
"#;

fn script() -> Script {
    Arc::new(|_, answered| match answered {
        0 => Say::Calls(vec![("filesystem.write", json!({"path": "poem.txt", "content": "ä line\nand another\n"}))]),
        1 => Say::Calls(vec![("process.run", json!({"command": "wc", "args": ["-c", "poem.txt"]}))]),
        _ => Say::Text("Written and counted.".to_string()),
    })
}

/// What must not differ: turns, calls with arguments and results, the file.
fn run(daemon: &Daemon) -> (Value, Vec<u8>) {
    let agent = daemon.deploy(MANIFEST);
    let id = daemon.json(&["execute", "--agent", "scribe", "--input", "go"])["id"].as_str().expect("an id").to_string();
    let record = daemon.ended(&id, Duration::from_secs(60));
    assert_eq!(record["status"], "completed", "{record:#}\n{}", daemon.log());
    let logs = daemon.json(&["execution", "logs", &id]);
    let poem = std::fs::read(daemon.work_folder(agent["id"].as_str().expect("an id")).join("poem.txt"));
    (without_moments(logs), poem.expect("the file is there"))
}

fn without_moments(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.retain(|name, _| {
                let moment = name.ends_with("_at")
                    || name.ends_with("_ms")
                    || ["id", "at", "model", "cassette"].contains(&name.as_str());
                !moment
            });
            fields.values_mut().for_each(|field| *field = without_moments(field.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = without_moments(item.take())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    value
}

#[test]
fn a_recorded_run_replays_to_the_same_turns_calls_and_files() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let model = runtime.block_on(Scripted::serve(script()));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cassette = folder.path().join("run.cassette");
    let url = model.base_url();
    let record = format!("record:{}", cassette.display());
    let live = {
        let environment = [
            ("OPENAI_BASE_URL", url.as_str()),
            ("OPENAI_API_KEY", "sk-test-0123456789"),
            ("TENURE_DEFAULT_MODEL", "openai/scripted"),
            ("TENURE_CASSETTE", record.as_str()),
        ];
        let mut daemon = Daemon::start(&folder.path().join("live"), &environment);
        let seen = run(&daemon);
        daemon.stop();
        seen
    };
    drop(model);
    let replay = format!("replay:{}", cassette.display());
    for name in ["first", "second"] {
        let mut daemon = Daemon::start(&folder.path().join(name), &[("TENURE_CASSETTE", replay.as_str())]);
        let again = run(&daemon);
        assert_eq!(again.0, live.0, "the {name} replay differs");
        assert_eq!(again.1, live.1);
        daemon.ok(&["audit", "verify"]);
        daemon.stop();
    }
    let tape = std::fs::read_to_string(&cassette).expect("the cassette is there");
    assert!(!tape.contains("sk-test"), "a key stands on the cassette");
}
