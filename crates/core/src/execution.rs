//! One run of one agent revision on one input. It is driven, not looping: each command is decided from the fold alone,
//! each event applied without failure, and `owed` says what the world must do next.
//!
//! ```text
//! queued ──bind──> running ─────────────────────────────> ended
//!                   │  iteration: thinking ⇄ acting          ▲
//!                   │      └─> validating ─> closing ────────┘ or the next iteration
//!                   └─ a lapsed session unbinds it; it waits until another binds it
//! ```
//! The fold holds what decisions need (open iteration, open calls, counters, ids), never texts or history.
mod decide;
mod iteration;
mod turn;
mod validation;

pub use decide::{Around, Misstep, decide};

use crate::actor::Actor;
use crate::bound::{Bound, Hash, Payload};
use crate::call::{self, Fence, Open};
use crate::id::{AgentId, CallId, LeaseId, SessionId, WorkerId};
use crate::network::{self, Traffic};
use crate::time::{Clock, Time};
use serde::{Deserialize, Serialize};

/// Calls that one model turn may ask for.
pub const TURN_CALLS_MAX: usize = 16;
/// Losses of model calls in one execution; the next one ends it as `lost`.
pub const MODEL_LOSSES_MAX: u32 = 50;
/// Provider failures in a row that are tried again.
pub const MODEL_RETRIES_MAX: u32 = 5;

/// What a revision grants and limits; fixed when the execution starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    pub limits: Limits,
    pub tools: Vec<String>,
    pub validators: u32,
    pub model: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub max_iterations: u32,
    pub max_turns: u32,
    pub tool_calls: u32,
    pub tokens: u64,
    pub iteration_timeout_ms: u64,
    pub timeout_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    pub agent: AgentId,
    pub revision: u32,
    pub terms: Terms,
    pub wall: Clock,
    pub spent: Spent,
    pub phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spent {
    pub tool_calls: u32,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub micro_usd: u64,
    /// Model calls whose price is not known, so that `micro_usd` is too low.
    pub unpriced: u32,
    pub model_losses: u32,
}

#[expect(clippy::large_enum_variant, reason = "most folds in the cache are running ones")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Phase {
    Queued { iteration: u32, since: Time },
    Running(Iteration),
    Ended(Ending),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Iteration {
    pub number: u32,
    pub clock: Clock,
    pub binding: Option<Binding>,
    /// A lease of this iteration was given under the present binding, so a jail may exist.
    pub jailed: bool,
    pub turns: u32,
    pub calls: u32,
    pub blocked: u32,
    pub step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    pub worker: WorkerId,
    pub session: SessionId,
    pub fence: Fence,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub enum Step {
    /// `attempt` counts model calls of this turn, `retries` the provider's failures among them.
    Thinking {
        attempt: u32,
        retries: u32,
        thought: Thought,
    },
    Acting {
        calls: Vec<Open>,
    },
    Validating {
        index: u32,
        output: Bound,
        check: Check,
    },
    Closing {
        cause: Cause,
        calls: Vec<Open>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Thought {
    Due { at: Time },
    Open { deadline: Time, reserved_micro_usd: Option<u64> },
}

/// The one capability call that a validator may make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Check {
    None,
    Open { call: Open },
    Ended { call: CallId },
}

/// Why an iteration ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    Passed {
        output: Bound,
    },
    Invalid {
        index: u32,
    },
    Turns,
    IterationTimeout,
    /// The model gave no answer that the same question would not fail to give again.
    Unanswered {
        failure: String,
    },
    /// The whole execution ends with it.
    End {
        ending: Ending,
    },
}

impl Cause {
    /// Why an iteration failed, in a word that lists show.
    pub fn word(&self) -> String {
        match self {
            Cause::Passed { .. } => "passed".to_string(),
            Cause::Invalid { index } => format!("validation:{index}"),
            Cause::Turns => "max_turns".to_string(),
            Cause::IterationTimeout => "iteration_timeout".to_string(),
            Cause::Unanswered { failure } => format!("model:{failure}"),
            Cause::End { ending: Ending::Completed { .. } } => "completed".to_string(),
            Cause::End { ending: Ending::Failed { reason, .. } } => reason.word().to_string(),
            Cause::End { ending: Ending::Cancelled { .. } } => "cancelled".to_string(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Ending {
    Completed { output: Bound },
    Failed { reason: Reason, detail: String },
    Cancelled { by: Actor, why: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    MaxIterations,
    Timeout,
    TokenBudget,
    CostBudget,
    ToolBudget,
    ModelError,
    Blocked,
    Crashed,
    Lost,
    InvalidInput,
}

impl Reason {
    pub const ALL: [Reason; 10] = [
        Reason::MaxIterations,
        Reason::Timeout,
        Reason::TokenBudget,
        Reason::CostBudget,
        Reason::ToolBudget,
        Reason::ModelError,
        Reason::Blocked,
        Reason::Crashed,
        Reason::Lost,
        Reason::InvalidInput,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Reason::MaxIterations => "max_iterations",
            Reason::Timeout => "timeout",
            Reason::TokenBudget => "token_budget",
            Reason::CostBudget => "cost_budget",
            Reason::ToolBudget => "tool_budget",
            Reason::ModelError => "model_error",
            Reason::Blocked => "blocked",
            Reason::Crashed => "crashed",
            Reason::Lost => "lost",
            Reason::InvalidInput => "invalid_input",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Start(Start),
    Cancel {
        why: String,
    },
    /// Gives it to the worker whose fold the view holds.
    Bind {
        worker: WorkerId,
        session: SessionId,
    },
    /// Its session lapsed and every jail of it is proven dead; `since`: when the session was last known to live.
    Unbind {
        session: SessionId,
        since: Time,
        why: String,
    },
    /// The jail of this iteration died while its session lives; `leases` were in flight in it.
    LoseJail {
        session: SessionId,
        iteration: u32,
        leases: Vec<LeaseId>,
        why: String,
        traffic: Option<Traffic>,
    },
    /// The jail of this closing iteration is gone.
    Release {
        session: SessionId,
        iteration: u32,
        traffic: Option<Traffic>,
    },
    /// The worker's proxy kept programs of this iteration from places; at most [`network::REFUSALS_MAX`] at a time.
    RefuseNetwork {
        session: SessionId,
        iteration: u32,
        refusals: Vec<network::Refusal>,
    },
    CallModel(CallModel),
    AnswerModel {
        turn: Turn,
        answer: Answer,
    },
    FailModel {
        turn: Turn,
        failure: ModelFailure,
    },
    /// Found open at start, or past its deadline.
    LoseModel {
        turn: Turn,
    },
    EndCall(EndCall),
    /// A validator's own call.
    Check {
        iteration: u32,
        index: u32,
        proposal: call::Proposal,
    },
    Validate {
        iteration: u32,
        index: u32,
        finding: Finding,
    },
    /// A clock has run out.
    Expire,
}

impl Command {
    /// The bytes that its events would bind.
    pub fn payloads(&self) -> Vec<&Payload> {
        match self {
            Command::Start(start) => vec![&start.input],
            Command::AnswerModel { answer, .. } => {
                let arguments = answer.calls.iter().map(|proposal| &proposal.arguments);
                std::iter::once(&answer.delta).chain(&answer.output).chain(arguments).collect()
            }
            Command::EndCall(end) => end.result.iter().collect(),
            Command::Check { proposal, .. } => vec![&proposal.arguments],
            Command::Validate { finding, .. } => vec![&finding.reasons],
            Command::Cancel { .. }
            | Command::Bind { .. }
            | Command::Unbind { .. }
            | Command::LoseJail { .. }
            | Command::Release { .. }
            | Command::RefuseNetwork { .. }
            | Command::CallModel(_)
            | Command::FailModel { .. }
            | Command::LoseModel { .. }
            | Command::Expire => Vec::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    pub agent: AgentId,
    pub input: Payload,
    pub max_iterations: Option<u32>,
    /// Hash of the caller's idempotency key within the agent.
    pub idempotency: Option<Hash>,
}

/// Which model call of an execution is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    pub iteration: u32,
    /// Turns answered before it in this iteration.
    pub turn: u32,
    pub attempt: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallModel {
    pub turn: Turn,
    pub model: String,
    pub request: Hash,
    pub deadline: Time,
    pub reserved_micro_usd: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub model: String,
    /// The turn's delta: text and calls as the provider gave them.
    pub delta: Payload,
    /// The final text; present where `calls` is empty.
    pub output: Option<Payload>,
    pub calls: Vec<call::Proposal>,
    pub usage: Usage,
    /// Replayed from a cassette, not answered by a model.
    pub cassette: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    pub input: u64,
    pub output: u64,
    pub cached: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_usd: Option<u64>,
    pub took_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFailure {
    pub kind: String,
    /// Clipped where it is recorded; no secret may stand in it.
    pub sentence: String,
    pub remedy: Remedy,
}

/// What may help after a model's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The same question later; not before the provider's own time, if it named one.
    Again {
        after_ms: Option<u64>,
    },
    /// Another conversation: the next iteration's.
    NextIteration,
    None,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndCall {
    pub call: CallId,
    pub lease: LeaseId,
    pub fence: Fence,
    pub outcome: call::Outcome,
    pub result: Option<Payload>,
    pub took_ms: u64,
    pub level: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub validator: String,
    pub pass: bool,
    /// Thousandths, 0 to 1000.
    pub score_milli: u32,
    pub reasons: Payload,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data")]
pub enum Event {
    #[serde(rename = "execution.started")]
    Started {
        agent: AgentId,
        revision: u32,
        input: Bound,
        terms: Terms,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        idempotency: Option<Hash>,
    },
    #[serde(rename = "execution.cancel_requested")]
    CancelRequested { by: Actor, why: String },
    #[serde(rename = "iteration.started")]
    IterationStarted { iteration: u32, binding: Binding },
    #[serde(rename = "iteration.bound")]
    IterationBound { iteration: u32, binding: Binding },
    /// `jailed`: a jail was lost with it, which the model is told.
    #[serde(rename = "iteration.unbound")]
    IterationUnbound { iteration: u32, session: SessionId, since: Time, jailed: bool, why: String },
    #[serde(rename = "iteration.jail_lost")]
    JailLost {
        iteration: u32,
        session: SessionId,
        why: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        traffic: Option<Traffic>,
    },
    #[serde(rename = "network.refused")]
    NetworkRefused {
        iteration: u32,
        #[serde(flatten)]
        refusal: network::Refusal,
    },
    #[serde(rename = "model.called")]
    ModelCalled {
        turn: Turn,
        model: String,
        request: Hash,
        deadline: Time,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reserved_micro_usd: Option<u64>,
    },
    #[serde(rename = "model.answered")]
    ModelAnswered {
        turn: Turn,
        model: String,
        delta: Bound,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Bound>,
        calls: Vec<ProposedCall>,
        usage: Usage,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        cassette: bool,
    },
    /// `retry_at`: when the same turn is tried again; none ends the execution.
    #[serde(rename = "model.failed")]
    ModelFailed {
        turn: Turn,
        failure: String,
        sentence: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<Time>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        charged_micro_usd: Option<u64>,
    },
    #[serde(rename = "model.lost")]
    ModelLost {
        turn: Turn,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        charged_micro_usd: Option<u64>,
    },
    #[serde(rename = "call.called")]
    CallCalled(call::Called),
    #[serde(rename = "call.blocked")]
    CallBlocked {
        call: CallId,
        capability: String,
        #[serde(flatten)]
        blocked: call::Blocked,
    },
    #[serde(rename = "call.ended")]
    CallEnded(call::Ended),
    #[serde(rename = "iteration.validated")]
    Validated { iteration: u32, index: u32, validator: String, pass: bool, score_milli: u32, reasons: Bound },
    #[serde(rename = "iteration.closing")]
    IterationClosing {
        iteration: u32,
        #[serde(flatten)]
        cause: Cause,
    },
    #[serde(rename = "iteration.released")]
    IterationReleased {
        iteration: u32,
        session: SessionId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        traffic: Option<Traffic>,
    },
    #[serde(rename = "iteration.completed")]
    IterationCompleted { iteration: u32, output: Bound },
    #[serde(rename = "iteration.failed")]
    IterationFailed {
        iteration: u32,
        #[serde(flatten)]
        cause: Cause,
    },
    #[serde(rename = "execution.ended")]
    Ended {
        #[serde(flatten)]
        ending: Ending,
    },
    #[serde(rename = "command.refused")]
    Refused(crate::command::Refused),
}

/// A call as a model turn asked for it, with what the catalogue said of it then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposedCall {
    pub call: CallId,
    pub capability: String,
    pub arguments: Bound,
    pub attributes: crate::capability::Attributes,
    pub effects: crate::capability::Effects,
    pub idempotent: bool,
}

impl Execution {
    pub fn iteration(&self) -> Option<&Iteration> {
        match &self.phase {
            Phase::Running(iteration) => Some(iteration),
            Phase::Queued { .. } | Phase::Ended(_) => None,
        }
    }

    fn iteration_mut(&mut self) -> Option<&mut Iteration> {
        match &mut self.phase {
            Phase::Running(iteration) => Some(iteration),
            Phase::Queued { .. } | Phase::Ended(_) => None,
        }
    }

    /// The status word of SPEC 3, and for `waiting` what it waits for.
    pub fn status(&self) -> (&'static str, Option<&'static str>) {
        match &self.phase {
            Phase::Queued { .. } => ("queued", None),
            Phase::Running(Iteration { binding: None, .. }) => ("waiting", Some("worker")),
            Phase::Running(iteration) => match &iteration.step {
                Step::Thinking { retries, thought: Thought::Due { .. }, .. } if *retries > 0 => {
                    ("waiting", Some("model retry"))
                }
                Step::Thinking { .. } | Step::Acting { .. } | Step::Validating { .. } | Step::Closing { .. } => {
                    ("running", None)
                }
            },
            Phase::Ended(Ending::Completed { .. }) => ("completed", None),
            Phase::Ended(Ending::Failed { .. }) => ("failed", None),
            Phase::Ended(Ending::Cancelled { .. }) => ("cancelled", None),
        }
    }
}

/// Total: an event that does not fit the fold changes nothing, for decide never makes one.
pub fn apply(fold: &mut Option<Execution>, event: &Event, at: Time) {
    if let Event::Started { agent, revision, terms, .. } = event {
        *fold = Some(Execution {
            agent: *agent,
            revision: *revision,
            terms: terms.clone(),
            wall: Clock::default(),
            spent: Spent::default(),
            phase: Phase::Queued { iteration: 1, since: at },
        });
        return;
    }
    let Some(execution) = fold else { return };
    match event {
        Event::Started { .. } | Event::CancelRequested { .. } | Event::NetworkRefused { .. } | Event::Refused(_) => {}
        Event::IterationStarted { .. }
        | Event::IterationBound { .. }
        | Event::IterationUnbound { .. }
        | Event::JailLost { .. }
        | Event::IterationClosing { .. }
        | Event::IterationReleased { .. }
        | Event::IterationCompleted { .. }
        | Event::IterationFailed { .. }
        | Event::Ended { .. } => iteration::apply(execution, event, at),
        Event::ModelCalled { .. }
        | Event::ModelAnswered { .. }
        | Event::ModelFailed { .. }
        | Event::ModelLost { .. }
        | Event::CallCalled(_)
        | Event::CallBlocked { .. }
        | Event::CallEnded(_) => turn::apply(execution, event, at),
        Event::Validated { .. } => validation::apply(execution, event),
    }
}
