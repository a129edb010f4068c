use super::house::{House, cassette};

#[test]
fn a_first_manifest_is_written_from_flags_can_be_deployed_and_is_never_written_over() {
    let house = House::up(&cassette(1));
    let words = ["init", "scribe", "--purpose", "Write: \"what\" is asked", "--may", "write"];
    let written = house.tenure(&words).ok();
    assert!(written.stdout.contains("wrote agent.yaml") && written.stdout.contains("tenure agent deploy agent.yaml"));
    house.tenure(&["agent", "deploy", "agent.yaml"]).ok();
    let agent = house.tenure(&["agent", "get", "scribe", "-o", "json"]).ok().raw;
    assert!(agent.contains("filesystem.edit") && !agent.contains("process.run"), "{agent}");
    let again = house.tenure(&words);
    assert_eq!(again.code, 5, "{}", again.stderr);
    assert!(again.stderr.contains("agent.yaml is there already"), "{}", again.stderr);
}

#[test]
fn without_a_terminal_nothing_is_asked_and_a_name_that_is_none_writes_nothing() {
    let house = House::new();
    let silent = house.tenure(&["init"]);
    assert_eq!(silent.code, 2, "{}", silent.stderr);
    let wrong = house.tenure(&["manifest", "init", "Not a name", "--purpose", "x", "--may", "run"]);
    assert_eq!(wrong.code, 3, "{}", wrong.stderr);
    assert!(wrong.stderr.contains("metadata.name"), "{}", wrong.stderr);
    assert!(!house.path("agent.yaml").exists());
}
