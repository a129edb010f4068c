//! The Agent Client Protocol, version 1, as its client: agents that people already have. A message is a prompt, whose text comes in
//! pieces; what the agent wants of its client meanwhile is in `side`. The mode that says when it asks for permission is set, and looked
//! after. Must never: take a mode for set that the agent does not say it has, or count its permission question for a wall.
mod side;
mod terminals;

use super::super::program::message::{RpcError, notification, request};
use super::super::program::{Ground, Program};
use super::super::{Abort, CallResult};
use super::{Callbacks, Fault, Hook, Patience, TAKE_BACK_TIMEOUT, absent, hook_failed};
use crate::models;
use crate::output::Shown;
use serde::Deserialize;
use serde_json::{Value, json};
use side::{Prompt, Side, Turn};
use std::sync::OnceLock;
use std::time::Duration;
use tenure_core::capability::clip;
use tenure_sandbox::WORKSPACE;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const VERSION: u64 = 1;
/// How long an agent may take to end a prompt that was taken back, before it is left to itself.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// An agent, and what it said of itself.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) program: Program<Turn>,
    abilities: OnceLock<Abilities>,
    session: watch::Sender<Option<Session>>,
}

#[derive(Debug, Clone, Copy)]
struct Abilities {
    loads_sessions: bool,
    speaks_mcp_by_http: bool,
}

#[derive(Debug, Clone)]
struct Session {
    id: String,
    /// The one that was asked for.
    mode: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    session: Option<String>,
    mode: Option<String>,
    #[serde(default)]
    mcp: bool,
}

#[derive(Debug, Deserialize)]
struct Message {
    input: String,
}

impl Agent {
    pub(super) async fn start(
        ground: &Ground<'_>,
        command: &[String],
        log: Shown,
        callbacks: Callbacks,
    ) -> Result<Agent, Abort> {
        let program = Program::start(ground, command, Side::new(log, callbacks)).await?;
        Ok(Agent { program, abilities: OnceLock::new(), session: watch::Sender::new(None) })
    }

    pub(super) async fn ask(
        &self,
        hook: Hook,
        arguments: Value,
        shown: Shown,
        patience: &Patience,
    ) -> Result<CallResult, Fault> {
        match hook {
            Hook::Init => self.init(patience).await,
            Hook::Start => self.begin(read(arguments)?, patience).await,
            Hook::Message => self.prompt(read(arguments)?, shown, patience).await,
            // Its stdin is closed then: the protocol has no word for it.
            Hook::Health | Hook::Shutdown => Ok(CallResult::done(json!({"answer": null}))),
            Hook::Upgrade | Hook::Save | Hook::Restore | Hook::Error => Ok(absent()),
        }
    }

    /// A request that is not a prompt. What the agent says of its mode meanwhile comes with the answer.
    async fn request(
        &self,
        method: &str,
        params: &Value,
        patience: &Patience,
    ) -> Result<(Result<Value, RpcError>, Turn), Fault> {
        let id = self.program.next_id();
        let asking = self.program.ask(id, request(id, method, params), Turn::default());
        tokio::select! {
            answered = asking => answered.map_err(Fault::Ended),
            why = patience.over() => {
                let told = self.program.take_back(id, notification("$/cancel_request", &json!({"requestId": id})));
                let _ = timeout(TAKE_BACK_TIMEOUT, told).await;
                Err(why)
            }
        }
    }

    async fn init(&self, patience: &Patience) -> Result<CallResult, Fault> {
        let params = json!({
            "protocolVersion": VERSION,
            "clientCapabilities": {"fs": {"readTextFile": true, "writeTextFile": true}, "terminal": true},
            "clientInfo": {"name": "tenure", "title": "Tenure", "version": env!("CARGO_PKG_VERSION")},
        });
        let (answered, _) = self.request("initialize", &params, patience).await?;
        let answer = answered.map_err(|error| Fault::Result(hook_failed(Hook::Init, error)))?;
        let version = &answer["protocolVersion"];
        if version.as_u64() != Some(VERSION) {
            let sentence =
                format!("the agent speaks version {version} of the Agent Client Protocol; known is {VERSION}");
            return Ok(CallResult::failed("protocol", sentence));
        }
        let is = |value: &Value| value.as_bool() == Some(true);
        let said = &answer["agentCapabilities"];
        let _ = self.abilities.set(Abilities {
            loads_sessions: is(&said["loadSession"]),
            speaks_mcp_by_http: is(&said["mcpCapabilities"]["http"]),
        });
        Ok(CallResult::done(json!({ "answer": answer })))
    }

    /// Opens or loads the session, and sets its mode.
    async fn begin(&self, wanted: Start, patience: &Patience) -> Result<CallResult, Fault> {
        let Some(abilities) = self.abilities.get().copied() else {
            return Ok(CallResult::failed("not_initialized", "`hook.init` comes before `hook.start`"));
        };
        if wanted.mcp && !abilities.speaks_mcp_by_http {
            let sentence = "the agent reaches no MCP server by HTTP, so it cannot be given the governed tools";
            return Ok(CallResult::failed("no_mcp", sentence));
        }
        let server = json!({
            "type": "http", "name": "tenure", "url": format!("http://127.0.0.1:{}/mcp", models::PORT), "headers": [],
        });
        let servers = if wanted.mcp { json!([server]) } else { json!([]) };
        let mut params = json!({"cwd": WORKSPACE, "mcpServers": servers});
        let loaded = wanted.session.is_some();
        let (answer, mut turn) = match &wanted.session {
            Some(_) if !abilities.loads_sessions => {
                let sentence = "the agent loads no earlier session, so what it knew is lost";
                return Ok(CallResult::failed("cannot_load", sentence));
            }
            Some(id) => {
                params["sessionId"] = json!(id);
                let (answered, turn) = self.request("session/load", &params, patience).await?;
                let answer = answered.map_err(|error| {
                    let mut failed = hook_failed(Hook::Start, error);
                    failed.outcome = tenure_core::call::Outcome::Failed { code: "cannot_load".to_owned() };
                    Fault::Result(failed)
                })?;
                (answer, turn)
            }
            None => {
                let (answered, turn) = self.request("session/new", &params, patience).await?;
                (answered.map_err(|error| Fault::Result(hook_failed(Hook::Start, error)))?, turn)
            }
        };
        let id = match wanted.session.or_else(|| answer["sessionId"].as_str().map(str::to_owned)) {
            Some(id) if !id.is_empty() && id.len() <= 256 => id,
            Some(_) | None => return Ok(CallResult::failed("protocol", "the agent opened a session without a name")),
        };
        let mut current = turn.mode.take().or_else(|| answer["modes"]["currentModeId"].as_str().map(str::to_owned));
        if let Some(mode) = &wanted.mode {
            current = Some(self.set_mode(&id, mode, &answer["modes"], patience).await?);
        }
        self.session.send_replace(Some(Session { id: id.clone(), mode: wanted.mode }));
        Ok(CallResult::done(json!({"session": id, "loaded": loaded, "mode": current})))
    }

    /// The agent must have named the mode, take it, and not say that it is in another one.
    async fn set_mode(&self, session: &str, mode: &str, modes: &Value, patience: &Patience) -> Result<String, Fault> {
        let available = modes["availableModes"].as_array().into_iter().flatten();
        let known: Vec<&str> = available.filter_map(|known| known["id"].as_str()).collect();
        if !known.contains(&mode) {
            let sentence = format!(
                "the agent has no mode `{}`; it names {}",
                clip(mode),
                if known.is_empty() { "none".to_owned() } else { clip(&known.join(", ")) }
            );
            return Err(Fault::Result(CallResult::failed("unknown_mode", sentence)));
        }
        let params = json!({"sessionId": session, "modeId": mode});
        let (answered, turn) = self.request("session/set_mode", &params, patience).await?;
        answered.map_err(|error| Fault::Result(hook_failed(Hook::Start, error)))?;
        match turn.said_mode() {
            Some(other) if other != mode => Err(Fault::Result(mode_changed(mode, other))),
            Some(_) | None => Ok(mode.to_owned()),
        }
    }

    async fn prompt(&self, message: Message, shown: Shown, patience: &Patience) -> Result<CallResult, Fault> {
        let Some(session) = self.session.borrow().clone() else {
            return Ok(CallResult::failed("not_started", "`hook.start` comes before `hook.message`"));
        };
        let over = CancellationToken::new();
        let _ended = over.clone().drop_guard();
        let prompt = Prompt::new(&session.id, session.mode.clone(), shown, over.clone());
        let id = self.program.next_id();
        let content = json!([{"type": "text", "text": message.input}]);
        let params = json!({"sessionId": session.id, "prompt": content});
        let asking = self.program.ask(id, request(id, "session/prompt", &params), Turn::of(prompt));
        tokio::pin!(asking);
        let (answered, why) = tokio::select! {
            answered = &mut asking => (answered.map_err(Fault::Ended), None),
            why = patience.over() => {
                over.cancel();
                (self.cancelled(&session.id, &mut asking).await, Some(why))
            }
            // Its mode is another one now.
            () = over.cancelled() => (self.cancelled(&session.id, &mut asking).await, None),
        };
        let (answer, turn) = match (answered, why) {
            (Err(Fault::Late), why) => {
                let abandoned =
                    self.program.take_back(id, notification("session/cancel", &json!({"sessionId": session.id})));
                let _ = timeout(TAKE_BACK_TIMEOUT, abandoned).await;
                let wanted = session.mode.as_deref().unwrap_or_default();
                return Err(why.unwrap_or_else(|| Fault::Result(mode_changed(wanted, "another"))));
            }
            (Err(fault), _) => return Err(fault),
            (Ok(_), Some(why)) => return Err(why),
            (Ok((answer, turn)), None) => (answer, turn),
        };
        if let (Some(wanted), Some(other)) = (&session.mode, turn.changed_mode()) {
            return Ok(mode_changed(wanted, other));
        }
        let answer = answer.map_err(|error| Fault::Result(hook_failed(Hook::Message, error)))?;
        let Some(stop_reason) = answer["stopReason"].as_str() else {
            return Ok(CallResult::failed("protocol", "the agent ended its turn without saying why"));
        };
        Ok(CallResult::done(json!({"output": turn.output(), "stop_reason": clip(stop_reason)})))
    }

    /// Tells the agent to stop, and waits for the end of its turn: a next prompt would meet it otherwise. Late: it does not stop.
    async fn cancelled(
        &self,
        session: &str,
        asking: impl Future<Output = Result<super::super::program::Answered<Turn>, std::sync::Arc<super::ProgramEnd>>>,
    ) -> Result<super::super::program::Answered<Turn>, Fault> {
        let stopping = async {
            self.program
                .tell(notification("session/cancel", &json!({"sessionId": session})))
                .await
                .map_err(Fault::Ended)?;
            asking.await.map_err(Fault::Ended)
        };
        timeout(CANCEL_TIMEOUT, stopping).await.unwrap_or(Err(Fault::Late))
    }
}

fn mode_changed(wanted: &str, other: &str) -> CallResult {
    let sentence = format!(
        "the agent was to be in the mode `{}` and is in `{}`, so what it asks for is not what was agreed; it was told to stop",
        clip(wanted),
        clip(other)
    );
    CallResult::failed("mode_changed", sentence)
}

fn read<A: serde::de::DeserializeOwned>(arguments: Value) -> Result<A, Fault> {
    serde_json::from_value(arguments).map_err(|error| {
        Fault::Result(CallResult::failed("invalid_arguments", format!("the arguments do not fit: {error}")))
    })
}
