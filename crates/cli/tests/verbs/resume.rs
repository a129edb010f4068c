use super::house::{AGENT, House, cassette};

#[test]
fn resuming_what_is_not_paused_changes_nothing_and_what_is_unknown_is_said() {
    let house = House::up(&cassette(1));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    assert_eq!(house.tenure(&["resume", "coder", "-o", "json"]).ok().json()["status"], "registered");
    let two = house.tenure(&["resume", "nobody", "coder"]);
    assert_eq!(two.code, 4, "{}", two.stderr);
    assert!(two.stdout.contains("Resumed agent \"coder\""), "what is known is done: {}", two.stdout);
}
