use super::house::{AGENT, House, cassette};

#[test]
fn models_are_listed_with_what_default_means_and_that_a_cassette_answers() {
    let house = House::up(&cassette(1));
    let list = house.tenure(&["model", "list"]).ok();
    assert!(list.stdout.contains("default is local/") && list.stdout.contains("answers come from the cassette"));
    let items = house.tenure(&["model", "list", "-o", "json"]).ok().json();
    assert!(items.as_array().unwrap().iter().any(|model| model["aliases"][0] == "default"), "{items}");
    let test = house.tenure(&["model", "test"]);
    assert!(test.code == 5 && test.stderr.contains("TENURE_CASSETTE"), "{}", test.stderr);
}

#[test]
fn weights_that_are_not_the_catalogues_are_not_kept() {
    let house = House::new();
    let file = house.write("weights.gguf", "no weights");
    let wrong = house.tenure(&["model", "pull", "--from", &file]);
    assert!(wrong.code == 1 && wrong.stderr.contains("10 bytes, expected"), "{}", wrong.stderr);
    let unknown = house.tenure(&["model", "pull", "local-defualt"]);
    assert!(unknown.code == 4 && unknown.stderr.contains("did you mean `local-default`?"), "{}", unknown.stderr);
}

#[test]
fn a_word_for_models_is_kept_taken_up_at_once_and_removed() {
    let house = House::up(&cassette(1));
    let alias = house.tenure(&["model", "alias", "reasoning", "anthropic/claude-sonnet-4-5", "local"]).ok();
    insta::assert_snapshot!(alias.stdout, @r#"
    "reasoning" is anthropic/claude-sonnet-4-5, then local/qwen2.5-coder-1.5b (in DIR/.config/tenure/models.toml)
    "#);
    let manifest = house.write("agent.yaml", &AGENT.replace("spec:\n", "spec:\n  runtime:\n    model: reasoning\n"));
    house.tenure(&["agent", "deploy", &manifest]).ok();
    let add = house.tenure(&[
        "model",
        "add",
        "vllm",
        "openai/qwen",
        "--url",
        "http://127.0.0.1:8000/v1",
        "--key-env",
        "VLLM_KEY",
    ]);
    assert!(add.ok().stdout.contains("\"vllm\" is openai/qwen"));
    let listed = house.tenure(&["model", "list", "-o", "json"]).ok().json();
    let named = |name: &str| listed.as_array().unwrap().iter().find(|model| model["name"] == name).cloned();
    assert_eq!(named("reasoning").unwrap()["candidates"][1], "local/qwen2.5-coder-1.5b");
    let weights = named("local/qwen2.5-coder-0.5b").unwrap()["weights"].clone();
    assert!(weights["licence"] == "Apache-2.0" && weights["sha256"].as_str().unwrap().len() == 64, "{weights}");
    for (words, code, said) in [
        (&["model", "alias", "x", "locla"][..], 3, "did you mean `local`?"),
        (&["model", "alias", "x", "reasoning"], 3, "not for aliases"),
        (&["model", "add", "x", "qwen"], 2, "names no provider"),
        (&["model", "add", "x", "azure/qwen"], 3, "is no provider"),
        (&["model", "add", "local", "openai/x"], 3, "the word is taken"),
        (&["model", "add", "x", "openai/q", "--url", "nonsense"], 3, "no usable base URL"),
        (&["model", "remove", "reasonin", "--yes"], 4, "did you mean `reasoning`?"),
        (&["model", "remove", "qwen2.5-coder-0.5b", "--yes"], 4, "are not on this host"),
        (&["--base-url", &house.url, "model", "alias", "x", "local"], 2, "the daemon's own host"),
    ] {
        let answer = house.tenure(words);
        assert!(answer.code == code && answer.stderr.contains(said), "{words:?}: {} {}", answer.code, answer.stderr);
    }
    house.tenure(&["model", "remove", "vllm", "reasoning"]).ok();
    let gone = house.tenure(&["agent", "deploy", "--dry-run", &manifest]);
    assert!(gone.code == 4 && gone.stderr.contains("`reasoning`"), "{}: {}", gone.code, gone.stderr);
}

#[test]
fn a_word_of_tenure_toml_goes_before_and_is_changed_there() {
    let house = House::new();
    let file = house.write("mine.toml", "[llm.aliases]\nfast = \"openai/gpt-4o-mini\"\n");
    let refused = house.tenure(&["--config", &file, "model", "alias", "fast", "local"]);
    assert!(refused.code == 5 && refused.stderr.contains("tenure.toml"), "{}: {}", refused.code, refused.stderr);
    house.tenure(&["model", "alias", "fast", "local"]).ok();
}

#[test]
fn prices_are_set_from_a_day_on_listed_with_the_one_that_holds_and_removed() {
    let house = House::up(&cassette(1));
    let set = |words: &[&str]| house.tenure(&[&["model", "prices", "set"], words].concat());
    let told = set(&["openai/house-model", "--in", "3", "--out", "15", "--cached", "0.3", "--from", "2026-01-01"]).ok();
    assert!(told.stdout.contains("costs 3 USD in and 15 out, 0.3 cached"), "{}", told.stdout);
    set(&["openai/house-model", "--in", "2", "--out", "10", "--from", "2020-02-29"]).ok();
    set(&["openai/house-model", "--in", "1", "--out", "5", "--from", "9000-01-01"]).ok();
    set(&["openai/house-model", "--in", "4", "--out", "15", "--from", "2026-01-01"]).ok();
    let list = house.tenure(&["model", "prices", "list", "-o", "json"]).ok().json();
    let told: Vec<String> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{} {} {}", one["from"], one["in_usd"], one["status"]))
        .collect();
    assert_eq!(told.len(), 3, "the same day's is in the place of the one before: {told:?}");
    assert_eq!(told[0], r#""2020-02-29" "2" "over""#);
    assert_eq!(told[1], r#""2026-01-01" "4" "in_force""#);
    assert_eq!(told[2], r#""9000-01-01" "1" "later""#);
    let known = house.tenure(&["model", "prices", "list", "anthropic/claude-sonnet-4-5", "-o", "json"]).ok().json();
    assert_eq!((&known[0]["status"], &known[0]["in_usd"]), (&"known".into(), &"3".into()), "{known}");
    for (words, code, said) in [
        (&["gpt", "--in", "1", "--out", "1"][..], 3, "names no provider"),
        (&["local/qwen", "--in", "1", "--out", "1"], 3, "costs nothing"),
        (&["openai/x", "--in", "1"], 2, "--out"),
        (&["openai/x", "--in", "-1", "--out", "1"], 2, "-1"),
        (&["openai/x", "--in", "1e9", "--out", "1"], 2, "no amount of US dollars"),
        (&["openai/x", "--in", "999999999", "--out", "1"], 2, "more than 100000"),
        (&["openai/x", "--in", "1", "--out", "1", "--from", "2026-02-30"], 3, "is no day"),
    ] {
        let answer = set(words);
        assert!(answer.code == code && answer.stderr.contains(said), "{words:?}: {} {}", answer.code, answer.stderr);
    }
    let gone = house.tenure(&["model", "prices", "remove", "openai/house-model", "--from", "2020-02-29"]).ok();
    assert!(gone.stdout.contains("2020-02-29"), "{}", gone.stdout);
    house.tenure(&["model", "prices", "remove", "openai/house-model"]).ok();
    let none = house.tenure(&["model", "prices", "remove", "openai/house-model"]);
    assert!(none.code == 4 && none.stderr.contains("tenure model prices list"), "{}", none.stderr);
    assert_eq!(house.tenure(&["model", "prices", "-o", "json"]).ok().json(), serde_json::json!([]));
}
