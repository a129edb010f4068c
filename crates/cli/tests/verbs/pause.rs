use super::house::{AGENT, House, cassette};

#[test]
fn a_paused_agent_says_who_why_and_until_when_starts_nothing_and_goes_on_when_resumed_and_after_a_restart() {
    let house = House::new();
    let tape = house.write("cassette.jsonl", &cassette(1));
    let up = || {
        let mut command = house.command(&["up", "-d", "--listen", "none"]);
        command.env("TENURE_CASSETTE", format!("replay:{tape}"));
        house.run(command).ok();
    };
    up();
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let paused = house.tenure(&["pause", "coder", "--note", "it spends too much", "-o", "json"]).ok().json();
    assert_eq!((&paused["status"], &paused["supervised"]["note"]), (&"paused".into(), &"it spends too much".into()));
    house.tenure(&["down"]).ok();
    up();
    let refused = house.tenure(&["execute", "coder", "go"]);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    assert!(refused.stderr.contains("paused") && refused.stderr.contains("tenure resume"), "{}", refused.stderr);
    let listed = house.tenure(&["agent", "list", "--status", "paused", "-o", "json"]).ok().json();
    assert_eq!(listed[0]["name"], "coder", "{listed}");
    house.tenure(&["agent", "resume", "coder"]).ok();
    let started = house.tenure(&["execute", "coder", "say 42", "-o", "json"]).ok().json();
    assert_eq!(house.wait(started["id"].as_str().unwrap())["status"], "completed");
    house.tenure(&["audit", "verify"]).ok();
    house.tenure(&["down"]).ok();
}

#[test]
fn a_pause_with_an_end_is_over_by_itself_and_one_that_is_past_is_refused() {
    let house = House::up(&cassette(1));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let past = house.tenure(&["pause", "coder", "--until", "2020-01-01T00:00:00Z"]);
    assert_ne!(past.code, 0, "{}", past.stdout);
    house.tenure(&["pause", "coder", "--until", "2s"]).ok();
    house.until(&["agent", "get", "coder", "-o", "json"], |answer| answer.json()["status"] == "registered");
}

/// Its first iteration fails its check after three seconds, its second passes.
const FAILS_ONCE: &str = r#"{"cassette":1}
{"execution":1,"iteration":1,"turn":1,"attempt":1,"answer":{"text":"","calls":[{"id":"c","name":"process.run","arguments":{"command":"sh","args":["-c","sleep 3; exit 1"]}}],"stop":"calls","usage":{"input":1,"output":1,"cached":null},"model":"local/qwen","cost_micro_usd":null}}
{"execution":1,"iteration":1,"turn":2,"attempt":1,"answer":{"text":"no","calls":[],"stop":"end","usage":{"input":1,"output":1,"cached":null},"model":"local/qwen","cost_micro_usd":null}}
{"execution":1,"iteration":2,"turn":1,"attempt":1,"answer":{"text":"","calls":[{"id":"d","name":"process.run","arguments":{"command":"true"}}],"stop":"calls","usage":{"input":1,"output":1,"cached":null},"model":"local/qwen","cost_micro_usd":null}}
{"execution":1,"iteration":2,"turn":2,"attempt":1,"answer":{"text":"yes","calls":[],"stop":"end","usage":{"input":1,"output":1,"cached":null},"model":"local/qwen","cost_micro_usd":null}}
"#;

#[test]
fn what_runs_when_its_agent_is_paused_goes_on_into_its_next_iterations() {
    let house = House::up(FAILS_ONCE);
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let started = house.tenure(&["execute", "coder", "1", "-o", "json"]).ok().json();
    let id = started["id"].as_str().unwrap();
    house.until(&["execution", "logs", id], |answer| answer.stdout.contains("sleep 3"));
    house.tenure(&["pause", "coder"]).ok();
    let ended = house.wait(id);
    assert_eq!((&ended["status"], &ended["iteration"]), (&"completed".into(), &2.into()), "{ended}");
    assert_eq!(house.tenure(&["agent", "get", "coder", "-o", "json"]).ok().json()["status"], "paused");
}
