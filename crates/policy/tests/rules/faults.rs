//! What is wrong with a policy is told with its place, in one line each, with the way out.
use tenure_policy::{Bundle, Layer, Policy, Template, schema_json};

fn told(text: &str) -> Vec<String> {
    let bundle = Template::Permissive.bundle().with(Layer::Project, "team.cedar", text);
    Policy::compile(&bundle).map_or_else(|faults| faults.iter().map(ToString::to_string).collect(), |_| Vec::new())
}

/// A rule, where its fault is, and what is said of it.
const MISTAKES: &[(&str, &str, &[&str])] = &[
    ("forbid(principal, action, resource", "team.cedar:1:35:", &["unexpected"]),
    (
        "forbid(principal, action == Action::\"filesystem.raed\", resource);",
        "team.cedar:1:",
        &["filesystem.raed", "did you mean `Action::\"filesystem.read\"`?"],
    ),
    (
        "forbid(principal, action in Action::\"filesytem.*\", resource);",
        "team.cedar:1:",
        &["did you mean `Action::\"filesystem.*\"`?"],
    ),
    ("forbid(principal == Agnet::\"a\", action, resource);", "team.cedar:1:", &["Agnet", "did you mean `Agent`?"]),
    (
        "\n\nforbid(principal, action == Action::\"filesystem.read\", resource)\nwhen { context has path && context.pth == \"a\" };",
        "team.cedar:4:",
        &["pth", "path"],
    ),
    (
        "forbid(principal, action == Action::\"filesystem.read\", resource) when { context.path == \"a\" };",
        "team.cedar:1:",
        &["context has path"],
    ),
    (
        "forbid(principal, action == Action::\"filesystem.read\", resource) when { context.input.path == \"a\" };",
        "team.cedar:1:",
        &["context.path"],
    ),
    ("forbid(principal, action == Action::\"filesystem.*\", resource);", "team.cedar:1:", &["action in"]),
    (
        "@verdct(\"notify\")\npermit(principal, action, resource);",
        "team.cedar:1:1:",
        &["`@verdct` is no annotation", "did you mean @verdict?"],
    ),
    (
        "// b\n@verdict(\"notfy\")\npermit(principal, action, resource);",
        "team.cedar:2:1:",
        &["did you mean \"notify\"?"],
    ),
    ("@verdict(\"notify\")\nforbid(principal, action, resource);", "team.cedar:1:1:", &["always blocks"]),
    ("@approvers(\"2\")\npermit(principal, action, resource);", "team.cedar:1:1:", &["@approvers without an approval"]),
    ("forbid(principal == ?principal, action, resource);", "team.cedar:1:1:", &["slot"]),
    (
        "@match(\"{capability = 'filesystem.raed'}\")\nforbid(principal, action, resource);",
        "team.cedar:1:1:",
        &["did you mean `filesystem.read`?"],
    ),
    (
        "@match(\"{capability = 'filesystem.read', input = {pth = 'a'}}\")\nforbid(principal, action, resource);",
        "team.cedar:1:1:",
        &["did you mean `path`?"],
    ),
    (
        "@match(\"{capability = 'filesystem.read', input = {path = 'a'}}\")\nforbid(principal, action == Action::\"filesystem.list\", resource);",
        "team.cedar:1:1:",
        &["does not cover its @match of filesystem.read"],
    ),
    (
        "@not_match_7(\"{\\\"capability\\\": \\\"filesystem.read\\\", \\\"input\\\": {\\\"path\\\": \\\"a\\\"}}\")\nforbid(principal, action, resource);",
        "team.cedar:1:1:",
        &["covers its @not_match_7"],
    ),
];

#[test]
fn each_mistake_is_told_with_its_place_and_the_near_word() {
    for (text, place, words) in MISTAKES {
        let told = told(text);
        let fits = told.iter().any(|line| line.starts_with(place) && words.iter().all(|word| line.contains(word)));
        assert!(fits && told.iter().all(|line| !line.contains('\n')), "{text}\n  told: {told:#?}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = "@a\npermit(principal, action, resource);\n@b\npermit(principal, action, resource);";
    assert_eq!(told(text).len(), 2);
}

#[test]
fn a_bundle_without_a_system_layer_with_unsafe_names_or_too_large_is_refused() {
    let forbid = "forbid(principal, action, resource);";
    let system = Template::Moderate.bundle();
    let large = format!("// {}", "x".repeat(1024 * 1024));
    for (bundle, words) in [
        (Bundle::default(), "every call would be blocked"),
        (system.clone().with(Layer::Project, "../a b", forbid), "is no name of a document"),
        (system.clone().with(Layer::Project, "a", forbid).with(Layer::Project, "a", forbid), "two documents"),
        (system.clone().with(Layer::Project, "a", &large), "has at most 1048576"),
        (
            system.clone().with(Layer::Project, "a", &"forbid(principal,action,resource);".repeat(10_001)),
            "more than 10000 rules",
        ),
        (system.with(Layer::Floor, "a", forbid), "the floor cannot be changed"),
    ] {
        let faults = Policy::compile(&bundle).expect_err(words);
        assert!(faults.iter().any(|fault| fault.to_string().contains(words)), "{words}: {faults:#?}");
    }
}

#[test]
fn a_bundle_is_the_same_value_in_whatever_order_it_was_made_and_survives_being_written() {
    let text = "forbid(principal, action, resource);";
    let one = Template::Moderate.bundle().with(Layer::Project, "a", text).with(Layer::Agent("x".into()), "b", text);
    let other = Bundle::default().with(Layer::Agent("x".into()), "b", text).with(Layer::Project, "a", text);
    let other = other.with(Layer::System, "moderate.cedar", Template::Moderate.text());
    assert_eq!(one.digest(), other.digest());
    let read = Bundle::parse(&one.to_bytes()).expect("it was written");
    assert_eq!((read.digest(), &read), (one.digest(), &one));
    assert_ne!(read.with(Layer::Project, "c", text).digest(), one.digest());
    assert!(Bundle::parse(br#"{"layers":{"floor":[]}}"#).is_err(), "the floor is in no bundle");
}

#[test]
fn the_schema_offers_no_spelling_of_what_is_judged_in_a_form_of_its_own() {
    let schema = schema_json();
    let input = &schema[""]["actions"]["filesystem.write"]["appliesTo"]["context"]["attributes"]["input"];
    assert_eq!(input["attributes"], serde_json::json!({}), "neither the path as spelled nor the content");
}
