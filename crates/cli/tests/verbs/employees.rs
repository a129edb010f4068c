//! Seeds 000 and 001, line by line, as they are written there: in a shell, with the program under the pages' own name, `kruxos`,
//! and a model whose answers are recorded. What each line prints is in the snapshots. Left out are the lines that belong to
//! other parts of issue 10 and are not in this release: `agent rotate` (its line 2), `state` (4), `--triggers comms` and with it
//! the invoice pipeline (5).
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
