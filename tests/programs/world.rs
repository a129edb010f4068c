//! An agent whose model has it run one script, and answers that script's own questions.
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tests::daemon::Daemon;
use tests::scripted::{Say, Script, ScriptedDaemon, said};

pub const WITHIN: Duration = Duration::from_secs(120);
/// What the daemon holds and no jail may.
pub const KEYS: [&str; 2] = ["sk-test-0123456789", "sk-ant-test-0123456789"];
/// Of one answer of the scripted model, 100 tokens in and 10 out, by the prices that `priced` sets.
pub const ANSWER_MICRO_USD: u64 = 100_000 + 100;

/// The agent runs `script` once and says what it printed; a program hears its own words again, or is given a call.
pub fn runs(script: &'static str, environment: &[(&str, &str)]) -> Script {
    let environment: Value = environment
        .iter()
        .map(|(name, value)| ((*name).to_string(), Value::from(*value)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    runs_once(json!({"command": "python3", "args": ["-c", script], "env": environment, "timeout_ms": 100_000}))
}

/// The same of any program.
pub fn runs_program(program: &str, arguments: &[&str]) -> Script {
    runs_once(json!({"command": program, "args": arguments, "timeout_ms": 100_000}))
}

fn runs_once(run: Value) -> Script {
    Arc::new(move |request, answered| {
        let heard = said(request);
        if is_agents(request) {
            return match answered {
                0 => Say::Calls(vec![("process.run", run.clone())]),
                _ => Say::Text(heard),
            };
        }
        let offers = request["tools"].as_array().is_some_and(|tools| !tools.is_empty());
        if offers && answered == 0 {
            return Say::Calls(vec![("weigh", json!({"stone": 3}))]);
        }
        let last = heard.lines().rfind(|line| !line.is_empty()).unwrap_or_default().to_string();
        Say::Text(format!("heard: {last}"))
    })
}

/// Whether the agent's own loop asks, which has instructions, and no program of it.
pub fn is_agents(request: &Value) -> bool {
    request["messages"][0]["role"] == "system"
}

pub fn start(script: &'static str, environment: &[(&str, &str)], more: &[(&str, &str)]) -> ScriptedDaemon {
    let house = ScriptedDaemon::start_with(runs(script, environment), more);
    for model in ["openai/scripted", "anthropic/scripted"] {
        house.daemon.ok(&["model", "prices", "set", model, "--in", "1000", "--out", "10"]);
    }
    house
}

pub fn manifest(name: &str, more: &Value) -> String {
    let mut spec = json!({
        "task": {"instruction": "Run the program."},
        "tools": ["process.run"],
        "execution": {"mode": "one-shot"},
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key.as_str()] = value.clone();
    }
    json!({"apiVersion": "tenure.dev/v1", "kind": "Agent", "metadata": {"name": name, "version": "1.0.0"}, "spec": spec}).to_string()
}

/// Runs the agent once: its record, and what the script left in its folder.
pub fn run(daemon: &Daemon, name: &str) -> (Value, Value) {
    let started = daemon.json(&["execute", "--agent", name, "--input", "x", "--text"]);
    let id = started["id"].as_str().expect("an id").to_string();
    let record = daemon.ended(&id, WITHIN);
    let agent = record["agent"].as_str().expect("an id");
    let left = std::fs::read_to_string(daemon.work_folder(agent).join("out.json")).ok();
    let left = left.and_then(|left| serde_json::from_str(&left).ok());
    let left = left.unwrap_or_else(|| {
        let logs = daemon.json(&["execution", "logs", &id]);
        panic!("the script left nothing: {logs:#}\n{record:#}\n{}", daemon.log())
    });
    (record, left)
}

/// The records of this kind.
pub fn records(daemon: &Daemon, kind: &str) -> Vec<Value> {
    let found = daemon.json(&["audit", "query", "--limit", "1000", "--kind", kind]);
    found.as_array().cloned().unwrap_or_default()
}
