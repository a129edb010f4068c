//! The kAI dialect: what becomes of the seed's example, and that each thing that is wrong in a file is refused by the name
//! that the file has for it.

use serde_json::{Value, json};
use tenure_core::manifest::{Guard, Host, Manifest, Quota, Tool};
use tenure_core::plan::Plan;

const CALENDAR: &str = include_str!("../../../examples/kai/calendarAgent.manifest.json");

fn parsed(text: &str) -> Manifest {
    Manifest::parse(text).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn example() -> Value {
    serde_json::from_str(CALENDAR).expect("the seed's example is JSON")
}

/// The example with one value in another's place; a null takes the field out.
fn with(pointer: &str, value: Value) -> String {
    let mut example = example();
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    let parent =
        if parent.is_empty() { &mut example } else { example.pointer_mut(parent).expect("it is in the example") };
    let fields = parent.as_object_mut().expect("it has fields");
    if value.is_null() {
        fields.remove(field);
    } else {
        fields.insert(field.to_owned(), value);
    }
    example.to_string()
}

#[test]
fn the_seeds_example_becomes_this_canonical_form() {
    insta::assert_snapshot!(parsed(CALENDAR).canonical_yaml());
}

#[test]
fn the_canonical_form_says_the_same_again_and_an_able_host_enforces_it() {
    let manifest = parsed(CALENDAR);
    assert_eq!(parsed(&manifest.canonical_yaml()), manifest);
    let host = Host { quota: Quota::Soft, guards: vec![Guard::Landlock], ..Host::default() };
    assert_eq!(manifest.unenforced(&host), []);
    // The control: what nothing enforces is still refused in this dialect.
    let elsewhere = parsed(&with("/security/fileAccess/allowedPaths", json!(["/etc/passwd"])));
    assert!(!elsewhere.unenforced(&host).is_empty());
}

#[test]
fn what_is_taken_and_is_not_as_its_author_may_think_is_told() {
    let (manifest, notes) = Manifest::parse_noting(CALENDAR).unwrap();
    let told: Vec<String> = notes.iter().chain(&manifest.left_to_its_start()).map(ToString::to_string).collect();
    insta::assert_snapshot!(told.join("\n"));
    let open = with("/security/networkAccess/allowedDomains", Value::Null);
    let (_, notes) = Manifest::parse_noting(&open).unwrap();
    assert!(notes.iter().any(|note| note.path == "security.networkAccess"), "{notes:?}");
}

#[test]
fn a_file_grants_itself_nothing_that_it_does_not_ask_for_by_a_word_of_ours() {
    let tools = |permissions: Value| Plan::compile(&parsed(&with("/security/permissions", permissions))).tools;
    assert_eq!(tools(json!([])), Vec::<String>::new());
    assert_eq!(tools(json!([{"resource": "calendar", "actions": ["read", "write"]}])), Vec::<String>::new());
    assert_eq!(
        tools(json!([{"resource": "file", "actions": ["read"]}])),
        ["filesystem.read", "filesystem.list", "filesystem.stat"]
    );
    // A scope cannot be kept, and without it more would be granted than was asked for.
    let scoped = json!([{"resource": "file", "actions": ["read"], "scope": "/workspace/a"}]);
    assert_eq!(tools(scoped.clone()), Vec::<String>::new());
    let manifest = parsed(&with("/security/permissions", scoped));
    assert_eq!(manifest.spec.wishes[0].scope.as_deref(), Some("/workspace/a"));
    assert_eq!(manifest.spec.tools, Some(Vec::<Tool>::new()));
}

#[test]
fn a_program_is_run_by_what_its_name_ends_in() {
    let command = |entry: &str| {
        let manifest = parsed(&with("/entry", json!(entry)));
        manifest.spec.runtime.unwrap().command.unwrap().join(" ")
    };
    assert_eq!(command("main.ts"), "node main.ts");
    assert_eq!(command("./src/main.mjs"), "node src/main.mjs");
    assert_eq!(command("agent.py"), "python3 agent.py");
    assert_eq!(command("run.sh"), "sh run.sh");
}

#[test]
fn fields_of_ones_own_are_kept_and_all_others_are_refused() {
    let manifest = parsed(&with("/x-team", json!({"name": "money"})));
    assert_eq!(manifest.metadata.annotations["kai/x-team"], r#"{"name":"money"}"#);
    let problems = Manifest::parse(&with("/personna", json!("assistant"))).unwrap_err();
    assert_eq!(problems[0].path, "personna");
    assert_eq!(problems[0].hint.as_deref(), Some("did you mean `persona`?"));
}

/// What is changed in the example, and where and how the change is refused.
fn wrong() -> Vec<(&'static str, Value)> {
    let deep = |kind: &str, backend: &str, persistent: bool| json!({"type": kind, "backend": backend, "persistent": persistent});
    let network = |value: Value| value;
    vec![
        ("/id", Value::Null),
        ("/metadata", Value::Null),
        ("/id", json!("calendar agent")),
        ("/version", json!("1.0")),
        ("/entry", json!("../main.ts")),
        ("/entry", json!("/opt/main.ts")),
        ("/entry", json!("main.tsx")),
        ("/entry", json!("main")),
        ("/persona", json!("asistant")),
        ("/capabilities", json!(["scheduleEvent", "scheduleEvent"])),
        ("/capabilities", json!(["schedule event"])),
        ("/memory", deep("volatile", "sqlite", true)),
        ("/memory", deep("persistent", "sqlite", false)),
        ("/memory", deep("persistent", "memory", true)),
        ("/memory/backend", json!("indexdb")),
        ("/memory/ttl", json!(0)),
        ("/memory/maxSize", json!("50")),
        ("/security/sandbox", json!(false)),
        ("/security/crypto", json!("none")),
        ("/security/crypto", json!("secp256k1")),
        ("/security/crypto", json!("rsa")),
        ("/security/permissions", json!([{"resource": "file", "actions": ["reed"]}])),
        ("/security/permissions", json!([{"resource": "file", "actions": []}])),
        ("/security/networkAccess", network(json!({"allowOutbound": false, "allowedDomains": ["a.example"]}))),
        ("/security/networkAccess", network(json!({"allowOutbound": true, "allowedDomains": []}))),
        (
            "/security/networkAccess",
            network(json!({"allowOutbound": true, "allowedDomains": ["a.example"], "blockedDomains": ["A.example"]})),
        ),
        ("/security/networkAccess/allowedDomains", json!(["https://a.example/x"])),
        ("/security/networkAccess/maxConnections", json!(0)),
        ("/security/fileAccess/allowedPaths", json!(["/workspace/../etc"])),
        ("/security/fileAccess/allowedPaths", json!(["cache"])),
        ("/security/fileAccess/tempFileAccess", json!(false)),
        ("/security/fileAccess/readOnly", json!(true)),
        ("/dependencies", json!([{"name": "a", "version": "^^2", "type": "module", "required": true}])),
        ("/dependencies", json!([{"name": "a", "version": "1", "type": "modul", "required": true}])),
        ("/dependencies", json!([{"name": "a", "version": "1", "type": "module"}])),
        ("/dependencies", json!([{"name": "calendaragent", "version": "1", "type": "agent", "required": true}])),
        (
            "/dependencies",
            json!([
                {"name": "a", "version": "1", "type": "agent", "required": true},
                {"name": "A", "version": "2", "type": "service", "required": true}
            ]),
        ),
        ("/metadata/license", json!("MIT OR")),
        ("/metadata/tags", json!(["a tag"])),
        ("/metadata/created", json!("yesterday")),
        ("/metadata/updated", json!("2023-01-01T00:00:00Z")),
    ]
}

#[test]
fn each_thing_that_is_wrong_is_refused_at_its_field_with_the_way_out() {
    let told: String = wrong()
        .into_iter()
        .map(|(pointer, value)| {
            let problems = match Manifest::parse(&with(pointer, value.clone())) {
                Ok(_) => panic!("{pointer} {value} was accepted"),
                Err(problems) => problems,
            };
            let lines: String = problems.iter().map(|one| format!("  [{}] {one}\n", one.code.as_str())).collect();
            format!("{pointer} {value}\n{lines}")
        })
        .collect();
    insta::assert_snapshot!(told);
}
