//! Providers that fail: each ends or waits with its reason, none completes, and no key is told.
use crate::office::{KEY, MANIFEST, Office};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tests::scripted::{Say, Script};

fn office(script: Script) -> Office {
    let office = Office::open(script);
    assert!(office.deploy(MANIFEST).status.success());
    office
}

fn nowhere_is_the_key(office: &Office, record: &Value) {
    assert!(!record.to_string().contains(KEY), "{record:#}");
    assert!(!office.daemon.log().contains(KEY), "the log tells the key");
    let records = office.daemon.ok(&["audit", "tail", "--limit", "500", "-o", "json"]);
    assert!(!records.contains(KEY), "the ledger tells the key");
    office.holds();
}

#[test]
fn a_wrong_key_ends_the_execution_as_model_error_and_is_never_told() {
    let office = office(Arc::new(|_, _| {
        Say::Http(401, format!("{{\"error\": {{\"message\": \"Incorrect API key provided: {KEY}\"}}}}"))
    }));
    let record = office.execute("clerk", "x");
    assert_eq!((record["status"].as_str(), record["reason"].as_str()), (Some("failed"), Some("model_error")));
    assert!(record.to_string().contains("auth"), "{record:#}");
    nowhere_is_the_key(&office, &record);
}

/// Fails twice in this way, then answers.
fn twice(failure: Say) -> Script {
    let asked = AtomicUsize::new(0);
    Arc::new(move |_, _| match asked.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => failure.clone(),
        _ => Say::Text("at last".to_string()),
    })
}

#[test]
fn overload_errors_and_cut_streams_are_tried_again_until_they_pass() {
    let failures = [
        Say::Http(429, "{\"error\": {\"message\": \"slow down\"}}".to_string()),
        Say::Http(500, "{\"error\": {\"message\": \"oops\"}}".to_string()),
        Say::HalfAStream,
        Say::Http(200, String::new()),
    ];
    for failure in failures {
        let shown = format!("{failure:?}");
        let office = office(twice(failure));
        let record = office.execute("clerk", "x");
        assert_eq!(record["status"], "completed", "after {shown}: {record:#}");
        assert!(office.daemon.ok(&["execution", "logs", record["id"].as_str().expect("an id")]).contains("at last"));
        nowhere_is_the_key(&office, &record);
    }
}

#[test]
fn an_account_without_credit_is_asked_once_and_the_execution_ends_with_the_providers_words() {
    const WORDS: &str = "The account of this house is empty since Monday";
    let body = json!({"error": {"message": WORDS, "type": "insufficient_quota", "code": "insufficient_quota"}});
    for status in [200, 402, 429] {
        let asked = Arc::new(AtomicUsize::new(0));
        let (counted, body) = (Arc::clone(&asked), body.to_string());
        let office = office(Arc::new(move |_, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            Say::Http(status, body.clone())
        }));
        let record = office.execute("clerk", "x");
        let ended = (record["status"].as_str(), record["reason"].as_str());
        assert_eq!(ended, (Some("failed"), Some("model_error")), "{status}: {record:#}");
        assert!(record["detail"].as_str().is_some_and(|why| why.contains(WORDS)), "{status}: {record:#}");
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{status}: to wait brings no credit");
        nowhere_is_the_key(&office, &record);
    }
}

#[test]
fn a_call_with_wrong_arguments_is_told_to_the_model_and_never_made() {
    let office = office(Arc::new(|request, answered| match answered {
        0 => Say::Calls(vec![
            ("filesystem.write", json!({"path": "a.txt", "contents": "x"})),
            ("filesystem.levitate", json!({})),
        ]),
        _ => {
            let told = tests::scripted::said(request);
            Say::Text(format!("told: {}", told.contains("contents") && told.contains("levitate")))
        }
    }));
    let record = office.execute("clerk", "x");
    let logs = office.daemon.ok(&["execution", "logs", record["id"].as_str().expect("an id")]);
    assert!(logs.contains("told: true"), "{logs}");
    let agent = office.daemon.json(&["agent", "get", "clerk"]);
    let work = office.daemon.work_folder(agent["id"].as_str().expect("an id"));
    assert!(!work.join("a.txt").exists());
    office.holds();
}

#[test]
fn a_capability_outside_the_tools_list_is_blocked_and_the_rule_is_named() {
    let office = Office::open(Arc::new(|_, answered| match answered {
        0 => Say::Calls(vec![("process.run", json!({"command": "touch", "args": ["made"]}))]),
        _ => Say::Text("so be it".to_string()),
    }));
    assert!(office.deploy(&MANIFEST.replace(", \"process.run\"", "")).status.success());
    let record = office.execute("clerk", "x");
    let logs = office.daemon.ok(&["execution", "logs", record["id"].as_str().expect("an id"), "-o", "json"]);
    assert!(logs.contains("floor:default_deny"), "{logs}");
    let agent = office.daemon.json(&["agent", "get", "clerk"]);
    assert!(!office.daemon.work_folder(agent["id"].as_str().expect("an id")).join("made").exists());
    office.holds();
}
