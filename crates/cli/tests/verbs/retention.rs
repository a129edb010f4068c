use super::house::{AGENT, House, cassette};

const SAID: &str = "a word that nobody else says";

fn house_with_agent(executions: u32) -> House {
    let house = House::up(&cassette(executions));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    house
}

/// Runs the agent to its end, and gives the execution's id.
fn run(house: &House) -> String {
    let started = house.tenure(&["execute", "coder", SAID, "-o", "json"]).ok().json();
    let id = started["id"].as_str().unwrap().to_string();
    house.wait(&id);
    id
}

fn knows(house: &House, words: &[&str]) -> bool {
    house.tenure(words).ok().stdout.contains(SAID)
}

#[test]
fn what_an_execution_was_told_is_erased_once_with_a_reason_and_its_records_hold() {
    let house = house_with_agent(2);
    let (gone, kept) = (run(&house), run(&house));
    assert!(knows(&house, &["execution", "get", &gone]), "the control: it was told");
    let nothing = house.tenure(&["audit", "erase", &gone]);
    assert!(nothing.code == 2 && nothing.stderr.contains("--why"), "{}", nothing.stderr);
    let unasked = house.tenure(&["audit", "erase", &gone, "--why", "a customer asked"]);
    assert!(unasked.code == 2 && unasked.stderr.contains("--yes"), "{}", unasked.stderr);
    house.tenure(&["audit", "erase", &gone, "--why", "a customer asked", "--yes"]).ok();
    assert!(!knows(&house, &["execution", "get", &gone]) && !knows(&house, &["logs", &gone]));
    assert!(house.tenure(&["execution", "get", &gone]).ok().stdout.contains("erased"));
    assert!(knows(&house, &["execution", "get", &kept]), "the control: the other one is whole");
    let again = house.tenure(&["audit", "erase", &gone, "--why", "once more", "--yes"]);
    assert!(again.code == 5 && again.stderr.contains("erased before"), "{} {}", again.code, again.stderr);
    let retried = house.tenure(&["execution", "retry", &gone]);
    assert!(retried.code == 5 && retried.stderr.contains("is gone"), "{} {}", retried.code, retried.stderr);
    let records = house.tenure(&["audit", "tail", "--kind", "execution.erased", "-o", "json"]).ok().json();
    assert_eq!(
        (records[0]["data"]["why"].as_str(), records[0]["data"]["reason"].as_str()),
        (Some("asked"), Some("a customer asked"))
    );
    house.tenure(&["audit", "verify"]).ok();
}

#[test]
fn one_payload_is_erased_by_its_hash_and_the_rest_stays() {
    let house = house_with_agent(1);
    let id = run(&house);
    let started = house.tenure(&["audit", "query", "--execution", &id, "--kind", "execution.started", "-o", "json"]);
    let started = started.ok().json();
    let hash = started[0]["data"]["input"]["hash"].as_str().unwrap().to_string();
    assert!(knows(&house, &["execution", "get", &id]), "the control: it was told");
    let erase =
        |payload: &str| house.tenure(&["audit", "erase", payload, "--why", "a customer asked", "--yes", "-o", "json"]);
    let erased = erase(&hash).ok().json();
    assert_eq!((&erased["id"], &erased["status"]), (&hash.as_str().into(), &"erased".into()));
    assert_eq!(erased["record"], started[0]["index"]);
    assert!(!knows(&house, &["execution", "get", &id]));
    let again = erase(&hash);
    assert!(again.code == 5 && again.stderr.contains("erased"), "{} {}", again.code, again.stderr);
    let unknown = erase(&"f".repeat(64));
    assert!(unknown.code == 4 && unknown.stderr.contains("no record names it"), "{} {}", unknown.code, unknown.stderr);
    let record = house.tenure(&["audit", "query", "--kind", "execution.payload_erased", "-o", "json"]).ok().json();
    assert_eq!(
        (&record[0]["data"]["payload"], &record[0]["data"]["reason"]),
        (&hash.as_str().into(), &"a customer asked".into())
    );
    house.tenure(&["audit", "verify"]).ok();
    let path = house.path("whole.jsonl").display().to_string();
    house.tenure(&["audit", "export", "--payloads", "--out", &path]).ok();
    let checked = house.tenure(&["audit", "verify", &path, "-o", "json"]).ok().json();
    assert_eq!(checked["erased"], 1);
}

#[test]
fn a_rule_is_set_part_by_part_shown_with_what_is_kept_and_taken_away() {
    let house = house_with_agent(1);
    let id = run(&house);
    let kept = house.tenure(&["retention", "show", "-o", "json"]).ok().json();
    assert!(kept["kept_bytes"].as_u64().unwrap() > 0 && kept["bytes"].is_null() && kept["age_ms"].is_null(), "{kept}");
    let set = house.tenure(&["retention", "set", "--size", "1Gi", "--yes"]).ok();
    assert!(set.stdout.contains("1Gi") && set.stdout.contains("any"), "{}", set.stdout);
    house.tenure(&["retention", "set", "--age", "30d", "--yes"]).ok();
    // It is looked at once for what there was, and then when the first is too old.
    let both = house.until(&["retention", "show"], |answer| answer.stdout.contains("next look"));
    assert!(both.stdout.contains("30d") && both.stdout.contains("1Gi"), "what is not named stays: {}", both.stdout);
    let gone = house.tenure(&["retention", "remove"]).ok();
    assert!(!gone.stdout.contains("30d") && !gone.stdout.contains("1Gi"), "{}", gone.stdout);
    assert!(knows(&house, &["execution", "get", &id]), "no rule touched it");
    for (words, code, said) in [
        (&["retention", "set"][..], 2, "--age"),
        (&["retention", "set", "--age", "30"], 2, "unit"),
        (&["retention", "set", "--age", "5s", "--yes"], 3, "from a minute"),
        (&["retention", "set", "--size", "much"], 2, "size"),
    ] {
        let answer = house.tenure(words);
        assert!(answer.code == code && answer.stderr.contains(said), "{words:?}: {} {}", answer.code, answer.stderr);
    }
    house.tenure(&["audit", "verify"]).ok();
}

/// The bytes of a file of the data directory; none where there is no such file.
fn bytes(house: &House, name: &str) -> Vec<u8> {
    std::fs::read(house.path("data").join(name)).unwrap_or_default()
}

#[test]
fn nothing_of_what_was_erased_is_left_in_the_files_of_the_database() {
    let house = house_with_agent(1);
    let id = run(&house);
    let lies = |name: &str| bytes(&house, name).windows(SAID.len()).any(|part| part == SAID.as_bytes());
    let somewhere = || lies("tenure.db") || lies("tenure.db-wal");
    assert!(somewhere(), "the control: it was written");
    house.tenure(&["audit", "erase", &id, "--why", "a customer asked", "--yes"]).ok();
    super::house::eventually("nothing is left", || !somewhere());
}
