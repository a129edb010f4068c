//! The Agent Client Protocol, version 1, as its client: agents that people already have. A message is a prompt, whose text comes in
//! pieces; what the agent wants of its client meanwhile is in `side`. The mode that says when it asks for permission is set, and looked
//! after. Must never: take a mode for set that the agent does not say it has, or count its permission question for a wall.
mod side;
mod mode;
mod terminals;

use super::super::program::message::{notification, request};
use super::super::program::{Answered, Ground, Program, ProgramEnd};
use super::super::{Abort, CallResult};
use super::{Callbacks, Fault, Hook, Patience, TAKE_BACK_TIMEOUT, absent, hook_failed};
use crate::models;
use crate::output::Shown;
use futures_util::FutureExt;
use mode::{Modes, SaidModes};
use serde::Deserialize;
use serde_json::{Value, json};
use side::{Prompt, Side, Turn};
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;
use tenure_core::call::Outcome;
use tenure_core::capability::clip;
use tenure_sandbox::WORKSPACE;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const VERSION: u64 = 1;
const SESSION_BYTES_MAX: usize = 256;
/// How long an agent may take to say that it is in a mode which it did not name before.
const REPORT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an agent may take to end a prompt that was taken back, before it is left to itself.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// An agent, and what it said of itself.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) program: Program<Turn>,
    abilities: OnceLock<Abilities>,
    session: watch::Sender<Option<Session>>,
    said: watch::Sender<SaidModes>,
    /// One prompt at a time: what comes meanwhile is the answer to that one.
    turns: Semaphore,
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
        let said = watch::Sender::default();
        let program = Program::start(ground, command, Side::new(log, callbacks, watch::Sender::clone(&said))).await?;
        Ok(Agent {
            program,
            abilities: OnceLock::new(),
            session: watch::Sender::new(None),
            said,
            turns: Semaphore::new(1),
        })
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

    /// A request that is not a prompt.
    async fn request(&self, hook: Hook, (method, params): (&str, &Value), patience: &Patience) -> Result<Value, Fault> {
        let id = self.program.next_id();
        let asking = self.program.ask(id, request(id, method, params), Turn::default());
        tokio::select! {
            answered = asking => {
                let (answer, _) = answered.map_err(Fault::Ended)?;
                answer.map_err(|error| Fault::Result(hook_failed(hook, error)))
            }
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
        let answer = self.request(Hook::Init, ("initialize", &params), patience).await?;
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
        self.session.send_replace(None);
        self.said.send_replace(SaidModes::default());
        let answer = match &wanted.session {
            Some(_) if !abilities.loads_sessions => {
                let sentence = "the agent loads no earlier session, so what it knew is lost";
                return Ok(CallResult::failed("cannot_load", sentence));
            }
            Some(id) => {
                params["sessionId"] = json!(id);
                self.request(Hook::Start, ("session/load", &params), patience).await.map_err(not_loaded)?
            }
            None => self.request(Hook::Start, ("session/new", &params), patience).await?,
        };
        let id = match wanted.session.or_else(|| answer["sessionId"].as_str().map(str::to_owned)) {
            Some(id) if !id.is_empty() && id.len() <= SESSION_BYTES_MAX => id,
            Some(_) | None => return Ok(CallResult::failed("protocol", "the agent opened a session without a name")),
        };
        let modes = Modes::of(&answer);
        let mode = match &wanted.mode {
            Some(mode) => {
                self.set_mode(&id, mode, &modes, patience).await?;
                Some(mode.clone())
            }
            None => self.said.borrow().last().map(str::to_owned).or(modes.current),
        };
        self.session.send_replace(Some(Session { id: id.clone(), mode: wanted.mode }));
        Ok(CallResult::done(json!({"session": id, "loaded": loaded, "mode": mode})))
    }

    /// The agent has named the mode and takes it; or, where it names none at all, it says that it is in it then.
    async fn set_mode(&self, session: &str, mode: &str, modes: &Modes, patience: &Patience) -> Result<(), Fault> {
        if !modes.named.is_empty() && !modes.has(mode) {
            let named = clip(&modes.named.join(", "));
            let sentence = format!("the agent has no mode `{}`; it names {named}", clip(mode));
            return Err(Fault::Result(CallResult::failed("unknown_mode", sentence)));
        }
        let changed = |other: &str| Err(Fault::Result(mode_changed(mode, other)));
        self.said.send_replace(SaidModes::default());
        if let Some(option) = &modes.option {
            let params = json!({"sessionId": session, "configId": option, "value": mode});
            let answer = self.request(Hook::Start, ("session/set_config_option", &params), patience).await?;
            return match Modes::of(&answer).current {
                Some(current) if current == mode => {
                    self.said.send_modify(|said| said.settle(mode));
                    Ok(())
                }
                other => changed(other.as_deref().unwrap_or("none that it says")),
            };
        }
        let params = json!({"sessionId": session, "modeId": mode});
        self.request(Hook::Start, ("session/set_mode", &params), patience).await?;
        if modes.named.is_empty() {
            let mut said = self.said.subscribe();
            let _ = timeout(REPORT_TIMEOUT, said.wait_for(|said| said.last().is_some())).await;
        }
        let said = self.said.borrow().last().map(str::to_owned);
        match said.as_deref() {
            Some(said) if said != mode => changed(said),
            None if modes.named.is_empty() => {
                let sentence = format!("the agent names no modes, and does not say that it is in `{}` now", clip(mode));
                Err(Fault::Result(CallResult::failed("unknown_mode", sentence)))
            }
            Some(_) | None => {
                self.said.send_modify(|said| said.settle(mode));
                Ok(())
            }
        }
    }

    /// Once the agent says that it is in another mode than the one that was set.
    async fn leaves_mode(&self, wanted: Option<&str>) -> String {
        let Some(wanted) = wanted else { return std::future::pending().await };
        let mut said = self.said.subscribe();
        let said = said.wait_for(|said| said.other_than(wanted).is_some()).await;
        // The sender is our own: there is an end to wait for.
        said.ok().and_then(|said| said.other_than(wanted).map(str::to_owned)).unwrap_or_default()
    }

    async fn prompt(&self, message: Message, shown: Shown, patience: &Patience) -> Result<CallResult, Fault> {
        let Some(Session { id: session, mode }) = self.session.borrow().clone() else {
            return Ok(CallResult::failed("not_started", "`hook.start` comes before `hook.message`"));
        };
        let _turn = tokio::select! {
            turn = self.turns.acquire() => turn,
            why = patience.over() => return Err(why),
        };
        let mode = mode.as_deref();
        let left = |other: &str| mode_changed(mode.unwrap_or_default(), other);
        if let Some(other) = self.leaves_mode(mode).now_or_never() {
            return Ok(left(&other));
        }
        let over = CancellationToken::new();
        let _ended = over.clone().drop_guard();
        let id = self.program.next_id();
        let params = json!({"sessionId": session, "prompt": [{"type": "text", "text": message.input}]});
        let turn = Turn(Some(Prompt::new(&session, shown, over.clone())));
        let asking = self.program.ask(id, request(id, "session/prompt", &params), turn);
        tokio::pin!(asking);
        let answered = tokio::select! {
            answered = &mut asking => Ok(answered.map_err(Fault::Ended)?),
            why = patience.over() => Err(why),
            other = self.leaves_mode(mode) => Err(Fault::Result(left(&other))),
        };
        let (answer, turn) = match answered {
            Ok(answered) => answered,
            Err(why) => {
                over.cancel();
                self.stop((&session, id), asking).await?;
                return Err(why);
            }
        };
        if let Some(other) = self.leaves_mode(mode).now_or_never() {
            return Ok(left(&other));
        }
        let answer = answer.map_err(|error| Fault::Result(hook_failed(Hook::Message, error)))?;
        let Some(stop_reason) = answer["stopReason"].as_str() else {
            return Ok(CallResult::failed("protocol", "the agent ended its turn without saying why"));
        };
        Ok(CallResult::done(json!({"output": turn.output(), "stop_reason": clip(stop_reason)})))
    }

    /// Tells the agent to stop, and waits a while for the end of its turn: a next prompt would meet it otherwise.
    async fn stop(
        &self,
        (session, id): (&str, u64),
        asking: impl Future<Output = Result<Answered<Turn>, Arc<ProgramEnd>>>,
    ) -> Result<(), Fault> {
        let cancel = notification("session/cancel", &json!({"sessionId": session}));
        let stopping = async {
            self.program.tell(cancel.clone()).await?;
            asking.await.map(drop)
        };
        match timeout(CANCEL_TIMEOUT, stopping).await {
            Ok(stopped) => stopped.map_err(Fault::Ended),
            Err(_) => {
                let _ = timeout(TAKE_BACK_TIMEOUT, self.program.take_back(id, cancel)).await;
                Ok(())
            }
        }
    }
}

/// What the agent knew is not there any more.
fn not_loaded(fault: Fault) -> Fault {
    match fault {
        Fault::Result(failed) => {
            Fault::Result(CallResult { outcome: Outcome::Failed { code: "cannot_load".to_owned() }, ..failed })
        }
        other => other,
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
