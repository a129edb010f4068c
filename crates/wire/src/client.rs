//! The typed client of the HTTP API: one connection a request over a Unix socket, plain TCP to this host, or TLS. It retries
//! nothing by itself but the joining of a broken event stream, and never logs a key or sends one to another host.
mod approval;
mod policy;
mod endpoint;
mod event_stream;
mod tls;
mod download;
mod audit;
mod budget;
mod retention;
mod instance;
mod package;
mod secret;
mod session;
mod cost;
mod doctor;
mod mcp;
mod state;
mod trace;

pub use download::Download;
pub use endpoint::{Endpoint, EndpointError};
pub use event_stream::{EventStream, StreamItem, Streamed};
pub use mcp::McpAnswer;
pub use state::SetState;
pub use trace::trace_requests;

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tenure_core::briefing::Briefing;
use tenure_core::id::SessionId;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::api::agent::{
    Act, Agent, AgentFile, AgentSandbox, Deployed, Pause, Quarantine, Revision, RevisionFile, Rollback, Supervise,
    Validated,
};
use crate::api::execution::{Cancel, Execution, ExecutionFile, IDEMPOTENCY_KEY, IterationLog, Start, Started};
use crate::api::file::{FileEntry, FilePut};
use crate::api::item::{Acknowledge, Alert, PlannedWake};
use crate::api::key::{CreatedKey, Key, NewKey};
use crate::api::message::{Channel, Message, MessageFile, SendMessage};
use crate::api::model::{Models, TestModel, TestedModel};
use crate::api::moment::Moment;
use crate::api::session::{AgentKey, RotateKey, SESSION};
use crate::api::status::{Health, Status};
use crate::api::watch::WatchEvent;
use crate::api::{List, PREFIX};
use crate::fingerprint::Fingerprint;
use crate::problem::Problem;
use tls::{Cause, Distrust};
use trace::Trace;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A model may have to be loaded first.
const MODEL_TEST_TIMEOUT: Duration = Duration::from_secs(300);
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no daemon answers at {endpoint}: {why}")]
    Unreachable { endpoint: Endpoint, why: String },
    #[error("the daemon did not answer within {0} seconds")]
    TimedOut(u64),
    /// The daemon refused, and says why.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// What answered does not speak this API.
    #[error("{0} answers, but not as a Tenure daemon does: {1}")]
    Foreign(Endpoint, String),
    #[error("the connection broke: {0}")]
    Broken(String),
    /// Whoever is on the way could read the key.
    #[error("an API key is sent in clear to this host alone, and {0} is another one's address without TLS")]
    InClear(Endpoint),
    /// Nothing was sent.
    #[error("{endpoint} shows another certificate than the one that was pinned")]
    OtherCertificate { endpoint: Box<Endpoint>, pinned: Fingerprint, shown: Fingerprint },
    /// Nothing was sent.
    #[error("the certificate of {endpoint} is not trusted: {why}")]
    Untrusted { endpoint: Box<Endpoint>, shown: Fingerprint, why: String },
    #[error("what answers at {0} does not speak TLS")]
    NoTls(Endpoint),
}

#[derive(Clone)]
pub struct Client {
    endpoint: Endpoint,
    key: Option<String>,
    /// Of an agent: which of its sessions is meant.
    session: Option<SessionId>,
    /// Made at the first connection.
    tls: Arc<OnceCell<Arc<ClientConfig>>>,
}

/// Query parameters; those that are absent are left out.
pub type Query<'a> = &'a [(&'a str, Option<String>)];

impl Client {
    pub fn new(endpoint: Endpoint, key: Option<String>) -> Client {
        Client { endpoint, key, session: None, tls: Arc::default() }
    }

    /// For the holder of an agent's key: requests are of this session, not of the newest.
    #[must_use]
    pub fn in_session(self, session: SessionId) -> Client {
        Client { session: Some(session), ..self }
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// `text`: a manifest in YAML or JSON, of any dialect.
    pub async fn deploy(&self, text: Vec<u8>, dry_run: bool) -> Result<Deployed, Error> {
        self.deploy_isolated(text, dry_run, None).await
    }

    /// `isolation`: `native` or `docker`, whatever the manifest says.
    pub async fn deploy_isolated(
        &self,
        text: Vec<u8>,
        dry_run: bool,
        isolation: Option<&str>,
    ) -> Result<Deployed, Error> {
        let isolation = isolation.map(str::to_string);
        let path = path(&["agents"], &[("dry_run", dry_run.then(|| "true".to_string())), ("isolation", isolation)]);
        self.json(Method::POST, &path, Some(Body { bytes: text, media: "application/yaml" }), None).await
    }

    /// A new agent, with the key that it connects with; that the name is taken is a conflict.
    pub async fn create_agent(&self, text: Vec<u8>) -> Result<Deployed, Error> {
        let yes = || Some("true".to_string());
        let path = path(&["agents"], &[("create", yes()), ("key", yes())]);
        self.json(Method::POST, &path, Some(Body { bytes: text, media: "application/yaml" }), None).await
    }

    /// The next revision of this very agent; that `revision` is not its newest any more is a conflict.
    pub async fn revise_agent(&self, id: &str, revision: u32, text: Vec<u8>, dry_run: bool) -> Result<Deployed, Error> {
        let dry_run = dry_run.then(|| "true".to_string());
        let path = path(&["agents", id], &[("revision", Some(revision.to_string())), ("dry_run", dry_run)]);
        self.json(Method::PUT, &path, Some(Body { bytes: text, media: "application/yaml" }), None).await
    }

    /// Newest first.
    pub async fn revisions(&self, agent: &str, limit: usize) -> Result<Vec<Revision>, Error> {
        self.pages_of(&["agents", agent, "revisions"], &[], limit).await
    }

    /// With what it has differently from the revision `against`.
    pub async fn revision(&self, agent: &str, number: u32, against: Option<u32>) -> Result<RevisionFile, Error> {
        let query = [("against", against.map(|number| number.to_string()))];
        self.get(&path(&["agents", agent, "revisions", &number.to_string()], &query)).await
    }

    pub async fn roll_back_agent(&self, agent: &str, to: &Rollback) -> Result<Deployed, Error> {
        self.json(Method::POST, &path(&["agents", agent, "rollback"], &[]), Some(Body::json(to)), None).await
    }

    /// Whole pages are followed until `limit` items are there.
    pub async fn agents(&self, query: Query<'_>, limit: usize) -> Result<Vec<Agent>, Error> {
        self.pages("agents", query, limit).await
    }

    pub async fn agent(&self, name: &str) -> Result<AgentFile, Error> {
        self.get(&path(&["agents", name], &[])).await
    }

    pub async fn agent_sandbox(&self, name: &str) -> Result<AgentSandbox, Error> {
        self.get(&path(&["agents", name, "sandbox"], &[])).await
    }

    pub async fn delete_agent(&self, name: &str) -> Result<Agent, Error> {
        self.json(Method::DELETE, &path(&["agents", name], &[]), None, None).await
    }

    pub async fn pause_agent(&self, name: &str, pause: &Pause) -> Result<Agent, Error> {
        self.json(Method::POST, &path(&["agents", name, "pause"], &[]), Some(Body::json(pause)), None).await
    }

    pub async fn quarantine_agent(&self, name: &str, quarantine: &Quarantine) -> Result<Agent, Error> {
        self.json(Method::POST, &path(&["agents", name, "quarantine"], &[]), Some(Body::json(quarantine)), None).await
    }

    pub async fn supervise_agent(&self, name: &str, act: Act, body: &Supervise) -> Result<Agent, Error> {
        self.json(Method::POST, &path(&["agents", name, act.as_str()], &[]), Some(Body::json(body)), None).await
    }

    /// What lies at `path` in the agent's folders; whole pages are followed to the end.
    pub async fn files(&self, agent: &str, wanted: Option<&str>) -> Result<Vec<FileEntry>, Error> {
        let (mut items, mut cursor): (Vec<FileEntry>, Option<String>) = (Vec::new(), None);
        loop {
            let query = [("path", wanted.map(str::to_string)), ("cursor", cursor.take())];
            let page: List<FileEntry> = self.get(&path(&["agents", agent, "files"], &query)).await?;
            items.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(items);
            }
        }
    }

    pub async fn file(&self, agent: &str, wanted: &str) -> Result<Download, Error> {
        let query = [("path", Some(wanted.to_string()))];
        Download::open(self, &path(&["agents", agent, "files", "content"], &query)).await
    }

    /// A folder as a tar.
    pub async fn archive(&self, agent: &str, wanted: &str) -> Result<Download, Error> {
        let query = [("path", Some(wanted.to_string()))];
        Download::open(self, &path(&["agents", agent, "files", "archive"], &query)).await
    }

    pub async fn put_file(&self, agent: &str, wanted: &str, bytes: Vec<u8>) -> Result<FilePut, Error> {
        let path = path(&["agents", agent, "files", "content"], &[("path", Some(wanted.to_string()))]);
        self.json(Method::PUT, &path, Some(Body { bytes, media: "application/octet-stream" }), None).await
    }

    /// What it missed since `since`, or since its last execution ended.
    pub async fn briefing(&self, agent: &str, since: Option<Moment>) -> Result<Briefing, Error> {
        self.get(&path(&["agents", agent, "briefing"], &[("since", since.map(|since| since.to_string()))])).await
    }

    /// Under the same `key` the same message is sent once.
    pub async fn send_message(&self, agent: &str, send: &SendMessage, key: Option<&str>) -> Result<Message, Error> {
        self.json(Method::POST, &path(&["agents", agent, "messages"], &[]), Some(Body::json(send)), key).await
    }

    /// The newest first, in any state or in this one.
    pub async fn messages(&self, agent: &str, state: Option<&str>, limit: usize) -> Result<Vec<Message>, Error> {
        self.pages_of(&["agents", agent, "messages"], &[("state", state.map(str::to_string))], limit).await
    }

    /// One message, with its answer. `agent`: whose it is, where several have it.
    pub async fn message(&self, id: &str, agent: Option<&str>) -> Result<MessageFile, Error> {
        self.get(&path(&["messages", id], &[("agent", agent.map(str::to_string))])).await
    }

    pub async fn dead_letters(&self, limit: usize) -> Result<Vec<Message>, Error> {
        self.pages("dead-letters", &[], limit).await
    }

    pub async fn resend(&self, id: &str, agent: Option<&str>) -> Result<Message, Error> {
        let path = path(&["dead-letters", id, "resend"], &[("agent", agent.map(str::to_string))]);
        self.json(Method::POST, &path, None, None).await
    }

    pub async fn drop_message(&self, id: &str, agent: Option<&str>) -> Result<Message, Error> {
        let path = path(&["dead-letters", id], &[("agent", agent.map(str::to_string))]);
        self.json(Method::DELETE, &path, None, None).await
    }

    pub async fn channels(&self, limit: usize) -> Result<Vec<Channel>, Error> {
        self.pages("channels", &[], limit).await
    }

    pub async fn alerts(&self, query: Query<'_>, limit: usize) -> Result<Vec<Alert>, Error> {
        self.pages("alerts", query, limit).await
    }

    pub async fn acknowledge_alert(&self, id: &str, body: &Acknowledge) -> Result<Alert, Error> {
        self.json(Method::POST, &path(&["alerts", id, "acknowledge"], &[]), Some(Body::json(body)), None).await
    }

    /// The wakes that an agent planned itself.
    pub async fn schedules(&self, agent: &str) -> Result<Vec<PlannedWake>, Error> {
        let list: List<PlannedWake> = self.get(&path(&["agents", agent, "schedules"], &[])).await?;
        Ok(list.items)
    }

    pub async fn delete_schedule(&self, agent: &str, name: &str) -> Result<PlannedWake, Error> {
        self.json(Method::DELETE, &path(&["agents", agent, "schedules", name], &[]), None, None).await
    }

    pub async fn validate_manifest(&self, text: Vec<u8>) -> Result<Validated, Error> {
        let body = Body { bytes: text, media: "application/yaml" };
        self.json(Method::POST, &path(&["manifests", "validate"], &[]), Some(body), None).await
    }

    pub async fn start(&self, start: &Start, idempotency_key: Option<&str>) -> Result<Started, Error> {
        self.json(Method::POST, &path(&["executions"], &[]), Some(Body::json(start)), idempotency_key).await
    }

    pub async fn executions(&self, query: Query<'_>, limit: usize) -> Result<Vec<Execution>, Error> {
        self.pages("executions", query, limit).await
    }

    pub async fn execution(&self, id: &str) -> Result<ExecutionFile, Error> {
        self.get(&path(&["executions", id], &[])).await
    }

    pub async fn cancel(&self, id: &str, cancel: &Cancel) -> Result<Execution, Error> {
        self.json(Method::POST, &path(&["executions", id, "cancel"], &[]), Some(Body::json(cancel)), None).await
    }

    /// Whole pages are followed to the end; the parts of an iteration that lie on several are put together.
    pub async fn logs(&self, id: &str, iteration: Option<u32>) -> Result<Vec<IterationLog>, Error> {
        let mut logs: Vec<IterationLog> = Vec::new();
        let mut cursor = None;
        loop {
            let query = [("iteration", iteration.map(|number| number.to_string())), ("cursor", cursor.take())];
            let page: List<IterationLog> = self.get(&path(&["executions", id, "logs"], &query)).await?;
            let empty = page.items.is_empty();
            for item in page.items {
                match logs.last_mut() {
                    Some(last) if last.iteration.number == item.iteration.number => last.go_on(item),
                    Some(_) | None => logs.push(item),
                }
            }
            cursor = page.next_cursor;
            if cursor.is_none() || empty {
                return Ok(logs);
            }
        }
    }

    /// Everything that happened to the execution after `after`, with what was said, then what happens, until it ends.
    pub fn watch(&self, id: &str, after: Option<u64>) -> EventStream {
        let text = [("text", Some("true".to_string()))];
        EventStream::new(self.clone(), path(&["executions", id, "events"], &text), after)
    }

    /// What happens from now on, or happened after `after`, to all agents or one, with the calls of these capabilities alone if
    /// a glob is given. It does not end.
    pub fn watch_all(
        &self,
        agent: Option<&str>,
        capability: Option<&str>,
        after: Option<u64>,
    ) -> EventStream<WatchEvent> {
        let query = [("agent", agent.map(str::to_string)), ("capability", capability.map(str::to_string))];
        EventStream::new(self.clone(), path(&["events"], &query), after)
    }

    pub async fn rotate_agent(&self, name: &str, rotate: &RotateKey) -> Result<AgentKey, Error> {
        self.json(Method::POST, &path(&["agents", name, "rotate"], &[]), Some(Body::json(rotate)), None).await
    }

    pub async fn create_key(&self, key: &NewKey) -> Result<CreatedKey, Error> {
        self.json(Method::POST, &path(&["keys"], &[]), Some(Body::json(key)), None).await
    }

    pub async fn keys(&self) -> Result<Vec<Key>, Error> {
        self.pages("keys", &[], usize::MAX).await
    }

    pub async fn revoke_key(&self, id: &str) -> Result<Key, Error> {
        self.json(Method::DELETE, &path(&["keys", id], &[]), None, None).await
    }

    pub async fn models(&self) -> Result<Models, Error> {
        self.get(&path(&["models"], &[])).await
    }

    pub async fn test_model(&self, test: &TestModel) -> Result<TestedModel, Error> {
        let request = self.request(Method::POST, &path(&["models", "test"], &[]), Some(Body::json(test)), None)?;
        self.decode(self.exchange(request, MODEL_TEST_TIMEOUT).await?)
    }

    pub async fn status(&self) -> Result<Status, Error> {
        self.get(&path(&["status"], &[])).await
    }

    pub async fn ready(&self) -> Result<Health, Error> {
        self.get("/health/ready").await
    }

    /// A page of the ledger's records, oldest first, from an index on or so many of the newest.
    pub async fn records(&self, from: Option<u64>, last: Option<u64>, limit: u32) -> Result<List<Value>, Error> {
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        let query = [("from", number(from)), ("last", number(last)), ("limit", Some(limit.to_string()))];
        self.get(&path(&["audit", "records"], &query)).await
    }

    async fn pages<T: DeserializeOwned>(
        &self,
        resource: &str,
        query: Query<'_>,
        limit: usize,
    ) -> Result<Vec<T>, Error> {
        self.pages_of(&[resource], query, limit).await
    }

    async fn pages_of<T: DeserializeOwned>(
        &self,
        resource: &[&str],
        query: Query<'_>,
        limit: usize,
    ) -> Result<Vec<T>, Error> {
        Ok(self.list_of(resource, query, limit).await?.items)
    }

    /// Whole pages are followed until `limit` items are there; with where the next would begin. A `cursor` in the query is
    /// where this one does.
    pub async fn list_of<T: DeserializeOwned>(
        &self,
        resource: &[&str],
        query: Query<'_>,
        limit: usize,
    ) -> Result<List<T>, Error> {
        let begin = query.iter().find(|(name, _)| *name == "cursor").and_then(|(_, cursor)| cursor.clone());
        let query: Vec<_> = query.iter().filter(|(name, _)| *name != "cursor").cloned().collect();
        let mut items: Vec<T> = Vec::new();
        let mut cursor = begin;
        loop {
            let wanted = limit.saturating_sub(items.len()).clamp(1, crate::api::LIMIT_MAX as usize);
            let mut query = query.clone();
            query.push(("limit", Some(wanted.to_string())));
            query.push(("cursor", cursor.take()));
            let page: List<T> = self.get(&path(resource, &query)).await?;
            let empty = page.items.is_empty();
            items.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() || empty || items.len() >= limit {
                return Ok(List { items, next_cursor: cursor });
            }
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.json(Method::GET, path, None, None).await
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Body>,
        idempotency_key: Option<&str>,
    ) -> Result<T, Error> {
        let request = self.request(method, path, body, idempotency_key)?;
        self.decode(self.exchange(request, ANSWER_TIMEOUT).await?)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Body>,
        idempotency_key: Option<&str>,
    ) -> Result<Request<Full<Bytes>>, Error> {
        if self.key.is_some() && !self.endpoint.keeps_keys() {
            return Err(Error::InClear(self.endpoint.clone()));
        }
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.endpoint.host())
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("tenure/", env!("CARGO_PKG_VERSION")));
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        if let Some(session) = &self.session {
            request = request.header(SESSION, session.to_string());
        }
        if let Some(key) = idempotency_key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        let bytes = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, body.media);
                Bytes::from(body.bytes)
            }
            None => Bytes::new(),
        };
        request.body(Full::new(bytes)).map_err(|error| Error::Broken(format!("the request cannot be written: {error}")))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>, within: Duration) -> Result<(StatusCode, Bytes), Error> {
        let answer = async {
            let response = self.send(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok((status, body.map_err(|error| Error::Broken(error.to_string()))?.to_bytes()))
        };
        timeout(within, answer).await.map_err(|_| Error::TimedOut(within.as_secs()))?
    }

    /// Sends on a connection of its own; the body of the answer holds that connection open.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<http::Response<Incoming>, Error> {
        let trace = Trace::begin(&self.endpoint, &request);
        let answer = self.send_untold(request).await;
        match &answer {
            Ok(response) => trace.answered(response.status()),
            Err(error) => trace.failed(error),
        }
        answer
    }

    async fn send_untold(&self, request: Request<Full<Bytes>>) -> Result<http::Response<Incoming>, Error> {
        let unreachable = |why: String| Error::Unreachable { endpoint: self.endpoint.clone(), why };
        let stream = timeout(CONNECT_TIMEOUT, self.endpoint.connect(&self.tls))
            .await
            .map_err(|_| unreachable("it did not accept the connection in time".to_string()))?
            .map_err(|error| self.unconnected(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Error::Broken(error.to_string()))?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|error| Error::Broken(error.to_string()))
    }

    fn unconnected(&self, error: &std::io::Error) -> Error {
        let endpoint = self.endpoint.clone();
        match tls::cause(error) {
            Cause::Distrust(Distrust::Other { pinned, shown }) => {
                Error::OtherCertificate { endpoint: endpoint.into(), pinned, shown }
            }
            Cause::Distrust(Distrust::Unvouched { shown, why }) => {
                Error::Untrusted { endpoint: endpoint.into(), shown, why }
            }
            Cause::InClear => Error::NoTls(endpoint),
            Cause::Other => Error::Unreachable { endpoint, why: error.to_string() },
        }
    }

    pub(crate) fn decode<T: DeserializeOwned>(&self, (status, bytes): (StatusCode, Bytes)) -> Result<T, Error> {
        if status.is_success() {
            return serde_json::from_slice(&bytes)
                .map_err(|error| Error::Foreign(self.endpoint.clone(), error.to_string()));
        }
        Err(match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => Error::Problem(Box::new(problem)),
            Err(_) => Error::Foreign(self.endpoint.clone(), format!("status {status} without a problem")),
        })
    }
}

struct Body {
    bytes: Vec<u8>,
    media: &'static str,
}

impl Body {
    fn json<T: Serialize>(value: &T) -> Body {
        let bytes = serde_json::to_vec(value).expect("invariant: bodies of the API are JSON");
        Body { bytes, media: "application/json" }
    }
}

fn path(segments: &[&str], query: Query<'_>) -> String {
    let mut path = PREFIX.to_string();
    for segment in segments {
        path.push('/');
        push_encoded(&mut path, segment);
    }
    let mut mark = '?';
    for (name, value) in query {
        if let Some(value) = value {
            path.push(mark);
            path.push_str(name);
            path.push('=');
            push_encoded(&mut path, value);
            mark = '&';
        }
    }
    path
}

fn push_encoded(path: &mut String, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push('%');
            path.push(char::from(DIGITS[usize::from(byte >> 4)]));
            path.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn what_a_person_typed_stays_one_segment() {
        let query = [("status", Some("a&b".to_string())), ("agent", None)];
        assert_eq!(path(&["agents", "../keys?x"], &query), "/v1/agents/..%2Fkeys%3Fx?status=a%26b");
    }

    /// One part of an iteration's log, with the turns `turns`.
    fn part(number: u32, turns: std::ops::Range<u32>, output: Option<&str>) -> Value {
        let turn = |turn| serde_json::json!({"turn": turn, "model": "m", "tokens_in": 1, "tokens_out": 1, "took_ms": 1, "calls": []});
        serde_json::json!({
            "number": number, "status": "completed", "turns": 9, "tool_calls": 0, "tokens_in": 1, "tokens_out": 1,
            "tokens_cached": 0, "cost_micro_usd": 0, "duration_ms": 1, "started_at": "2026-02-23T10:00:00Z",
            "validation": [], "log": turns.map(turn).collect::<Vec<_>>(), "output": output,
        })
    }

    #[tokio::test]
    async fn logs_are_followed_over_pages_and_an_iteration_that_was_cut_is_whole_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let pages = [
            serde_json::json!({"items": [part(1, 0..2, Some("one")), part(2, 0..3, None)], "next_cursor": "2.3"}),
            serde_json::json!({"items": [part(2, 3..5, None)], "next_cursor": "2.5"}),
            serde_json::json!({"items": [part(2, 5..9, Some("two"))]}),
        ];
        let serving = std::thread::spawn(move || {
            pages.map(|page| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = vec![0; 4096];
                let count = stream.read(&mut head).unwrap();
                let (body, head) = (page.to_string(), String::from_utf8_lossy(&head[..count]).into_owned());
                let length = body.len();
                write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
                    .unwrap();
                head.lines().next().unwrap_or_default().to_string()
            })
        });
        let client = Client::new(Endpoint::Tcp { host: "127.0.0.1".into(), port }, None);
        let logs = client.logs("exe_1", None).await.unwrap();
        let turns = |log: &IterationLog| log.log.iter().map(|turn| turn.turn).collect::<Vec<_>>();
        assert_eq!(logs.iter().map(turns).collect::<Vec<_>>(), [(0..2).collect::<Vec<_>>(), (0..9).collect()]);
        assert_eq!(logs.iter().map(|log| log.output.as_deref()).collect::<Vec<_>>(), [Some("one"), Some("two")]);
        let asked = serving.join().unwrap();
        assert!(asked[1].contains("cursor=2.3") && asked[2].contains("cursor=2.5"), "{asked:?}");
    }
}
