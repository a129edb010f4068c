//! Seeds 000 and 001, line by line, as they are written there: in a shell, with the program under the pages' own name, `kruxos`,
//! and a model whose answers are recorded. What each line prints is in the snapshots. How the invoice pipeline goes on is a
//! test of the main job.
use super::house::cassette;
use super::seed::Page;

fn page(executions: u32) -> Page {
    Page::named("kruxos", &cassette(executions))
}

#[test]
fn seed_000_managing_agents() {
    let mut page = page(1);
    page.line("kruxos agent create --name my-agent --purpose \"General assistant\"").ok();
    page.line("kruxos agent create --name deploy-bot --purpose \"CI/CD automation\"").ok();
    page.line("kruxos agent create --name monitor --purpose \"System health monitoring\"").ok();
    page.line("kruxos agent list").ok();
    page.line("kruxos agent show deploy-bot").ok();
    page.line("kruxos agents").ok();
    page.line("kruxos pause deploy-bot").ok();
    page.line("kruxos agent list --status paused").ok();
    assert_eq!(page.line("kruxos agent run deploy-bot \"Deploy\"").code, 5, "nothing of it begins");
    page.line("kruxos resume deploy-bot").ok();
    page.line("kruxos kill deploy-bot").ok();
    page.line("kruxos agent revoke deploy-bot --yes").ok();
    assert_eq!(page.line("kruxos resume deploy-bot").code, 5, "for good");
    assert_eq!(page.line("kruxos agent run deploy-bot \"Deploy\"").code, 5);
    page.line("kruxos agent list").ok();
    insta::assert_snapshot!(page.told);
}

const BOOKKEEPER: &str = r#"kruxos agent create bookkeeper \
  --purpose "Process invoices from email and update the ledger" \
  --autonomous \
  --schedule "0 */2 * * *" \
  --instructions "Check for new invoice emails. Extract amounts and dates. Update the shared ledger state. Flag anything over $10,000 for human review.""#;

#[test]
fn seed_001_the_first_autonomous_agent() {
    let mut page = page(2);
    page.line(BOOKKEEPER).ok();
    page.line("kruxos agent set-model bookkeeper anthropic").ok();
    page.line("kruxos agent run bookkeeper \"Process the invoice that came by mail today\" --watch").ok();
    page.line("kruxos agent logs bookkeeper").ok();
    page.line("kruxos agent logs bookkeeper --limit 5").ok();
    page.line("kruxos pause bookkeeper").ok();
    assert_eq!(page.line("kruxos agent run bookkeeper \"Now\"").code, 5);
    page.line("kruxos resume bookkeeper").ok();
    let edit = r#"kruxos agent edit bookkeeper \
  --schedule "0 */4 * * *" \
  --instructions "Updated instructions here" \
  --max-iterations 30"#;
    page.line(edit).ok();
    let shown = page.shell("kruxos agent show bookkeeper -o json").ok().json();
    assert_eq!((&shown["schedule"]["cron"], &shown["limits"]["max_turns"]), (&"0 */4 * * *".into(), &30.into()));
    assert_eq!(shown["schedule"]["next"].as_array().unwrap().len(), 5);
    assert_eq!(shown["tasks"][0]["status"], "completed");
    insta::assert_snapshot!(page.told);
}

#[test]
fn seed_001_the_developer() {
    let mut page = page(1);
    let frontend = r#"kruxos agent create frontend-dev \
  --purpose "Maintain the React dashboard" \
  --autonomous --schedule "0 9 * * 1-5" \
  --instructions "Review open PRs, run tests, flag failures.""#;
    page.line(frontend).ok();
    let backend = r#"kruxos agent create backend-dev \
  --purpose "Maintain the API server" \
  --autonomous --schedule "0 9 * * 1-5" \
  --instructions "Check CI status, review dependency updates.""#;
    page.line(backend).ok();
    let devops = r#"kruxos agent create devops \
  --purpose "Monitor infrastructure" \
  --autonomous --schedule "*/30 * * * *" \
  --instructions "Check service health endpoints. Alert on failures.""#;
    page.line(devops).ok();
    page.line("kruxos agent list").ok();
    // Each has a workspace of its own, which the others do not see.
    page.shell("kruxos agent run frontend-dev \"Write solution.py\" --watch").ok();
    assert!(page.shell("kruxos agent files ls frontend-dev").ok().stdout.contains("solution.py"));
    assert!(!page.shell("kruxos agent files ls backend-dev").stdout.contains("solution.py"));
    insta::assert_snapshot!(page.told);
}

#[test]
fn seed_001_the_business_owner() {
    let mut page = page(1);
    let assistant = r#"kruxos agent create assistant \
  --purpose "Personal assistant for scheduling and communication""#;
    page.line(assistant).ok();
    page.line("kruxos agent set-model assistant anthropic").ok();
    let bookkeeper = r#"kruxos agent create bookkeeper \
  --purpose "Invoice processing and reconciliation" \
  --autonomous --schedule "0 */4 * * *""#;
    page.line(bookkeeper).ok();
    page.line("kruxos agent set-model bookkeeper openai-gpt4o-mini").ok();
    let organizer = r#"kruxos agent create organizer \
  --purpose "File organization and tagging" \
  --autonomous --schedule "0 22 * * *""#;
    page.line(organizer).ok();
    page.line("kruxos agent set-model organizer local-default").ok();
    insta::assert_snapshot!(page.told);
    let listed = page.shell("kruxos agent list -o json").ok().json();
    let models: Vec<&str> = listed.as_array().unwrap().iter().map(|agent| agent["model"].as_str().unwrap()).collect();
    assert_eq!(models, ["anthropic", "openai-gpt4o-mini", "local-default"]);
    // Without instructions the purpose is the standing instruction.
    let shown = page.shell("kruxos agent show bookkeeper -o json").ok().json();
    assert_eq!(shown["manifest"]["spec"]["task"]["instruction"], "Invoice processing and reconciliation");
}

#[test]
fn seed_001_the_privacy_conscious_user() {
    let mut page = page(1);
    page.line("kruxos agent create jarvis --purpose \"General assistant\"").ok();
    page.line("kruxos agent set-model jarvis local-default").ok();
    let researcher = r#"kruxos agent create researcher \
  --purpose "Research and summarize documents" \
  --autonomous --schedule "0 8 * * *""#;
    page.line(researcher).ok();
    page.line("kruxos agent set-model researcher local-default").ok();
    insta::assert_snapshot!(page.told);
    let shown = page.shell("kruxos agent show jarvis -o json").ok().json();
    assert_eq!((&shown["model"], &shown["schedule"]), (&"local-default".into(), &serde_json::Value::Null));
}

#[test]
fn seed_000_agent_state_and_keys() {
    let mut page = page(1);
    let key = page.shell("kruxos agent create --name my-agent --purpose \"General assistant\" -o json").ok().json();
    page.line("kruxos state list my-agent").ok();
    page.shell("kruxos state set my-agent last_deploy '\"2026-03-15\"'").ok();
    page.line("kruxos state get my-agent last_deploy").ok();
    page.line("kruxos state set my-agent debug_flag '{\"enabled\": true}'").ok();
    page.line("kruxos state list my-agent").ok();
    page.line("kruxos state delete my-agent debug_flag").ok();
    page.line("kruxos state list my-agent").ok();
    page.line("kruxos state quota my-agent").ok();
    page.line("kruxos agent briefing my-agent").ok();
    insta::assert_snapshot!(page.told);
    let rotated = page.shell("kruxos agent rotate my-agent -o json").ok().json();
    let secrets = [&key["key"], &rotated["secret"]].map(|secret| secret.as_str().unwrap_or_default());
    assert!(secrets.iter().all(|secret| secret.starts_with("tnr_")), "each is shown once: {key} {rotated}");
    assert_ne!(secrets[0], secrets[1], "the old key is invalid");
}

#[test]
fn seed_001_the_invoice_pipeline_is_set_up() {
    let mut page = page(1);
    let bot = r#"kruxos agent create email-bot \
  --purpose "Monitor and respond to emails" \
  --autonomous --schedule "*/15 * * * *" \
  --triggers schedule,comms"#;
    page.line(bot).ok();
    let bookkeeper = r#"kruxos agent create bookkeeper \
  --purpose "Process invoices" \
  --autonomous \
  --triggers comms"#;
    page.line(bookkeeper).ok();
    for (agent, model) in [("complex", "anthropic"), ("simple", "openai-gpt4o-mini"), ("private", "local-default")] {
        page.shell(&format!("kruxos agent create {agent}-agent --purpose \"Work\"")).ok();
        page.line(&format!("kruxos agent set-model {agent}-agent {model}")).ok();
    }
    insta::assert_snapshot!(page.told);
    let triggers = |agent: &str| {
        page.shell(&format!("kruxos agent show {agent} -o json")).ok().json()["manifest"]["spec"]["triggers"].clone()
    };
    assert_eq!(triggers("email-bot"), serde_json::json!(["schedule", "comms"]));
    assert_eq!(triggers("bookkeeper"), serde_json::json!(["comms"]));
}
