//! What agents keep, with a model of a cassette and the API beside it.
use super::worker;
use crate::clock::SystemClock;
use crate::testing::{Running, calls, manifest, says};
use serde_json::{Value, json};
use std::sync::Arc;
use tenure_wire::api::execution::ExecutionStatus;
use tenure_wire::api::state::{PutAcl, SetQuota};
use tenure_wire::client::{Error, SetState};
use tenure_wire::problem::Code;

fn manifest_with_state(name: &str) -> Vec<u8> {
    manifest(name, "").replace("[\"filesystem.*\"]", "[\"state.*\"]").into_bytes()
}

/// What the model was told of its calls, in order.
async fn told(daemon: &Running, agent: &str) -> Vec<Value> {
    let id = daemon.start_execution(agent).await;
    let ended = daemon.ended(&id).await.execution;
    assert_eq!((ended.status, ended.reason), (ExecutionStatus::Completed, None));
    let logs = serde_json::to_value(daemon.client.logs(&id, None).await.unwrap()).unwrap();
    let turns = logs[0]["log"].as_array().unwrap();
    turns.iter().flat_map(|turn| turn["calls"].as_array().cloned().unwrap_or_default()).collect()
}

fn code(error: Error) -> Code {
    match error {
        Error::Problem(problem) => problem.code,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_shares_a_value_another_reads_it_and_both_are_told_of_conflicts_quotas_and_rules() {
    let folder = tempfile::tempdir().unwrap();
    let set = |expected: u64| {
        let arguments = json!({"key": "invoices:march", "value": "complete", "expected_version": expected});
        calls("state.shared.set", arguments)
    };
    let get = || calls("state.shared.get", json!({"key": "invoices:march"}));
    let own = calls("state.persistent.set", json!({"key": "note", "value": "more than ten bytes"}));
    let writes = [set(0), set(0), own, says("Done.")];
    let reads = [get(), says("Read.")];
    let daemon = Running::start(folder.path(), Arc::new(SystemClock), &[&writes, &reads, &reads]).await;
    let _worker = worker(&daemon).await;
    for name in ["bookkeeper", "auditor"] {
        daemon.client.deploy(manifest_with_state(name), false).await.unwrap();
    }
    daemon.client.set_state_quota(Some("bookkeeper"), &SetQuota { bytes: 10 }).await.unwrap();

    let calls = told(&daemon, "bookkeeper").await;
    let text: Vec<String> = calls.iter().map(Value::to_string).collect();
    assert!(text[0].contains("\"done\""), "{}", text[0]);
    assert!(text[1].contains("VersionConflict") && text[1].contains("its version is 1"), "{}", text[1]);
    assert!(text[2].contains("QuotaExceeded") && text[2].contains("nothing changed"), "{}", text[2]);
    assert_eq!(
        code(daemon.client.state_value(Some("bookkeeper"), "note", None).await.unwrap_err()),
        Code::StateUnknown
    );

    let calls = told(&daemon, "auditor").await;
    let text = calls[0].to_string();
    assert!(text.contains("complete"), "{text}");
    let said = |event: &Value| event["data"]["detail"].as_str().is_some_and(|detail| detail.contains("bookkeeper"));
    assert!(daemon.events().await.iter().any(|event| event["kind"] == "call.ended" && said(event)), "its owner's name");
    let shared = daemon.client.state_value(None, "invoices:march", None).await.unwrap();
    assert_eq!(
        (shared.value.get(), shared.version, shared.owner_agent.as_deref()),
        ("\"complete\"", 1, Some("bookkeeper"))
    );

    let rule = PutAcl { prefix: "invoices:".into(), read: vec!["bookkeeper".into()], write: Vec::new() };
    daemon.client.set_acl(&rule).await.unwrap();
    let calls = told(&daemon, "auditor").await;
    let text = calls[0].to_string();
    assert!(text.contains("AccessDenied") && !text.contains("complete"), "{text}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_change_values_as_themselves_and_a_stale_version_is_refused_with_the_present_one() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Running::start(folder.path(), Arc::new(SystemClock), &[]).await;
    let _worker = worker(&daemon).await;
    daemon.client.deploy(manifest_with_state("clerk"), false).await.unwrap();
    let value = serde_json::value::RawValue::from_string("{ \"n\": 1.50 }".to_string()).unwrap();
    let set = |expected_version| SetState { key: "a/b c?", value: &value, expected_version, ttl_seconds: None };
    for agent in [Some("clerk"), None] {
        assert_eq!(daemon.client.set_state(agent, set(Some(0))).await.unwrap().version, 1);
        let stale = daemon.client.set_state(agent, set(Some(0))).await.unwrap_err();
        assert!(stale.to_string().contains("is 1"), "{stale}");
        assert_eq!(code(stale), Code::StateVersionConflict);
        let read = daemon.client.state_value(agent, "a/b c?", None).await.unwrap();
        assert_eq!(read.value.get(), value.get(), "the bytes as they came");
        assert!(read.updated_by.starts_with("owner:"), "{}", read.updated_by);
        daemon.client.delete_state(agent, "a/b c?", Some(1)).await.unwrap();
        assert_eq!(code(daemon.client.state_value(agent, "a/b c?", None).await.unwrap_err()), Code::StateUnknown);
        let old = daemon.client.state_value(agent, "a/b c?", Some(1)).await.unwrap();
        assert_eq!(old.version, 1, "its history is there");
        let history = daemon.client.state_history(agent, "a/b c?").await.unwrap().items;
        assert_eq!(history.iter().map(|it| (it.version, it.deleted)).collect::<Vec<_>>(), [(2, true), (1, false)]);
    }
    let wanted = daemon.client.set_state(None, set(None)).await.unwrap_err();
    assert_eq!(code(wanted), Code::ParameterWrong, "shared ones want a version");
    for event in daemon.events().await.iter().filter(|event| event["kind"] == "state.set") {
        assert_eq!(event["actor"], event["data"]["by"], "{event}");
    }
    daemon.stop().await;
}
