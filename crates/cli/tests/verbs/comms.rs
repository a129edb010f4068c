use super::house::{AGENT, House, cassette};

#[test]
fn a_message_waits_for_its_agent_in_order_and_what_cannot_be_is_refused() {
    let house = House::up(&cassette(1));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let send = |text: &str, priority: &str| {
        house.tenure(&["comms", "send", "coder", text, "--priority", priority, "-o", "json"]).ok().json()
    };
    let (later, first) = (send("when there is time", "low"), send("now", "high"));
    let listed = house.tenure(&["comms", "list", "coder", "-o", "json"]).ok().json();
    let ids: Vec<&str> = listed.as_array().unwrap().iter().filter_map(|message| message["id"].as_str()).collect();
    assert!(ids.contains(&first["id"].as_str().unwrap()) && ids.contains(&later["id"].as_str().unwrap()), "{listed}");
    assert!(listed.as_array().unwrap().iter().all(|message| message["state"] == "waiting"), "{listed}");
    let agent = house.tenure(&["agent", "get", "coder", "-o", "json"]).ok().json();
    assert_eq!(agent["messages_waiting"], 2, "{agent}");
    assert_eq!(house.tenure(&["comms", "dead", "list", "-o", "json"]).ok().json(), serde_json::json!([]));
    house.tenure(&["comms", "channels"]).ok();
    assert_eq!(house.tenure(&["comms", "send", "nobody", "hello"]).code, 4);
    assert_eq!(house.tenure(&["-y", "comms", "dead", "drop", first["id"].as_str().unwrap()]).code, 5, "it is not dead");
    house.tenure(&["audit", "verify"]).ok();
}

#[test]
fn a_message_that_says_nothing_or_is_late_before_it_is_sent_is_refused_and_none_waits() {
    let house = House::up(&cassette(1));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let refuse = |words: &[&str], code: i32, said: &str| {
        let answer = house.tenure(words);
        assert!(answer.code == code && answer.stderr.contains(said), "{words:?}: {} {}", answer.code, answer.stderr);
    };
    for empty in [&[""][..], &["  \n"], &["\"\"", "--json"]] {
        refuse(&[&["comms", "send", "coder"], empty].concat(), 3, "the message is empty");
    }
    for (late, said) in
        [("0s", "over before the message is sent"), ("-5s", "`-5s` is no time"), ("-5", "`-5` is no time")]
    {
        refuse(&["comms", "send", "coder", "hello", "--deadline", late], 2, said);
    }
    let listed = house.tenure(&["comms", "list", "coder", "-o", "json"]).ok().json();
    assert_eq!(listed, serde_json::json!([]));
    house.tenure(&["comms", "send", "coder", "hello", "--deadline", "500ms"]).ok();
}
