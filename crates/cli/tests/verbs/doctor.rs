use super::approval::ASKS;
use super::house::{AGENT, House, cassette};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;

fn checks<'a>(found: &'a Value, part: &str) -> Vec<&'a Value> {
    let all = found["checks"].as_array().unwrap();
    all.iter().filter(|check| check["part"] == part).collect()
}

fn named<'a>(found: &'a Value, part: &str, name: &str) -> &'a Value {
    checks(found, part)
        .into_iter()
        .find(|check| check["name"] == name)
        .unwrap_or_else(|| panic!("{part} {name}: {found:#}"))
}

#[test]
fn the_doctor_tries_what_would_hold_an_agent_s_next_call_and_ends_by_whether_all_of_it_does() {
    let house = House::up(&cassette(1));
    let (rules, agent) = (house.write("programs.cedar", ASKS), house.write("agent.yaml", AGENT));
    house.tenure(&["policy", "apply", &rules]).ok();
    house.tenure(&["agent", "deploy", &agent]).ok();
    house.tenure(&["budget", "set", "coder", "--tokens-day", "500000"]).ok();
    let answer = house.tenure(&["doctor", "coder", "-o", "json"]);
    let found = answer.json();
    assert_eq!(answer.code == 0, found["status"] == "in_force", "{found:#}");
    for (part, name) in [
        ("ledger", "proof"),
        ("disk", "reserve"),
        ("files", "ledger.key"),
        ("policy", "number 1"),
        ("rule", "process.run"),
        ("jail", "opens"),
        ("jail", "system calls are filtered"),
        ("jail", "no capabilities"),
        ("jail", "no way out but the egress"),
        ("jail", "writes nothing outside"),
    ] {
        assert_eq!(named(&found, part, name)["status"], "in_force", "{part} {name}: {found:#}");
    }
    assert_eq!(checks(&found, "listener").len(), 2);
    let rule = &named(&found, "rule", "process.run")["found"];
    assert!(rule.as_str().unwrap().starts_with("approval_required by project:programs.cedar:"), "{rule}");
    let budget = &named(&found, "budget", "agent tokens a day")["found"];
    assert_eq!(budget, "500000 of 500000 left, open");
    assert_eq!(named(&found, "model", "answers")["status"], "not_set", "a cassette is no model that answers");

    let one = [
        "doctor",
        "coder",
        "--capability",
        "process.run",
        "--input",
        "{\"command\": \"ls\"}",
        "--no-model",
        "-o",
        "json",
    ];
    let found = house.tenure(&one).json();
    let layers: Vec<&Value> = checks(&found, "rule").iter().map(|check| &check["name"]).collect();
    assert!(layers.iter().any(|name| *name == "project layer") && layers.len() > 3, "{layers:?}");
    assert_eq!(house.tenure(&["doctor", "coder", "--capability", "proces.run"]).code, 3);
    assert_eq!(house.tenure(&["doctor", "nobody"]).code, 4);
}

#[test]
fn what_does_not_hold_is_said_loudly_with_what_to_do_and_the_exit_code_is_one() {
    let house = House::up(&cassette(1));
    let key = house.path("data").join("ledger.key");
    let mode = |mode| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
    let told = |house: &House| {
        let answer = house.tenure(&["doctor", "-o", "json"]);
        (answer.code, named(&answer.json(), "files", "ledger.key")["status"].clone())
    };
    assert_eq!(told(&house).1, "in_force", "the control");
    mode(0o644);
    assert_eq!(told(&house), (1, "not_in_force".into()));
    let text = house.tenure(&["doctor"]).stdout;
    assert!(text.contains("NO  files ledger.key") && text.contains("NOT in force") && text.contains("chmod"), "{text}");
    mode(0o600);
}
