use super::house::{AGENT, House};
use super::kill::SLEEPS;

#[test]
fn an_agent_in_quarantine_runs_nothing_until_it_is_recovered() {
    let house = House::up(SLEEPS);
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let started = house.tenure(&["execute", "coder", "1", "-o", "json"]).ok().json();
    let id = started["id"].as_str().unwrap();
    house.until(&["execution", "logs", id], |answer| answer.stdout.contains("process.run sleep 600"));
    let words = ["agent", "quarantine", "coder", "--severity", "high", "--note", "it looks elsewhere"];
    let put = house.tenure(&words).ok();
    assert!(put.stdout.contains("`tenure agent recover coder`"), "{}", put.stdout);
    assert_eq!(house.wait(id)["status"], "cancelled");
    let shown = house.tenure(&["agent", "get", "coder", "-o", "json"]).ok().json();
    assert_eq!(shown["status"], "quarantined", "{shown}");
    assert_eq!(shown["supervised"]["note"], "manual (high): it looks elsewhere", "{shown}");
    let listed = house.tenure(&["agent", "list", "--status", "quarantined", "-o", "json"]).ok().json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    for words in [&["execute", "coder", "2"][..], &["resume", "coder"], &["pause", "coder"]] {
        let refused = house.tenure(words);
        assert!(refused.code == 5 && refused.stderr.contains("quarantine"), "{words:?}: {}", refused.stderr);
    }
    house.tenure(&["agent", "recover", "coder", "--note", "looked at"]).ok();
    house.tenure(&["execute", "coder", "3"]).ok();
    let told = house.tenure(&["audit", "query", "--lifecycle", "quarantined", "-o", "json"]).ok().json();
    assert_eq!(told.as_array().unwrap().len(), 1, "{told}");
    house.tenure(&["audit", "verify"]).ok();
}

#[test]
fn what_is_critical_is_never_recovered_and_what_is_not_in_quarantine_needs_none() {
    let house = House::up(SLEEPS);
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let none = house.tenure(&["agent", "recover", "coder"]);
    assert!(none.code == 5 && none.stderr.contains("not in quarantine"), "{}", none.stderr);
    let wrong = house.tenure(&["agent", "quarantine", "coder", "--severity", "dreadful"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("low, medium, high, critical"), "{}", wrong.stderr);
    let words = ["agent", "quarantine", "coder", "--severity", "critical", "--type", "security_violation"];
    house.tenure(&words).ok();
    house.tenure(&words).ok();
    let over = house.tenure(&["agent", "recover", "coder"]);
    assert!(over.code == 5 && over.stderr.contains("max_retries_exceeded"), "{}", over.stderr);
}
