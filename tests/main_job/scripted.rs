//! Runs with a scripted model over HTTP: the whole road is real but the model's judgement.
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tests::scripted::{Say, Script, ScriptedDaemon, said};

const WITHIN: Duration = Duration::from_secs(60);

pub const MANIFEST: &str = r#"
apiVersion: tenure.dev/v1
kind: Agent
metadata:
  name: clerk
  version: "1.0.0"
  labels: {team: test}
spec:
  task:
    instruction: Do what the input says.
  tools: ["filesystem.*", "process.run"]
  execution:
    max_iterations: 3
    validation:
      - type: exit_code
      - type: regex
        target: /workspace/out.txt
        pattern: "^6$"
"#;

fn write(path: &str, content: &str) -> (&'static str, Value) {
    ("filesystem.write", json!({"path": path, "content": content}))
}

fn python(line: &str) -> (&'static str, Value) {
    ("process.run", json!({"command": "python3", "args": ["-c", line]}))
}

/// The first attempt writes a wrong sum; the second, told why, writes the right one.
fn mends_its_sum() -> Script {
    Arc::new(|request, answered| {
        let sum = if said(request).contains("Nothing matches") { 6 } else { 5 };
        match answered {
            0 => Say::Calls(vec![write("sum.py", &format!("open('out.txt','w').write('{sum}\\n')\nprint('wrote')\n"))]),
            1 => Say::Calls(vec![("process.run", json!({"command": "python3", "args": ["sum.py"]}))]),
            _ => Say::Text("The sum is written.".to_string()),
        }
    })
}

#[test]
fn an_agent_works_in_its_sandbox_fails_its_validator_tries_again_and_completes() {
    let ScriptedDaemon { daemon, .. } = &ScriptedDaemon::start(mends_its_sum());
    let agent = daemon.deploy(MANIFEST);
    let name = agent["name"].as_str().expect("a name");
    assert_eq!((name, agent["status"].as_str()), ("clerk", Some("registered")));

    let lines = daemon.ok(&["execute", "--agent", "clerk", "--input", "add 1, 2 and 3", "--watch"]);
    for expected in [
        "Started",
        "Iteration 1 Started",
        "Tool: filesystem.write /workspace/sum.py",
        "Tool: process.run python3 sum.py",
        "exit_code=PASS regex=FAIL",
        "Iteration 2 Started",
        "exit_code=PASS regex=PASS (score=1.0)",
        "Completed (2 iterations",
    ] {
        assert!(lines.contains(expected), "the watch lacks `{expected}`:\n{lines}");
    }

    let list = daemon.json(&["execution", "list", "--agent", "clerk"]);
    let id = list[0]["id"].as_str().expect("one execution").to_string();
    let record = daemon.json(&["execution", "get", &id]);
    assert_eq!(record["status"], "completed");
    assert_eq!(record["iterations"].as_array().map(Vec::len), Some(2), "{record:#}");
    let work = daemon.work_folder(agent["id"].as_str().expect("an id"));
    assert_eq!(std::fs::read_to_string(work.join("out.txt")).expect("the outcome is there"), "6\n");
    daemon.ok(&["audit", "verify"]);
}

#[test]
fn several_calls_of_one_turn_all_run_and_are_all_answered() {
    let script: Script = Arc::new(|request, answered| match answered {
        0 => Say::Calls(vec![
            write("a.txt", "A"),
            write("b.txt", "B"),
            ("filesystem.read", json!({"path": "missing.txt"})),
        ]),
        1 => {
            let messages = request["messages"].as_array().cloned().unwrap_or_default();
            let answers = messages.iter().filter(|message| message["role"] == "tool").count();
            Say::Text(format!("answers: {answers}"))
        }
        _ => Say::Text("too many turns".to_string()),
    });
    let ScriptedDaemon { daemon, .. } = &ScriptedDaemon::start(script);
    let agent = daemon.deploy(&MANIFEST.split("  execution:").next().expect("a head").replace("clerk", "many"));
    let id = daemon.json(&["execute", "--agent", "many", "--input", "go"])["id"].as_str().expect("an id").to_string();
    let record = daemon.ended(&id, WITHIN);
    assert_eq!(record["status"], "completed", "{record:#}");
    assert!(daemon.ok(&["execution", "logs", &id]).contains("answers: 3"));
    let work = daemon.work_folder(agent["id"].as_str().expect("an id"));
    assert_eq!(std::fs::read_to_string(work.join("b.txt")).expect("written"), "B");
}

#[test]
fn what_the_model_thought_goes_back_with_its_calls_in_the_next_turn_of_the_execution_and_in_no_other() {
    const THOUGHT: &str = "The file comes first.";
    let script: Script = Arc::new(|request, answered| {
        let messages = request["messages"].as_array().cloned().unwrap_or_default();
        let own = messages.iter().filter(|message| message["role"] == "assistant");
        let thoughts: Vec<&str> = own.filter_map(|message| message["reasoning_content"].as_str()).collect();
        match (answered, thoughts.as_slice()) {
            (0, []) => Say::Thinking(THOUGHT, Box::new(Say::Calls(vec![write("a.txt", "A")]))),
            (1, [THOUGHT]) => Say::Text("It came back.".to_string()),
            // As providers say it whose thinking goes on from turn to turn.
            _ => Say::Http(
                400,
                r#"{"error": {"message": "a thought is not where it was", "type": "invalid_request_error"}}"#.into(),
            ),
        }
    });
    let ScriptedDaemon { daemon, .. } = &ScriptedDaemon::start(script);
    daemon.deploy(MANIFEST.split("  execution:").next().expect("a head"));
    for _ in 0..2 {
        let started = daemon.json(&["execute", "--agent", "clerk", "--input", "go"]);
        let record = daemon.ended(started["id"].as_str().expect("an id"), WITHIN);
        assert_eq!(
            (&record["status"], &record["output"]),
            (&"completed".into(), &"It came back.".into()),
            "{record:#}"
        );
    }
}

#[test]
fn a_running_execution_keeps_its_revision_while_the_agent_gets_a_new_one() {
    let script: Script = Arc::new(|request, answered| {
        let first = said(request).contains("FIRST");
        match (first, answered) {
            (true, 0) => Say::Calls(vec![python("import time; time.sleep(3)")]),
            (true, _) => Say::Text("first".to_string()),
            (false, _) => Say::Text("second".to_string()),
        }
    });
    let ScriptedDaemon { daemon, .. } = &ScriptedDaemon::start(script);
    let bare = MANIFEST.split("  execution:").next().expect("a head").to_string();
    daemon.deploy(&bare.replace("Do what", "FIRST. Do what"));
    let old = daemon.json(&["execute", "--agent", "clerk", "--input", "x"])["id"].as_str().expect("an id").to_string();
    let revised = daemon.deploy(&bare.replace("Do what", "SECOND. Do what"));
    assert_eq!(revised["revision"], 2, "{revised:#}");
    let new = daemon.json(&["execute", "--agent", "clerk", "--input", "x"])["id"].as_str().expect("an id").to_string();
    assert_eq!(daemon.ended(&new, WITHIN)["revision"], 2);
    let record = daemon.ended(&old, WITHIN);
    assert_eq!((record["revision"].as_u64(), record["status"].as_str()), (Some(1), Some("completed")), "{record:#}");
    assert!(daemon.ok(&["execution", "logs", &old]).contains("first"));
}

#[test]
fn a_cancelled_execution_is_gone_with_its_processes() {
    let script: Script = Arc::new(|_, _| Say::Calls(vec![python("import time; time.sleep(600)")]));
    let ScriptedDaemon { daemon, .. } = &ScriptedDaemon::start(script);
    daemon.deploy(&MANIFEST.replace("clerk", "sleeper"));
    let id = daemon.json(&["execute", "--agent", "sleeper", "--input", "x"])["id"].as_str().expect("an id").to_string();
    let sleeping = || daemon.tree().into_iter().filter(|process| process.command.contains("time.sleep(600)")).count();
    let deadline = std::time::Instant::now() + WITHIN;
    while sleeping() == 0 {
        assert!(std::time::Instant::now() < deadline, "the program never ran:\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    daemon.ok(&["execution", "cancel", &id, "--yes"]);
    let record = daemon.ended(&id, WITHIN);
    assert_eq!(record["status"], "cancelled", "{record:#}");
    assert_eq!(sleeping(), 0, "a process outlived its cancelled execution");
    daemon.ok(&["audit", "verify"]);
}

#[test]
fn the_same_manifest_deployed_again_changes_nothing_and_says_so() {
    let ScriptedDaemon { daemon, .. } = &ScriptedDaemon::start(Arc::new(|_, _| Say::Text("x".to_string())));
    let first = daemon.deploy(MANIFEST);
    let again = daemon.deploy(MANIFEST);
    assert_eq!((first["revision"].as_u64(), again["revision"].as_u64()), (Some(1), Some(1)));
    assert_eq!(first["id"], again["id"]);
    assert_eq!(again["changed"], false, "{again:#}");
}

#[test]
fn an_idempotency_key_starts_one_execution_however_often_it_is_said() {
    let ScriptedDaemon { daemon, .. } = &ScriptedDaemon::start(Arc::new(|_, _| Say::Text("x".to_string())));
    daemon.deploy(&MANIFEST.split("  execution:").next().expect("a head").replace("clerk", "once"));
    let start = ["execute", "--agent", "once", "--input", "x", "--idempotency-key", "k1"];
    let first = daemon.json(&start);
    assert_eq!(first["id"], daemon.json(&start)["id"]);
    let other = ["execute", "--agent", "once", "--input", "x", "--idempotency-key", "k2"];
    assert_ne!(first["id"], daemon.json(&other)["id"]);
}

#[test]
fn a_deleted_agent_ends_its_executions_first_and_then_its_name_is_free_for_another() {
    let script: Script = Arc::new(|_, _| Say::Calls(vec![python("import time; time.sleep(600)")]));
    let ScriptedDaemon { daemon, .. } = &ScriptedDaemon::start(script);
    let first = daemon.deploy(&MANIFEST.replace("clerk", "leaver"));
    let id = daemon.json(&["execute", "--agent", "leaver", "--input", "x"])["id"].as_str().expect("an id").to_string();
    daemon.ok(&["agent", "delete", "leaver", "--yes"]);
    assert_eq!(daemon.ended(&id, WITHIN)["status"], "cancelled");
    let second = daemon.deploy(&MANIFEST.replace("clerk", "Leaver"));
    assert_ne!(second["id"], first["id"], "the id is the identity");
}

#[test]
fn an_aegis_manifest_deploys_as_it_is_and_runs_with_its_own_tool_names() {
    let script: Script = Arc::new(|_, answered| match answered {
        0 => Say::Calls(vec![write(
            "solution.py",
            "import json\njson.dump({'answer': 42}, open('/workspace/result.json', 'w'))\n",
        )]),
        1 => Say::Calls(vec![("process.run", json!({"command": "python3", "args": ["/workspace/solution.py"]}))]),
        _ => Say::Text("It answers.".to_string()),
    });
    let ScriptedDaemon { daemon, .. } = &ScriptedDaemon::start(script);
    let python =
        Command::new("/usr/bin/python3").args(["-c", "import sys; print('%d.%d' % sys.version_info[:2])"]).output();
    let python = String::from_utf8(python.expect("python3 runs").stdout).expect("a version is text");
    let manifest = include_str!("../../examples/aegis/python-coder.yaml").replace("3.11", python.trim());
    let agent = daemon.deploy(&manifest);
    let started = daemon.json(&["execute", "--agent", "python-coder", "--input", "{\"task\": \"answer\"}"]);
    let record = daemon.ended(started["id"].as_str().expect("an id"), WITHIN);
    assert_eq!(record["status"], "completed", "{record:#}");
    let result = daemon.work_folder(agent["id"].as_str().expect("an id")).join("result.json");
    assert_eq!(std::fs::read_to_string(result).expect("the result is there"), "{\"answer\": 42}");
    let canonical = daemon.ok(&["agent", "get", "python-coder", "-o", "yaml"]);
    assert!(canonical.contains("tenure.dev/v1") && canonical.contains("filesystem.write"), "{canonical}");
}
