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
    assert!(told.contains("not usable") && told.contains("model default"), "{told}");
    let why = missing["why"].as_str().unwrap();
    assert_eq!(told.matches(why).count(), 1, "what several names want is said once: {told}");
}

#[test]
fn at_sixty_columns_no_word_of_the_status_is_cut_and_no_line_is_wider() {
    let house = House::up(&cassette(1));
    let whole = house.tenure(&["status"]).ok().raw;
    let narrow = house.on_terminal(60, &["status"]);
    let words: Vec<&str> = whole.split_whitespace().collect();
    for line in narrow.lines() {
        assert!(line.chars().count() <= 60, "{line}");
    }
    // What is wider than its room stands on a line of its own; figures that go on moving are no words.
    let cut = narrow.split_whitespace().find(|word| word.chars().all(char::is_alphabetic) && !words.contains(word));
    assert_eq!(cut, None, "{narrow}");
    for name in ["daemon", "listening", "worker", "languages", "model", "ledger", "disk"] {
        assert!(narrow.lines().any(|line| line.starts_with(name)), "{narrow}");
    }
}
