use super::house::{AGENT, House, cassette};

#[test]
fn an_execution_is_listed_shown_and_its_logs_are_read() {
    let house = House::up(&cassette(1));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let started = house.tenure(&["execute", "--agent", "coder", "--input", "say 42", "-o", "json"]).ok().json();
    let id = started["id"].as_str().unwrap();
    let ended = house.wait(id);
    assert_eq!((&ended["status"], &ended["iterations"][0]["status"]), (&"completed".into(), &"completed".into()));
    assert_eq!((&ended["input"], &ended["output"]), (&"say 42".into(), &"The answer is 42.".into()));
    let short = format!("exe_{}", &id[id.len() - 8..]);
    let mut told = String::new();
    for words in [
        &["execution", "list"][..],
        &["execution", "list", "--status", "timeout"],
        &["execution", "get", &short],
        &["execution", "logs", &short],
        &["execution", "logs", &short, "--iteration", "7"],
        &["execution", "cancel", &short],
        &["execution", "get", "exe_nothing1"],
        &["execution", "get", ended["agent"].as_str().unwrap()],
        &["agent", "get", &short],
        &["key", "revoke", &short, "--yes"],
    ] {
        let answer = house.tenure(words);
        told.push_str(&format!("$ tenure {}\n", house.steady(&words.join(" "))));
        told.push_str(&format!("{}{}[{}]\n", answer.stdout, answer.stderr, answer.code));
    }
    insta::assert_snapshot!(told);
    let followed = house.tenure(&["execution", "logs", id, "--follow"]).ok();
    assert!(followed.stdout.lines().last().unwrap().contains("Completed (1 iteration"), "{}", followed.stdout);
}

#[test]
fn a_cancelled_execution_ends_with_its_program_and_says_by_whom_and_why() {
    let sleep = r#"{"cassette":1}
{"execution":1,"iteration":1,"turn":1,"attempt":1,"answer":{"text":"","calls":[{"id":"c","name":"process.run","arguments":{"command":"sleep","args":["600"]}}],"stop":"calls","usage":{"input":1,"output":1,"cached":null},"model":"local/qwen","cost_micro_usd":null}}
"#;
    let house = House::up(sleep);
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let started = house.tenure(&["execute", "--agent", "coder", "--input", "1", "-o", "json"]).ok().json();
    let id = started["id"].as_str().unwrap();
    house.until(&["execution", "logs", id], |answer| answer.stdout.contains("process.run sleep 600"));
    assert_eq!(
        house.tenure(&["agent", "list", "--status", "active", "-o", "json"]).ok().json().as_array().unwrap().len(),
        1
    );
    house.tenure(&["execution", "cancel", id, "--why", "it sleeps"]).ok();
    let ended = house.wait(id);
    assert_eq!((&ended["status"], &ended["cancel_requested"]), (&"cancelled".into(), &true.into()));
    assert!(ended["detail"].as_str().unwrap().ends_with(": it sleeps"), "{ended}");
    let again = house.tenure(&["execution", "cancel", id]);
    assert_eq!(again.code, 5, "{}", again.stderr);
}

#[test]
fn what_is_retried_gets_the_very_input_that_was_given_and_so_is_it_shown() {
    let house = House::up(&cassette(2));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let given = "{\"n\":\t12345678901234567890123, \"x\": [1.50, 1e400]}";
    let started = house.tenure(&["execute", "coder", given, "-o", "json"]).ok().json();
    let retried = house.tenure(&["execution", "retry", started["id"].as_str().unwrap(), "-o", "json"]).ok().json();
    for id in [started["id"].as_str().unwrap(), retried["id"].as_str().unwrap()] {
        for format in ["table", "json", "yaml"] {
            let shown = house.tenure(&["execution", "get", id, "-o", format]).ok();
            assert!(
                shown.raw.contains("{\"n\":12345678901234567890123,\"x\":[1.50,1e400]}"),
                "{format}: {}",
                shown.raw
            );
        }
    }
}
