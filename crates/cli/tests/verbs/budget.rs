use super::house::{AGENT, House, cassette};

fn house_with_agent(executions: u32) -> House {
    let house = House::up(&cassette(executions));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    house
}

#[test]
fn a_budget_is_set_listed_used_up_refuses_what_begins_and_is_raised() {
    let house = house_with_agent(3);
    let empty = house.tenure(&["budget", "list"]).ok();
    assert!(empty.stdout.starts_with("WHOSE"), "{}", empty.stdout);
    house.tenure(&["budget", "set", "coder", "--day", "5USD", "--month", "$50"]).ok();
    house.tenure(&["budget", "set", "--project", "--tokens-day", "2M"]).ok();
    house.tenure(&["budget", "set", "coder", "--tokens-month", "200k"]).ok();
    let list = house.tenure(&["budget", "list", "-o", "json"]).ok().json();
    let told: Vec<String> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{} {} {} {} {}", one["agent"], one["measure"], one["period"], one["limit"], one["status"]))
        .collect();
    assert_eq!(
        told,
        [
            r#""coder" "money" "day" 5000000 "open""#,
            r#""coder" "money" "month" 50000000 "open""#,
            r#""coder" "tokens" "month" 200000 "open""#,
            r#"null "tokens" "day" 2000000 "open""#,
        ]
    );
    house.tenure(&["execute", "coder", "go", "--watch"]).ok();
    let used = house.tenure(&["budget", "list", "coder", "-o", "json"]).ok().json();
    let tokens = used.as_array().unwrap().iter().find(|one| one["measure"] == "tokens").unwrap();
    assert_eq!(tokens["used"], 26, "two turns of 13: what was held is given back");
    house.tenure(&["budget", "set", "coder", "--tokens-month", "26"]).ok();
    let refused = house.tenure(&["execute", "coder", "go"]);
    assert!(refused.code == 5 && refused.stderr.contains("26 tokens of 26 tokens"), "{}", refused.stderr);
    assert!(refused.stderr.contains("opens again at") && refused.stderr.contains("budget set"), "{}", refused.stderr);
    let warned = house.tenure(&["budget", "set", "coder", "--tokens-month", "200"]).ok();
    let what = "warning: nothing of coder can run: 200 tokens a month is less than the";
    assert!(warned.stderr.contains(what), "{}", warned.stderr);
    assert!(warned.stderr.contains("next: `tenure budget set coder --tokens-month AMOUNT`"), "{}", warned.stderr);
    let listed = house.tenure(&["budget", "list", "coder", "-o", "json"]).ok().json();
    let small: Vec<&serde_json::Value> =
        listed.as_array().unwrap().iter().filter(|one| one["status"] == "too_small").collect();
    assert!(
        small.len() == 1 && small[0]["call_holds"].as_u64() > Some(200),
        "what was free of money stays open: {listed}"
    );
    let short = house.tenure(&["execute", "coder", "go", "--watch"]);
    assert!(short.code == 8 && short.stdout.contains("token_budget"), "a call that may pass it: {}", short.stdout);
    house.tenure(&["budget", "set", "coder", "--tokens-month", "none"]).ok();
    house.tenure(&["execute", "coder", "go", "--watch"]).ok();
    let gone = house.tenure(&["budget", "remove", "coder"]).ok();
    assert_eq!(gone.stdout, "Nothing limits coder any more\n");
    let records = house.tenure(&["audit", "tail", "--limit", "500", "-o", "json"]).ok().json();
    let set = records.as_array().unwrap().iter().filter(|record| record["kind"] == "agent.budget_set");
    assert!(set.clone().all(|record| record["actor"].as_str().unwrap().starts_with("owner:")) && set.count() == 6);
    house.tenure(&["audit", "verify"]).ok();
}

#[test]
fn what_is_no_budget_is_refused_and_changes_nothing() {
    let house = house_with_agent(1);
    for (words, code, said) in [
        (&["budget", "set", "coder"][..], 2, "--day"),
        (&["budget", "set", "--day", "5"], 2, "--project"),
        (&["budget", "set", "coder", "--project", "--day", "5"], 2, "cannot be used with"),
        (&["budget", "set", "coder", "--day", "5EUR"], 2, "no amount of US dollars"),
        (&["budget", "set", "coder", "--day", "0"], 2, "tenure pause"),
        (&["budget", "set", "coder", "--tokens-day", "1.5M"], 2, "no number of tokens"),
        (&["budget", "set", "codr", "--day", "5"], 4, "did you mean `coder`?"),
        (&["budget", "list", "codr"], 4, "did you mean `coder`?"),
        (&["budget", "remove"], 2, "--project"),
    ] {
        let answer = house.tenure(words);
        assert!(answer.code == code && answer.stderr.contains(said), "{words:?}: {} {}", answer.code, answer.stderr);
    }
    assert_eq!(house.tenure(&["budget", "list", "-o", "json"]).ok().json(), serde_json::json!([]));
}
