//! The business owner of seed 001: three agents with three models, of which each is asked for its own agent alone, and a value that
//! they share.
use crate::WITHIN;
use serde_json::json;
use std::sync::{Arc, Mutex};
use tests::page::Page;
use tests::scripted::{Say, Script, ScriptedDaemon, heard, said};

const ASSISTANT: &str = r#"tenure agent create assistant \
  --purpose "Personal assistant for scheduling and communication""#;
const BOOKKEEPER: &str = r#"tenure agent create bookkeeper \
  --purpose "Invoice processing and reconciliation" \
  --autonomous --schedule "0 */4 * * *""#;
const ORGANIZER: &str = r#"tenure agent create organizer \
  --purpose "File organization and tagging" \
  --autonomous --schedule "0 22 * * *""#;

/// The last that each model was sent back.
type Heard = Arc<Mutex<Vec<String>>>;

/// The bookkeeper shares a value, and does so again as if it were new; the assistant reads it.
fn script(last: &Heard) -> Script {
    let last = Arc::clone(last);
    Arc::new(move |request, answered| {
        let share = json!({"key": "invoices:march:status", "value": "complete", "expected_version": 0});
        let call = match (said(request).contains("Invoice processing"), answered) {
            (true, 0 | 1) => ("state.shared.set", share),
            (false, 0) => ("state.shared.get", json!({"key": "invoices:march:status"})),
            _ => {
                last.lock().expect("no test thread panicked with it").push(heard(request));
                return Say::Text("Done.".to_string());
            }
        };
        Say::Calls(vec![call])
    })
}

#[test]
fn seed_001_the_business_owner() {
    let last = Heard::default();
    let house = ScriptedDaemon::start(script(&last));
    let daemon = &house.daemon;
    let mut page = Page::beside(daemon, house.folder());
    page.lines(&[
        ASSISTANT,
        "tenure agent set-model assistant anthropic",
        BOOKKEEPER,
        "tenure agent set-model bookkeeper openai-gpt4o-mini",
        ORGANIZER,
        "tenure agent set-model organizer local-default",
    ]);
    insta::assert_snapshot!(page.told);
    // Without instructions the purpose is the standing instruction.
    let shown = page.shell("tenure agent show bookkeeper -o json").ok().json();
    assert_eq!(shown["manifest"]["spec"]["task"]["instruction"], "Invoice processing and reconciliation");

    house.model.asked();
    let run = |agent: &str| {
        let started = daemon.json(&["agent", "run", agent, "Now"]);
        let record = daemon.ended(started["id"].as_str().expect("an id"), WITHIN);
        (record["status"].clone(), record["reason"].clone(), house.model.asked())
    };
    let (status, _, asked) = run("bookkeeper");
    assert_eq!((status, asked), (json!("completed"), vec!["gpt-4o-mini over chat".to_string(); 3]));
    let (status, _, asked) = run("assistant");
    assert_eq!((status, asked), (json!("completed"), vec!["scripted over messages".to_string(); 2]));
    // The weights of the local model are not here: nobody else is asked in its place.
    let (status, reason, asked) = run("organizer");
    assert_eq!((status, reason, asked), (json!("failed"), json!("model_error"), Vec::new()));

    let told = last.lock().expect("no test thread panicked with it").split_off(0);
    assert!(told[0].contains("VersionConflict") && told[0].contains("its version is 1"), "{}", told[0]);
    for word in ["complete", "version: 1", "owner_agent: bookkeeper", "updated_at: "] {
        assert!(told[1].contains(word), "`{word}` was not told: {}", told[1]);
    }
    daemon.ok(&["audit", "verify"]);
}
