//! The host of a code agent: the program of one jail that lives on, and what it is asked by its hooks. `hook.run` is in hand as long
//! as the program lives; each other hook is one request of it. What the program asks in turn goes to the daemon as streams.
//!
//! ```text
//! hook.run ──▶ Program ◀── hook.init, start, message, …      Never ─▶ Starting ─▶ Running ─▶ Over ─▶ Starting …
//!                 └─▶ Callbacks ═▶ daemon
//! ```
//! Must never: judge what a program asks, wait past a call's deadline, or take what a program says of itself for a measurement.
mod callbacks;
mod hooks;
mod acp;
mod measured;

use super::program::message::RpcError;
use super::program::{EndedBy, Ground, Program, ProgramEnd};
use super::{Abort, Audience, CallContext, CallResult, PerformResult, read_arguments, unavailable};
use crate::models::Streams;
use crate::workspace::{JailProcesses, Unavailable};
use acp::Agent;
use callbacks::Callbacks;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tenure_core::call::Outcome;
use tenure_core::capability::clip;
use tenure_sandbox::protocol::{Ended, Exit};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Of the capabilities that this performs.
pub(super) const PREFIX: &str = "hook.";
/// How long a program may take to end that has answered `shutdown`.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long telling a program that nobody waits any more may take.
const TAKE_BACK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long hooks may take to notice that their program has ended.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(1);
/// What a shell would call the end by the signal that kills.
const KILLED_CODE: i32 = 128 + 9;

/// The place of a code agent's program in its jail.
#[derive(Debug, Clone)]
pub(crate) struct AgentHost(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: watch::Sender<State>,
    /// None where no daemon is there that could answer a program.
    streams: Option<Streams>,
    processes: JailProcesses,
}

#[derive(Debug, Default)]
struct State {
    /// Calls of `hook.run` that have come and not ended.
    runs: u32,
    life: Life,
}

#[derive(Debug, Default)]
enum Life {
    #[default]
    Never,
    Starting,
    Running(Arc<Running>),
    Over,
}

/// A program, and the hooks that it is asked now.
#[derive(Debug)]
struct Running {
    voice: Voice,
    since: Instant,
    hooks: TaskTracker,
}

/// By what protocol it is spoken to.
#[derive(Debug)]
enum Voice {
    Hooks(Program<()>),
    Acp(Agent),
}

/// A call of `hook.run` that has come. Hooks that come after it wait for its program.
#[derive(Debug)]
pub(crate) struct Awaited(AgentHost);

/// The one program's place, while it is taken.
struct Claim(AgentHost);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Protocol {
    Hooks,
    Acp,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    protocol: Protocol,
    command: Vec<String>,
}

/// What a program is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hook {
    Init,
    Start,
    Message,
    Health,
    Upgrade,
    Save,
    Restore,
    Error,
    Shutdown,
}

/// Why a hook has no answer.
enum Fault {
    TakenBack,
    Late,
    Ended(Arc<ProgramEnd>),
    /// Worded already.
    Result(CallResult),
}

/// How long whoever asks waits.
struct Patience {
    cancel: CancellationToken,
    deadline: Instant,
}

impl Patience {
    /// Once it is over; and why.
    async fn over(&self) -> Fault {
        tokio::select! {
            () = self.cancel.cancelled() => Fault::TakenBack,
            () = tokio::time::sleep_until(self.deadline) => Fault::Late,
        }
    }
}

impl Hook {
    fn named(name: &str) -> Option<Hook> {
        Some(match name {
            "init" => Hook::Init,
            "start" => Hook::Start,
            "message" => Hook::Message,
            "health" => Hook::Health,
            "upgrade" => Hook::Upgrade,
            "save" => Hook::Save,
            "restore" => Hook::Restore,
            "error" => Hook::Error,
            "shutdown" => Hook::Shutdown,
            _ => return None,
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Hook::Init => "init",
            Hook::Start => "start",
            Hook::Message => "message",
            Hook::Health => "health",
            Hook::Upgrade => "upgrade",
            Hook::Save => "save",
            Hook::Restore => "restore",
            Hook::Error => "error",
            Hook::Shutdown => "shutdown",
        }
    }

    /// A program may be without it.
    fn is_optional(self) -> bool {
        match self {
            Hook::Init | Hook::Start | Hook::Message | Hook::Shutdown => false,
            Hook::Health | Hook::Upgrade | Hook::Save | Hook::Restore | Hook::Error => true,
        }
    }
}

impl AgentHost {
    pub(crate) fn new(streams: Option<Streams>, processes: JailProcesses) -> AgentHost {
        AgentHost(Arc::new(Shared { state: watch::Sender::default(), streams, processes }))
    }

    /// To be asked of each call in the order in which they come.
    pub(crate) fn awaits(&self, capability: &str) -> Option<Awaited> {
        if capability.strip_prefix(PREFIX) != Some("run") {
            return None;
        }
        self.0.state.send_modify(|state| state.runs += 1);
        Some(Awaited(self.clone()))
    }

    /// None: a program is there already.
    fn claim(&self) -> Option<Claim> {
        let claimed = self.0.state.send_if_modified(|state| match state.life {
            Life::Starting | Life::Running(_) => false,
            Life::Never | Life::Over => {
                state.life = Life::Starting;
                true
            }
        });
        claimed.then(|| Claim(self.clone()))
    }

    /// The program, once it runs. None: none is there, and none comes.
    async fn running(&self) -> Option<Arc<Running>> {
        let mut state = self.0.state.subscribe();
        loop {
            {
                let now = state.borrow_and_update();
                match &now.life {
                    Life::Running(running) => return Some(Arc::clone(running)),
                    Life::Over if now.runs == 0 => return None,
                    Life::Never | Life::Starting | Life::Over => {}
                }
            }
            if state.changed().await.is_err() {
                return None;
            }
        }
    }

    fn was_never_started(&self) -> bool {
        let state = self.0.state.borrow();
        matches!(state.life, Life::Never) && state.runs == 0
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.0.state.send_modify(|state| state.runs -= 1);
    }
}

impl Claim {
    fn fill(&self, running: Arc<Running>) {
        self.0.0.state.send_modify(|state| state.life = Life::Running(running));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.0.state.send_modify(|state| state.life = Life::Over);
    }
}

impl Running {
    async fn ended(&self) -> Arc<ProgramEnd> {
        match &self.voice {
            Voice::Hooks(program) => program.ended().await,
            Voice::Acp(agent) => agent.program.ended().await,
        }
    }

    fn kill(&self) {
        match &self.voice {
            Voice::Hooks(program) => program.kill(),
            Voice::Acp(agent) => agent.program.kill(),
        }
    }

    async fn close(&self) {
        match &self.voice {
            Voice::Hooks(program) => program.close().await,
            Voice::Acp(agent) => agent.program.close().await,
        }
    }

    /// Its stdin ends, and soon so does it.
    async fn leave(&self, patience: &Patience) {
        let leaving = async {
            self.close().await;
            self.ended().await
        };
        let most = patience.deadline.min(Instant::now() + LEAVE_TIMEOUT);
        if tokio::time::timeout_at(most, leaving).await.is_err() {
            self.kill();
            self.ended().await;
        }
    }
}

/// Does one call.
pub(super) async fn perform(
    capability: &str,
    arguments: Value,
    context: &CallContext,
    audience: Audience,
    deadline: Instant,
) -> PerformResult {
    match capability.strip_prefix(PREFIX) {
        Some("run") => run(context, read_arguments(arguments)?, audience, deadline).await,
        Some(name) => match Hook::named(name) {
            Some(hook) => ask(context, hook, arguments, audience, deadline).await,
            None => Ok(super::unknown(capability)),
        },
        None => Ok(super::unknown(capability)),
    }
}

/// Starts the program, and stays until it has ended.
async fn run(context: &CallContext, wanted: Run, audience: Audience, deadline: Instant) -> PerformResult {
    let Some(claim) = context.host.claim() else {
        let sentence = "the program of this agent runs already; ask it by its hooks, or end it first";
        return Ok(CallResult::failed("already_running", sentence));
    };
    let Audience { shown, cancel, .. } = audience;
    let patience = Patience { cancel, deadline };
    let callbacks = Callbacks::new(context.host.0.streams.clone());
    let ground = Ground { jail: &context.jail, quota: &context.quota, backend: &context.confinement.backend };
    let voice = match wanted.protocol {
        Protocol::Hooks => {
            Voice::Hooks(Program::start(&ground, &wanted.command, hooks::Side::new(shown, callbacks)).await?)
        }
        Protocol::Acp => Voice::Acp(Agent::start(&ground, &wanted.command, shown, callbacks).await?),
    };
    let running = Arc::new(Running { voice, since: Instant::now(), hooks: TaskTracker::new() });
    claim.fill(Arc::clone(&running));
    let (end, why) = tokio::select! {
        end = running.ended() => (end, None),
        why = patience.over() => {
            running.kill();
            (running.ended().await, Some(why))
        }
    };
    drop(claim);
    // What is open ends before what it was asked of.
    running.hooks.close();
    let _ = timeout(NOTICE_TIMEOUT, running.hooks.wait()).await;
    ran(&end, why, context.confinement.memory_bytes)
}

/// The outcome of a program's whole life.
fn ran(end: &ProgramEnd, taken: Option<Fault>, memory_bytes: u64) -> PerformResult {
    let code = end.exit.as_ref().map(|exit| match exit.ended {
        Ended::Code(code) => code,
        Ended::Signal(signal) => 128 + signal,
    });
    let mut result = json!({"exit_code": code, "said": end.said});
    let outcome = match (&end.why, taken) {
        (EndedBy::JailGone, _) => return Err(Abort::Gone),
        (EndedBy::Us, _) if end.exit.is_none() => {
            return Err(Abort::Broken("it did not end a program that was to be killed"));
        }
        (EndedBy::Us, Some(Fault::TakenBack)) => {
            result["error"] = json!("it was taken back, and its program was killed");
            Outcome::Killed
        }
        (EndedBy::Us, Some(Fault::Late)) => {
            result["error"] = json!("its time was over, and its program was killed");
            Outcome::TimedOut
        }
        (EndedBy::Broken(why), _) => {
            result["error"] = json!(format!("its program was ended: {why}"));
            Outcome::Failed { code: "protocol_broken".to_owned() }
        }
        (EndedBy::Quota(reached), _) => {
            result["error"] = json!(format!("its program was killed: {}", reached.sentence));
            Outcome::ResourceExhausted { resource: reached.resource.clone(), limit: reached.limit }
        }
        (EndedBy::Unseen(Unavailable::Unseen(errno)), _) => return Err(unavailable(Unavailable::Unseen(*errno))),
        (EndedBy::Unseen(Unavailable::Gone), _) => return Err(Abort::Gone),
        (EndedBy::Itself | EndedBy::Us, _) => Outcome::Done { exit_code: Some(code.unwrap_or(KILLED_CODE)) },
    };
    let well = code == Some(0);
    if end.exit.as_ref().is_some_and(|exit: &Exit| exit.oom) && !well {
        result["limit"] = json!("memory");
        result["limit_was"] = json!(memory_bytes);
    }
    Ok(CallResult { outcome, result })
}

/// Asks the running program.
async fn ask(
    context: &CallContext,
    hook: Hook,
    arguments: Value,
    audience: Audience,
    deadline: Instant,
) -> PerformResult {
    let patience = Patience { cancel: audience.cancel.clone(), deadline };
    let found = tokio::select! {
        found = context.host.running() => found,
        Fault::TakenBack = patience.over() => return Ok(CallResult::killed("it was taken back before the program ran")),
        () = tokio::time::sleep_until(deadline) => {
            if context.host.was_never_started() { None } else {
                return Ok(CallResult::timed_out("the program did not start in time; it was asked nothing"));
            }
        }
    };
    let Some(running) = found else {
        let sentence = format!("no program runs in this sandbox that `{}` could be asked of", hook.as_str());
        return Ok(CallResult::failed("not_running", sentence));
    };
    let _open = running.hooks.token();
    let answered = match &running.voice {
        Voice::Hooks(program) => hooks::ask(program, hook, &arguments, &patience).await,
        Voice::Acp(agent) => agent.ask(hook, arguments, audience.shown, &patience).await,
    };
    let mut call_result = match answered {
        Ok(call_result) | Err(Fault::Result(call_result)) => call_result,
        Err(Fault::Ended(end)) => program_ended(hook, &end)?,
        Err(Fault::TakenBack) => CallResult::killed("it was taken back; the program was told to stop"),
        Err(Fault::Late) => {
            let sentence = format!("`{}` was not answered in time, and the program was told to stop", hook.as_str());
            CallResult::timed_out(sentence)
        }
    };
    match hook {
        Hook::Shutdown if matches!(call_result.outcome, Outcome::Done { .. }) => running.leave(&patience).await,
        Hook::Health => {
            let (processes, since) = (context.host.0.processes.clone(), running.since);
            let measuring = tokio::task::spawn_blocking(move || measured::measured(&processes));
            let mut measured = measuring.await.unwrap_or_default();
            measured["uptime_ms"] = json!(u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX));
            call_result.result["measured"] = measured;
        }
        Hook::Init
        | Hook::Start
        | Hook::Message
        | Hook::Upgrade
        | Hook::Save
        | Hook::Restore
        | Hook::Error
        | Hook::Shutdown => {}
    }
    Ok(call_result)
}

fn program_ended(hook: Hook, end: &ProgramEnd) -> PerformResult {
    let Some(how) = end.sentence() else { return Err(Abort::Gone) };
    Ok(CallResult::failed("program_ended", format!("while it was asked `{}`, {how}", hook.as_str())))
}

fn absent() -> CallResult {
    CallResult::done(json!({"answer": null, "absent": true}))
}

/// The program's own error.
fn hook_failed(hook: Hook, RpcError { code, message, data }: RpcError) -> CallResult {
    let sentence = format!("`{}` failed: {} ({code})", hook.as_str(), clip(&message));
    let mut failed = CallResult::failed("hook_failed", sentence);
    failed.result["rpc"] = json!({"code": code, "message": message});
    if let Some(data) = data {
        failed.result["rpc"]["data"] = data;
    }
    failed
}
