//! `tenure sandbox run`: a command in the confinement of an agent, by the same worker and over the same frames as an agent's
//! calls, but on a scratch folder. Must never: touch the agent's own files, or leave anything of its own behind.
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tenure_core::call::{Fence, Outcome};
use tenure_core::id::{AgentId, CallId, ConnectionId, ExecutionId, LeaseId, Mint};
use tenure_core::time::Time;
use tenure_wire::confinement::Confinement;
use tenure_wire::frame::{self, CallOutcome, FromWorker, LeasedCall, ToWorker, VERSION};
use tenure_worker::{Options, WorkerRuntime, serve};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::command::interrupted;
use crate::failure::{Exit, Failure};

/// What a program's own time is added to: opening, killing, burying.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(60);
/// Of what is piped in; the protocol of jails takes no more.
const STDIN_BYTES_MAX: u64 = 512 << 10;
const FENCE: Fence = Fence(1);

/// A command to try.
pub(super) struct Trial {
    pub(super) confinement: Confinement,
    pub(super) command: Vec<String>,
    pub(super) time: Duration,
}

/// How it ended, with the program's own streams.
pub(super) struct Tried {
    pub(super) outcome: CallOutcome,
    /// What its programs were kept from.
    pub(super) refused: Vec<String>,
}

impl Trial {
    pub(super) async fn run(self) -> Result<Tried, Failure> {
        let stdin = piped()?;
        // From here on an interrupt ends what runs and is no reason to leave the folder behind.
        let interrupted = interrupted()?;
        let scratch = Scratch::make()?;
        let exe = std::env::current_exe().map_err(|error| failed(format!("its own program is not known: {error}")))?;
        let options =
            Options { data_dir: scratch.0.clone(), exe, name: "trial".to_string(), slots: 1, mounts: Vec::new() };
        let prepared = tokio::task::spawn_blocking(move || WorkerRuntime::prepare(&options)).await;
        let ground = prepared.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
        let (ours, theirs) = UnixStream::pair().map_err(|error| failed(error.to_string()))?;
        let worker = tokio::spawn(serve(ground, theirs));
        let tried = tokio::select! {
            tried = self.over(ours, stdin) => tried,
            () = interrupted => Err(Failure::new(Exit::Program(130), "the command was interrupted")),
        };
        // The link has ended, and with it the worker kills and buries what is left.
        let ended = timeout(TRIAL_TIMEOUT, worker).await;
        let tried = tried?;
        match ended {
            Ok(Ok(Ok(()))) => Ok(tried),
            Ok(Ok(Err(error))) => Err(failed(error.to_string())),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed("the worker did not end".to_string())),
        }
    }

    async fn over(self, mut link: UnixStream, stdin: String) -> Result<Tried, Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut mint =
            Mint::new(Time::from_millis(i64::try_from(now).unwrap_or(0)), u128::from(std::process::id()) << 64);
        let deadline = self.time + TRIAL_TIMEOUT;
        let FromWorker::Hello(_) = next(&mut link, TRIAL_TIMEOUT).await? else {
            return Err(failed("the worker's greeting was another frame".to_string()));
        };
        let connection = ConnectionId::mint(&mut mint);
        send(&mut link, &ToWorker::Welcome { version: VERSION, connection, fence: FENCE }).await?;
        let (program, words) = self.command.split_first().expect("invariant: clap wants at least one word");
        let time_ms = u64::try_from(self.time.as_millis()).unwrap_or(u64::MAX);
        let arguments = json!({"command": program, "args": words, "stdin": stdin, "timeout_ms": time_ms});
        let call = LeasedCall {
            lease: LeaseId::mint(&mut mint),
            fence: FENCE,
            call: CallId::mint(&mut mint),
            execution: ExecutionId::mint(&mut mint),
            iteration: 1,
            agent: AgentId::mint(&mut mint),
            capability: "process.run".to_string(),
            arguments,
            path: None,
            confinement: self.confinement,
            deadline_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
        };
        let (agent, execution) = (call.agent, call.execution);
        send(&mut link, &ToWorker::Call(Box::new(call))).await?;
        let (mut outcome, mut refused) = (None, Vec::new());
        loop {
            match next(&mut link, deadline).await? {
                FromWorker::Outcome(ended) => {
                    outcome = Some(*ended);
                    send(&mut link, &ToWorker::Release { agent, execution, iteration: 1, last: true }).await?;
                }
                FromWorker::NetworkRefused { refusals, .. } => refused.extend(refusals.into_iter().map(|refusal| {
                    format!("{}:{} by {} ({} times)", refusal.host, refusal.port, refusal.rule, refusal.count)
                })),
                FromWorker::JailLost { why, .. } => return Err(failed(format!("the jail was lost: {why}"))),
                FromWorker::Released { .. } => match outcome {
                    Some(outcome) => return Ok(Tried { outcome, refused }),
                    None => return Err(failed("the jail was released before the program ended".to_string())),
                },
                FromWorker::Output { .. }
                | FromWorker::Hello(_)
                | FromWorker::Surveyed { .. }
                | FromWorker::HomeRemoved { .. }
                | FromWorker::Beat { .. } => {}
            }
        }
    }
}

impl Tried {
    /// Shows the program's streams as its own, and what Tenure has to say beside them.
    pub(super) fn show(&self) -> Exit {
        let text = |name: &str| self.outcome.result.get(name).and_then(Value::as_str).unwrap_or_default();
        let _ = std::io::stdout().write_all(text("stdout").as_bytes());
        let _ = std::io::stderr().write_all(text("stderr").as_bytes());
        for refused in &self.refused {
            eprintln!("tenure: network refused: {refused}");
        }
        match &self.outcome.outcome {
            Outcome::Done { exit_code: Some(code) } => Exit::Program(u8::try_from(*code).unwrap_or(u8::MAX)),
            Outcome::Done { exit_code: None } => {
                let signal = self.outcome.result.get("signal").and_then(Value::as_u64).unwrap_or(0);
                eprintln!("tenure: the program was ended by signal {signal}");
                Exit::Program(u8::try_from(128 + signal).unwrap_or(u8::MAX))
            }
            Outcome::ResourceExhausted { resource, limit } => {
                let limit = limit.map(|limit| format!(" ({limit})")).unwrap_or_default();
                eprintln!("tenure: its limit of {resource}{limit} was hit; what it printed may be cut");
                Exit::Failure
            }
            Outcome::TimedOut => {
                eprintln!("tenure: its time was over; --timeout gives it more");
                Exit::Failure
            }
            other @ (Outcome::Failed { .. } | Outcome::Killed | Outcome::Redirected { .. } | Outcome::Lost { .. }) => {
                eprintln!("tenure: {}: {}", other.as_str(), text("error"));
                Exit::Failure
            }
        }
    }
}

/// A data directory that is gone when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> Result<Scratch, Failure> {
        let path = std::env::temp_dir().join(format!("tenure-trial-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|error| failed(format!("{} cannot be made: {error}", path.display())))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("tenure: {} could not be removed: {error}", Path::display(&self.0));
        }
    }
}

/// What is piped in; nothing from a terminal, where no end would come.
fn piped() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Ok(String::new());
    }
    stdin.lock().take(STDIN_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > STDIN_BYTES_MAX {
        let sentence = format!("more than {STDIN_BYTES_MAX} bytes are piped in");
        return Err(Failure::new(Exit::Usage, sentence).next("give the program less, or `</dev/null`"));
    }
    String::from_utf8(bytes)
        .map_err(|_| Failure::new(Exit::Usage, "what is piped in is not UTF-8 text").next("give it `</dev/null`"))
}

fn failed(why: String) -> Failure {
    Failure::new(Exit::Failure, "the confinement cannot be tried")
        .why(why)
        .next("`tenure sandbox check` tells what this host enforces")
}

async fn send(link: &mut UnixStream, frame: &ToWorker) -> Result<(), Failure> {
    frame::write(link, frame).await.map_err(|error| failed(format!("the worker takes no frame: {error}")))
}

async fn next(link: &mut UnixStream, within: Duration) -> Result<FromWorker, Failure> {
    let next =
        timeout(within, frame::read(link)).await.map_err(|_| failed("the worker does not answer".to_string()))?;
    next.map_err(|error| failed(format!("the worker gave no frame: {error}")))
}
