use super::house::{AGENT, House, cassette};

fn house_with_agent() -> House {
    let house = House::up(&cassette(1));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    house
}

fn recorded(house: &House, kind: &str) -> serde_json::Value {
    let records = house.tenure(&["audit", "tail", "-o", "json"]).ok().json();
    let found = records.as_array().unwrap().iter().find(|record| record["kind"] == kind);
    found.unwrap_or_else(|| panic!("{kind} is not recorded: {records}")).clone()
}

#[test]
fn a_flag_that_no_verb_has_is_a_mistake_and_never_the_programs_version() {
    let house = house_with_agent();
    let mistaken = house.tenure(&["state", "set", "coder", "a", "1", "--version", "7"]);
    assert_eq!((mistaken.code, mistaken.stdout.as_str()), (2, ""), "{}", mistaken.stderr);
    assert!(mistaken.stderr.contains("--version"), "{}", mistaken.stderr);
    assert_eq!(house.tenure(&["state", "get", "coder", "a"]).code, 4, "nothing was set");
    assert!(house.tenure(&["--version"]).ok().stdout.starts_with("tenure "), "the control: the program's own");
}

/// Seed 000's page, with `tenure` in the place of its own word.
#[test]
fn the_seeds_lines_on_state_work_as_written_and_are_recorded_as_the_supervisors() {
    let house = house_with_agent();
    house.tenure(&["state", "set", "coder", "last_deploy", "2026-03-01 by hand"]).ok();
    let mut told = String::new();
    for line in [
        &["state", "list", "coder"][..],
        &["state", "get", "coder", "last_deploy"],
        &["state", "set", "coder", "debug_flag", r#"{"enabled": true}"#],
        &["state", "get", "coder", "debug_flag", "-o", "yaml"],
        &["state", "delete", "coder", "debug_flag"],
        &["state", "get", "coder", "debug_flag"],
        &["state", "history", "coder", "debug_flag"],
        &["state", "quota", "coder"],
        &["state", "quota", "coder", "--set", "200Mi"],
        &["state", "list", "coder", "-o", "json"],
    ] {
        let answer = house.tenure(line);
        told.push_str(&format!("$ tenure {}\n{}{}[{}]\n", line.join(" "), answer.stdout, answer.stderr, answer.code));
    }
    insta::assert_snapshot!(told);
    for kind in ["state.set", "state.deleted", "state.quota_set"] {
        let record = recorded(&house, kind);
        assert!(record["actor"].as_str().unwrap().starts_with("owner:"), "{record}");
    }
    house.tenure(&["audit", "verify"]).ok();
}

#[test]
fn a_value_that_begins_as_json_and_is_none_is_refused_and_a_large_one_with_its_size() {
    let house = house_with_agent();
    let broken = house.tenure(&["state", "set", "coder", "a", "{\"x\": "]);
    assert!(broken.code == 3 && broken.stderr.contains("--text"), "{}", broken.stderr);
    house.tenure(&["state", "set", "coder", "a", "{\"x\": ", "--text"]).ok();
    let kept = house.tenure(&["state", "get", "coder", "a", "-o", "json"]).ok().json();
    assert_eq!(kept["value"], "{\"x\": ");
    let large = house.write("large.json", &format!("\"{}\"", "x".repeat(1024 * 1024)));
    let refused = house.tenure(&["state", "set", "coder", "a", &format!("@{large}")]);
    assert!(refused.code == 3 && refused.stderr.contains("1048576"), "{}", refused.stderr);
    let stale = house.tenure(&["state", "set", "coder", "a", "1", "--expected-version", "7"]);
    assert!(stale.code == 5 && stale.stderr.contains("is 1"), "{}", stale.stderr);
}

#[test]
fn what_is_shared_is_checked_by_version_ruled_by_prefix_and_watched_from_a_cursor() {
    let house = house_with_agent();
    let mut told = String::new();
    for line in [
        &["state", "shared", "set", "report:2024-03", r#"{"total": 1200}"#, "--expected-version", "0"][..],
        &["state", "shared", "set", "report:2024-03", "1", "--expected-version", "0"],
        &["state", "shared", "get", "report:2024-03"],
        &["state", "shared", "list"],
        &["state", "shared", "acl", "set", "report:", "--read", "*", "--write", "coder"],
        &["state", "shared", "acl", "list"],
        &["state", "shared", "acl", "delete", "report:"],
        &["state", "shared", "acl", "delete", "report:"],
        &["state", "shared", "delete", "report:2024-03", "--expected-version", "2"],
        &["state", "shared", "delete", "report:2024-03", "--expected-version", "1"],
        &["state", "shared", "quota", "-o", "json"],
    ] {
        let answer = house.tenure(line);
        told.push_str(&format!("$ tenure {}\n{}{}[{}]\n", line.join(" "), answer.stdout, answer.stderr, answer.code));
    }
    insta::assert_snapshot!(told);
    let watch = |after: &str| {
        let line = ["state", "shared", "watch", "--after", after, "--no-follow", "-o", "json"];
        let raw = house.tenure(&line).ok().raw;
        raw.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let changes = watch("0");
    let whats: Vec<&str> = changes.iter().map(|change| change["what"].as_str().unwrap()).collect();
    assert_eq!(whats, ["set", "deleted"]);
    assert_eq!(watch(&changes[0]["index"].to_string()), changes[1..], "from a cursor on");
}

#[test]
fn a_backup_is_put_back_whole_and_nothing_of_it_where_one_value_does_not_fit() {
    let house = house_with_agent();
    house.tenure(&["state", "set", "coder", "a", "[1, 2]"]).ok();
    house.tenure(&["state", "set", "coder", "b", "text"]).ok();
    let backup = house.write("backup.json", &house.tenure(&["state", "backup", "coder"]).ok().raw);
    house.tenure(&["state", "set", "coder", "a", "changed"]).ok();
    house.tenure(&["state", "delete", "coder", "b"]).ok();
    house.tenure(&["state", "quota", "coder", "--set", "9B"]).ok();
    let refused = house.tenure(&["state", "restore", "coder", &backup]);
    assert_eq!(refused.code, 5, "{}{}", refused.stdout, refused.stderr);
    let kept = || house.tenure(&["state", "list", "coder", "-o", "json"]).ok().json();
    assert_eq!((kept()[0]["version"].as_u64(), kept().as_array().unwrap().len()), (Some(2), 1), "nothing was put back");
    house.tenure(&["state", "quota", "coder", "--set", "1Mi"]).ok();
    let restored = house.tenure(&["state", "restore", "coder", &backup, "-o", "json"]).ok().json();
    let versions: Vec<_> = restored["items"].as_array().unwrap().iter().map(|it| it["version"].as_u64()).collect();
    assert_eq!(versions, [Some(3), Some(3)], "{restored}");
    assert_eq!(house.tenure(&["state", "get", "coder", "a"]).ok().raw, "[1, 2]\n", "as it was written");
    house.tenure(&["audit", "verify"]).ok();
}

#[test]
fn a_value_with_a_time_to_live_is_gone_when_it_is_over_and_its_event_says_when_it_was_due() {
    let house = house_with_agent();
    house.tenure(&["state", "set", "coder", "lock", "held", "--ttl", "1s"]).ok();
    house.tenure(&["state", "set", "coder", "kept", "control", "--ttl", "1h"]).ok();
    house.until(&["state", "watch", "coder", "--after", "0", "--no-follow"], |answer| {
        answer.raw.contains("expired lock")
    });
    assert_eq!(house.tenure(&["state", "get", "coder", "lock"]).code, 4);
    house.tenure(&["state", "get", "coder", "kept"]).ok();
    let record = recorded(&house, "state.expired");
    assert!(record.to_string().contains("\"due\""), "{record}");
    house.tenure(&["audit", "verify"]).ok();
}
