//! The two tables of seed 001: what an expression means, and what is to be done about a task that did not end well.
use crate::{WITHIN, answers};
use serde_json::{Value, json};
use tests::page::Page;
use tests::scripted::{Say, ScriptedDaemon, said};

/// The pattern's use, the expression as it stands there, and what each of its times ends with.
const PATTERNS: [(&str, &str, &[&str]); 6] = [
    ("hourly", "0 * * * *", &[":00:00.000Z"]),
    ("quarter-hourly", "*/15 * * * *", &[":00:00.000Z", ":15:00.000Z", ":30:00.000Z", ":45:00.000Z"]),
    ("daily", "0 9 * * *", &["T09:00:00.000Z"]),
    ("weekdays", "0 18 * * 1-5", &["T18:00:00.000Z"]),
    ("mondays", "0 8 * * 1", &["T08:00:00.000Z"]),
    ("monthly", "0 0 1 * *", &["-01T00:00:00.000Z"]),
];

#[test]
fn each_pattern_of_the_table_is_taken_as_it_is_written_and_comes_when_it_says() {
    let house = ScriptedDaemon::start(answers());
    let page = Page::beside(&house.daemon, house.folder());
    for (name, cron, ends) in PATTERNS {
        page.shell(&format!("tenure agent create {name} --purpose Work --autonomous --schedule \"{cron}\"")).ok();
        let shown = page.shell(&format!("tenure agent show {name} -o json")).ok().json();
        let next = shown["schedule"]["next"].as_array().expect("times").clone();
        assert_eq!(next.len(), 5, "{shown:#}");
        for time in next {
            let time = time.as_str().expect("a time").to_string();
            assert!(ends.iter().any(|end| time.ends_with(end)), "{cron} comes at {time}");
        }
    }
    let wrong = page.shell("tenure agent create x --purpose Work --autonomous --schedule \"0 25 * * *\"");
    assert!(wrong.code == 3 && wrong.stderr.contains("25"), "the control: {} {}", wrong.code, wrong.stderr);
}

fn manifest(name: &str, more: &str) -> String {
    format!(
        "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata: {{name: {name}}}\nspec:\n  task: {{instruction: \"It is {name}\"}}\n  \
         tools: [system.time, process.run]\n{more}"
    )
}

/// The status of the table, what brings it about, and what the table says to do.
const ENDS: [(&str, &str, &str); 5] = [
    (
        "max_iterations",
        "  execution: {max_iterations: 1, validation: [{type: regex, target: output, pattern: never}]}\n",
        "increase max_iterations or simplify the instructions",
    ),
    ("timeout", "  security: {resources: {timeout: 2s}}\n", "the task may be too complex for one run"),
    ("token_budget", "  limits: {tokens: 100}\n", "reduce the scope or increase the budget"),
    ("model_error", "", "check the API key and the model's availability"),
    ("blocked", "  execution: {max_iterations: 1, max_turns: 2}\n", "review what its tools and policies allow"),
];

fn agent(status: &str) -> String {
    status.replace('_', "-")
}

#[test]
fn each_status_of_the_table_ends_a_task_and_what_to_do_about_it_is_shown_beside_it() {
    let house = ScriptedDaemon::start(std::sync::Arc::new(|request, _| {
        let is = |status: &str| said(request).contains(&format!("It is {}", agent(status)));
        if is("timeout") {
            Say::Calls(vec![("process.run", json!({"command": "sleep", "args": ["600"]}))])
        } else if is("token_budget") {
            Say::Calls(vec![("system.time", json!({}))])
        } else if is("model_error") {
            Say::Http(401, json!({"error": {"message": "no such key"}}).to_string())
        } else if is("blocked") {
            Say::Calls(vec![("filesystem.delete", json!({"path": "a.txt"}))])
        } else {
            Say::Text("Done.".to_string())
        }
    }));
    let daemon = &house.daemon;
    let page = Page::beside(daemon, house.folder());
    for (status, more, remedy) in ENDS {
        let name = agent(status);
        daemon.deploy(&manifest(&name, more));
        let started = daemon.json(&["agent", "run", &name, "Now"]);
        let record = daemon.ended(started["id"].as_str().expect("an id"), WITHIN);
        assert_eq!((&record["status"], &record["reason"]), (&json!("failed"), &json!(status)), "{record:#}");
        for shown in ["logs", "show"] {
            let shown = page.shell(&format!("tenure agent {shown} {name}")).ok().stdout;
            assert!(shown.contains(status) && shown.contains(remedy), "{shown}");
        }
    }
    daemon.deploy(&manifest("completed", ""));
    let started = daemon.json(&["agent", "run", "completed", "Now"]);
    let record = daemon.ended(started["id"].as_str().expect("an id"), WITHIN);
    assert_eq!((&record["status"], &record["remedy"]), (&json!("completed"), &Value::Null), "{record:#}");
}
