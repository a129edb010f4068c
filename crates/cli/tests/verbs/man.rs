use super::house::House;

#[test]
fn the_manual_has_the_program_s_page_and_one_for_each_verb() {
    let house = House::new();
    let page = house.tenure(&["man"]).ok();
    assert!(
        page.stdout.contains(".TH tenure 1") && page.stdout.contains("EXIT CODES") | page.stdout.contains("Exit codes")
    );
    let folder = house.path("man").display().to_string();
    house.tenure(&["man", &folder]).ok();
    for verb in ["tenure.1", "tenure-up.1", "tenure-agent-deploy.1"] {
        assert!(house.path("man").join(verb).is_file(), "{verb}");
    }
}
