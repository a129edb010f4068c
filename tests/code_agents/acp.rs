//! An agent behind the Agent Client Protocol: what it asks of its user is an approval, what it asks of its client a call.
use crate::world::{CodeAgent, WITHIN};
use serde_json::{Value, json};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PROGRAM: &str = include_str!("../../crates/worker/tests/worker/fixture/acp_agent.py");

fn deployed() -> CodeAgent {
    let runtime = json!({"kind": "acp", "command": ["python3", "/workspace/program.py"], "mode": "default"});
    CodeAgent::deployed(&json!({"runtime": runtime, "task": {"prompt_template": "{{input}}"}}), PROGRAM)
}

fn asked(agent: &CodeAgent) -> Value {
    let until = Instant::now() + WITHIN;
    loop {
        let asked = agent.daemon().json(&["approval", "list"]);
        if let Some(first) = asked.as_array().and_then(|all| all.first()) {
            return first.clone();
        }
        assert!(Instant::now() < until, "nobody asks: {}", agent.daemon().log());
        sleep(Duration::from_millis(50));
    }
}

#[test]
fn it_says_what_it_was_told_to_and_its_files_and_programs_are_calls() {
    let agent = deployed();
    assert_eq!(agent.told("say good morning").unwrap(), "good morning");
    agent.told("write /workspace/made.txt").unwrap();
    assert_eq!(agent.read("made.txt").as_deref(), Some("new"));
    let calls = agent.records("call.called");
    assert!(calls.iter().any(|call| call["data"]["capability"] == "filesystem.write"), "{calls:#?}");
}

#[test]
fn what_it_asks_its_user_a_person_decides() {
    let agent = deployed();
    for (verb, chosen) in [("approve", "yes"), ("reject", "no")] {
        let started = agent.daemon().json(&["execute", "coded", "ask make install"]);
        let wanted = asked(&agent);
        let id = wanted["id"].as_str().unwrap().to_string();
        agent.daemon().ok(&["approval", verb, &id]);
        let ended = agent.daemon().ended(started["id"].as_str().unwrap(), WITHIN);
        let output = ended["output"].as_str().unwrap();
        assert!(output.contains(&format!("\"{chosen}\"")), "{verb}: {ended:#}");
    }
}
