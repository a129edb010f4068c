//! `tenure sandbox run`: a command in the confinement of an agent, by the same worker as an agent's calls, but on a scratch folder and
//! with this terminal. Must never: touch the agent's own files, or leave anything of its own behind, however it ends.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tenure_core::call::{Fence, Holder, Outcome};
use tenure_core::id::{AgentId, CallId, ExecutionId, LeaseId, Mint};
use tenure_core::manifest::HostMount;
use tenure_core::time::Time;
use tenure_wire::confinement::Confinement;
use tenure_wire::frame::{CallOutcome, LeasedCall};
use tenure_worker::{AttendedOutcome, AttendedStreams, Options, WorkerRuntime, attend};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::scratch::Scratch;
use super::terminal::Terminal;
use crate::command::interrupted;
use crate::failure::{Exit, Failure};
use crate::screen::{self, Ink, one_line};

/// What a program's own time is added to: opening, killing, burying.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(60);
/// A command that is not stopped and has no terminal.
const TIME: Duration = Duration::from_secs(120);
/// What somebody does at a terminal ends when they end it, or here.
const TIME_AT_TERMINAL: Duration = Duration::from_secs(24 * 60 * 60);
const INTERRUPTED: u8 = 130;
/// Pieces and bytes that a look prints.
const PRINTED_MAX: usize = 16;
const PRINTED_BYTES_MAX: usize = 64 * 1024;

/// A command to try.
pub(in crate::command) struct Trial {
    pub(in crate::command) confinement: Confinement,
    pub(in crate::command) mounts: Vec<HostMount>,
    pub(in crate::command) command: Vec<String>,
    pub(in crate::command) time: Option<Duration>,
}

impl Trial {
    pub(super) async fn run(self) -> Result<Exit, Failure> {
        // From here on an interrupt ends what runs and is no reason to leave the folder behind.
        let interrupted = interrupted()?;
        let scratch = Scratch::make()?;
        let ground = self.runtime(&scratch).await.map_err(failed)?;
        let stop = CancellationToken::new();
        let (terminal, attendance) = Terminal::open(stop.clone())?;
        let at_terminal = attendance.terminal.is_some();
        let attending = attend(ground, self.call(at_terminal), attendance, stop.clone());
        tokio::pin!(attending);
        let mut was_interrupted = false;
        let told_to_end = async {
            tokio::select! {
                () = interrupted => {}
                () = hung_up(at_terminal) => {}
            }
        };
        let attended = tokio::select! {
            attended = &mut attending => attended,
            () = told_to_end => {
                was_interrupted = true;
                stop.cancel();
                attending.await
            }
        };
        // Before anything of our own is printed, the terminal is as it was.
        let lost = terminal.close().await;
        scratch.remove().await?;
        let attended = attended.map_err(|error| failed(error.to_string()))?;
        if was_interrupted {
            return Err(Failure::new(Exit::Program(INTERRUPTED), "the command was interrupted"));
        }
        if let Some(error) = lost {
            return Err(Failure::new(Exit::Failure, format!("what the command prints cannot be written: {error}")));
        }
        show(attended)
    }

    /// With nobody at it: the level that it reached, and what the command printed. It may be told to end by nothing but its time.
    ///
    /// # Errors
    /// Why there is neither.
    pub(in crate::command) async fn look(self) -> Result<(String, String), String> {
        let scratch = Scratch::make().map_err(|failure| failure.sentence())?;
        let found = self.looked(&scratch).await;
        scratch.remove().await.map_err(|failure| failure.sentence())?;
        found
    }

    async fn looked(self, scratch: &Scratch) -> Result<(String, String), String> {
        let runtime = self.runtime(scratch).await?;
        let (typing, typed) = mpsc::channel(1);
        drop(typing);
        let (printed, mut chunks) = mpsc::channel(PRINTED_MAX);
        let streams = AttendedStreams { typed, printed, terminal: None };
        let attending = attend(runtime, self.call(false), streams, CancellationToken::new());
        let reading = async {
            let mut text = Vec::new();
            while let Some(chunk) = chunks.recv().await {
                if !chunk.stderr && text.len() < PRINTED_BYTES_MAX {
                    text.extend_from_slice(&chunk.bytes);
                }
            }
            text
        };
        let (attended, text) = tokio::join!(attending, reading);
        let outcome = attended.map_err(|error| error.to_string())?.outcome?;
        match outcome.outcome {
            Outcome::Done { .. } => {
                Ok((outcome.level.unwrap_or_default(), String::from_utf8_lossy(&text).into_owned()))
            }
            other => {
                let why = outcome.result.get("error").and_then(Value::as_str).unwrap_or_default();
                Err(format!("{}: {why}", other.as_str()))
            }
        }
    }

    async fn runtime(&self, scratch: &Scratch) -> Result<WorkerRuntime, String> {
        let exe = std::env::current_exe().map_err(|error| format!("its own program is not known: {error}"))?;
        let options = Options {
            data_dir: scratch.path().to_owned(),
            exe,
            name: "trial".to_string(),
            slots: 1,
            mounts: self.mounts.clone(),
        };
        let prepared = tokio::task::spawn_blocking(move || WorkerRuntime::prepare(&options)).await;
        prepared.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    fn call(self, at_terminal: bool) -> LeasedCall {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut mint =
            Mint::new(Time::from_millis(i64::try_from(now).unwrap_or(0)), u128::from(std::process::id()) << 64);
        let time = self.time.unwrap_or(if at_terminal { TIME_AT_TERMINAL } else { TIME });
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (program, words) = self.command.split_first().expect("invariant: clap wants at least one word");
        let mut arguments = json!({"command": program, "args": words, "timeout_ms": millis(time)});
        if let Ok(kind) = std::env::var("TERM")
            && at_terminal
        {
            arguments["env"] = json!({"TERM": kind});
        }
        LeasedCall {
            lease: LeaseId::mint(&mut mint),
            fence: Fence(1),
            call: CallId::mint(&mut mint),
            holder: Holder::Execution(ExecutionId::mint(&mut mint)),
            iteration: 1,
            agent: AgentId::mint(&mut mint),
            capability: "process.run".to_string(),
            arguments,
            path: None,
            confinement: self.confinement,
            credential: None,
            deadline_ms: millis(time + TRIAL_TIMEOUT),
        }
    }
}

/// Resolves at HUP or QUIT, which would end this process and leave its terminal raw. Elsewhere they mean what they mean.
async fn hung_up(at_terminal: bool) {
    if !at_terminal {
        return std::future::pending().await;
    }
    match (signal(SignalKind::hangup()), signal(SignalKind::quit())) {
        (Ok(mut hangup), Ok(mut quit)) => {
            tokio::select! {
                _ = hangup.recv() => {}
                _ = quit.recv() => {}
            }
        }
        _ => std::future::pending().await,
    }
}

/// What Tenure has to say beside the program's own words, and the exit code that is the program's.
fn show(attended: AttendedOutcome) -> Result<Exit, Failure> {
    for refusal in &attended.refused {
        let place = format!("{}:{}", refusal.host, refusal.port);
        say(&format!("network refused: {place} by {} ({} times)", refusal.rule, refusal.count));
    }
    let CallOutcome { outcome, result, .. } = attended.outcome.map_err(failed)?;
    Ok(match &outcome {
        Outcome::Done { exit_code: Some(code) } => Exit::Program(u8::try_from(*code).unwrap_or(u8::MAX)),
        Outcome::Done { exit_code: None } => {
            let signal = result.get("signal").and_then(Value::as_u64).unwrap_or(0);
            say(&format!("the program was ended by signal {signal}"));
            Exit::Program(u8::try_from(128 + signal).unwrap_or(u8::MAX))
        }
        Outcome::ResourceExhausted { resource, limit } => {
            let limit = limit.map(|limit| format!(" ({limit})")).unwrap_or_default();
            say(&format!("its limit of {resource}{limit} was hit; what it printed may be cut"));
            Exit::Failure
        }
        Outcome::TimedOut => {
            say("its time was over; --timeout gives it more");
            Exit::Failure
        }
        other @ (Outcome::Failed { .. } | Outcome::Killed | Outcome::Redirected { .. } | Outcome::Lost { .. }) => {
            let why = result.get("error").and_then(Value::as_str).unwrap_or_default();
            say(&format!("{}: {why}", other.as_str()));
            Exit::Failure
        }
    })
}

fn say(sentence: &str) {
    screen::tell(&[(Ink::Plain, &one_line(&format!("tenure: {sentence}"))), (Ink::Plain, "\n")]);
}

pub(super) fn failed(why: String) -> Failure {
    Failure::new(Exit::Failure, "the confinement cannot be tried")
        .why(why)
        .next("`tenure sandbox check` tells what this host enforces")
}
