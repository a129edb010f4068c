use serde_json::{Value, json};

use super::house::{AGENT, House, cassette, eventually};

/// Programs wait for a person; all else is as it is built in.
pub(crate) const ASKS: &str = "@id(\"programs_are_asked_about\")\n@verdict(\"approval_required\")\n@reason(\"a person looks at it first\")\n\
    permit(principal, action == Action::\"process.run\", resource);\n";

fn asking(executions: u32) -> House {
    let house = House::up(&cassette(executions));
    let (rules, agent) = (house.write("programs.cedar", ASKS), house.write("agent.yaml", AGENT));
    house.tenure(&["policy", "apply", &rules]).ok();
    house.tenure(&["agent", "deploy", &agent]).ok();
    house
}

fn begin(house: &House) -> String {
    let started = house.tenure(&["execute", "coder", "--input", "go", "-o", "json"]).ok().json();
    started["id"].as_str().unwrap().to_string()
}

/// What waits, once something does.
fn pending(house: &House) -> Value {
    let waits = |house: &House| house.tenure(&["approval", "list", "-o", "json"]).ok().json();
    eventually("an approval", || waits(house)[0].is_object());
    waits(house)[0].clone()
}

#[test]
fn a_call_waits_for_a_person_without_a_worker_and_is_done_with_what_was_allowed_also_after_a_kill() {
    let mut house = asking(1);
    let execution = begin(&house);
    let asked = pending(&house);
    let id = asked["id"].as_str().unwrap().to_string();
    assert_eq!((&asked["agent_name"], &asked["capability"]), (&json!("coder"), &json!("process.run")), "{asked}");
    let waits = |house: &House| house.tenure(&["execution", "get", &execution, "-o", "json"]).ok().json();
    eventually("its slot is free", || waits(&house)["waiting_for"] == "approval");
    assert_eq!(waits(&house)["status"], "waiting");

    house.kill();
    let tape = house.path("cassette.jsonl").display().to_string();
    let mut up = house.command(&["up", "-d", "--listen", "127.0.0.1:0"]);
    up.env("TENURE_CASSETTE", format!("replay:{tape}"));
    house.run(up).ok();
    let card = house.tenure(&["approval", "show", &id]).ok().stdout;
    for told in ["pending", "python3", "programs_are_asked_about", "Agent::\"coder\"", "refused at"] {
        assert!(card.contains(told), "{told}: {card}");
    }
    house.tenure(&["approval", "approve", &id, "--note", "it is small"]).ok();
    let late = house.tenure(&["approval", "approve", &id]);
    assert_eq!(late.code, 5, "{}", late.stderr);
    let ended = house.wait(&execution);
    assert_eq!((&ended["status"], &ended["output"]), (&json!("completed"), &json!("The answer is 42.")), "{ended}");
    let all = house.tenure(&["approval", "list", "--all", "-o", "json"]).ok().json();
    assert_eq!(all[0]["status"], "approved", "{all}");
    assert!(all[0]["detail"].as_str().unwrap().ends_with(": it is small"), "{all}");
    house.tenure(&["audit", "verify"]).ok();
    house.tenure(&["down"]).ok();
}

#[test]
fn what_waits_is_judged_again_when_other_rules_are_applied() {
    let house = asking(2);
    let released = begin(&house);
    pending(&house);
    house.tenure(&["policy", "rollback", "0"]).ok();
    assert_eq!(house.wait(&released)["status"], "completed", "the rules ask for nobody's word any more");

    house.tenure(&["policy", "rollback", "1"]).ok();
    let blocked = begin(&house);
    pending(&house);
    let rules = "@id(\"no_programs\")\nforbid(principal, action == Action::\"process.run\", resource);\n";
    let rules = house.write("none.cedar", rules);
    house.tenure(&["policy", "apply", &rules]).ok();
    house.wait(&blocked);
    let logs = house.tenure(&["execution", "logs", &blocked]).ok().stdout;
    assert!(logs.contains("no_programs"), "{logs}");
    let all = house.tenure(&["approval", "list", "--all", "-o", "json"]).ok().json();
    let statuses: Vec<&str> = all.as_array().unwrap().iter().filter_map(|one| one["status"].as_str()).collect();
    assert_eq!(statuses, ["cancelled", "cancelled"], "{all}");
    house.tenure(&["audit", "verify"]).ok();
}

#[test]
fn a_call_that_a_person_did_not_allow_is_not_done_and_its_agent_is_told_why() {
    let house = asking(1);
    let execution = begin(&house);
    let id = pending(&house)["id"].as_str().unwrap().to_string();
    house.tenure(&["approval", "reject", &id, "--reason", "not today"]).ok();
    house.wait(&execution);
    let logs = house.tenure(&["execution", "logs", &execution]).ok().stdout;
    assert!(logs.contains("a person did not allow it: not today"), "{logs}");
    assert_eq!(house.tenure(&["approval", "list", "-o", "json"]).ok().json(), json!([]));
    for (words, code) in [
        (&["approval", "show", "apr_00000000000000000000000000"][..], 4),
        (&["approval", "approve"], 2),
        (&["approval", "approve", "--all", "--agent", "coder"], 4),
        (&["approval", "approve", &id, "--minutes", "0"], 2),
        (&["approval", "revoke", "grt_00000000000000000000000000"], 4),
    ] {
        assert_eq!(house.tenure(words).code, code, "{words:?}");
    }
}

#[test]
fn other_arguments_are_done_in_their_place_and_a_grant_lets_the_next_pass_until_it_is_taken_back() {
    let house = asking(3);
    let first = begin(&house);
    let id = pending(&house)["id"].as_str().unwrap().to_string();
    let misfit = house.tenure(&["approval", "approve", &id, "--arguments", "{\"comand\":\"true\"}"]);
    assert_eq!(misfit.code, 3, "{}", misfit.stderr);
    let other = "{\"command\":\"python3\",\"args\":[\"-c\",\"print('edited')\"]}";
    let told = house.tenure(&["approval", "approve", &id, "--arguments", other, "--calls", "1"]).ok().stdout;
    for part in [
        "process.run python3 -c print('edited')",
        ", 1 call: the rule that asks lets such calls pass",
        "context.argv2 == \"print('edited')\"",
        "tenure approval revoke ",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains("solution.py"), "what was asked first is not what was allowed: {told}");
    let card = house.tenure(&["approval", "show", &id]).ok().stdout;
    assert!(card.contains("print('edited')") && !card.contains("solution.py"), "{card}");
    assert_eq!(house.wait(&first)["status"], "completed");
    let granted = house.tenure(&["approval", "grants", "-o", "json"]).ok().json();
    assert_eq!(
        (&granted[0]["status"], &granted[0]["capability"]),
        (&json!("active"), &json!("process.run")),
        "{granted}"
    );
    let grant = granted[0]["id"].as_str().unwrap().to_string();
    house.tenure(&["approval", "revoke", &grant]).ok();

    let second = begin(&house);
    let id = pending(&house)["id"].as_str().unwrap().to_string();
    house.tenure(&["approval", "approve", &id, "--calls", "1"]).ok();
    assert_eq!(house.wait(&second)["status"], "completed");
    let third = begin(&house);
    assert_eq!(house.wait(&third)["status"], "completed", "nobody is asked: the grant covers it");
    let records = house.tenure(&["audit", "tail", "--limit", "500", "-o", "json"]).ok().raw;
    for kind in ["call.held", "call.allowed", "grant.given", "grant.used", "grant.revoked", "policy.applied"] {
        assert!(records.contains(kind), "{kind} is not recorded");
    }
    let over = house.tenure(&["approval", "grants", "--all"]).ok().stdout;
    assert!(over.contains("used_up") && over.contains("revoked"), "{over}");
    house.tenure(&["audit", "verify"]).ok();
}
