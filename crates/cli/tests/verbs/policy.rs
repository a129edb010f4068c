use serde_json::json;

use super::approval::ASKS;
use super::house::{AGENT, House, cassette};

#[test]
fn a_policy_is_shown_checked_tried_applied_held_against_the_past_and_taken_back() {
    let house = House::up(&cassette(1));
    let agent = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &agent]).ok();
    let started = house.tenure(&["execute", "coder", "--input", "go", "-o", "json"]).ok().json();
    house.wait(started["id"].as_str().unwrap());
    let rules = house.write("programs.cedar", ASKS);
    let cases = house.write(
        "programs.test.toml",
        "[[case]]\nname = \"programs wait\"\nagent = \"coder\"\ncapability = \"process.run\"\n\
         input = {command = \"ls\"}\nverdict = \"approval_required\"\nrule = \"programs_are_asked_about\"\n",
    );
    let mut told = String::new();
    for line in [
        &["policy", "history"][..],
        &["policy", "validate", &rules],
        &["policy", "check", "--agent", "coder", "--capability", "process.run", "--input", "{\"command\":\"ls\"}"],
        &["policy", "check", "--agent", "coder", "--capability", "process.run", "--with", &rules],
        &["policy", "check", "--agent", "coder", "--capability", "network.http_request"],
        &["policy", "check", "--agent", "coder", "--capability", "proces.run"],
        &["policy", "test", &rules, "--cases", &cases],
        &["policy", "diff", &rules],
        &["policy", "replay", &rules],
        &["policy", "apply", &rules, "--note", "look first"],
        &["policy", "apply", &rules],
        &["policy", "apply", &rules, "--expected", "7"],
        &["policy", "history"],
        &["policy", "remove", "other.cedar"],
        &["policy", "rollback", "0"],
        &["policy", "rollback", "9"],
        &["policy", "history", "-q"],
    ] {
        let answer = house.tenure(line);
        let line = house.steady(&line.join(" "));
        told.push_str(&format!("$ tenure {line}\n{}{}[{}]\n", answer.stdout, answer.stderr, answer.code));
    }
    insta::assert_snapshot!(told);
    house.tenure(&["audit", "verify"]).ok();
}

#[test]
fn a_rule_that_names_what_there_is_not_is_refused_with_its_place_and_the_near_word_and_changes_nothing() {
    let house = House::up(&cassette(1));
    let mut told = String::new();
    for (name, text) in [
        ("action", "permit(principal, action == Action::\"process.rum\", resource);\n"),
        (
            "attribute",
            "\nforbid(principal, action == Action::\"process.run\", resource) when { context.comand == \"rm\" };\n",
        ),
        (
            "guard",
            "forbid(principal, action == Action::\"network.http_request\", resource) when { context.host == \"a.example\" };\n",
        ),
        ("verdict", "@verdict(\"aproval_required\")\npermit(principal, action, resource);\n"),
        ("syntax", "permit(principal, action, resource)\n"),
        (
            "example",
            "@match(\"{capability = 'filesystem.read', input = {path = 'a'}}\")\nforbid(principal, action == Action::\"process.run\", resource);\n",
        ),
    ] {
        let path = house.write(&format!("{name}.cedar"), text);
        let answer = house.tenure(&["policy", "apply", &path]);
        told.push_str(&format!("# {name}\n{}{}[{}]\n", answer.stdout, answer.stderr, answer.code));
    }
    insta::assert_snapshot!(told);
    assert_eq!(house.tenure(&["policy", "history", "-o", "json"]).ok().json(), json!([]), "nothing was applied");
}

#[test]
fn a_whole_policy_is_a_folder_that_is_written_out_changed_and_applied_and_a_lower_layer_never_loosens() {
    let house = House::up(&cassette(1));
    let agent = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &agent]).ok();
    let folder = house.path("rules").display().to_string();
    house.tenure(&["policy", "show", "--out", &folder]).ok();
    assert_eq!(house.tenure(&["policy", "show", "--out", &folder]).code, 5, "what is there is not written over");
    let stricter = house.tenure(&["policy", "template", "restrictive"]).ok().raw;
    std::fs::write(house.path("rules/system/moderate.cedar"), stricter).unwrap();
    std::fs::create_dir_all(house.path("rules/agent/coder")).unwrap();
    std::fs::write(
        house.path("rules/agent/coder/own.cedar"),
        "permit(principal, action == Action::\"process.run\", resource);\n",
    )
    .unwrap();
    house.tenure(&["policy", "apply", &folder]).ok();
    let check = ["policy", "check", "--agent", "coder", "--capability", "process.run", "-o", "json"];
    let judged = house.tenure(&check).ok().json();
    assert_eq!(judged["verdict"], "approval_required", "{judged}");
    assert!(judged["layers"].as_array().unwrap().iter().any(|layer| layer["layer"] == "agent:coder"), "{judged}");
    std::fs::write(house.path("rules/stray.cedar"), "permit(principal, action, resource);\n").unwrap();
    assert_eq!(house.tenure(&["policy", "validate", &folder]).code, 3, "a document in no layer");
}

#[test]
fn what_an_agent_did_becomes_rules_to_review_and_a_recorded_call_is_explained() {
    let house = House::up(&cassette(6));
    let agent = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &agent]).ok();
    assert!(house.tenure(&["policy", "learn"]).ok().stdout.contains("looked at: 0; they ask for no rule"));
    for _ in 0..5 {
        let started = house.tenure(&["execute", "coder", "--input", "go", "-o", "json"]).ok().json();
        house.wait(started["id"].as_str().unwrap());
    }
    let learned = house.tenure(&["policy", "learn", "--agent", "coder", "--since", "1h", "-o", "json"]).ok().json();
    assert_eq!(learned["replay"]["changed"], 0, "what was done goes on: {learned}");
    let rules: Vec<&str> =
        learned["proposals"].as_array().unwrap().iter().map(|one| one["rule"].as_str().unwrap()).collect();
    assert!(rules.contains(&"learned_made_only") && rules.contains(&"learned_made_process_run"), "{rules:?}");
    let call = learned["proposals"][0]["examples"][0].as_str().unwrap().to_string();

    let told = house.tenure(&["policy", "learn"]).ok().stdout;
    for part in
        ["# Under these rules:", "--- /dev/null", "+++ b/agent/coder/learned.cedar", "+@id(\"learned_made_only\")"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(house.tenure(&["policy", "history", "-o", "json"]).ok().json(), json!([]), "nothing is applied");
    let folder = house.path("proposal").display().to_string();
    house.tenure(&["policy", "learn", "--out", &folder]).ok();
    house.tenure(&["policy", "apply", &folder, "--note", "learnt"]).ok();
    let check = ["policy", "check", "--agent", "coder", "--capability", "network.dns_lookup", "-o", "json"];
    assert_ne!(house.tenure(&check).ok().json()["verdict"], "autonomous");
    assert!(house.tenure(&["policy", "learn"]).ok().stdout.contains("ask for no rule"), "they hold already");

    let explained = house.tenure(&["policy", "explain", &call, "-o", "json"]).ok().json();
    assert_eq!(explained["recorded"]["call"], json!(call));
    let facts = &explained["facts"];
    assert_eq!(facts["circumstances"]["agent_name"], "coder", "{explained}");
    assert!(facts["circumstances"]["level"].is_string(), "its jail's: {explained}");
    assert!(house.tenure(&["policy", "explain", &call]).ok().stdout.contains("facts that rules see:"));
    assert_eq!(house.tenure(&["policy", "explain", "nothing"]).code, 2);
    house.tenure(&["audit", "verify"]).ok();
}

#[test]
fn settings_of_other_tools_become_a_document_that_is_applied_and_what_is_left_out_is_listed() {
    let house = House::up(&cassette(1));
    let agent = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &agent]).ok();
    let settings = "{\n  \"permissions\": {\n    \"allow\": [\"Bash(ls:*)\", \"WebSearch\"],\n    \"deny\": [\"Bash(rm:*)\"]\n  }\n}\n";
    let settings = house.write("settings.json", settings);
    let told = house.tenure(&["policy", "import", "--from", "claude-code", &settings]).ok().stdout;
    assert!(
        told.contains("// line 4, deny: Bash(rm:*)") && told.contains("// line 3: allow: WebSearch: no capability"),
        "{told}"
    );
    let written = house.path("imported.cedar").display().to_string();
    let wrote = house.tenure(&["policy", "import", "--from", "claude-code", &settings, "--out", &written]).ok().stdout;
    assert!(wrote.contains("The wall is the jail"), "{wrote}");
    assert_eq!(house.tenure(&["policy", "import", "--from", "claude-code", &settings, "--out", &written]).code, 5);
    house.tenure(&["policy", "apply", &written, "--layer", "agent:coder"]).ok();
    for (command, verdict) in
        [("ls", "autonomous"), ("rm", "blocked"), ("/bin/rm", "blocked"), ("make", "approval_required")]
    {
        let input = json!({"command": command}).to_string();
        let check =
            ["policy", "check", "--agent", "coder", "--capability", "process.run", "--input", &input, "-o", "json"];
        assert_eq!(house.tenure(&check).ok().json()["verdict"], verdict, "{command}");
    }
    let misspelt = house.write("misspelt.json", "{\"permisions\": {\"deny\": [\"Bash(rm:*)\"]}}");
    let told = house.tenure(&["policy", "import", "--from", "claude-code", &misspelt]);
    assert!(told.code == 3 && told.stderr.contains("did you mean `permissions`?"), "{} {}", told.code, told.stderr);
    let wrong = house.write("wrong.json", "[]");
    assert_eq!(house.tenure(&["policy", "import", "--from", "codex", &wrong]).code, 3);
}

#[test]
fn a_program_that_runs_when_a_policy_forbids_it_is_ended_told_of_and_not_run_again() {
    let sleeps = cassette(1)
        .replace(r#""command":"python3","args":["/workspace/solution.py"]"#, r#""command":"sleep","args":["600"]"#);
    let house = House::up(&sleeps);
    let agent = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &agent]).ok();
    let started = house.tenure(&["execute", "coder", "--input", "go", "-o", "json"]).ok().json();
    let id = started["id"].as_str().unwrap();
    house.until(&["execution", "logs", id], |answer| answer.stdout.contains("process.run sleep 600"));
    let other = house.write("other.cedar", "forbid(principal, action in Action::\"network.*\", resource);\n");
    house.tenure(&["policy", "apply", &other]).ok();
    let rules = house.write(
        "no.cedar",
        "@id(\"no_sleep\")\nforbid(principal, action == Action::\"process.run\", resource) when { context.program == \"sleep\" };\n",
    );
    assert!(
        !house.tenure(&["execution", "logs", id]).ok().stdout.contains("Taken back"),
        "the control: others leave it"
    );
    house.tenure(&["policy", "apply", &rules]).ok();
    house.wait(id);
    let told = house.tenure(&["execution", "watch", id]).stdout;
    assert!(told.contains("Taken back: process.run") && told.contains("project:no.cedar:1 no_sleep"), "{told}");
    assert_eq!(told.matches("process.run sleep 600").count(), 1, "it is not run again: {told}");
    house.tenure(&["audit", "verify"]).ok();
}

#[test]
fn what_loads_and_is_hardly_meant_is_warned_of_a_name_that_is_there_twice_refused_and_without_a_daemon_it_is_said() {
    let mut house = House::up(&cassette(1));
    let agent = house.write("agent.yaml", AGENT);
    house.tenure(&["agent", "deploy", &agent]).ok();
    let near = "forbid(principal == Agent::\"codr\", action == Action::\"mcp.nots.read\", resource);\n\
        forbid(principal, action in Action::\"network.*\", resource)\nwhen { context has host && context.host == \"API.Example\" };\n";
    let near = house.write("near.cedar", near);
    let twice = "@id(\"same\")\nforbid(principal == Agent::\"coder\", action == Action::\"process.run\", resource);\n";
    let twice = house.write("twice.cedar", &twice.repeat(2));
    std::fs::create_dir_all(house.path("rules/system")).unwrap();
    let system = house.tenure(&["policy", "template", "moderate"]).ok().raw;
    std::fs::write(house.path("rules/system/moderate.cedar"), system).unwrap();
    let folder = house.path("rules").display().to_string();
    let mut told = String::new();
    let mut tell = |house: &House, line: &[&str]| {
        let answer = house.tenure(line);
        let line = house.steady(&line.join(" "));
        told.push_str(&format!("$ tenure {line}\n{}{}[{}]\n", answer.stdout, answer.stderr, answer.code));
    };
    for line in [
        &["policy", "validate", &near][..],
        &["policy", "validate", &twice],
        &["policy", "apply", &folder, "--layer", "agent:coder"],
        &["policy", "apply", &folder, "--name", "a.cedar"],
        &["policy", "check", "--agent", "coder", "--capability", "process.run", "--with", &folder, "--layer", "system"],
        &["policy", "apply", "--template", "moderate", "--layer", "project"],
        &["policy", "apply", &near, "--dry-run"],
    ] {
        tell(&house, line);
    }
    house.down();
    for line in [&["policy", "validate", &near][..], &["policy", "validate", &twice], &["policy", "validate", &folder]]
    {
        tell(&house, line);
    }
    insta::assert_snapshot!(told);
}
