//! Executions, their iterations and logs.
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use strum::IntoEnumIterator;
use tenure_core::bound::Hash;
use tenure_core::capability::Shown;
use tenure_core::execution::{Reason, Status, Trigger};
use tenure_core::id::{AgentId, CallId, ExecutionId};

use super::moment::Moment;

/// The header that makes a repeated start return the first execution.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Bytes of an idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::EnumIter, strum::EnumString, strum::IntoStaticStr,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ExecutionStatus {
    Queued,
    Running,
    /// For a worker, an approval or a model retry; `waiting_for` says which.
    Waiting,
    Completed,
    /// `reason` says why.
    Failed,
    Cancelled,
}

impl ExecutionStatus {
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    pub fn ended(self) -> bool {
        match self {
            ExecutionStatus::Completed | ExecutionStatus::Failed | ExecutionStatus::Cancelled => true,
            ExecutionStatus::Queued | ExecutionStatus::Running | ExecutionStatus::Waiting => false,
        }
    }
}

impl From<Status> for ExecutionStatus {
    fn from(status: Status) -> ExecutionStatus {
        match status {
            Status::Queued => ExecutionStatus::Queued,
            Status::Running => ExecutionStatus::Running,
            Status::Waiting => ExecutionStatus::Waiting,
            Status::Completed => ExecutionStatus::Completed,
            Status::Failed => ExecutionStatus::Failed,
            Status::Cancelled => ExecutionStatus::Cancelled,
        }
    }
}

/// What `status` of an execution list may be asked for: a status, or the reason of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutionFilter {
    Status(ExecutionStatus),
    Reason(Reason),
}

impl ExecutionFilter {
    pub fn words() -> Vec<&'static str> {
        let statuses = ExecutionStatus::iter().map(ExecutionStatus::as_str);
        statuses.chain(Reason::iter().map(Reason::as_str)).collect()
    }

    pub fn status(self) -> Option<Status> {
        match self {
            ExecutionFilter::Status(status) => status.as_str().parse().ok(),
            ExecutionFilter::Reason(_) => None,
        }
    }

    pub fn reason(self) -> Option<Reason> {
        match self {
            ExecutionFilter::Status(_) => None,
            ExecutionFilter::Reason(reason) => Some(reason),
        }
    }
}

impl FromStr for ExecutionFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<ExecutionFilter, String> {
        let status = text.parse().map(ExecutionFilter::Status);
        status
            .or_else(|_| text.parse().map(ExecutionFilter::Reason))
            .map_err(|_| format!("`{text}` is no status of an execution: use {}", ExecutionFilter::words().join(", ")))
    }
}

/// The body of a start.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// The agent's id or name.
    #[cfg_attr(feature = "openapi", schema(min_length = 1))]
    pub agent: String,
    /// An older revision of it; without one the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub revision: Option<u32>,
    /// Any JSON value, kept as the bytes received; at most 960 KiB of them.
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value))]
    pub input: Box<RawValue>,
    /// Instead of the manifest's own; 1 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1000))]
    pub max_iterations: Option<u32>,
}

/// The body of an erasure.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Erase {
    /// Stays in the ledger; at most 512 characters.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 512))]
    pub reason: String,
}

/// One payload that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErasedPayload {
    /// Its hash, as its records name it.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: Hash,
    /// `erased`.
    pub status: String,
    /// The execution or session that brought it.
    pub stream: String,
    /// The record that brought it.
    pub record: u64,
}

/// The body of a cancel; it may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Cancel {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Execution {
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "exe_06exampleexampleexampleex0"))]
    pub id: ExecutionId,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub agent: AgentId,
    pub agent_name: String,
    /// The revision that it started with and keeps.
    pub revision: u32,
    pub status: ExecutionStatus,
    /// What started it.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "manual"))]
    pub trigger: Trigger,
    /// The execution that started it, where an agent did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub parent: Option<ExecutionId>,
    /// Why it failed: one of the words of `Reason`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// One sentence about the end; until then, why its model is asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// Of a failed one: what to do about its reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// A cancel was accepted; the status follows when its sandbox is gone.
    pub cancel_requested: bool,
    /// The iteration that runs, or the last that ran; 0 before the first.
    pub iteration: u32,
    pub max_iterations: u32,
    pub tool_calls: u32,
    pub tokens_in: u64,
    pub tokens_out: u64,
    /// A provider did not count all of them, so that some were estimated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tokens_estimated: bool,
    /// Millionths of a dollar. Too low where `unpriced_model_calls` is not 0.
    pub cost_micro_usd: u64,
    pub unpriced_model_calls: u32,
    /// Milliseconds that it ran, until its end or now: not queued, not while the daemon was down, whatever the host's clock did.
    pub duration_ms: u64,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub started_at: Moment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub ended_at: Option<Moment>,
    /// When the last of what it was told and said was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub erased_at: Option<Moment>,
}

/// The answer to a start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Started {
    #[serde(flatten)]
    pub execution: Execution,
    /// True: the same idempotency key had started this one before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Validation {
    pub validator: String,
    pub pass: bool,
    /// 0 to 1.
    pub score: f64,
    /// What is told to the next iteration; absent where there is nothing to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasons: Option<String>,
}

/// The word for why an iteration failed; stored words count validators from 0, shown ones from 1.
pub fn cause_from_one(stored: &str) -> String {
    let place = stored.strip_prefix("validation:").and_then(|place| place.parse::<u32>().ok());
    place.map_or_else(|| stored.to_string(), |place| format!("validation:{}", place.saturating_add(1)))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum IterationStatus {
    Running,
    Completed,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Iteration {
    pub number: u32,
    pub status: IterationStatus,
    /// Why it failed, such as `validation:1`, `max_turns` or `iteration_timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    pub turns: u32,
    pub tool_calls: u32,
    pub tokens_in: u64,
    pub tokens_out: u64,
    pub tokens_cached: u64,
    pub cost_micro_usd: u64,
    pub duration_ms: u64,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub started_at: Moment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub ended_at: Option<Moment>,
    pub validation: Vec<Validation>,
}

/// One execution with its input, iterations and output.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExecutionFile {
    #[serde(flatten)]
    pub execution: Execution,
    /// Absent once erased. As the bytes received: a value that was read would have other numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub input: Option<Box<RawValue>>,
    pub iterations: Vec<Iteration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Executions that it started, oldest first; at most 200.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Execution>,
    /// There are more than those.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub children_cut: bool,
    /// What all below it used up, or hold: it counts against its limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<Below>,
}

/// What all executions below one used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Below {
    pub tokens: u64,
    /// Millionths of a dollar, what open model calls hold included.
    pub cost_micro_usd: u64,
}

/// What an iteration said and did, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IterationLog {
    #[serde(flatten)]
    pub iteration: Iteration,
    pub log: Vec<TurnLog>,
    /// Calls of validators.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Call>,
    /// The text of the last turn, where it asked for no calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Why its model is asked again, while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_again: Option<String>,
}

impl IterationLog {
    /// Adds the part of the same iteration that the next page began with.
    pub fn go_on(&mut self, next: IterationLog) {
        self.iteration = next.iteration;
        self.log.extend(next.log);
        self.checks.extend(next.checks);
        self.output = next.output.or(self.output.take());
        self.asked_again = next.asked_again;
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TurnLog {
    /// From 1.
    pub turn: u32,
    pub model: String,
    /// The answer was replayed from a cassette; no model was asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cassette: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    pub tokens_in: u64,
    pub tokens_out: u64,
    /// The provider did not count them, so that some were estimated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tokens_estimated: bool,
    pub took_ms: u64,
    pub calls: Vec<Call>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Call {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: CallId,
    pub capability: String,
    #[serde(flatten)]
    pub target: Target,
    /// `open`, `blocked`, or how it ended: `done`, `failed:code`, `timed_out`, `killed`, `lost`…
    pub outcome: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The rules that let it through or stopped it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<String>,
    /// The confinement that held while it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// Its result, cut to 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

/// What a call acts on, as the judge saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Target {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Of a stored value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

impl From<Shown> for Target {
    fn from(Shown { path, command, host, key, bytes }: Shown) -> Target {
        Target { path, command, host, key, bytes }
    }
}
