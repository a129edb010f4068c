//! From a capability and its arguments to requests of a jail, and from their answers to an outcome.
//! Must never: touch an agent's file from outside its jail, or trust that arguments were checked before.
mod filesystem;
mod process;
mod network;
mod program;
pub(crate) mod mcp;
pub(crate) mod host;

use crate::attend::AttendedStreams;
use crate::egress::EgressHandle;
use crate::jail_connection::JailConnection;
use crate::output::Shown;
use crate::workspace::{LimitReached, QuotaWatcher, Unavailable};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tenure_core::call::Outcome;
use tenure_core::capability::mcp::Name;
use tenure_core::capability::path::{WORKSPACE, judged};
use tenure_sandbox::protocol::{Answer, EDIT_BYTES_MAX, Operation, Refusal};
use tenure_wire::confinement::Confinement;
use tenure_wire::frame::Credential;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// Longest that one file operation may take.
const FILE_TIMEOUT: Duration = Duration::from_secs(60);

/// What performing needs of its jail.
#[derive(Debug, Clone)]
pub(crate) struct CallContext {
    pub(crate) jail: JailConnection,
    pub(crate) cgroups: Arc<[PathBuf]>,
    pub(crate) quota: QuotaWatcher,
    pub(crate) confinement: Arc<Confinement>,
    pub(crate) egress: EgressHandle,
    pub(crate) mcp: mcp::Servers,
    pub(crate) host: host::AgentHost,
    /// What holds its programs, for each call's record.
    pub(crate) level: Arc<str>,
}

/// Who sees what a program prints while it runs.
#[derive(Debug)]
pub(crate) struct Audience {
    pub(crate) shown: Shown,
    pub(crate) attendance: Option<AttendedStreams>,
    /// Whoever asked for the call takes it back: a program is killed, what is short ends by itself.
    pub(crate) cancel: CancellationToken,
}

/// How a call ended that was tried.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CallResult {
    pub(crate) outcome: Outcome,
    pub(crate) result: Value,
}

/// Why a call has no plain result.
#[derive(Debug)]
pub(crate) enum Abort {
    Ended(CallResult),
    /// The jail is gone, and with it what is known of the call.
    Gone,
    /// The jail does not do what it must; it is to be killed.
    Broken(&'static str),
}

pub(crate) type PerformResult = Result<CallResult, Abort>;

impl CallResult {
    pub(crate) fn done(result: Value) -> CallResult {
        CallResult { outcome: Outcome::Done { exit_code: None }, result }
    }

    pub(crate) fn failed(code: &str, sentence: impl Into<String>) -> CallResult {
        CallResult { outcome: Outcome::Failed { code: code.to_owned() }, result: error(sentence) }
    }

    /// `limit`: how much there was, where that is known, in the resource's own unit.
    pub(crate) fn exhausted(resource: &str, limit: Option<u64>, sentence: impl Into<String>) -> CallResult {
        let outcome = Outcome::ResourceExhausted { resource: resource.to_owned(), limit };
        CallResult { outcome, result: error(sentence) }
    }

    /// Nothing was done: the path leads to another one, which nobody has judged yet.
    fn redirected(path: &str) -> CallResult {
        let Some(path) = judged(path, WORKSPACE) else { return refused(&Refusal::Escape) };
        let result = error(format!("the path leads to {path}; ask for that path"));
        CallResult { outcome: Outcome::Redirected { path }, result }
    }

    pub(crate) fn killed(sentence: impl Into<String>) -> CallResult {
        CallResult { outcome: Outcome::Killed, result: error(sentence) }
    }

    pub(crate) fn timed_out(sentence: impl Into<String>) -> CallResult {
        CallResult { outcome: Outcome::TimedOut, result: error(sentence) }
    }
}

pub(crate) fn error(sentence: impl Into<String>) -> Value {
    json!({ "error": sentence.into() })
}

/// Does one call. `path` is the one that was judged, `credential` what its request is sent with; `deadline` is its holder's.
pub(crate) async fn perform(
    capability: &str,
    arguments: Value,
    (path, credential): (Option<String>, Option<Box<Credential>>),
    context: &CallContext,
    audience: Audience,
    deadline: Instant,
) -> PerformResult {
    if audience.cancel.is_cancelled() {
        return Ok(CallResult::killed("it was taken back before it began"));
    }
    if deadline <= Instant::now() {
        return Ok(CallResult::timed_out("its time ran out before the call began"));
    }
    let file =
        FileOps { jail: &context.jail, quota: &context.quota, deadline: deadline.min(Instant::now() + FILE_TIMEOUT) };
    match capability {
        "filesystem.read" => file.read(at_path(arguments, "path", path)?).await,
        "filesystem.write" => file.write(at_path(arguments, "path", path)?).await,
        "filesystem.append" => file.append(at_path(arguments, "path", path)?).await,
        "filesystem.edit" => file.edit(at_path(arguments, "path", path)?).await,
        "filesystem.list" => file.list(at_path(arguments, "path", path)?).await,
        "filesystem.stat" => file.stat(at_path(arguments, "path", path)?).await,
        "filesystem.delete" => file.delete(at_path(arguments, "path", path)?).await,
        "filesystem.restore" => file.restore(at_path(arguments, "path", path)?).await,
        "process.run" => process::run(context, at_path(arguments, "cwd", path)?, audience, deadline).await,
        reach if reach.starts_with("network.") => {
            let cancel = audience.cancel.clone();
            tokio::select! {
                result = reached(reach, arguments, (path, credential), context, deadline) => result,
                () = cancel.cancelled() => Ok(CallResult::killed("it was taken back while it reached out")),
            }
        }
        hook if hook.starts_with(host::PREFIX) => host::perform(hook, arguments, context, audience, deadline).await,
        other => {
            if let Some(name) = Name::parse(other) {
                return mcp::ask(context, name, (arguments, credential), audience, deadline).await;
            }
            Ok(unknown(other))
        }
    }
}

async fn reached(
    capability: &str,
    arguments: Value,
    (path, credential): (Option<String>, Option<Box<Credential>>),
    context: &CallContext,
    deadline: Instant,
) -> PerformResult {
    match capability {
        "network.http_request" => network::http_request(context, read_arguments(arguments)?, deadline).await,
        "network.credentialed_request" => network::credentialed_request(context, arguments, credential, deadline).await,
        "network.download" => network::download(context, at_path(arguments, "path", path)?, deadline).await,
        "network.dns_lookup" => network::dns_lookup(context, read_arguments(arguments)?, deadline).await,
        "network.port_check" => network::port_check(context, read_arguments(arguments)?, deadline).await,
        other => Ok(unknown(other)),
    }
}

fn unknown(capability: &str) -> CallResult {
    let sentence =
        format!("this worker cannot do `{capability}`: it is of another version than the daemon; restart it");
    CallResult::failed("unknown_capability", sentence)
}

fn read_arguments<A: DeserializeOwned>(arguments: Value) -> Result<A, Abort> {
    serde_json::from_value(arguments).map_err(|error| invalid(error.to_string()))
}

/// The arguments with their path, which stands under `name`, in the one form that is judged and opened: the one that came with the
/// call, or else their own.
fn at_path<A: DeserializeOwned>(mut arguments: Value, name: &str, given: Option<String>) -> Result<A, Abort> {
    let own = arguments.get(name).and_then(Value::as_str);
    if let Some(named) = given.as_deref().or(own) {
        let resolved = judged(named, WORKSPACE);
        if given.is_some() && resolved != given {
            return Err(invalid(format!("`{named}` was judged and is no absolute, resolved path")));
        }
        let resolved = resolved.ok_or_else(|| invalid("a path has 1 to 4096 bytes, none of them zero"))?;
        if let Some(fields) = arguments.as_object_mut() {
            fields.insert(name.to_owned(), resolved.into());
        }
    }
    read_arguments(arguments)
}

fn invalid(why: impl std::fmt::Display) -> Abort {
    Abort::Ended(CallResult::failed(
        "invalid_arguments",
        format!("the arguments do not fit: {why}; correct them and call again"),
    ))
}

/// The jail's file operations, with the time that they have.
struct FileOps<'a> {
    jail: &'a JailConnection,
    quota: &'a QuotaWatcher,
    deadline: Instant,
}

impl FileOps<'_> {
    /// One request with one answer. A refusal ends the call.
    async fn ask(&self, operation: Operation, body: Vec<u8>) -> Result<(Answer, Vec<u8>), Abort> {
        let asked = asked(&operation, body.len());
        let asking = async { self.jail.ask(operation, body).await.recv().await };
        match timeout_at(self.deadline, asking).await {
            Ok(Some((Answer::Refused(Refusal::NoSpace), _))) => Err(Abort::Ended(no_space(self.quota, asked))),
            Ok(Some((Answer::Refused(refusal), _))) => Err(Abort::Ended(refused(&refusal))),
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(Abort::Gone),
            Err(_) => Err(Abort::Ended(CallResult::timed_out(
                "the sandbox did not answer in time; whether the file was changed is not known: look before you repeat",
            ))),
        }
    }
}

/// How much a request may write to the disk, in bytes; None where it writes to memory.
fn asked(operation: &Operation, body: usize) -> Option<u64> {
    let (path, bytes) = match operation {
        Operation::Write { path, .. } | Operation::Append { path, .. } => (path.as_str(), body as u64),
        Operation::Edit { path, .. } => (path.as_str(), 2 * EDIT_BYTES_MAX),
        _ => ("", 0),
    };
    (!path.starts_with("/tmp/")).then_some(bytes)
}

/// The outcome of a limit on the disk.
fn limit_reached(reached: LimitReached) -> CallResult {
    CallResult::exhausted(&reached.resource, reached.limit, reached.sentence)
}

/// The outcome of a write for which the kernel found no space.
fn no_space(quota: &QuotaWatcher, asked: Option<u64>) -> CallResult {
    let Some(asked) = asked else {
        return CallResult::exhausted(
            "tmp",
            None,
            "/tmp is full: it is small and kept in memory; write beneath /workspace",
        );
    };
    match quota.no_space(asked) {
        Some(reached) => limit_reached(reached),
        None => {
            let sentence = "the disk of this host is full; tell whoever runs it";
            CallResult::exhausted("disk", None, sentence)
        }
    }
}

/// What it means for a call that nobody can say how much is left.
fn unavailable(unavailable: Unavailable) -> Abort {
    match unavailable {
        Unavailable::Gone => Abort::Gone,
        Unavailable::Unseen(errno) => Abort::Ended(CallResult::failed(
            "io",
            format!("how much of the disk is used cannot be seen ({errno}), so nothing is written; try again later"),
        )),
    }
}

/// The outcome of what a jail would not do.
fn refused(refusal: &Refusal) -> CallResult {
    let code = match refusal {
        Refusal::Redirected { path } => return CallResult::redirected(path),
        Refusal::NotFound => "not_found",
        Refusal::Escape => "escape",
        Refusal::IsDirectory => "is_directory",
        Refusal::NotDirectory => "not_directory",
        Refusal::Exists => "exists",
        Refusal::TooLarge { .. } => "too_large",
        Refusal::NoMatch { .. } => "no_match",
        Refusal::Denied => "denied",
        Refusal::NoSpace => return CallResult::exhausted("disk", None, refusal.to_string()),
        Refusal::NotEmpty => "not_empty",
        Refusal::Busy => "busy",
        Refusal::Invalid { .. } => "invalid_arguments",
        Refusal::Io { .. } => "io",
    };
    CallResult::failed(code, refusal.to_string())
}
