//! The developer of seed 001: three agents, each with a project, a workspace and a state of its own; what they tell each other goes
//! by shared state and messages.
use crate::ended;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tests::page::Page;
use tests::scripted::{Say, Script, ScriptedDaemon, heard, said};

const FRONTEND: &str = r#"tenure agent create frontend-dev \
  --purpose "Maintain the React dashboard" \
  --autonomous --schedule "0 9 * * 1-5" \
  --instructions "Review open PRs, run tests, flag failures.""#;
const BACKEND: &str = r#"tenure agent create backend-dev \
  --purpose "Maintain the API server" \
  --autonomous --schedule "0 9 * * 1-5" \
  --instructions "Check CI status, review dependency updates.""#;
const DEVOPS: &str = r#"tenure agent create devops \
  --purpose "Monitor infrastructure" \
  --autonomous --schedule "*/30 * * * *" \
  --instructions "Check service health endpoints. Alert on failures.""#;

/// What the backend's model was sent back, each time that it was asked.
type Heard = Arc<Mutex<Vec<String>>>;

fn shell(script: &str) -> (&'static str, Value) {
    ("process.run", json!({"command": "sh", "args": ["-c", script]}))
}

/// The first finds a test that fails and flags it, the second looks for what is the first one's, the third finds a service down.
fn script(backend: &Heard) -> Script {
    let backend = Arc::clone(backend);
    Arc::new(move |request, answered| {
        let all = said(request);
        let is = |instruction: &str| all.contains(instruction);
        if is("Check CI status") {
            backend.lock().expect("no test thread panicked with it").push(heard(request));
        }
        let call = match answered {
            0 if is("Review open PRs") => {
                let test = "import sys; sys.exit('1 of 1 tests failed')\n";
                ("filesystem.write", json!({"path": "test_dashboard.py", "content": test}))
            }
            1 if is("Review open PRs") => ("process.run", json!({"command": "python3", "args": ["test_dashboard.py"]})),
            2 if is("Review open PRs") => ("state.persistent.set", json!({"key": "reviewed", "value": 1})),
            3 if is("Review open PRs") => {
                let flagged =
                    json!({"key": "failures:frontend", "value": "1 of 1 tests failed", "expected_version": 0});
                ("state.shared.set", flagged)
            }
            0 if is("Check CI status") => shell("find / -name test_dashboard.py 2>/dev/null | wc -l"),
            1 if is("Check CI status") => ("state.persistent.get", json!({"key": "reviewed"})),
            2 if is("Check CI status") => ("state.shared.get", json!({"key": "failures:frontend"})),
            0 if is("Check service health") => {
                shell("python3 -c 'import socket; socket.create_connection((\"10.9.8.7\", 80), 5)'")
            }
            1 if is("Check service health") => {
                ("comms.send", json!({"to": "backend-dev", "message": "The service is down", "priority": "high"}))
            }
            _ => return Say::Text("Done.".to_string()),
        };
        Say::Calls(vec![call])
    })
}

#[test]
fn seed_001_the_developer() {
    let backend = Heard::default();
    let house = ScriptedDaemon::start(script(&backend));
    let mut page = Page::beside(&house.daemon, house.folder());
    page.lines(&[
        FRONTEND,
        BACKEND,
        DEVOPS,
        "tenure agent list",
        "tenure agent run frontend-dev \"Review them now\" --watch",
    ]);
    for agent in ["backend-dev", "devops"] {
        page.shell(&format!("tenure agent run {agent} Now --watch")).ok();
        let tasks = ended(&house.daemon, agent, 1);
        assert_eq!(tasks[0]["status"], "completed", "{tasks:#?}");
    }
    insta::assert_snapshot!(page.told);

    let told = backend.lock().expect("no test thread panicked with it").split_off(0);
    let expected =
        [&["Now"][..], &["exit code 0\nstdout:\n0"], &["not_found"], &["1 of 1 tests failed", "frontend-dev"]];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, words) in told.iter().zip(expected) {
        assert!(words.iter().all(|word| told.contains(word)), "{words:?} was not told: {told}");
    }
    assert!(page.shell("tenure agent files ls frontend-dev").ok().stdout.contains("test_dashboard.py"));
    assert!(!page.shell("tenure agent files ls backend-dev").stdout.contains("test_dashboard.py"));
    let waiting = house.daemon.json(&["comms", "list", "backend-dev"]);
    assert_eq!((&waiting[0]["message"], &waiting[0]["priority"]), (&json!("The service is down"), &json!("high")));
    house.daemon.ok(&["audit", "verify"]);
}
