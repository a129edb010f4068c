//! Answers of providers that are no plain ones, through a whole daemon: none ends an execution that the model could mend,
//! none passes for finished, and what goes wrong is said while it does.
use crate::office::{MANIFEST, Office, WITHIN};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tests::scripted::{Say, Script, said};

/// An event stream of these deltas that ends for this reason, without any count of tokens.
fn stream(deltas: &[Value], reason: &str) -> Say {
    let chunk = |delta: &Value, reason: Option<&str>| json!({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]});
    let events = deltas.iter().map(|delta| chunk(delta, None)).chain([chunk(&json!({}), Some(reason))]);
    let events: String = events.map(|event| format!("data: {event}\n\n")).collect();
    Say::Http(200, events + "data: [DONE]\n\n")
}

fn call(index: u64, name: &str, arguments: &str) -> Value {
    json!({"tool_calls": [{"index": index, "id": "c", "function": {"name": name, "arguments": arguments}}]})
}

fn office(script: Script) -> Office {
    let office = Office::open(script);
    assert!(office.deploy(MANIFEST).status.success());
    office
}

fn id(record: &Value) -> &str {
    record["id"].as_str().expect("an id")
}

/// Why its model is asked again, once that is said.
fn why(office: &Office, execution: &str) -> String {
    let until = Instant::now() + WITHIN;
    loop {
        if let Some(detail) = office.daemon.json(&["execution", "get", execution])["detail"].as_str() {
            return detail.to_string();
        }
        assert!(Instant::now() < until, "nothing is said");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn arguments_that_are_no_json_are_told_to_the_model_which_mends_them_and_the_logs_say_why() {
    let office = office(Arc::new(|request, answered| match answered {
        0 => stream(
            &[call(4_000_000_000, "filesystem_write", "{\"path\": \"a.txt\", \"content\": \"a\nb\"}")],
            "tool_calls",
        ),
        1 => match said(request).contains("no JSON object") {
            true => Say::Calls(vec![("filesystem.write", json!({"path": "a.txt", "content": "mended"}))]),
            false => Say::Text("nobody told me".to_string()),
        },
        _ => Say::Text("done".to_string()),
    }));
    let record = office.execute("clerk", "x");
    assert_eq!(record["status"], "completed", "{record:#}");
    let agent = office.daemon.json(&["agent", "get", "clerk"]);
    let work = office.daemon.work_folder(id(&agent));
    assert_eq!(std::fs::read_to_string(work.join("a.txt")).expect("it was written"), "mended");
    let logs = office.daemon.ok(&["execution", "logs", id(&record)]);
    assert!(logs.contains("no JSON object"), "{logs}");
    office.holds();
}

#[test]
fn an_answer_that_the_limit_cut_is_gone_on_with_and_its_parts_are_one_output() {
    let office = office(Arc::new(|request, answered| match answered {
        0 => stream(&[json!({"content": "one, "})], "length"),
        1 if said(request).contains("cut your answer") => stream(&[json!({"content": "two, "})], "length"),
        2 => Say::Text("three".to_string()),
        _ => Say::Text("not told".to_string()),
    }));
    let record = office.execute("clerk", "x");
    assert_eq!((&record["status"], &record["output"]), (&json!("completed"), &json!("one, two, three")), "{record:#}");
    office.holds();
}

#[test]
fn the_token_limit_holds_where_no_provider_counts_and_the_estimate_is_marked() {
    let office = Office::open(Arc::new(|_, _| stream(&[call(0, "filesystem_list", "{}")], "tool_calls")));
    let limited = format!("{MANIFEST}  limits: {{tokens: 300}}\n");
    assert!(office.deploy(&limited).status.success());
    let record = office.execute("clerk", "x");
    assert_eq!((&record["status"], &record["reason"]), (&json!("failed"), &json!("token_budget")), "{record:#}");
    let logs = office.daemon.ok(&["execution", "logs", id(&record), "-o", "json"]);
    assert!(logs.contains("\"tokens_estimated\": true") || logs.contains("\"tokens_estimated\":true"), "{logs}");
    let counted = Office::open(Arc::new(|_, _| Say::Text("done".to_string())));
    assert!(counted.deploy(MANIFEST).status.success());
    let record = counted.execute("clerk", "x");
    let logs = counted.daemon.ok(&["execution", "logs", id(&record), "-o", "json"]);
    assert!(!logs.contains("tokens_estimated"), "what a provider counts is not marked: {logs}");
    office.holds();
}

#[test]
fn while_a_model_is_asked_again_get_list_logs_and_the_ledger_say_why() {
    let office =
        office(Arc::new(|_, _| Say::Http(500, "{\"error\": {\"message\": \"GPU fell off the bus\"}}".to_string())));
    let started = office.daemon.json(&["execute", "--agent", "clerk", "--input", "x"]);
    why(&office, id(&started));
    for told in [
        office.daemon.ok(&["execution", "get", id(&started)]),
        office.daemon.ok(&["execution", "list"]),
        office.daemon.ok(&["execution", "list", "-o", "json"]),
        office.daemon.ok(&["execution", "logs", id(&started)]),
        office.daemon.ok(&["execution", "logs", id(&started), "-o", "json"]),
        office.daemon.ok(&["audit", "tail", "--limit", "50", "-o", "json"]),
    ] {
        // A table cuts what is long.
        assert!(told.contains("GPU f"), "{told}");
    }
    office.daemon.ok(&["execution", "cancel", id(&started)]);
    office.holds();
}

#[test]
fn json_in_a_fence_passes_and_an_attempt_that_fails_sees_its_former_output() {
    let validated = format!(
        "{MANIFEST}  execution: {{max_iterations: 2, validation: [{{type: json_schema, schema: {{type: object, required: [ok]}}}}]}}\n"
    );
    let office = Office::open(Arc::new(|request, _| match said(request).contains("no JSON at all, sorry") {
        true => Say::Text("Now then:\n```json\n{\"ok\": true}\n```".to_string()),
        false => Say::Text("no JSON at all, sorry".to_string()),
    }));
    assert!(office.deploy(&validated).status.success());
    let record = office.execute("clerk", "x");
    assert_eq!((&record["status"], &record["iteration"]), (&json!("completed"), &json!(2)), "{record:#}");
    office.holds();
}

#[test]
fn a_model_on_this_host_is_asked_directly_and_a_proxy_that_fails_another_one_is_named() {
    let nowhere = [("HTTP_PROXY", "http://127.0.0.1:1"), ("http_proxy", "http://127.0.0.1:1")];
    let near = Office::open_with(Arc::new(|_, _| Say::Text("done".to_string())), &nowhere);
    assert!(near.deploy(MANIFEST).status.success());
    assert_eq!(near.execute("clerk", "x")["status"], "completed");
    let elsewhere = [("OPENAI_BASE_URL", "http://model.invalid/v1"), nowhere[0], nowhere[1]];
    let far = Office::open_with(Arc::new(|_, _| Say::Text("done".to_string())), &elsewhere);
    assert!(far.deploy(MANIFEST).status.success());
    let started = far.daemon.json(&["execute", "--agent", "clerk", "--input", "x"]);
    let detail = why(&far, id(&started));
    assert!(detail.to_lowercase().contains("http_proxy"), "{detail}");
    far.daemon.ok(&["execution", "cancel", id(&started)]);
}
