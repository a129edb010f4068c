//! Manifests and inputs that are wrong, huge or deep.
use crate::office::{MANIFEST, Office, refused};
use std::sync::Arc;
use tests::scripted::Say;

fn office() -> Office {
    Office::open(Arc::new(|_, _| Say::Text("fine".to_string())))
}

#[test]
fn a_wrong_manifest_is_refused_by_path_and_near_word_and_deploys_nothing() {
    let office = office();
    let cases: [(&str, String, &[&str]); 7] = [
        ("an unknown field", MANIFEST.replace("spec:", "spec:\n  taks: {}"), &["taks", "task"]),
        (
            "a wrong unit",
            format!("{MANIFEST}  security: {{resources: {{memory: 512Megs}}}}\n"),
            &["spec.security.resources.memory"],
        ),
        (
            "an unknown template variable",
            MANIFEST.replace("says.}", "says., prompt_template: \"{{instruction}} {{inptu}}\"}"),
            &["inptu", "input"],
        ),
        ("an unknown capability", MANIFEST.replace("filesystem.*", "filesytem.read"), &["filesytem", "filesystem"]),
        ("a bad version", MANIFEST.replace("1.0.0", "one"), &["metadata.version"]),
        ("another kind", MANIFEST.replace("kind: Agent", "kind: Pod"), &["kind"]),
        ("no text at all", "\u{0}\u{1}".to_string(), &[]),
    ];
    for (what, manifest, words) in &cases {
        let output = office.deploy(manifest);
        println!("{what}: {}", String::from_utf8_lossy(&output.stderr));
        refused(&output, words);
    }
    assert_eq!(office.agents(), 0);
    assert!(office.deploy(MANIFEST).status.success(), "the control, a right manifest, must deploy");
    office.holds();
}

#[test]
fn what_nothing_enforces_yet_is_refused_by_name_and_validates_by_form() {
    let office = office();
    // No container engine is beside this daemon.
    let seed = include_str!("../../examples/aegis/pr-reviewer.yaml").to_owned();
    let later = MANIFEST.replace(
        "spec:",
        "spec:\n  schedule: {cron: \"0 9 * * 1\"}\n  secrets: [{name: a, capability: network.http_request, host: a.example}]",
    );
    for (manifest, words) in [(&seed, ["isolation", "engine"]), (&later, ["spec.secrets", "secret"])] {
        refused(&office.deploy(manifest), &words);
        let file = office.folder.path().join("manifest.yaml");
        std::fs::write(&file, manifest).expect("it can be written");
        office.daemon.ok(&["manifest", "validate", file.to_str().expect("UTF-8")]);
    }
    assert_eq!(office.agents(), 0);
}

#[test]
fn huge_and_deep_inputs_are_refused_and_a_usual_one_runs() {
    let office = office();
    assert!(office.deploy(MANIFEST).status.success());
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let output = office.daemon.run(&["execute", "--agent", "clerk", "--input", &deep]);
    refused(&output, &["deep"]);
    let huge = office.folder.path().join("huge.yaml");
    let text = MANIFEST.replace("Do what", &"x".repeat(2 << 20));
    std::fs::write(&huge, text).expect("it can be written");
    refused(&office.daemon.run(&["agent", "deploy", huge.to_str().expect("UTF-8")]), &[]);
    assert_eq!(office.execute("clerk", "{\"task\": \"x\"}")["status"], "completed");
    office.holds();
}

#[test]
fn an_unknown_agent_execution_or_model_is_named_with_the_way_out() {
    let office = office();
    assert!(office.deploy(MANIFEST).status.success());
    refused(&office.daemon.run(&["execute", "--agent", "clrek", "--input", "x"]), &["clrek"]);
    refused(&office.daemon.run(&["execution", "get", "exe_00000000000000000000000000"]), &["exe_"]);
    let unknown = MANIFEST.replace("spec:", "spec:\n  runtime: {model: opnai/gpt}");
    refused(&office.deploy(&unknown.replace("clerk", "other")), &["opnai"]);
    office.holds();
}
