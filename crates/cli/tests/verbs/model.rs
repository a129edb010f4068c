use super::house::{House, cassette};

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
