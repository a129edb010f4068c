//! MCP as a client speaks it, over the socket of a whole daemon.
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tenure_core::access::Role;
use tenure_wire::api::approval::Approve;
use tenure_wire::api::key::NewKey;
use tenure_wire::api::policy::{ApplyPolicy, PolicyDocument};
use tenure_wire::api::session::{Answered, CallState, RotateKey, SessionStatus};
use tenure_wire::client::{Client, Endpoint, McpAnswer};
use tokio::time::{sleep, timeout};

use crate::clock::SystemClock;
use crate::fleet::fake::FakeWorker;
use crate::testing::{Running, TEST_TIMEOUT, register};

const SESSION: &str = "mcp-session-id";

async fn daemon(folder: &Path) -> (Running, FakeWorker) {
    let daemon = Running::start(folder, Arc::new(SystemClock), &[]).await;
    let id = register(&daemon.app, "fake").await;
    let worker = FakeWorker::connect(&daemon.app, id, "fake");
    timeout(TEST_TIMEOUT, daemon.app.fleet.any_of(Some(id))).await.unwrap();
    let manifest = "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata: {name: outside}\nspec:\n  task: {instruction: x}\n  tools: [state.persistent.*, agent.*, filesystem.read]\n";
    daemon.client.deploy(manifest.as_bytes().to_vec(), false).await.unwrap();
    (daemon, worker)
}

fn holding(daemon: &Running, secret: &str) -> Client {
    let Endpoint::Unix(socket) = daemon.client.endpoint().clone() else { panic!("a daemon of the tests has a socket") };
    Client::new(Endpoint::Unix(socket), Some(secret.to_string()))
}

/// A client of the protocol, with a fresh key of the agent's.
struct Mcp {
    client: Client,
    session: Option<String>,
}

impl Mcp {
    async fn of(daemon: &Running) -> Mcp {
        let key = daemon.client.rotate_agent("outside", &RotateKey { overlap_ms: 60_000 }).await.unwrap();
        Mcp { client: holding(daemon, &key.secret), session: None }
    }

    async fn opened(daemon: &Running) -> Mcp {
        let mut mcp = Mcp::of(daemon).await;
        let answer = mcp.send(&initialize()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        mcp.session = Some(answer.headers[SESSION].to_str().unwrap().to_string());
        mcp
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        self.session.iter().map(|session| (SESSION, session.clone())).collect()
    }

    async fn send(&self, message: &Value) -> McpAnswer {
        self.client.mcp(message.to_string().into_bytes(), &self.headers(), |_| ()).await.unwrap()
    }

    async fn ask(&self, method: &str, params: Value) -> Value {
        let answer = self.send(&json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((&answer["id"], &answer["jsonrpc"]), (&json!(7), &json!("2.0")), "{answer}");
        answer
    }

    async fn call(&self, name: &str, arguments: Value) -> Value {
        self.ask("tools/call", json!({"name": name, "arguments": arguments})).await["result"].clone()
    }

    /// A call that is answered at once, however it stands.
    async fn call_at_once(&self, name: &str, arguments: Value) -> Value {
        let params = json!({"name": name, "arguments": arguments, "_meta": {"tenure.dev/wait_ms": 0}});
        self.ask("tools/call", params).await["result"].clone()
    }
}

fn initialize() -> Value {
    let params =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}});
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_opens_a_session_lists_what_the_manifest_names_and_calls_it_by_the_gate() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, _worker) = daemon(folder.path()).await;
    let mcp = Mcp::of(&daemon).await;
    let answer = mcp.send(&initialize()).await;
    let session = answer.headers[SESSION].to_str().unwrap().to_string();
    let told: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(told["result"]["protocolVersion"], "2025-11-25", "{told}");
    assert_eq!(told["result"]["serverInfo"]["name"], "tenure", "{told}");
    assert!(told["result"]["capabilities"]["tools"].is_object(), "{told}");
    let mcp = Mcp { session: Some(session.clone()), ..mcp };
    let initialized = mcp.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    assert_eq!(initialized.status, 202);
    assert_eq!(mcp.ask("ping", json!({})).await["result"], json!({}));

    let listed = mcp.ask("tools/list", json!({})).await;
    let tools = listed["result"]["tools"].as_array().unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    for name in ["state.persistent.set", "agent.whoami", "filesystem.read", "tenure.call_result"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    for name in ["agent.execute", "filesystem.write", "state.shared.get", "network.request"] {
        assert!(!names.contains(&name), "{name}: {names:?}");
    }
    let read = tools.iter().find(|tool| tool["name"] == "filesystem.read").unwrap();
    assert_eq!((&read["annotations"]["readOnlyHint"], &read["inputSchema"]["type"]), (&json!(true), &json!("object")));

    let set = mcp.call("state.persistent.set", json!({"key": "greeting", "value": "hello"})).await;
    assert_eq!((&set["isError"], &set["structuredContent"]["status"]), (&json!(false), &json!("done")), "{set}");
    assert_eq!(set["structuredContent"]["result"], json!({"version": 1}));
    assert_eq!(text(&set), r#"{"version":1}"#);
    let got = mcp.call("state_persistent_get", json!({"key": "greeting"})).await;
    assert_eq!((text(&got), &got["structuredContent"]["detail"]["version"]), ("\"hello\"", &json!(1)), "{got}");
    let whoami = mcp.call("agent.whoami", json!({})).await;
    assert_eq!(whoami["structuredContent"]["result"]["name"], "outside", "{whoami}");
    assert_eq!(whoami["structuredContent"]["result"]["session"], session.as_str(), "{whoami}");

    let sessions = daemon.client.sessions(&[], 10).await.unwrap();
    assert_eq!((sessions.len(), sessions[0].id.to_string(), sessions[0].invocations), (1, session, 3));
    assert_eq!(mcp.client.end_mcp(&mcp.headers()).await.unwrap().status, 204);
    let sessions = daemon.client.sessions(&[], 10).await.unwrap();
    assert_eq!((sessions[0].status, sessions[0].ending.as_deref()), (SessionStatus::Ended, Some("closed")));
    let late = mcp.send(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})).await;
    assert_eq!(late.status, 404, "a client begins anew at this: {late:?}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_done_is_a_result_that_says_why_and_what_next() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, _worker) = daemon(folder.path()).await;
    let mcp = Mcp::opened(&daemon).await;
    let blocked = mcp.call("filesystem.write", json!({"path": "a", "content": "b"})).await;
    let misfit = mcp.call("state.persistent.set", json!({"key": "a", "value": 1, "colour": "red"})).await;
    let unknown = mcp.call("no.such", json!({})).await;
    let failed = mcp.call("state.persistent.get", json!({"key": "none"})).await;
    let no_call = mcp.call("tenure.call_result", json!({"call": "call_none"})).await;
    let no_arguments = mcp.call("tenure.call_result", json!({})).await;
    for (result, status, code) in [
        (&blocked, "refused", "call_blocked"),
        (&misfit, "refused", "call_arguments_wrong"),
        (&unknown, "refused", "call_arguments_wrong"),
        (&failed, "failed", "not_found"),
        (&no_call, "refused", "call_unknown"),
        (&no_arguments, "refused", "call_arguments_wrong"),
    ] {
        let content = &result["structuredContent"];
        assert_eq!((&result["isError"], &content["status"]), (&json!(true), &json!(status)), "{result}");
        assert_eq!(content["code"], code, "{result}");
        assert!(text(result).contains("\nnext: ") && !text(result).contains("/v1/"), "{result}");
        assert!(!content["next"].as_str().unwrap().is_empty(), "{result}");
    }
    let events = daemon.events().await;
    assert!(events.iter().any(|event| event.to_string().contains("filesystem.write")), "what was blocked is recorded");
    daemon.client.pause_agent("outside", &tenure_wire::api::agent::Pause::default()).await.unwrap();
    let paused = mcp.call("agent.whoami", json!({})).await;
    assert_eq!(paused["structuredContent"]["code"], "session_paused", "{paused}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_living_key_of_an_agent_opens_it_and_no_session_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, _worker) = daemon(folder.path()).await;
    let asked = async |client: &Client| {
        let answer = client.mcp(initialize().to_string().into_bytes(), &[], |_| ()).await.unwrap();
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        (answer.status.as_u16(), problem["code"].as_str().map(str::to_string))
    };
    let mcp = Mcp::opened(&daemon).await;
    assert_eq!(asked(&mcp.client).await.0, 200, "the control: its own key");
    let forbidden = (403, Some("forbidden".to_string()));
    assert_eq!(asked(&daemon.client).await, forbidden, "the socket's owner is no agent");
    let person = daemon.client.create_key(&NewKey { name: "o".into(), role: Role::Owner }).await.unwrap();
    assert_eq!(asked(&holding(&daemon, &person.secret)).await, forbidden);
    let unauthenticated = (401, Some("unauthenticated".to_string()));
    assert_eq!(asked(&holding(&daemon, "tnr_nonsense")).await, unauthenticated);

    let manifest = "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata: {name: other}\nspec:\n  task: {instruction: x}\n  tools: [agent.*]\n";
    daemon.client.deploy(manifest.as_bytes().to_vec(), false).await.unwrap();
    let other = daemon.client.rotate_agent("other", &RotateKey::default()).await.unwrap();
    let intruder = Mcp { client: holding(&daemon, &other.secret), session: mcp.session.clone() };
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    assert_eq!(intruder.send(&message).await.status, 404);

    daemon.client.rotate_agent("outside", &RotateKey::default()).await.unwrap();
    assert_eq!(mcp.send(&message).await.status, 401, "its key is dead");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_call_is_answered_early_and_its_result_fetched_and_a_call_taken_back_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, worker) = daemon(folder.path()).await;
    let mcp = Arc::new(Mcp::opened(&daemon).await);
    worker.answers.send_replace(false);
    let open = mcp.call_at_once("filesystem.read", json!({"path": "a.txt"})).await;
    let content = &open["structuredContent"];
    assert_eq!((&open["isError"], &content["status"]), (&json!(false), &json!("in_flight")), "{open}");
    assert!(text(&open).contains("tenure.call_result"), "{open}");
    let wanted = json!({"call": content["call"], "wait_ms": 0});
    assert_eq!(mcp.call("tenure.call_result", wanted.clone()).await["structuredContent"]["status"], "in_flight");

    let asking = {
        let mcp = Arc::clone(&mcp);
        let params = json!({"name": "filesystem.read", "arguments": {"path": "b.txt"}});
        let message = json!({"jsonrpc": "2.0", "id": "b", "method": "tools/call", "params": params});
        tokio::spawn(async move { mcp.send(&message).await })
    };
    let calls = async |count: u32| {
        while daemon.client.sessions(&[], 1).await.unwrap()[0].calls != count {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(TEST_TIMEOUT, calls(2)).await.unwrap();
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "b"}});
    assert_eq!(mcp.send(&cancel).await.status, 202);
    // This worker kills nothing, and answers once it may.
    let taken = timeout(TEST_TIMEOUT, asking).await.unwrap().unwrap();
    let taken: Value = serde_json::from_slice(&taken.body).unwrap();
    assert_eq!(taken["result"]["structuredContent"]["code"], "cancelled", "{taken}");

    assert!(daemon.events().await.iter().any(|event| event["kind"] == "call.cancel_requested"), "it is in the ledger");

    worker.answers.send_replace(true);
    let done = mcp.call("tenure_call_result", json!({"call": wanted["call"], "wait_ms": 50_000})).await;
    assert_eq!(done["structuredContent"]["result"]["content"], "what is there", "{done}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_a_person_must_allow_is_answered_at_once_with_what_to_wait_on() {
    const RULE: &str = "@id(\"asked\")\n@verdict(\"approval_required\")\n@reason(\"a person looks at it first\")\n\
        permit(principal, action == Action::\"state.persistent.set\", resource);\n";
    let folder = tempfile::tempdir().unwrap();
    let (daemon, _worker) = daemon(folder.path()).await;
    let document = PolicyDocument { layer: "system".into(), name: "asked.cedar".into(), text: RULE.into() };
    let apply = ApplyPolicy { documents: vec![document], expected: None, note: None, dry_run: false };
    daemon.client.apply_policy(&apply).await.unwrap();
    let mcp = Mcp::opened(&daemon).await;
    let asked = timeout(TEST_TIMEOUT, mcp.call("state.persistent.set", json!({"key": "a", "value": 1}))).await.unwrap();
    let content = &asked["structuredContent"];
    assert_eq!((&asked["isError"], &content["status"]), (&json!(false), &json!("waiting")), "{asked}");
    let invoke = json!({"capability": "state.persistent.set", "arguments": {"key": "b", "value": 1}, "wait_ms": 0});
    let invoked = mcp.client.invoke(&serde_json::from_value(invoke).unwrap()).await.unwrap();
    let Answered::Open(open) = invoked else { panic!("over the session API it waits too: {invoked:?}") };
    assert_eq!(open.state, CallState::Waiting);
    let result = async || mcp.call("tenure.call_result", json!({"call": content["call"]})).await;
    assert_eq!(result().await["structuredContent"]["status"], "waiting", "nobody has decided");
    daemon.client.approve(content["approval"].as_str().unwrap(), &Approve::default()).await.unwrap();
    let done = result().await;
    assert_eq!(done["structuredContent"]["result"], json!({"version": 1}), "{done}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_session_of_the_protocol_a_request_is_of_the_newest_or_opens_one() {
    let folder = tempfile::tempdir().unwrap();
    let (daemon, _worker) = daemon(folder.path()).await;
    let mcp = Mcp::of(&daemon).await;
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "tenure.dev/idempotency_key": "one",
    });
    let params = json!({"name": "state.persistent.set", "arguments": {"key": "a", "value": 1}, "_meta": meta});
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let headers = [
        ("mcp-protocol-version", "2026-07-28".to_string()),
        ("mcp-method", "tools/call".to_string()),
        ("mcp-name", "state.persistent.set".to_string()),
    ];
    for _ in 0..2 {
        let answer = mcp.client.mcp(message.to_string().into_bytes(), &headers, |_| ()).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer["result"]["structuredContent"]["result"], json!({"version": 1}), "{answer}");
    }
    assert_eq!(daemon.client.sessions(&[], 10).await.unwrap().len(), 1);
    daemon.stop().await;
}
