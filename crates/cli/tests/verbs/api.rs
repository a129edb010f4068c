use super::house::House;

#[test]
fn the_api_is_printed_whole_by_word_and_as_its_description_without_a_daemon() {
    let house = House::new();
    let page = house.tenure(&["api"]).ok().raw;
    let committed = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/api.md");
    assert_eq!(page.trim_end(), std::fs::read_to_string(committed).unwrap().trim_end());
    let found = house.tenure(&["api", "pause"]).ok().stdout;
    assert!(found.contains("POST /v1/agents/{agent}/pause") && !found.contains("/v1/models"), "{found}");
    let description = house.tenure(&["api", "--openapi"]).ok().json();
    assert!(description["paths"]["/v1/agents"]["post"].is_object());
    assert_eq!(house.tenure(&["api", "teleport"]).code, 4);
}
