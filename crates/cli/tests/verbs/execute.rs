use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::house::{AGENT, House, cassette, example};

fn with_agent(executions: u32) -> House {
    let house = House::up(&cassette(executions));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    house
}

#[test]
fn watching_prints_a_line_an_event_as_the_seed_does() {
    let house = with_agent(1);
    let watched = house.tenure(&["execute", "--agent", "coder", "--input", r#"{"task": "42"}"#, "--watch"]).ok();
    insta::assert_snapshot!(watched.stdout);
}

#[test]
fn watching_as_json_gives_an_event_a_line_in_the_order_of_the_ledger() {
    let house = with_agent(1);
    let watched = house.tenure(&["execute", "--agent", "coder", "--input", "x", "--watch", "--output", "json"]).ok();
    let events: Vec<serde_json::Value> = watched.raw.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.is_sorted_by_key(|event| event["index"].as_u64().unwrap()));
    assert_eq!(events.first().unwrap()["kind"], "execution.started");
    assert_eq!(events.last().unwrap()["kind"], "execution.ended");
    assert_eq!(events.last().unwrap()["status"], "completed");
}

#[test]
fn a_watched_failure_ends_with_8() {
    let house = with_agent(1);
    // The cassette has no answer for a second execution.
    house.tenure(&["execute", "--agent", "coder", "--input", "1", "--watch"]).ok();
    let failed = house.tenure(&["execute", "--agent", "coder", "--input", "2", "--watch"]);
    assert_eq!(failed.code, 8, "{}", failed.stdout);
    assert!(failed.stdout.contains("Failed: model_error"), "{}", failed.stdout);
}

#[test]
fn a_repeated_start_with_the_same_key_is_the_first_one() {
    let house = with_agent(2);
    let start = |key: &str| {
        let words = ["execute", "--agent", "coder", "--input", "x", "--idempotency-key", key, "-o", "json"];
        house.tenure(&words).ok().json()
    };
    let (first, again, other) = (start("one"), start("one"), start("two"));
    assert_eq!((&first["id"], &again["repeated"]), (&again["id"], &true.into()));
    assert_ne!(first["id"], other["id"]);
}

/// Seed 004's scripting loop, its program's name changed and nothing else but the pause.
const LOOP: &str = r#"
set -e
# Deploy and capture the agent ID
AGENT_ID=$(tenure agent deploy ./agent.yaml --output json | jq -r '.id')
# Start an execution and capture the execution ID
EXEC_ID=$(tenure execute --agent python-coder \
--input '{"task": "..."}' \
--output json | jq -r '.id')
# Poll until complete
while true; do
STATUS=$(tenure execution get $EXEC_ID --output json | jq -r '.status')
echo "Status: $STATUS"
if [[ "$STATUS" == "completed" || "$STATUS" == "failed" || "$STATUS" == "cancelled" ]]; then
break
fi
sleep 0.2
done
echo "Final status: $STATUS"
echo "Agent: $AGENT_ID"
"#;

/// What the loop asks of jq, where it is not installed: one key of an object.
const JQ: &str = "#!/usr/bin/env python3\nimport json, sys\nprint(json.load(sys.stdin)[sys.argv[-1].lstrip('.')])\n";

#[test]
fn the_seeds_scripting_loop_and_command_lines_run_as_written() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::up(&cassette(1));
    let named = AGENT.replace("name: coder", "name: python-coder");
    house.write("agent.yaml", &named);
    let shim = house.write("jq", JQ);
    std::fs::set_permissions(&shim, std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_tenure")).parent().unwrap();
    let mut bash = Command::new("bash");
    bash.args(["-c", LOOP]).current_dir(house.path("")).env_clear();
    bash.env("PATH", format!("{}:/usr/bin:/bin:{}", program.display(), house.path("").display()));
    bash.env("HOME", house.path("")).env("TENURE_DATA_DIR", house.path("data"));
    let looped = house.run(bash).ok();
    assert!(looped.stdout.ends_with("Final status: completed\nAgent: agt_ID\n"), "{}", looped.stdout);
    let lines = [
        "agent list --output json",
        "agent list --status deployed",
        "agent list --status paused",
        "agent get python-coder",
        "execution list",
        "execution list --agent python-coder",
        "execution list --status completed",
        "execution list --status failed",
        "execution list --status running",
        "execution list --limit 20",
    ];
    for line in lines {
        house.tenure(&line.split(' ').collect::<Vec<_>>()).ok();
    }
    let address = house.url.trim_start_matches("http://").to_string();
    let foreign = house.tenure(&["--daemon-addr", &address, "agent", "list"]);
    assert_eq!(foreign.code, 7, "TCP wants a key: {}", foreign.stderr);
    assert!(example("aegis/python-coder.yaml").contains("100monkeys.ai/v1"));
    house.tenure(&["agent", "delete", "python-coder", "--yes"]).ok();
}

#[test]
fn whoever_looks_on_is_told_at_once_that_the_daemon_is_lost_and_looked_for_again() {
    let sleeps = cassette(1)
        .replace(r#""command":"python3","args":["/workspace/solution.py"]"#, r#""command":"sleep","args":["600"]"#);
    let mut house = House::up(&sleeps);
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let mut command = house.command(&["execute", "coder", "go", "--watch"]);
    let mut watcher = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut seen = BufReader::new(watcher.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(seen.any(|line| line.contains("process.run sleep 600")));
    house.kill();
    let said = BufReader::new(watcher.stderr.take().unwrap()).lines().next().unwrap().unwrap();
    watcher.kill().unwrap();
    watcher.wait().unwrap();
    assert!(said.starts_with("the daemon is lost; it is looked for again"), "before it has given up: {said}");
    assert!(house.steady(&said).contains("exe_ID"), "and of which execution: {said}");
}
