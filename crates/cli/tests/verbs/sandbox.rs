use super::house::House;

#[test]
fn the_check_tells_each_layer_and_ends_by_whether_agents_can_run() {
    let house = House::new();
    let checked = house.tenure(&["sandbox", "check"]);
    for layer in ["namespaces", "landlock", "seccomp", "memory", "pids", "cpu"] {
        assert!(checked.stdout.contains(layer), "{}{}", checked.stdout, checked.stderr);
    }
    let report = house.tenure(&["sandbox", "check", "--json"]).json();
    assert_eq!(checked.code == 0, report["level"].is_object());
    assert_eq!(report["findings"].as_array().unwrap().len(), 6);
}
