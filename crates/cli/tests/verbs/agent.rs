use super::house::{AGENT, House, cassette, example};

#[test]
fn an_agent_is_deployed_listed_shown_revised_and_deleted() {
    let house = House::up(&cassette(1));
    let file = house.write("agent.yaml", AGENT);
    let mut told = String::new();
    let mut tell = |words: &[&str]| {
        let answer = house.tenure(words);
        told.push_str(&format!(
            "$ tenure {}\n{}{}[{}]\n",
            house.steady(&words.join(" ")),
            answer.stdout,
            answer.stderr,
            answer.code
        ));
    };
    tell(&["agent", "deploy", &file, "--dry-run"]);
    tell(&["agent", "list"]);
    tell(&["agent", "deploy", &file]);
    tell(&["agent", "deploy", &file]);
    house.write("agent.yaml", &AGENT.replace("Do the task.", "Do the task well."));
    tell(&["agent", "deploy", &file]);
    tell(&["agent", "list"]);
    tell(&["agent", "show", "CODER"]);
    tell(&["agent", "list", "--status", "deployed"]);
    tell(&["agent", "list", "--status", "paused"]);
    tell(&["agent", "list", "--status", "asleep"]);
    tell(&["agent", "get", "codr"]);
    tell(&["agent", "delete", "coder"]);
    tell(&["agent", "delete", "coder", "--yes"]);
    tell(&["agent", "list", "--status", "archived"]);
    tell(&["agent", "deploy", &file]);
    insta::assert_snapshot!(told);
}

#[test]
fn a_wrong_manifest_is_refused_with_path_reason_and_near_word_and_changes_nothing() {
    let house = House::up(&cassette(1));
    let wrong = AGENT.replace("max_iterations: 3", "max_iteration: 3").replace("type: exit_code", "type: exit_cod");
    let file = house.write("agent.yaml", &wrong);
    let answer = house.tenure(&["agent", "deploy", &file]);
    assert_eq!(answer.code, 3);
    insta::assert_snapshot!(answer.stderr);
    let json = house.tenure(&["agent", "deploy", &file, "-o", "json"]);
    let error: serde_json::Value = serde_json::from_str(&json.stderr).unwrap();
    assert_eq!(error["error"]["code"], "manifest_invalid");
    assert!(error["error"]["errors"][0]["path"].as_str().unwrap().starts_with("spec.execution"));
    assert_eq!(house.tenure(&["agent", "list", "-o", "json"]).ok().json(), serde_json::json!([]));
    assert_eq!(house.tenure(&["agent", "deploy", "nowhere.yaml"]).code, 4);
}

#[test]
fn the_seeds_reviewer_is_refused_without_its_image_and_its_coder_deploys() {
    let house = House::up(&cassette(1));
    let reviewer = house.write("pr-reviewer.yaml", &example("aegis/pr-reviewer.yaml"));
    assert_eq!(house.tenure(&["manifest", "validate", &reviewer]).ok().code, 0);
    let refused = house.tenure(&["agent", "deploy", &reviewer]);
    assert_eq!(refused.code, 3);
    assert!(refused.stderr.contains("spec.runtime.isolation"), "{}", refused.stderr);
    for path in ["spec.security.network", "spec.volumes"] {
        assert!(!refused.stderr.contains(path), "{path} is enforced: {}", refused.stderr);
    }
    let host = house.tenure(&["status", "-o", "json"]).ok().json();
    let languages = host["worker"]["toolchains"].as_array().unwrap();
    let python = languages.iter().find_map(|found| found.as_str()?.strip_prefix("python ")).unwrap();
    let python = python.rsplit_once('.').unwrap().0.to_string();
    let coder = example("aegis/python-coder.yaml").replace("version: \"3.11\"", &format!("version: \"{python}\""));
    let coder = house.write("python-coder.yaml", &coder);
    let deployed = house.tenure(&["agent", "deploy", &coder]).ok();
    assert_eq!(deployed.stdout, "Deployed agent \"python-coder\" (id: agt_ID)\n");
}
