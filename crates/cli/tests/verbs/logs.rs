use super::house::{AGENT, House, cassette};

#[test]
fn logs_and_execution_logs_are_the_same() {
    let house = House::up(&cassette(1));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let started = house.tenure(&["execute", "coder", "go", "-o", "json"]).ok().json();
    let id = started["id"].as_str().unwrap().to_string();
    house.wait(&id);
    let long = house.tenure(&["execution", "logs", &id]).ok().stdout;
    assert!(long.contains("Iteration 1"), "{long}");
    assert_eq!(house.tenure(&["logs", &id]).ok().stdout, long);
}
