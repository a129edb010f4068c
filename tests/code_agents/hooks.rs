//! Hooks in their order, messages and their answers, and what a program asks for.
use crate::world::{CodeAgent, PROGRAM, manifest};
use serde_json::{Value, json};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("JSON: {text}"))
}

#[test]
fn a_program_is_told_of_its_life_in_order_and_each_message_has_its_answer() {
    let agent = CodeAgent::deployed(&json!({}), PROGRAM);
    agent.start();
    assert_eq!(agent.told("hello").unwrap(), "heard hello");
    assert_eq!(agent.told(r#"{"a": 1}"#).unwrap(), r#"heard {"a": 1}"#, "an input may be any JSON");
    let failed = agent.told("fail it is so").unwrap_err();
    assert!(failed["detail"].as_str().unwrap().contains("it is so"), "{failed:#}");
    assert_eq!(agent.told("again").unwrap(), "heard again", "an error ends no program");
    agent.daemon().ok(&["agent", "stop", "coded"]);
    let stopped = agent.is("stopped");
    assert_eq!((&stopped["why"], &stopped["starts"]), (&json!("asked"), &json!(1)));
    let hooks = agent.read("hooks.txt").unwrap();
    assert_eq!(hooks, "init\nstart\nmessage\nmessage\nmessage\nmessage\nshutdown\n");
    agent.daemon().ok(&["audit", "verify"]);
}

#[test]
fn what_a_program_asks_for_passes_the_one_gate() {
    let agent = CodeAgent::deployed(&json!({}), PROGRAM);
    agent.start();
    let written = json(&agent.told("write some text").unwrap());
    assert_eq!(agent.read("made.txt").as_deref(), Some("some text"), "{written:#}");
    let kept = json(&agent.told("keep it").unwrap());
    assert!(kept["result"].to_string().contains("\"it\""), "{kept:#}");
    let refused = json(&agent.told("fetch").unwrap());
    assert_eq!(refused["code"], -32000, "the control: its network is none: {refused:#}");
    let calls = agent.records("call.called");
    let named = |name: &str| calls.iter().filter(|call| call["data"]["capability"] == name).count();
    assert_eq!((named("filesystem.write"), named("state.persistent.set"), named("hook.message")), (1, 1, 3));
}

#[test]
fn a_model_that_a_program_asks_is_paid_by_the_execution_that_it_works_for() {
    let agent = CodeAgent::deployed(&json!({}), PROGRAM);
    agent.start();
    assert!(agent.told("model PROGRAM what is it").unwrap().contains("a model hears"));
    let executions = agent.daemon().json(&["execution", "list"]);
    assert!(executions[0]["tokens_in"].as_u64().unwrap() > 0, "{executions:#}");
    agent.told("nothing").unwrap();
    let executions = agent.daemon().json(&["execution", "list"]);
    assert_eq!(executions[0]["tokens_in"], 0, "the control: one that asks none pays nothing");
}

#[test]
fn a_message_starts_the_program_where_none_runs_and_a_paused_agent_keeps_its_messages_waiting() {
    let agent = CodeAgent::deployed(&json!({}), PROGRAM);
    assert_eq!(agent.told("first").unwrap(), "heard first");
    assert_eq!(agent.asked("init"), 1);
    agent.daemon().ok(&["pause", "coded"]);
    let refused = agent.daemon().run(&["execute", "coded", "second"]);
    assert!(!refused.status.success(), "nothing of a paused agent begins");
    assert_eq!(agent.instance()["state"], "ready", "its program lives on");
    agent.daemon().ok(&["resume", "coded"]);
    assert_eq!(agent.told("second").unwrap(), "heard second");
    assert_eq!(agent.asked("init"), 1, "by the same program");
}

#[test]
fn its_health_is_what_it_says_with_the_figures_of_the_kernel() {
    let agent = CodeAgent::deployed(&json!({}), PROGRAM);
    agent.start();
    let health = agent.daemon().json(&["agent", "health", "coded"]);
    let found = &health["health"];
    assert_eq!((&found["status"], &found["errors"]), (&json!("warning"), &json!("slow")));
    let memory = found["memory_bytes"].as_u64().unwrap();
    assert!(memory > 1 << 20, "Python takes more than it says of itself: {memory}");
}

#[test]
fn an_agent_without_a_program_is_not_started_and_a_rule_that_forbids_the_hook_keeps_a_program_from_running() {
    let agent = CodeAgent::deployed(&json!({}), PROGRAM);
    let plain = json!({"apiVersion": "tenure.dev/v1", "kind": "Agent", "metadata": {"name": "plain"}, "spec": {}});
    agent.daemon().deploy(&plain.to_string());
    let refused = agent.daemon().run(&["agent", "start", "plain", "--output", "json"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("agent_no_program"), "{refused:?}");
    let file = agent.house.folder().join("own.cedar");
    let rules = "@id(\"all\")\npermit(principal, action, resource);\n\n\
                 @id(\"none\")\nforbid(principal, action == Action::\"hook.run\", resource);\n";
    std::fs::write(&file, rules).unwrap();
    agent.daemon().ok(&["policy", "apply", file.to_str().unwrap()]);
    agent.daemon().ok(&["agent", "start", "coded"]);
    assert_eq!(agent.is("stopped")["why"], "forbidden");
    assert_eq!(agent.read("hooks.txt"), None, "it never ran");
}

#[test]
fn a_policy_that_is_applied_ends_no_program_and_a_deploy_puts_the_new_one_in_its_place() {
    let agent = CodeAgent::deployed(&json!({}), PROGRAM);
    agent.start();
    let before = agent.instance();
    let file = agent.house.folder().join("own.cedar");
    std::fs::write(&file, "@id(\"all\")\npermit(principal, action, resource);\n").unwrap();
    agent.daemon().ok(&["policy", "apply", file.to_str().unwrap()]);
    agent.told("write one").unwrap();
    assert_eq!(agent.instance()["session"], before["session"], "the same program");
    agent.daemon().deploy(&manifest(&json!({"provides": ["hearing", "writing"]})));
    agent.told("write two").unwrap();
    assert_eq!(agent.read("made.txt").as_deref(), Some("two"));
    let after = agent.instance();
    assert_eq!((&after["revision"], &after["starts"], &after["crashes"]), (&json!(2), &json!(2), &json!(0)));
    assert_eq!(agent.asked("shutdown"), 1, "the former one was told");
}
