//! The invoice pipeline of seed 001, as it is set up there, and as examples/invoice-pipeline has it at work: two agents hand work
//! to each other by messages, each woken by what the other says, and the second answer ends the chain.
use crate::{answers, ended};
use serde_json::{Value, json};
use std::sync::Arc;
use tests::page::Page;
use tests::scripted::{Say, Script, ScriptedDaemon, said, woken_with};

fn script() -> Script {
    Arc::new(|request, answered| {
        let messages = woken_with(request);
        let is_bot = said(request).contains("You watch a mailbox");
        match (is_bot, messages.first(), answered) {
            (true, None, 0) => Say::Calls(vec![("filesystem.list", json!({"path": "/workspace"}))]),
            (true, None, 1) => {
                let invoice = json!({"action": "new_invoice", "email_id": "abc123", "text": "12 EUR"});
                Say::Calls(vec![("comms.send", json!({"to": "bookkeeper", "message": invoice.to_string()}))])
            }
            (false, Some(invoice), 0) => {
                let read: Value =
                    serde_json::from_str(invoice["message"].as_str().unwrap_or("null")).unwrap_or_default();
                let key = format!("invoices:{}", read["email_id"].as_str().unwrap_or("none"));
                Say::Calls(vec![("state.persistent.set", json!({"key": key, "value": read["text"]}))])
            }
            (false, Some(invoice), 1) => {
                let done = json!({"action": "task_complete", "email_id": "abc123", "status": "reconciled"});
                Say::Calls(vec![("comms.reply", json!({"id": invoice["id"], "message": done}))])
            }
            (true, Some(done), 0) => {
                let path =
                    format!("/workspace/confirmations/{}.txt", done["message"]["email_id"].as_str().unwrap_or(""));
                let content = done["message"]["status"].clone();
                Say::Calls(vec![("filesystem.write", json!({"path": path, "content": content}))])
            }
            _ => Say::Text("Done.".to_string()),
        }
    })
}

#[test]
fn seed_001_the_invoice_pipeline_is_set_up() {
    let house = ScriptedDaemon::start(answers());
    let mut page = Page::beside(&house.daemon, house.folder());
    let bot = r#"tenure agent create email-bot \
  --purpose "Monitor and respond to emails" \
  --autonomous --schedule "*/15 * * * *" \
  --triggers schedule,comms"#;
    let bookkeeper = r#"tenure agent create bookkeeper \
  --purpose "Process invoices" \
  --autonomous \
  --triggers comms"#;
    page.lines(&[bot, bookkeeper]);
    insta::assert_snapshot!(page.told);
    let shown = |agent: &str| page.shell(&format!("tenure agent show {agent} -o json")).ok().json();
    assert_eq!(shown("email-bot")["manifest"]["spec"]["triggers"], json!(["schedule", "comms"]));
    let bookkeeper = shown("bookkeeper");
    assert_eq!(bookkeeper["manifest"]["spec"]["triggers"], json!(["comms"]));
    assert_eq!(bookkeeper["schedule"], Value::Null, "purely reactive");
}

#[test]
fn the_invoice_pipeline_hands_work_on_by_messages_and_ends() {
    let ScriptedDaemon { daemon, .. } = &ScriptedDaemon::start(script());
    let example = |name: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/invoice-pipeline").join(name);
        let text = std::fs::read_to_string(path).expect("the example is there");
        // The clock must not start it in the middle of the test.
        text.replace("\"*/15 * * * *\"", "\"0 0 1 1 *\"")
    };
    daemon.deploy(&example("bookkeeper.yaml"));
    let bot = daemon.deploy(&example("email-bot.yaml"));
    daemon.json(&["execute", "--agent", "email-bot"]);

    let books = ended(daemon, "bookkeeper", 1);
    let bots = ended(daemon, "email-bot", 2);
    assert_eq!((books.len(), bots.len()), (1, 2), "{books:#?}\n{bots:#?}");
    for execution in books.iter().chain(&bots) {
        assert_eq!(execution["status"], "completed", "{execution:#}\n{}", daemon.log());
    }
    let confirmation = daemon.work_folder(bot["id"].as_str().expect("an id")).join("confirmations/abc123.txt");
    let confirmed = std::fs::read_to_string(&confirmation).expect("the confirmation is written");
    assert_eq!(confirmed, "reconciled");
    let answers = daemon.json(&["comms", "list", "email-bot"]);
    assert_eq!(answers[0]["message"]["action"], "task_complete", "{answers:#}");
    let invoices = daemon.json(&["comms", "list", "bookkeeper"]);
    assert_eq!((&invoices[0]["state"], &invoices[0]["answer"]), (&json!("received"), &answers[0]["id"]));
    assert_eq!(daemon.json(&["agent", "get", "bookkeeper"])["messages_waiting"], 0);
    daemon.ok(&["audit", "verify"]);
}
