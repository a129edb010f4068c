//! One connection to a server, in the protocol's form that it speaks. Of a program `initialize` is tried first, since most want it,
//! and some end at anything else; one that knows only the form without it says so, and is asked as that wants. Behind an address
//! the newest form is tried first.
use super::super::program::message::{RpcError, notification};
use super::announcer::Announcer;
use super::http::Http;
use super::login::Login;
use super::message::{self, Era, OFFERED, SPOKEN, STATELESS};
use super::stdio::Stdio;
use super::{CallResult, Surroundings};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use tenure_core::capability::clip;
use tenure_core::plan::{McpAt, McpServer};
use tokio::sync::mpsc;

/// Why a request has no result.
#[derive(Debug)]
pub(super) enum Fault {
    /// The jail is.
    Gone,
    /// A call's end, worded already.
    Ended(Box<CallResult>),
    TakenBack,
    Late,
    Silent(u64),
    /// The server ended while it was asked.
    Lost(String),
    Unreachable(String),
    /// It does not speak as it must.
    Protocol(String),
    /// Its own error.
    Refused {
        code: i64,
        message: String,
    },
}

#[derive(Debug)]
enum Transport {
    Stdio(Stdio),
    Http(Http),
}

#[derive(Debug)]
pub(super) struct Connection {
    transport: Transport,
    era: Era,
    /// As the server said it of itself.
    pub(super) info: Value,
    capabilities: Value,
    last_id: AtomicU64,
}

impl Connection {
    pub(super) async fn open(
        planned: &McpServer,
        around: &Surroundings,
        login: Option<&Login>,
    ) -> Result<Connection, Fault> {
        let announcer = Announcer::new(around.frames.clone(), around.holder, &planned.name);
        let transport = match &planned.at {
            McpAt::Command(command) => Transport::Stdio(Stdio::start(around, command, announcer).await?),
            McpAt::Url(url) => Transport::Http(Http::new(around.egress.clone(), url, announcer)?),
        };
        let (last_id, info, capabilities) = (AtomicU64::new(0), Value::Null, Value::Null);
        let mut connection =
            Connection { transport, era: Era::Greeted(OFFERED.to_owned()), info, capabilities, last_id };
        if let Transport::Http(_) = &connection.transport {
            // The newest form first. One that does not know it says so in many ways, and is greeted.
            connection.era = Era::Stateless;
            match connection.discover(login).await {
                Ok(()) => return Ok(connection),
                Err(fault @ (Fault::Gone | Fault::TakenBack | Fault::Late | Fault::Ended(_))) => return Err(fault),
                Err(_) => connection.era = Era::Greeted(OFFERED.to_owned()),
            }
        }
        match connection.greet(login).await {
            Ok(()) => Ok(connection),
            // It is of the form without a greeting, or wants nothing of us.
            Err(Fault::Refused { code, message }) => {
                connection.era = Era::Stateless;
                match connection.discover(login).await {
                    Ok(()) => Ok(connection),
                    Err(Fault::Refused { .. }) => Err(Fault::Refused { code, message }),
                    Err(fault) => Err(fault),
                }
            }
            Err(fault) => Err(fault),
        }
    }

    async fn greet(&mut self, login: Option<&Login>) -> Result<(), Fault> {
        let params = json!({"protocolVersion": OFFERED, "capabilities": {}, "clientInfo": message::client()});
        let answer = self.silently("initialize", params, login).await?;
        let version = answer["protocolVersion"].as_str().unwrap_or_default();
        if !SPOKEN.contains(&version) {
            let spoken = SPOKEN.join(", ");
            return Err(Fault::Protocol(format!("it speaks `{}`; known are {spoken}", clip(version))));
        }
        self.era = Era::Greeted(version.to_owned());
        self.take_in(&answer);
        let greeted = notification("notifications/initialized", &json!({}));
        match &self.transport {
            Transport::Stdio(stdio) => stdio.tell(greeted).await,
            Transport::Http(http) => http.tell(&self.era, greeted, login).await,
        }
    }

    async fn discover(&mut self, login: Option<&Login>) -> Result<(), Fault> {
        let answer = self.silently("server/discover", json!({}), login).await?;
        let spoken = answer["supportedVersions"].as_array();
        if spoken.is_none_or(|versions| !versions.iter().any(|version| version == STATELESS)) {
            return Err(Fault::Protocol(format!("it does not speak {STATELESS}")));
        }
        self.take_in(&answer);
        Ok(())
    }

    fn take_in(&mut self, answer: &Value) {
        let named = |name: &str| clip(answer["serverInfo"][name].as_str().unwrap_or_default());
        self.info = json!({"name": named("name"), "version": named("version"), "protocol": self.era.version()});
        self.capabilities = answer["capabilities"].clone();
    }

    async fn silently(&self, method: &str, params: Value, login: Option<&Login>) -> Result<Value, Fault> {
        let (heard, _) = mpsc::channel(1);
        self.request(self.next_id(), (method, params), heard, login).await
    }

    /// `tools`, `resources` or `prompts`.
    pub(super) fn has(&self, group: &str) -> bool {
        self.capabilities.get(group).is_some_and(|group| !group.is_null())
    }

    pub(super) fn is_alive(&self) -> bool {
        match &self.transport {
            Transport::Stdio(stdio) => stdio.is_alive(),
            Transport::Http(http) => http.is_alive(),
        }
    }

    pub(super) fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) async fn request(
        &self,
        id: u64,
        (method, params): (&str, Value),
        heard: mpsc::Sender<String>,
        login: Option<&Login>,
    ) -> Result<Value, Fault> {
        let request = message::request(&self.era, id, method, params);
        let answered = match &self.transport {
            Transport::Stdio(stdio) => stdio.ask(id, request, heard).await?,
            Transport::Http(http) => http.ask((&self.era, id), request, heard, login).await?,
        };
        let result = answered.map_err(|RpcError { code, message, .. }| Fault::Refused { code, message })?;
        match result.get("resultType").and_then(Value::as_str) {
            None | Some("complete") => Ok(result),
            Some(other) => {
                let why = format!("it wants more of its client (`{}`), which no agent gives", clip(other));
                Err(Fault::Protocol(why))
            }
        }
    }

    /// The request is not waited for any more.
    pub(super) async fn take_back(&self, id: u64, login: Option<&Login>) {
        let told = notification("notifications/cancelled", &json!({"requestId": id, "reason": "taken back"}));
        match &self.transport {
            Transport::Stdio(stdio) => stdio.take_back(id, told).await,
            // Without a greeting, the end of the exchange says it.
            Transport::Http(http) => {
                if self.era != Era::Stateless {
                    let _ = http.tell(&self.era, told, login).await;
                }
            }
        }
    }
}
