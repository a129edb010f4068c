use super::house::{AGENT, House, cassette};

#[test]
fn a_manifest_is_checked_with_and_without_a_daemon() {
    let mut house = House::up(&cassette(1));
    let file = house.write("agent.yaml", AGENT);
    assert_eq!(house.tenure(&["manifest", "validate", &file]).ok().stdout, "The manifest of \"coder\" is valid\n");
    let wrong = house.write(
        "wrong.yaml",
        &AGENT.replace("{", "").replace("instruction: Do the task.", "prompt_template: \"{{inptu}}\""),
    );
    let unit = house
        .write("unit.yaml", &AGENT.replace("  tools:", "  security:\n    resources:\n      memory: 12Megs\n  tools:"));
    let refused = [house.tenure(&["manifest", "validate", &wrong]), house.tenure(&["manifest", "validate", &unit])];
    insta::assert_snapshot!(refused.map(|answer| format!("{}[{}]\n", answer.stderr, answer.code)).concat());
    house.down();
    let alone = house.tenure(&["manifest", "validate", &file]).ok();
    assert!(alone.stdout.contains("No daemon answers"), "{}", alone.stdout);
    assert_eq!(house.tenure(&["manifest", "validate", &wrong]).code, 3);
}

#[test]
fn the_schema_is_one_of_json_schema() {
    let house = House::new();
    let schema = house.tenure(&["manifest", "schema"]).ok().json();
    assert_eq!(schema["title"], "Tenure agent manifest");
    assert!(schema["properties"]["spec"].is_object());
}
