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
