use super::house::{House, cassette};

#[test]
fn the_status_says_what_runs_where() {
    let house = House::up(&cassette(1));
    let status = house.tenure(&["status", "-o", "json"]).ok().json();
    assert_eq!((&status["agents"], &status["executions_open"]), (&0.into(), &0.into()));
    assert_eq!((&status["worker"]["name"], &status["worker"]["connected"]), (&"built-in".into(), &true.into()));
    assert_eq!(status["listening"][1].as_str().unwrap(), house.url);
    let check = &status["ledger_check"];
    assert!(
        ["running", "clean"].contains(&check["state"].as_str().unwrap()) && check.get("findings").is_none(),
        "{check}"
    );
    let told = house.tenure(&["status"]).ok().stdout;
    for word in ["daemon", "listening", "worker", "model", "cassette", "ledger"] {
        assert!(told.lines().any(|line| line.starts_with(word)), "{told}");
    }
}

#[test]
fn the_status_says_what_is_not_usable_yet_and_what_to_do() {
    let house = House::new();
    house.tenure(&["up", "--detach", "--listen", "none"]).ok();
    let status = house.tenure(&["status", "-o", "json"]).ok().json();
    let told = house.tenure(&["status"]).ok().stdout;
    house.tenure(&["down"]).ok();
    let default = |item: &&serde_json::Value| item["what"] == "model default";
    let missing = status["unusable"].as_array().unwrap().iter().find(default).unwrap_or_else(|| panic!("{status:#}"));
    assert!(missing["next"].as_str().unwrap().contains("tenure model pull"), "{missing}");
    assert!(told.contains("not usable") && told.contains("model default: "), "{told}");
}
