use super::house::{AGENT, House, cassette};

#[test]
fn elsewhere_than_at_a_terminal_the_agents_are_a_table_with_what_they_are_at() {
    let house = House::up(&cassette(1));
    house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", "agent.yaml"]).ok();
    house.tenure(&["agent", "create", "monitor", "--purpose", "System health monitoring"]).ok();
    house.tenure(&["pause", "monitor"]).ok();
    insta::assert_snapshot!(house.tenure(&["agents"]).ok().stdout, @"");
    assert_eq!(house.tenure(&["agents", "-q"]).ok().stdout.lines().count(), 2);
    let listed = house.tenure(&["agents", "-o", "json"]).ok().json();
    assert_eq!(listed[0]["name"], "coder");
}
