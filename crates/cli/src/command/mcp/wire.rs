//! The daemon's side of the bridge: which session it speaks in, and what of a message HTTP wants in headers. A session that ended
//! for being silent, or with the daemon's rows, is opened again as the client opened it first.
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tenure_wire::client::{Client, McpAnswer};
use tenure_wire::problem::Problem;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

const SESSION: &str = "mcp-session-id";
const VERSION: &str = "mcp-protocol-version";
const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";
/// Where a message of the protocol without sessions says its version.
const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// A request that is answered only once its client leaves.
const LISTEN: &str = "subscriptions/listen";
/// Between two tries to listen, and between two looks at whether there is a session.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// JSON-RPC's own numbers, and the first of those that are left to servers.
const PARSE_ERROR: i32 = -32700;
const SERVER_ERROR: i32 = -32000;

pub(super) struct Wire {
    client: Client,
    /// Held for microseconds, never across an await.
    spoken: Mutex<Spoken>,
    /// One at a time opens a session again.
    reopening: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Spoken {
    initialize: Option<Value>,
    session: Option<String>,
    version: Option<String>,
    /// Requests that are being answered, by their ids as JSON.
    asked: HashMap<String, CancellationToken>,
}

impl Wire {
    pub(super) fn new(client: Client) -> Wire {
        Wire { client, spoken: Mutex::default(), reopening: tokio::sync::Mutex::default() }
    }

    fn spoken<T>(&self, look: impl FnOnce(&mut Spoken) -> T) -> T {
        look(&mut self.spoken.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The request's place among those that its client may leave.
    pub(super) fn enter(&self, id: &Value) -> CancellationToken {
        let left = CancellationToken::new();
        self.spoken(|spoken| spoken.asked.insert(id.to_string(), left.clone()));
        left
    }

    /// The answer, unless the client leaves the request: without a session that takes it back.
    pub(super) async fn unless_left(&self, message: Value, left: CancellationToken) -> Option<Value> {
        let id = message["id"].to_string();
        let answer = tokio::select! {
            answer = self.ask(message) => answer,
            () = left.cancelled() => None,
        };
        self.spoken(|spoken| spoken.asked.remove(&id));
        answer
    }

    /// The answer to a message that wants one.
    pub(super) async fn ask(&self, message: Value) -> Option<Value> {
        if message["method"] == "initialize" {
            self.spoken(|spoken| spoken.initialize = Some(message.clone()));
            return self.opened(&message).await;
        }
        if message["method"] == "notifications/cancelled" {
            let id = message["params"]["requestId"].to_string();
            let left = self.spoken(|spoken| spoken.asked.get(&id).filter(|_| spoken.session.is_none()).cloned());
            if let Some(left) = left {
                left.cancel();
                return None;
            }
        }
        let session = self.spoken(|spoken| spoken.session.clone());
        let mut answer = self.send(&message).await;
        if let (Ok(McpAnswer { status, .. }), Some(lost)) = (&answer, session)
            && status.as_u16() == 404
        {
            self.open_again(&lost).await;
            answer = self.send(&message).await;
        }
        told(&message["id"], answer)
    }

    /// What the daemon says unasked in the session that is open, for as long as the bridge lasts.
    pub(super) async fn listen(&self) {
        loop {
            let (session, version) = self.spoken(|spoken| (spoken.session.clone(), spoken.version.clone()));
            if let Some(session) = session {
                let mut headers = vec![(SESSION, session)];
                headers.extend(version.map(|version| (VERSION, version)));
                // A session that is over is opened again by the next message.
                let _ = self.client.listen_mcp(&headers, super::pass_on).await;
            }
            tokio::time::sleep(LISTEN_AGAIN).await;
        }
    }

    /// The session's end. Where it fails the daemon ends it for its silence.
    pub(super) async fn end(&self) {
        if let Some(session) = self.spoken(|spoken| spoken.session.take()) {
            let _ = self.client.end_mcp(&[(SESSION, session)]).await;
        }
    }

    async fn opened(&self, initialize: &Value) -> Option<Value> {
        let answer = self.client.mcp(initialize.to_string().into_bytes(), &[], super::pass_on).await;
        if let Ok(answer) = &answer {
            let session = answer.headers.get(SESSION).and_then(|value| value.to_str().ok()).map(str::to_string);
            let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let version = told["result"]["protocolVersion"].as_str().map(str::to_string);
            self.spoken(|spoken| (spoken.session, spoken.version) = (session, version));
        }
        told(&initialize["id"], answer)
    }

    /// `lost`: the session that is gone; another may have opened the next by now.
    async fn open_again(&self, lost: &str) {
        let _one = self.reopening.lock().await;
        let (session, initialize) = self.spoken(|spoken| (spoken.session.clone(), spoken.initialize.clone()));
        if let (Some(session), Some(initialize)) = (session, initialize)
            && session == lost
        {
            self.opened(&initialize).await;
        }
    }

    async fn send(&self, message: &Value) -> Result<McpAnswer, tenure_wire::client::Error> {
        let (session, version) = self.spoken(|spoken| (spoken.session.clone(), spoken.version.clone()));
        let own = message["params"]["_meta"][META_VERSION].as_str().map(str::to_string);
        let mut headers: Vec<(&'static str, String)> = session.map(|session| (SESSION, session)).into_iter().collect();
        if let Some(version) = own.or(version) {
            headers.push((VERSION, version));
        }
        let params = &message["params"];
        let named = params["name"].as_str().or(params["uri"].as_str());
        for (header, value) in [(METHOD, message["method"].as_str()), (NAME, named)] {
            if let Some(value) = value.filter(|value| value.bytes().all(|byte| (b' '..=b'~').contains(&byte))) {
                headers.push((header, value.to_string()));
            }
        }
        let bytes = message.to_string().into_bytes();
        if message["method"] == LISTEN {
            return self.client.mcp_unbounded(bytes, &headers, super::pass_on).await;
        }
        self.client.mcp(bytes, &headers, super::pass_on).await
    }
}

/// The answer as the protocol has it; nothing for what wants none.
fn told(id: &Value, answer: Result<McpAnswer, tenure_wire::client::Error>) -> Option<Value> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return (!id.is_null()).then(|| refused(id, &Failure::from(error).sentence())),
    };
    if let Ok(message) = serde_json::from_slice::<Value>(&answer.body)
        && message["jsonrpc"] == "2.0"
    {
        return Some(message);
    }
    if id.is_null() {
        return None;
    }
    let why = match serde_json::from_slice::<Problem>(&answer.body) {
        Ok(problem) => format!("{}: {}; {}", problem.title, problem.detail, problem.hint),
        Err(_) => {
            format!("the daemon answered with status {}: {}", answer.status, String::from_utf8_lossy(&answer.body))
        }
    };
    Some(refused(id, &why))
}

pub(super) fn refused(id: &Value, why: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": SERVER_ERROR, "message": why}})
}

pub(super) fn unread() -> Value {
    let why = "the line is no JSON; one message a line";
    json!({"jsonrpc": "2.0", "id": null, "error": {"code": PARSE_ERROR, "message": why}})
}
