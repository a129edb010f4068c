//! The command lines of both seeds that no story below needs. The seeds leave out how a live view, a state's quota, a briefing and
//! a manual run are asked for; their lines are ours.
use crate::answers;
use serde_json::{Value, json};
use tests::page::Page;
use tests::scripted::{Say, Script, ScriptedDaemon};

#[test]
fn seed_000_managing_agents() {
    let house = ScriptedDaemon::start(answers());
    let mut page = Page::beside(&house.daemon, house.folder());
    page.lines(&[
        "tenure agent create --name my-agent --purpose \"General assistant\"",
        "tenure agent create --name deploy-bot --purpose \"CI/CD automation\"",
        "tenure agent create --name monitor --purpose \"System health monitoring\"",
        "tenure agent list",
        "tenure agent show deploy-bot",
        "tenure agents",
        "tenure pause deploy-bot",
        "tenure agent list --status paused",
    ]);
    assert_eq!(page.line("tenure agent run deploy-bot \"Deploy\"").code, 5, "nothing of it begins");
    page.lines(&["tenure resume deploy-bot", "tenure kill deploy-bot", "tenure agent revoke deploy-bot --yes"]);
    assert_eq!(page.line("tenure resume deploy-bot").code, 5, "for good");
    assert_eq!(page.line("tenure agent run deploy-bot \"Deploy\"").code, 5);
    page.line("tenure agent list").ok();
    insta::assert_snapshot!(page.told);
}

#[test]
fn seed_000_agent_state_and_keys() {
    let house = ScriptedDaemon::start(answers());
    let mut page = Page::beside(&house.daemon, house.folder());
    let made = page.shell("tenure agent create --name my-agent --purpose \"General assistant\" -o json").ok().json();
    page.line("tenure state list my-agent").ok();
    page.shell("tenure state set my-agent last_deploy '\"2026-03-15\"'").ok();
    page.lines(&[
        "tenure state get my-agent last_deploy",
        "tenure state set my-agent debug_flag '{\"enabled\": true}'",
        "tenure state list my-agent",
        "tenure state delete my-agent debug_flag",
        "tenure state list my-agent",
        "tenure state quota my-agent",
        "tenure agent briefing my-agent",
    ]);
    insta::assert_snapshot!(page.told);
    let rotated = page.shell("tenure agent rotate my-agent -o json").ok().json();
    let secrets = [&made["key"], &rotated["secret"]].map(|secret| secret.as_str().unwrap_or_default());
    assert!(secrets.iter().all(|secret| secret.starts_with("tnr_")), "each is shown once: {made} {rotated}");
    assert_ne!(secrets[0], secrets[1], "the old key is invalid");
}

/// A shell reads `$1` of the page's `$10,000` as a word of its own: the instruction says 0,000.
const BOOKKEEPER: &str = r#"tenure agent create bookkeeper \
  --purpose "Process invoices from email and update the ledger" \
  --autonomous \
  --schedule "0 */2 * * *" \
  --instructions "Check for new invoice emails. Extract amounts and dates. Update the shared ledger state. Flag anything over $10,000 for human review." \
  --triggers comms"#;

/// Shares the ledger's sum, then says so.
fn keeps_books() -> Script {
    std::sync::Arc::new(|_, answered| match answered {
        0 => {
            let arguments = json!({"key": "ledger:march", "value": {"sum": 12}, "expected_version": 0});
            Say::Calls(vec![("state.shared.set", arguments)])
        }
        _ => Say::Text("One invoice of 12 EUR is in the ledger.".to_string()),
    })
}

#[test]
fn seed_001_the_first_autonomous_agent() {
    let house = ScriptedDaemon::start(keeps_books());
    let mut page = Page::beside(&house.daemon, house.folder());
    page.lines(&[
        BOOKKEEPER,
        "tenure agent set-model bookkeeper anthropic",
        "tenure agent run bookkeeper \"Process the invoice that came by mail today\" --watch",
        "tenure agent logs bookkeeper",
        "tenure agent logs bookkeeper --limit 5",
    ]);
    let followed = "exec 3< <(exec tenure agent logs bookkeeper --follow); read -r task <&3; kill $!; echo \"$task\"";
    let followed = page.shell(followed).ok().stdout;
    assert!(followed.contains("completed"), "{followed}");
    page.line("tenure pause bookkeeper").ok();
    assert_eq!(page.line("tenure agent run bookkeeper \"Now\"").code, 5);
    page.line("tenure resume bookkeeper").ok();
    let edit = r#"tenure agent edit bookkeeper \
  --schedule "0 */4 * * *" \
  --instructions "Updated instructions here" \
  --max-iterations 30"#;
    page.line(edit).ok();
    insta::assert_snapshot!(page.told);
    let shown = page.shell("tenure agent show bookkeeper -o json").ok().json();
    assert_eq!((&shown["schedule"]["cron"], &shown["limits"]["max_turns"]), (&json!("0 */4 * * *"), &json!(30)));
    assert_eq!(shown["schedule"]["next"].as_array().map(Vec::len), Some(5));
    assert_eq!(shown["tasks"][0]["status"], "completed");
    let triggers: Vec<&str> =
        shown["triggers"].as_array().expect("triggers").iter().filter_map(Value::as_str).collect();
    assert_eq!(triggers, ["schedule", "comms", "manual"], "the schedule implies its own, and people may always");
    let kept = page.shell("tenure state shared get ledger:march").ok().stdout;
    assert!(kept.contains("12"), "{kept}");
}

#[test]
fn seed_001_what_different_tasks_need() {
    let house = ScriptedDaemon::start(answers());
    let mut page = Page::beside(&house.daemon, house.folder());
    for (agent, model) in [("complex", "anthropic"), ("simple", "openai-gpt4o-mini"), ("private", "local-default")] {
        page.shell(&format!("tenure agent create {agent}-agent --purpose \"Work\"")).ok();
        page.line(&format!("tenure agent set-model {agent}-agent {model}")).ok();
    }
    insta::assert_snapshot!(page.told);
}
