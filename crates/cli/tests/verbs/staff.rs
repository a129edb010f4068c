//! Agents that start agents, plan their own wakes and tell their supervisor, against a daemon with a recorded model.
use serde_json::{Value, json};

use super::house::House;

const LEAD: &str = "\
apiVersion: tenure.dev/v1
kind: Agent
metadata: {name: lead}
spec:
  task: {instruction: Divide the work.}
  triggers: [comms]
  tools: [agent.execute, agent.result, alerts.*, scheduler.*, comms.receive]
";

const HELPER: &str = "\
apiVersion: tenure.dev/v1
kind: Agent
metadata: {name: helper}
spec:
  task: {instruction: Count.}
  tools: [system.time]
";

/// What a model says in one turn: a text, and calls with their arguments.
type Said<'s> = (&'s str, Vec<(&'s str, Value)>);

/// One answer a turn for each execution, in the order in which they begin.
fn tape(executions: &[&[Said<'_>]]) -> String {
    let mut lines = String::from("{\"cassette\":1}\n");
    for (execution, turns) in executions.iter().enumerate() {
        for (turn, (text, calls)) in turns.iter().enumerate() {
            let calls: Vec<Value> = calls
                .iter()
                .enumerate()
                .map(|(place, (name, arguments))| json!({"id": format!("c{place}"), "name": name, "arguments": arguments}))
                .collect();
            let stop = if calls.is_empty() { "end" } else { "calls" };
            let usage = json!({"input": 10, "output": 3, "cached": null});
            let answer = json!({"text": text, "calls": calls, "stop": stop, "usage": usage, "model": "local/qwen", "cost_micro_usd": null});
            let entry =
                json!({"execution": execution + 1, "iteration": 1, "turn": turn + 1, "attempt": 1, "answer": answer});
            lines.push_str(&format!("{entry}\n"));
        }
    }
    lines
}

pub(super) fn staff() -> House {
    let asks = vec![
        ("agent.execute", json!({"agent": "helper", "input": {"count": "the invoices"}, "report": true})),
        ("agent.execute", json!({"agent": "nobody", "input": 1})),
        ("alerts.send", json!({"severity": "critical", "message": "Two invoices have the same number"})),
        ("scheduler.cron_create", json!({"name": "standup", "cron": "0 9 * * 1-5", "timezone": "Europe/Berlin"})),
        ("scheduler.cron_create", json!({"name": "wrong", "cron": "0 25 * * *"})),
        ("scheduler.delay", json!({"seconds": 5, "name": "look", "input": "look again"})),
    ];
    let first: &[(&str, Vec<(&str, Value)>)] = &[("I divide it.", asks), ("It is divided.", vec![])];
    let plain: &[(&str, Vec<(&str, Value)>)] = &[("42 invoices", vec![])];
    let house = House::up(&tape(&[first, plain, plain, plain]));
    for (name, text) in [("lead.yaml", LEAD), ("helper.yaml", HELPER)] {
        let file = house.write(name, text);
        house.tenure(&["agent", "deploy", &file]).ok();
    }
    house
}

fn tasks(house: &House, agent: &str) -> Vec<Value> {
    let listed = house.tenure(&["execution", "list", "--agent", agent, "-o", "json"]).ok().json();
    listed.as_array().unwrap().clone()
}

#[test]
fn an_agent_starts_another_is_told_of_its_end_plans_a_wake_and_alerts_its_supervisor() {
    let house = staff();
    let started = house.tenure(&["execute", "lead", "--input", "go", "-o", "json"]).ok().json();
    let id = started["id"].as_str().unwrap();
    assert_eq!(house.wait(id)["status"], "completed");

    // Its child, from both ends.
    let file = house.tenure(&["execution", "get", id, "-o", "json"]).ok().json();
    let child = file["children"][0].clone();
    assert_eq!((&child["agent_name"], &child["parent"]), (&json!("helper"), &json!(id)), "{file}");
    assert_eq!(file["children"].as_array().unwrap().len(), 1, "nobody is no agent");
    let child = house.wait(child["id"].as_str().unwrap());
    assert_eq!(
        (&child["status"], &child["trigger"], &child["output"]),
        (&json!("completed"), &json!("agent"), &json!("42 invoices"))
    );
    assert_eq!(child["input"], json!({"count": "the invoices"}));
    let below = house.tenure(&["execution", "get", id, "-o", "json"]).ok().json()["below"].clone();
    assert_eq!(below["tokens"], 13, "what the child used up stands above it");
    let shown = house.tenure(&["execution", "get", id]).ok().stdout;
    assert!(shown.contains("helper") && shown.contains("which count against its limits"), "{shown}");

    // The report of its end woke the first, and the delay did once more; the expression is for later.
    let woken = |trigger: &str| tasks(&house, "lead").iter().filter(|task| task["trigger"] == trigger).count();
    super::house::eventually("the report wakes it", || woken("comms") == 1);
    super::house::eventually("its own time wakes it", || woken("schedule") == 1);
    let schedules = house.tenure(&["agent", "schedules", "lead", "-o", "json"]).ok().json();
    assert_eq!(schedules.as_array().unwrap().len(), 1, "{schedules}");
    assert_eq!((&schedules[0]["name"], &schedules[0]["timezone"]), (&json!("standup"), &json!("Europe/Berlin")));
    let look = tasks(&house, "lead").into_iter().find(|task| task["trigger"] == "schedule").unwrap();
    let look = house.wait(look["id"].as_str().unwrap());
    assert_eq!(look["input"], "look again");
    assert!(house.tenure(&["agent", "show", "lead"]).ok().stdout.contains("standup: 0 9 * * 1-5 (Europe/Berlin)"));
    house.tenure(&["agent", "schedules", "lead", "--delete", "standup"]).ok();
    assert_eq!(house.tenure(&["agent", "schedules", "lead", "--delete", "standup"]).code, 4, "it is gone");
    assert_eq!(house.tenure(&["agent", "schedules", "lead", "-o", "json"]).ok().json(), json!([]));
    house.tenure(&["audit", "verify"]).ok();
}
