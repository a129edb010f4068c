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
