//! MCP servers of one jail: programs in it, or behind its egress. This is the client's side of the protocol; each call is one
//! request, made under its own lease. A server is started by the first call that asks it, and ends with its jail.
//! Must never: hold more of what a server says than its bounds, believe what it says of itself, or wait past a call's deadline.
//!
//! ```text
//! call ─ ask ─▶ Server ─ who is connected? ─▶ its task: starts, greets, hands out a Connection
//!          └──────── request ─▶ Connection ─▶ stdio: one task that owns the program │ http: one exchange each
//! ```
mod announcer;
mod connection;
mod http;
mod listing;
mod login;
mod message;
mod stdio;

use super::{Abort, Audience, CallContext, CallResult, PerformResult, network};
use crate::egress::EgressHandle;
use crate::jail_connection::JailConnection;
use crate::workspace::QuotaWatcher;
use connection::{Connection, Fault};
use login::Login;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use tenure_core::call::{Holder, Outcome};
use tenure_core::capability::clip;
use tenure_core::capability::mcp::{Method, Name};
use tenure_core::manifest::Backend;
use tenure_core::plan::McpServer;
use tenure_wire::frame::{Credential, FromWorker};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// For one request of a server; the holder's own time is often less.
const TAKE_BACK_TIMEOUT: Duration = Duration::from_secs(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);
/// From a program's start to its greeting: some are installed when they are first run.
const GREETING_TIMEOUT: Duration = Duration::from_secs(60);
const ASKS_MAX: usize = 32;
const PROGRESS_MAX: usize = 16;

/// What a server's task needs of its jail.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) jail: JailConnection,
    pub(crate) quota: QuotaWatcher,
    pub(crate) egress: EgressHandle,
    pub(crate) backend: Backend,
    /// What a server says unasked goes to the daemon by it.
    pub(crate) frames: mpsc::Sender<FromWorker>,
    pub(crate) holder: Holder,
}

/// The servers that the plan names.
#[derive(Debug, Clone)]
pub(crate) struct Servers(Arc<[Server]>);

#[derive(Debug)]
struct Server {
    name: String,
    wants_login: bool,
    asks: mpsc::Sender<Ask>,
}

/// Somebody wants the connection; one that is made for it is greeted with the login of the call.
#[derive(Debug)]
struct Ask {
    login: Option<Arc<Login>>,
    answer: oneshot::Sender<Result<Arc<Connection>, Fault>>,
}

impl Servers {
    /// Their tasks end with the last handle; nothing is started yet.
    pub(crate) fn new(planned: &[McpServer], around: &Surroundings) -> Servers {
        let server = |planned: &McpServer| {
            let (asks, asked) = mpsc::channel(ASKS_MAX);
            tokio::spawn(hand_out(planned.clone(), around.clone(), asked));
            Server { name: planned.name.clone(), wants_login: planned.login.is_some(), asks }
        };
        Servers(planned.iter().map(server).collect())
    }

    fn find(&self, name: &str) -> Option<&Server> {
        self.0.iter().find(|server| server.name == name)
    }
}

/// Owns the one connection to a server: made when it is first wanted, and anew once it is dead.
async fn hand_out(planned: McpServer, around: Surroundings, mut asked: mpsc::Receiver<Ask>) {
    let mut held: Option<Arc<Connection>> = None;
    while let Some(Ask { login, answer }) = asked.recv().await {
        let alive = held.take().filter(|connection| connection.is_alive());
        let connected = match alive {
            Some(connection) => Ok(connection),
            None => {
                let opening = Connection::open(&planned, &around, login.as_deref());
                match timeout_at(Instant::now() + GREETING_TIMEOUT, opening).await {
                    Ok(opened) => opened.map(Arc::new),
                    Err(_) => Err(Fault::Silent(GREETING_TIMEOUT.as_secs())),
                }
            }
        };
        held = connected.as_ref().ok().map(Arc::clone);
        // Whoever asked may have given up meanwhile.
        let _ = answer.send(connected);
    }
}

impl Server {
    async fn connection(&self, login: Option<Arc<Login>>) -> Result<Arc<Connection>, Fault> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask { login, answer }).await.map_err(|_| Fault::Gone)?;
        answered.await.unwrap_or(Err(Fault::Gone))
    }
}

/// Does one call.
pub(super) async fn ask(
    context: &CallContext,
    name: Name<'_>,
    (arguments, credential): (Value, Option<Box<Credential>>),
    audience: Audience,
    deadline: Instant,
) -> PerformResult {
    let Some(server) = context.mcp.find(name.server) else {
        let sentence = format!("this revision of the agent names no MCP server `{}`", name.server);
        return Ok(CallResult::failed("unknown_server", sentence));
    };
    let until = deadline.min(Instant::now() + REQUEST_TIMEOUT);
    let login = match credential {
        Some(credential) => Some(Arc::new(Login::of(&credential)?)),
        // What was planned to be sent with one is not sent without.
        None if server.wants_login => return Err(network::secret_refused("the daemon sent no secret with it")),
        None => None,
    };
    let mut exchange = Exchange { server, audience, until, login };
    let done = match name.method {
        Method::ListTools | Method::ListResources | Method::ListTemplates | Method::ListPrompts => {
            listing::all(&mut exchange, name.method).await
        }
        Method::ReadResource | Method::GetPrompt => exchange.once(name.method.as_str(), arguments).await.map(plain),
        Method::CallTool(tool) => {
            let arguments = json!({"name": tool, "arguments": arguments});
            exchange.once("tools/call", arguments).await.map(called)
        }
    };
    done.or_else(|fault| failed(name.server, fault))
}

/// The requests of one call.
struct Exchange<'a> {
    server: &'a Server,
    audience: Audience,
    until: Instant,
    login: Option<Arc<Login>>,
}

impl Exchange<'_> {
    async fn connection(&mut self) -> Result<Arc<Connection>, Fault> {
        let cancel = self.audience.cancel.clone();
        tokio::select! {
            () = cancel.cancelled() => Err(Fault::TakenBack),
            connected = timeout_at(self.until, self.server.connection(self.login.clone())) => connected.unwrap_or(Err(Fault::Late)),
        }
    }

    async fn once(&mut self, method: &str, params: Value) -> Result<Value, Fault> {
        let connection = self.connection().await?;
        self.on(&connection, method, params).await
    }

    /// One request on a connection. It is taken back from the server where nobody waits for it any more.
    async fn on(&mut self, connection: &Connection, method: &str, params: Value) -> Result<Value, Fault> {
        let (heard, mut progress) = mpsc::channel(PROGRESS_MAX);
        let id = connection.next_id();
        let cancel = self.audience.cancel.clone();
        let login = self.login.clone();
        let asking = connection.request(id, (method, params), heard, login.as_deref());
        tokio::pin!(asking);
        let why = loop {
            tokio::select! {
                answer = &mut asking => return answer,
                () = cancel.cancelled() => break Fault::TakenBack,
                () = tokio::time::sleep_until(self.until) => break Fault::Late,
                Some(text) = progress.recv() => self.audience.shown.push(false, text.as_bytes()),
            }
        };
        // One that hangs is told nothing: the call is over.
        let _ = tokio::time::timeout(TAKE_BACK_TIMEOUT, connection.take_back(id, login.as_deref())).await;
        Err(why)
    }
}

/// Without what is between us and the server alone.
fn own(mut result: Value) -> Value {
    if let Some(fields) = result.as_object_mut() {
        for ours in ["_meta", "resultType", "ttlMs", "cacheScope"] {
            fields.remove(ours);
        }
        return result;
    }
    Value::Object(Map::from_iter([("result".to_string(), result)]))
}

fn plain(result: Value) -> CallResult {
    CallResult::done(own(result))
}

/// A tool that says that it failed has failed; what it says stays whole.
fn called(result: Value) -> CallResult {
    let mut result = own(result);
    if result.get("isError").and_then(Value::as_bool) != Some(true) {
        return CallResult::done(result);
    }
    let texts = result.get("content").and_then(Value::as_array).into_iter().flatten();
    let said = texts.filter_map(|block| block.get("text")?.as_str()).next().unwrap_or("the tool says that it failed");
    result["error"] = json!(clip(said));
    CallResult { outcome: Outcome::Failed { code: "tool_error".to_owned() }, result }
}

fn failed(server: &str, fault: Fault) -> PerformResult {
    let (code, sentence) = match fault {
        Fault::Gone => return Err(Abort::Gone),
        Fault::Ended(result) => return Ok(*result),
        Fault::TakenBack => return Ok(CallResult::killed("it was taken back; the MCP server was told to stop")),
        Fault::Late => {
            let sentence = format!("the MCP server `{server}` did not answer in time; what it did is not known");
            return Ok(CallResult::timed_out(sentence));
        }
        Fault::Silent(seconds) => ("no_greeting", format!("it did not greet within {seconds} s of its start")),
        Fault::Lost(why) => ("server_lost", format!("{why}; whether the call was done is not known")),
        Fault::Unreachable(why) => ("unreachable", why),
        Fault::Protocol(why) => ("protocol", why),
        Fault::Refused { code, message } => ("mcp_error", format!("it refused: {} ({code})", clip(&message))),
    };
    Ok(CallResult::failed(code, format!("MCP server `{server}`: {sentence}")))
}
