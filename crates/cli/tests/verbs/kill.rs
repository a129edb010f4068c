use super::house::{AGENT, House};

pub const SLEEPS: &str = r#"{"cassette":1}
{"execution":1,"iteration":1,"turn":1,"attempt":1,"answer":{"text":"","calls":[{"id":"c","name":"process.run","arguments":{"command":"sleep","args":["600"]}}],"stop":"calls","usage":{"input":1,"output":1,"cached":null},"model":"local/qwen","cost_micro_usd":null}}
"#;

#[test]
fn killing_ends_what_runs_and_pausing_does_not() {
    let house = House::up(SLEEPS);
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let started = house.tenure(&["execute", "coder", "1", "-o", "json"]).ok().json();
    let id = started["id"].as_str().unwrap();
    house.until(&["execution", "logs", id], |answer| answer.stdout.contains("process.run sleep 600"));
    house.tenure(&["pause", "coder"]).ok();
    assert_eq!(house.tenure(&["ps", "-o", "json"]).ok().json()[0]["status"], "running", "the control: it goes on");
    house.tenure(&["kill", "coder", "--note", "it sleeps"]).ok();
    let ended = house.wait(id);
    assert_eq!(
        (&ended["status"], &ended["detail"]),
        (&"cancelled".into(), &"by daemon: its agent was killed".into()),
        "{ended}"
    );
    assert_eq!(house.tenure(&["agent", "get", "coder", "-o", "json"]).ok().json()["status"], "paused");
}

#[test]
fn a_revoked_agent_begins_nothing_ever_again_and_keeps_its_history() {
    let house = House::up(SLEEPS);
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let started = house.tenure(&["execute", "coder", "1", "-o", "json"]).ok().json();
    let id = started["id"].as_str().unwrap();
    house.tenure(&["agent", "revoke", "coder", "--yes", "--note", "gone rogue"]).ok();
    assert_eq!(house.wait(id)["status"], "cancelled");
    for words in [&["execute", "coder", "2"][..], &["resume", "coder"], &["agent", "deploy", &file]] {
        let refused = house.tenure(words);
        assert!(refused.code == 5 && refused.stderr.contains("revoked"), "{words:?}: {}", refused.stderr);
    }
    assert_eq!(house.tenure(&["execution", "list", "-o", "json"]).ok().json()[0]["id"], id);
    house.tenure(&["audit", "verify"]).ok();
}
