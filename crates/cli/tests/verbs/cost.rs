use super::house::{AGENT, House, cassette};

#[test]
fn what_model_calls_cost_is_summed_up_by_agent_model_day_and_execution_with_what_has_no_price() {
    let house = House::up(&cassette(2));
    let file = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &file]).ok();
    let none = house.tenure(&["cost"]).ok();
    assert!(none.stdout.contains("for 0 model calls"), "{}", none.stdout);
    for _ in 0..2 {
        house.tenure(&["execute", "coder", "go", "--watch"]).ok();
    }
    for (by, name, calls) in [("agent", "coder", 4), ("model", "cassette/local/qwen", 4)] {
        let costs = house.tenure(&["cost", "--by", by, "-o", "json"]).ok().json();
        let first = &costs["items"][0];
        assert_eq!((first["name"].as_str(), first["calls"].as_u64()), (Some(name), Some(calls)), "{costs}");
        assert_eq!((&first["tokens_in"], &first["tokens_out"]), (&40.into(), &12.into()), "{costs}");
        assert_eq!(costs["total"]["calls"], 4, "{costs}");
    }
    let days = house.tenure(&["cost", "--by", "day", "--since", "7d", "-o", "json"]).ok().json();
    assert_eq!(days["items"].as_array().unwrap().iter().map(|day| day["calls"].as_u64().unwrap()).sum::<u64>(), 4);
    let executions = house.tenure(&["cost", "--by", "execution", "-o", "json"]).ok().json();
    assert_eq!(executions["items"].as_array().unwrap().len(), 2, "{executions}");
    let table = house.tenure(&["cost"]).ok();
    assert!(table.stdout.contains('█') && table.stdout.contains("for 4 model calls"), "{}", table.stdout);
    for (words, code, said) in [
        (&["cost", "--by", "week"][..], 2, "execution"),
        (&["cost", "--since", "soon"], 2, "is no time"),
        (&["cost", "--agent", "codr"], 4, "did you mean `coder`?"),
    ] {
        let answer = house.tenure(words);
        assert!(answer.code == code && answer.stderr.contains(said), "{words:?}: {} {}", answer.code, answer.stderr);
    }
    house.tenure(&["audit", "verify"]).ok();
}
