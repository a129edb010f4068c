use super::house::{AGENT, House, cassette};

#[test]
fn ps_lists_what_has_not_ended_and_nothing_else() {
    let house = House::up(&cassette(2));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let started = house.tenure(&["execute", "coder", "go", "-o", "json"]).ok().json();
    let id = started["id"].as_str().unwrap().to_string();
    let open = house.tenure(&["ps", "-o", "json"]).ok().json();
    for execution in open.as_array().unwrap() {
        let status = execution["status"].as_str().unwrap();
        assert!(["queued", "running", "waiting"].contains(&status), "{open}");
    }
    house.wait(&id);
    assert_eq!(house.tenure(&["ps", "-o", "json"]).ok().json(), serde_json::json!([]));
    let listed = house.tenure(&["execution", "ls", "-o", "json"]).ok().json();
    assert_eq!(listed[0]["id"], id.as_str(), "{listed}");
}
