use super::house::House;

#[test]
fn each_shell_gets_a_script_that_knows_the_verbs() {
    let house = House::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = house.tenure(&["completions", shell]).ok().raw;
        assert!(script.contains("execution") && script.contains("sandbox"), "{shell}");
    }
}
