//! The process group: programs that run to their end. Must never: wait past the call's deadline, or keep all that they say.
use super::{Abort, Audience, CallContext, CallResult, PerformResult, invalid, limit_reached, refused, unavailable};
use crate::attend::{InputEvent, OutputChunk};
use crate::jail_connection::JailConnection;
use crate::output::{HeadTailBuffer, Shown};
use crate::workspace::{Baseline, LimitReached};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;
use tenure_core::call::Outcome;
use tenure_core::manifest::Backend;
use tenure_sandbox::protocol::{Answer, BODY_BYTES_MAX, Ended, Exit, Operation, Refusal, Spawn, Stream, TerminalSize};
use tenure_wire::confinement::Confinement;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// For a program whose caller names no time.
const RUN_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a jail may take to kill a program and say so. One that does not is broken.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
/// The kind of terminal that programs are told of.
const TERM: &str = "xterm-256color";
/// A program that the CPU limit held back for less is not told so: a pause now and then is not worth a reader's time.
const HELD_BACK_MS_MIN: u64 = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    command: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    stdin: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    cwd: Option<String>,
    timeout_ms: Option<u64>,
    /// It is to have a terminal.
    #[serde(default)]
    pty: bool,
}

pub(super) async fn run(context: &CallContext, wanted: Run, audience: Audience, deadline: Instant) -> PerformResult {
    if wanted.stdin.len() > BODY_BYTES_MAX {
        return Err(invalid(format!(
            "stdin may have {BODY_BYTES_MAX} bytes; write the rest to a file and read it from there"
        )));
    }
    let time = time_of(&wanted, deadline);
    let attempt = StartContext {
        command: wanted.command.clone(),
        alone: wanted.args.is_empty(),
        backend: &context.confinement.backend,
    };
    let Audience { shown, attendance, cancel } = audience;
    let mut spawn = Spawn::new(std::iter::once(wanted.command).chain(wanted.args));
    spawn.terminal = match &attendance {
        Some(attendance) => attendance.terminal,
        None => wanted.pty.then(TerminalSize::default),
    };
    if spawn.terminal.is_some() {
        spawn.env.push(("TERM".to_owned(), TERM.to_owned()));
    }
    spawn.env.extend(wanted.env);
    spawn.cwd = wanted.cwd;
    spawn.timeout_ms = Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    spawn.fed = attendance.is_some();
    // Whoever sits before it takes all of it; nothing of that is kept.
    spawn.output_max = Some(if spawn.fed { u64::MAX } else { context.confinement.output_bytes });
    let forks_refused = refused_forks(&context.cgroups);
    let patience = Instant::now() + time + KILL_TIMEOUT;
    let baseline = match timeout_at(patience, context.quota.begin()).await {
        Ok(begun) => begun.map_err(unavailable)?.map_err(|reached| Abort::Ended(limit_reached(reached)))?,
        Err(_) => return Ok(CallResult::timed_out("looking how much of the disk is used took too long; try again")),
    };
    let (typed, printed) = attendance.map(|attendance| (attendance.typed, attendance.printed)).unzip();
    let mut output = RunOutput { stdout: HeadTailBuffer::default(), stderr: HeadTailBuffer::default(), shown, printed };
    let asking = context.jail.ask_as(Operation::Spawn(spawn), wanted.stdin.into_bytes());
    let Ok((mut answers, program)) = timeout_at(patience, asking).await else {
        return Err(Abort::Broken("it takes no requests any more"));
    };
    let following = async {
        while let Some((answer, body)) = answers.recv().await {
            match answer {
                Answer::Started => {}
                Answer::Output { stream } => output.take(stream, body).await,
                Answer::Exited(exit) => return Ok(exit),
                Answer::Refused(refusal) => return Err(Abort::Ended(not_started(&refusal, &attempt))),
                _ => return Err(Abort::Broken("it answered a program's start with something else")),
            }
        }
        Err(Abort::Gone)
    };
    let following = async {
        tokio::select! {
            ended = following => ended,
            never = feed(&context.jail, program, typed) => match never {},
        }
    };
    let following = unless_cancelled(context, program, &cancel, following);
    let (exit, reached) = match timeout_at(patience, within_quota(context, baseline.as_ref(), program, following)).await
    {
        Ok(ended) => ended?,
        Err(_) => return Err(Abort::Broken("it did not end a program whose time was over")),
    };
    let pids = refused_forks(&context.cgroups) > forks_refused;
    let mut ended = output.end(&exit, reached, pids, &context.confinement);
    if exit.killed && cancel.is_cancelled() {
        ended.outcome = Outcome::Killed;
        ended.result["error"] = json!("it was taken back while it ran, and its program was killed");
    }
    Ok(ended)
}

/// What it asked for, within what its caller has left.
fn time_of(wanted: &Run, deadline: Instant) -> Duration {
    let left = deadline.saturating_duration_since(Instant::now());
    wanted.timeout_ms.map_or(RUN_TIMEOUT, Duration::from_millis).min(left).max(Duration::from_millis(1))
}

/// Follows a program, and kills it once its call is taken back.
async fn unless_cancelled(
    context: &CallContext,
    program: u32,
    cancel: &CancellationToken,
    following: impl Future<Output = Result<Exit, Abort>>,
) -> Result<Exit, Abort> {
    tokio::pin!(following);
    tokio::select! {
        exit = &mut following => return exit,
        () = cancel.cancelled() => {}
    }
    // What it still says is taken meanwhile: a jail whose answers nobody takes reads no requests.
    let killing = context.jail.ask(Operation::Kill { target: program }, Vec::new());
    tokio::join!(following, killing).0
}

/// Hands on what is typed, each piece once the one before is taken.
async fn feed(jail: &JailConnection, program: u32, typed: Option<mpsc::Receiver<InputEvent>>) -> Infallible {
    if let Some(mut typed) = typed {
        while let Some(typed) = typed.recv().await {
            let (operation, bytes) = match typed {
                InputEvent::Bytes(bytes) => (Operation::Input { target: program, end: false }, bytes),
                InputEvent::End => (Operation::Input { target: program, end: true }, Vec::new()),
                InputEvent::Resized(size) => (Operation::Resize { target: program, size }, Vec::new()),
            };
            // A program that reads no more is none that ends.
            let _ = jail.ask(operation, bytes).await.recv().await;
        }
    }
    std::future::pending().await
}

/// Follows a program and kills it once too much is on the disk. How it ended, and what was used up.
async fn within_quota(
    context: &CallContext,
    baseline: Option<&Baseline>,
    program: u32,
    following: impl Future<Output = Result<Exit, Abort>>,
) -> Result<(Exit, Option<LimitReached>), Abort> {
    tokio::pin!(following);
    let over = tokio::select! {
        exit = &mut following => {
            let exit = exit?;
            let well = exit.ended == Ended::Code(0);
            let reached = context.quota.end(baseline, well).await.map_err(unavailable)?;
            return Ok((exit, reached));
        }
        over = context.quota.watch(baseline) => over,
    };
    // It may have ended by itself just now; then there is nothing to kill. What it still says is taken meanwhile: a jail whose
    // answers nobody takes reads no requests.
    let killing = context.jail.ask(Operation::Kill { target: program }, Vec::new());
    let (exit, _) = tokio::join!(following, killing);
    Ok((exit?, Some(over.map_err(unavailable)?)))
}

struct RunOutput {
    stdout: HeadTailBuffer,
    stderr: HeadTailBuffer,
    shown: Shown,
    printed: Option<mpsc::Sender<OutputChunk>>,
}

impl RunOutput {
    async fn take(&mut self, stream: Stream, bytes: Vec<u8>) {
        if let Some(printed) = &self.printed {
            // Once nobody takes it any more, it is dropped until the program is ended.
            let _ = printed.send(OutputChunk { stderr: stream == Stream::Stderr, bytes }).await;
            return;
        }
        let (kept, stderr) = match stream {
            Stream::Stdout => (&mut self.stdout, false),
            Stream::Stderr => (&mut self.stderr, true),
        };
        kept.push(&bytes);
        self.shown.push(stderr, &bytes);
    }

    fn end(self, exit: &Exit, reached: Option<LimitReached>, pids: bool, confinement: &Confinement) -> CallResult {
        let truncated = exit.output_truncated || self.stdout.left_out() > 0 || self.stderr.left_out() > 0;
        let (code, signal) = match exit.ended {
            Ended::Code(code) => (Some(code), None),
            Ended::Signal(signal) => (None, Some(signal)),
        };
        let well = code == Some(0);
        let used_up = reached.as_ref().map(|reached| (reached.resource.as_str(), reached.limit.unwrap_or(0)));
        let limit = if exit.killed && used_up.is_some() {
            used_up
        } else if exit.timed_out {
            Some(("time", exit.wall_ms))
        } else if exit.oom && !well {
            Some(("memory", confinement.memory_bytes))
        } else if pids && !well {
            Some(("pids", u64::from(confinement.pids)))
        } else if used_up.is_some() {
            used_up
        } else if exit.output_truncated {
            Some(("output", confinement.output_bytes))
        } else {
            None
        };
        let mut stdout = self.stdout.text();
        if exit.output_truncated {
            stdout.push_str("\n[… more output came than this agent may write; it was dropped …]\n");
        }
        let mut result: Value = json!({
            "exit_code": code,
            "signal": signal,
            "stdout": stdout,
            "stderr": self.stderr.text(),
            "timed_out": exit.timed_out,
            "truncated": truncated,
        });
        if exit.cpu_throttled_ms >= HELD_BACK_MS_MIN {
            result["cpu_throttled_ms"] = json!(exit.cpu_throttled_ms);
        }
        if let Some((limit, there_was)) = limit {
            result["limit"] = json!(limit);
            if there_was > 0 {
                result["limit_was"] = json!(there_was);
            }
        }
        if let Some(reached) = reached.as_ref().filter(|_| limit == used_up) {
            let ended = if exit.killed { "the program was killed: " } else { "" };
            result["error"] = json!(format!("{ended}{}", reached.sentence));
        }
        let outcome = match limit {
            Some(("time", _)) => Outcome::TimedOut,
            Some((resource, limit)) => Outcome::ResourceExhausted {
                resource: resource.to_owned(),
                limit: Some(limit).filter(|limit| *limit > 0),
            },
            None => Outcome::Done { exit_code: code },
        };
        CallResult { outcome, result }
    }
}

/// What a refusal to start it is worded by.
pub(super) struct StartContext<'a> {
    pub(super) command: String,
    /// It has no arguments: perhaps they stand in `command`.
    pub(super) alone: bool,
    pub(super) backend: &'a Backend,
}

pub(super) fn not_started(
    refusal: &Refusal,
    StartContext { command, alone, backend }: &StartContext<'_>,
) -> CallResult {
    const AGAIN: i32 = 11;
    const NOMEM: i32 = 12;
    let known = match backend {
        Backend::Native => "an installed program, such as python3 or sh",
        Backend::Container { .. } => "a program that its image has, such as sh",
    };
    match refusal {
        Refusal::NotFound if *alone && command.contains(' ') => CallResult::failed(
            "not_found",
            format!(
                "there is no program named `{command}`; give the program alone as `command` and its words as `args`"
            ),
        ),
        Refusal::NotFound => CallResult::failed(
            "not_found",
            format!(
                "there is no program `{command}` in the sandbox, or `cwd` does not exist; use {known}, or a path beneath /workspace"
            ),
        ),
        Refusal::Io { errno: AGAIN } => CallResult::exhausted(
            "pids",
            None,
            "no process can be started: the sandbox is at its limit of processes; end some first",
        ),
        Refusal::Io { errno: NOMEM } => {
            CallResult::exhausted("memory", None, "no process can be started: the sandbox's memory is used up")
        }
        other => refused(other),
    }
}

/// How often the jail's groups refused a new process; 0 where none counts that.
fn refused_forks(cgroups: &[PathBuf]) -> u64 {
    let count = |group: &PathBuf| {
        let events = std::fs::read_to_string(group.join("pids.events")).ok()?;
        events.lines().find_map(|line| line.strip_prefix("max ")?.trim().parse::<u64>().ok())
    };
    cgroups.iter().filter_map(count).sum()
}
