//! One run of one agent revision on one input. It is driven, not looping: each command is decided from the fold alone,
//! each event applied without failure, and `owed` says what the world must do next.
//!
//! ```text
//! queued ──bind──> running ─────────────────────────────> ended
//!                   │  iteration: thinking ⇄ acting          ▲
//!                   │      └─> validating ─> closing ────────┘ or the next iteration
//!                   └─ a lapsed connection unbinds it; it waits until another binds it
//! ```
//! The fold holds what decisions need (open iteration, open calls, counters, ids), never texts or history.
/// Model calls of programs.
macro_rules! proxy_events {
    () => {
        Event::ProxyCalled(_) | Event::ProxyAnswered(_) | Event::ProxyFailed(_) | Event::ProxyLost(_)
    };
}

/// The program that an agent is.
macro_rules! program_events {
    () => {
        Event::ProgramAsked { .. } | Event::ProgramTold { .. } | Event::ProgramHeard { .. } | Event::ProgramEnded { .. }
    };
}

/// What it started itself.
macro_rules! child_events {
    () => {
        Event::ChildStarted { .. } | Event::ChildEnded { .. }
    };
}

mod budget;
mod decide;
mod erase;
mod iteration;
mod lineage;
mod owed;
mod program;
mod proxy;
mod report;
mod rows;
mod spent;
mod standing;
mod turn;
mod validation;
mod words;

pub use crate::retention::erasing::{Payloads, REASON_MAX};
pub use budget::Budget;
pub(crate) use decide::{allow, reject, replace, start};
pub(crate) use erase::erase;
pub(crate) use lineage::start_child;
pub use lineage::{CHILDREN_MAX, DEPTH_MAX, Parent};
pub use program::Outcome as ProgramOutcome;
pub(crate) use program::heard;
pub use report::{Answer, CallModel, Finding, ModelFailure, Remedy, Start, Turn, Usage, Used};
pub use rows::{ConversationRow, ExecutionRow, IterationRow, TurnRow, ValidationRow};
pub use spent::Spent;
pub use words::{Reason, Status, Trigger};

use crate::actor::Actor;
use crate::aggregate::{Aggregate, events, refusals, verbs};
use crate::approval;
use crate::binding::Binding;
use crate::bound::{Bound, Hash, Payload};
use crate::budget::{Day, Shut};
use crate::call::{self, EndCall, Open};
use crate::draft::{Draft, Stop};
use crate::id::{AgentId, CallId, ConnectionId, ExecutionId, InstanceId, LeaseId, WorkerId};
use crate::manifest::AgentKind;
use crate::model_call::{self, ModelCalls};
use crate::network::{self, Traffic};
use crate::owed::Owed;
use crate::plan::Limits;
use crate::retention::Why;
use crate::row::Row;
use crate::time::{Clock, Run, Stamp, Time};
use serde::{Deserialize, Serialize};

/// Calls that one model turn may ask for.
pub const TURN_CALLS_MAX: usize = 16;
/// Losses of model calls in one execution; the next one ends it as `lost`.
pub const MODEL_LOSSES_MAX: u32 = 50;
/// Provider failures in a row that are tried again.
pub const MODEL_RETRIES_MAX: u32 = 5;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    pub agent: AgentId,
    pub agent_name: String,
    pub revision: u32,
    /// Whether a model is asked, or a program run.
    #[serde(default = "llm", skip_serializing_if = "is_llm")]
    pub kind: AgentKind,
    pub limits: Limits,
    /// Validators of its plan.
    pub validators: u32,
    pub input: Hash,
    /// What it is told that it missed, where it was woken and its plan asks for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub briefing: Option<Hash>,
    #[serde(default, skip_serializing_if = "Trigger::is_manual")]
    pub trigger: Trigger,
    /// Who started it, where an agent did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// Executions that it started and that have not ended; at most [`CHILDREN_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<ExecutionId>,
    /// How many it ever started.
    #[serde(default, skip_serializing_if = "none_started")]
    pub has_started: u32,
    pub started_at: Time,
    pub wall: Clock,
    pub spent: Spent,
    /// Bytes that it bound.
    #[serde(default)]
    pub bytes: u64,
    /// Iterations that were begun.
    pub iterations: u32,
    pub cancel_requested: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<Chained>,
    /// Of programs in its jail.
    #[serde(default, skip_serializing_if = "ModelCalls::is_empty")]
    pub model_calls: ModelCalls,
    /// What its agent was told is nearly used up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warned: Vec<Budget>,
    pub phase: Phase,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn none_started(count: &u32) -> bool {
    *count == 0
}

fn llm() -> AgentKind {
    AgentKind::Llm
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_llm(kind: &AgentKind) -> bool {
    *kind == AgentKind::Llm
}

/// The place of an execution in a conversation, whose id is that of its first execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chained {
    pub id: ExecutionId,
    /// From 1.
    pub turn: u32,
}

#[expect(clippy::large_enum_variant, reason = "most folds in the cache are running ones")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Phase {
    Queued { iteration: u32, since: Run },
    Running(Iteration),
    Ended { ending: Ending, at: Time, payloads: Payloads },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Iteration {
    pub number: u32,
    pub clock: Clock,
    pub binding: Option<Binding>,
    /// A lease of this iteration was given under the present binding, so a jail may exist.
    pub has_sandbox: bool,
    pub turns: u32,
    pub calls: u32,
    pub blocked: u32,
    /// All that is left waits for people, and its jail is being destroyed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub parked: bool,
    /// The message that the program of its agent was told last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<CallId>,
    pub step: Step,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub enum Step {
    /// `attempt` counts model calls of this turn, `retries` the provider's failures among them; `failure` is the last one,
    /// for people to read while it is asked again.
    Thinking {
        attempt: u32,
        retries: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<String>,
        call: ModelCall,
    },
    /// Its agent is a program, which is to be run, or has ended by this call and is to be heard.
    Program {
        call: Option<CallId>,
    },
    /// Its agent's program, which an instance keeps running, has this message, and has not answered.
    Told {
        instance: InstanceId,
        call: CallId,
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum ModelCall {
    Due {
        at: Run,
    },
    /// `day`: of what is used up in a day and a month it counts there, whenever it ends; none where its event has none.
    Open {
        #[serde(default, skip_serializing_if = "String::is_empty")]
        model: String,
        deadline: Run,
        reserved_micro_usd: Option<u64>,
        #[serde(default, skip_serializing_if = "is_zero")]
        reserved_tokens: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        day: Option<Day>,
    },
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
    /// Its agent is a program, and that failed.
    Program {
        failure: String,
    },
    /// The whole execution ends with it.
    End {
        ending: Ending,
    },
}

impl Cause {
    /// Why an iteration failed, in a word that lists show.
    pub fn to_word(&self) -> String {
        match self {
            Cause::Passed { .. } => "passed".to_string(),
            Cause::Invalid { index } => format!("validation:{index}"),
            Cause::Turns => "max_turns".to_string(),
            Cause::IterationTimeout => "iteration_timeout".to_string(),
            Cause::Unanswered { failure } => format!("model:{failure}"),
            Cause::Program { .. } => "program".to_string(),
            Cause::End { ending: Ending::Completed { .. } } => "completed".to_string(),
            Cause::End { ending: Ending::Failed { reason, .. } } => reason.as_str().to_string(),
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

verbs! {
    pub enum Command {
        "execution.start" => Start(Start),
        /// A person says something in a conversation with the agent: the next turn of it, or the first of a new one.
        "execution.converse" => Converse { start: Start, conversation: Option<ExecutionId> },
        "execution.cancel" ends => Cancel { why: String },
        /// Gives it to a worker, by the connection that it has now.
        "iteration.bind" => Bind { worker: WorkerId, connection: ConnectionId },
        /// Its connection lapsed and every jail of it is proven dead; `since`: when it was last known to live.
        "iteration.unbind" ends => Unbind { connection: ConnectionId, since: Run, why: String },
        /// The jail of this iteration died while its connection lives; `leases` were in flight in it.
        "jail.lose" ends => LoseJail {
            connection: ConnectionId,
            iteration: u32,
            leases: Vec<LeaseId>,
            why: String,
            traffic: Option<Traffic>,
        },
        /// The jail of this closing iteration is gone.
        "iteration.release" ends urgent => Release { connection: ConnectionId, iteration: u32, traffic: Option<Traffic> },
        /// The worker's proxy kept programs of this iteration from places; at most [`network::REFUSALS_MAX`] at a time.
        "network.refuse" => RefuseNetwork {
            connection: ConnectionId,
            iteration: u32,
            refusals: Vec<network::Refusal>,
        },
        "model.call" => CallModel(CallModel),
        "model.answer" => AnswerModel { turn: Turn, answer: Answer },
        "model.fail" ends => FailModel { turn: Turn, failure: ModelFailure },
        /// Found open at start, or past its deadline.
        "model.lose" ends => LoseModel { turn: Turn },
        /// A program in the jail of this iteration asks a model, by the listener of that jail.
        "proxy.call" => CallProxy { connection: ConnectionId, iteration: u32, begin: model_call::Begin },
        "proxy.answer" => AnswerProxy(model_call::Answer),
        "proxy.fail" ends => FailProxy(model_call::Failure),
        /// No daemon has it in hand.
        "proxy.lose" ends => LoseProxy { call: CallId },
        /// Brings the arguments of a call on our own rows, which is judged, done and ended with them, and the value that
        /// it binds by them, if it binds one.
        "call.perform" urgent => Perform { call: CallId, arguments: Payload, value: Option<Payload> },
        "call.end" ends urgent => EndCall(EndCall),
        /// By the reconciler, once a call has waited too long for a person.
        "call.expire_approvals" ends => ExpireApprovals {},
        /// By the reconciler: other rules hold since the call began, or began to wait.
        "call.rejudge" => Rejudge { call: CallId },
        /// Brings the call that runs the program that its agent is.
        "program.ask" => AskProgram { iteration: u32, proposal: call::Proposal },
        /// Brings the message for the program that an instance keeps running.
        "program.tell" => TellProgram { iteration: u32, message: Payload },
        /// How that program ended.
        "program.end" => EndProgram { iteration: u32, outcome: ProgramOutcome },
        /// A validator's own call.
        "iteration.check" => Check { iteration: u32, index: u32, proposal: call::Proposal },
        "iteration.validate" => Validate { iteration: u32, index: u32, finding: Finding },
        /// A clock has run out.
        "execution.expire" ends => Expire {},
        /// What it was told and said is erased; its records stay.
        "execution.erase" ends => Erase { reason: String },
        /// One payload that its `n`th record brought, of what has ended.
        "execution.erase_payload" ends => ErasePayload { payload: Hash, n: u64, reason: String },
        /// By the reconciler: the next page.
        "execution.erase_rest" ends => EraseRest {},
    }

    fn payloads(&self) -> Vec<&Payload> {
        match self {
            Command::Start(start) | Command::Converse { start, .. } => vec![&start.input],
            Command::AnswerModel { answer, .. } => {
                let calls = answer.calls.iter().flat_map(|proposal| [&proposal.arguments, &proposal.attributes]);
                std::iter::once(&answer.delta).chain(&answer.output).chain(calls).collect()
            }
            Command::EndCall(end) => end.result.iter().chain(&end.attributes).collect(),
            Command::TellProgram { message, .. } => vec![message],
            Command::EndProgram { outcome, .. } => outcome.output().into_iter().collect(),
            Command::AskProgram { proposal, .. } | Command::Check { proposal, .. } => vec![&proposal.arguments, &proposal.attributes],
            Command::Validate { finding, .. } => vec![&finding.reasons],
            Command::Perform { value, .. } => value.iter().collect(),
            Command::CallProxy { begin, .. } => vec![&begin.request],
            Command::AnswerProxy(answer) => vec![&answer.answer],
            Command::Cancel { .. }
            | Command::Bind { .. }
            | Command::Unbind { .. }
            | Command::LoseJail { .. }
            | Command::Release { .. }
            | Command::RefuseNetwork { .. }
            | Command::CallModel(_)
            | Command::FailModel { .. }
            | Command::LoseModel { .. }
            | Command::FailProxy(_)
            | Command::LoseProxy { .. }
            | Command::Erase { .. }
            | Command::ErasePayload { .. }
            | Command::EraseRest {}
            | Command::ExpireApprovals {}
            | Command::Rejudge { .. }
            | Command::Expire {} => Vec::new(),
        }
    }
}

events! {
    pub enum Event {
        "execution.started" => Started {
            agent: AgentId,
            agent_name: String,
            revision: u32,
            model: String,
            input: Bound,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            briefing: Option<Bound>,
            limits: Limits,
            validators: u32,
            #[serde(default = "llm", skip_serializing_if = "is_llm")]
            agent_kind: AgentKind,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            idempotency: Option<Hash>,
            #[serde(default, skip_serializing_if = "Trigger::is_manual")]
            trigger: Trigger,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            conversation: Option<Chained>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            parent: Option<Parent>,
        },
        /// It started this one.
        "execution.child_started" => ChildStarted { execution: ExecutionId, agent: AgentId },
        /// One that it started has ended, perhaps long after itself.
        "execution.child_ended" => ChildEnded { execution: ExecutionId },
        "execution.cancel_requested" => CancelRequested { by: Actor, why: String },
        "iteration.started" => IterationStarted { iteration: u32, binding: Binding },
        /// What tools its agent's MCP servers have is asked before its model is.
        "iteration.tools_asked" => ToolsAsked { iteration: u32, calls: Vec<call::Proposed> },
        /// The program that its agent is, as a call of its own.
        "program.asked" => ProgramAsked { iteration: u32, call: call::Proposed },
        /// What it printed, or why there is no output.
        "program.told" => ProgramTold { iteration: u32, instance: InstanceId, call: CallId },
        /// Its answer is there; or, where the program was lost with it, it is told again.
        "program.heard" => ProgramHeard { iteration: u32, call: CallId, lost: bool },
        "program.ended" => ProgramEnded {
            iteration: u32,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            output: Option<Bound>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            failure: Option<String>,
        },
        "iteration.bound" => IterationBound { iteration: u32, binding: Binding },
        /// `had_sandbox`: a jail was lost with it, which the model is told.
        "iteration.unbound" => IterationUnbound {
            iteration: u32,
            connection: ConnectionId,
            since: Run,
            had_sandbox: bool,
            why: String,
        },
        "iteration.jail_lost" => JailLost {
            iteration: u32,
            connection: ConnectionId,
            why: String,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            traffic: Option<Traffic>,
        },
        "network.refused" => NetworkRefused {
            iteration: u32,
            #[serde(flatten)]
            refusal: network::Refusal,
        },
        /// Its agent is told, once, that this is nearly used up.
        "budget.warned" => BudgetWarned { budget: Budget, used: u64, limit: u64 },
        "model.called" => ModelCalled {
            turn: Turn,
            model: String,
            request: Hash,
            deadline: Run,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            reserved_micro_usd: Option<u64>,
            #[serde(default, skip_serializing_if = "is_zero")]
            reserved_tokens: u64,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            day: Option<Day>,
        },
        "model.answered" => ModelAnswered {
            turn: Turn,
            model: String,
            delta: Bound,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            output: Option<Bound>,
            calls: Vec<call::Proposed>,
            usage: Usage,
            #[serde(default, skip_serializing_if = "std::ops::Not::not")]
            cassette: bool,
        },
        /// `retry_at`: when the same turn is tried again; none ends the iteration.
        "model.failed" => ModelFailed {
            turn: Turn,
            failure: String,
            sentence: String,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            retry_at: Option<Run>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            charged_micro_usd: Option<u64>,
            /// What its agent and project are charged in tokens, where nobody counted them.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            charged_tokens: Option<u64>,
            /// What the provider counted of the answer that failed.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            usage: Option<Usage>,
        },
        "model.lost" => ModelLost {
            turn: Turn,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            charged_micro_usd: Option<u64>,
            /// What its agent and project are charged in tokens; its own limit is not, so that no few kills end it.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            charged_tokens: Option<u64>,
        },
        "proxy.called" => ProxyCalled(model_call::Called),
        "proxy.answered" => ProxyAnswered(model_call::Answered),
        "proxy.failed" => ProxyFailed(model_call::Failed),
        "proxy.lost" => ProxyLost(model_call::Lost),
        "call.called" => CallCalled(call::Called),
        /// A person must allow it first.
        "call.held" => CallHeld(approval::Held),
        "call.allowed" => CallAllowed(approval::Allowed),
        "call.released" => CallReleased(approval::Released),
        /// In flight, and blocked by other rules.
        "call.recalled" => CallRecalled(call::Recalled),
        "call.blocked" => CallBlocked {
            call: CallId,
            capability: String,
            #[serde(flatten)]
            blocked: call::Blocked,
            /// For a call that no model turn asked for, what it is.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            check: Option<Box<call::Proposed>>,
        },
        "call.ended" => CallEnded(call::Ended),
        "iteration.validated" => Validated {
            iteration: u32,
            index: u32,
            validator: String,
            pass: bool,
            score_milli: u32,
            reasons: Bound,
        },
        "iteration.closing" => IterationClosing {
            iteration: u32,
            #[serde(flatten)]
            cause: Cause,
        },
        /// Nothing goes on in it before a person has allowed a call: its jail is destroyed, and its slot given back.
        "iteration.parked" => IterationParked { iteration: u32 },
        "iteration.released" => IterationReleased {
            iteration: u32,
            connection: ConnectionId,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            traffic: Option<Traffic>,
        },
        "iteration.completed" => IterationCompleted { iteration: u32, output: Bound },
        "iteration.failed" => IterationFailed {
            iteration: u32,
            #[serde(flatten)]
            cause: Cause,
        },
        /// `bytes`: what it bound, all told.
        "execution.ended" => Ended {
            #[serde(flatten)]
            ending: Ending,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            bytes: Option<u64>,
        },
        /// This one payload is gone, which one of its records brought.
        "execution.payload_erased" => PayloadErased { payload: Hash, reason: String },
        /// These payloads are gone, which its records up to the `through`th bound; `why` is on the first page.
        "execution.erased" => Erased {
            #[serde(flatten)]
            why: Option<Why>,
            payloads: Vec<Hash>,
            through: u64,
            #[serde(default, skip_serializing_if = "std::ops::Not::not")]
            more: bool,
        },
    }
}

refusals! {
    pub enum Refusal {
        "execution.unknown" => Unknown {},
        /// Started before with the same idempotency key.
        "execution.repeated" quiet => Repeated { execution: ExecutionId },
        /// The agent has no such conversation.
        "conversation.unknown" => ConversationUnknown {},
        /// What was said last is not answered yet.
        "conversation.busy" => ConversationBusy { execution: ExecutionId },
        "execution.already_started" => Started {},
        "execution.already_ended" => Ended {},
        /// Its cancel was asked for before; it ends when its sandbox is gone.
        "execution.already_cancelling" => CancelRequested {},
        "execution.max_iterations_wrong" => MaxIterationsWrong {},
        "execution.plan_lost" => PlanLost {},
        /// Its agent is a program that an instance keeps running, and that is not ready there.
        "execution.program_not_ready" quiet => ProgramNotReady {},
        /// What its agent, or the project, may use up is used up.
        "execution.budget_spent" => BudgetSpent { shut: Shut },
        "execution.not_connected" => NotConnected {},
        "execution.slots_full" => SlotsFull {},
        /// As many executions of its agent run as its plan lets run at a time.
        "execution.agent_busy" => AgentBusy {},
        "execution.bound" => Bound {},
        /// Its agent's work folder lies with another worker.
        "execution.not_home" => NotHome {},
        /// The command speaks of a turn, call, lease or connection that is no longer the present one.
        "execution.stale" => Stale {},
        "execution.not_due" => NotDue {},
        "execution.not_ended" => NotEnded {},
        "execution.already_erased" quiet => Erased {},
        "execution.reason_wrong" => ReasonWrong {},
        "execution.payload_unknown" => PayloadUnknown {},
        "execution.too_many_calls" => TooManyCalls {},
        "execution.too_many_refusals" => TooManyRefusals {},
        /// As many model calls of its programs are open as may be.
        "execution.too_many_model_calls" => TooManyModelCalls {},
        /// A limit of it, or of whose limits hold for it, leaves no room for a model call of a program.
        "execution.model_call_refused" => ModelCallRefused { reason: Reason, detail: String },
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Aggregate for Execution {
    type Id = ExecutionId;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(id: ExecutionId, draft: &mut Draft<'_>, command: Command) -> Result<(), Stop> {
        decide::decide(id, draft, command)
    }

    fn apply(fold: &mut Option<Execution>, event: &Event, stamp: Stamp) {
        if let Some(started) = iteration::started(event, stamp) {
            *fold = Some(started);
        }
        let Some(execution) = fold else { return };
        rows::brings(event, &mut |bound| execution.bytes = execution.bytes.saturating_add(bound.size));
        match event {
            Event::CancelRequested { .. } => execution.cancel_requested = true,
            Event::BudgetWarned { budget, .. } => execution.warned.push(*budget),
            Event::ChildStarted { execution: child, .. } => {
                execution.children.push(*child);
                execution.has_started = execution.has_started.saturating_add(1);
            }
            Event::ChildEnded { execution: child } => execution.children.retain(|known| known != child),
            Event::Erased { through, more, .. } => erase::apply(execution, *through, *more, stamp.at),
            Event::Started { .. } | Event::PayloadErased { .. } | Event::NetworkRefused { .. } | Event::Refused(_) => {}
            Event::IterationStarted { .. }
            | Event::ToolsAsked { .. }
            | Event::IterationBound { .. }
            | Event::IterationUnbound { .. }
            | Event::JailLost { .. }
            | Event::IterationClosing { .. }
            | Event::IterationReleased { .. }
            | Event::IterationParked { .. }
            | Event::IterationCompleted { .. }
            | Event::IterationFailed { .. }
            | Event::Ended { .. } => iteration::apply(execution, event, stamp),
            Event::ModelCalled { .. }
            | Event::ModelAnswered { .. }
            | Event::ModelFailed { .. }
            | Event::ModelLost { .. }
            | Event::CallCalled(_)
            | Event::CallHeld(_)
            | Event::CallAllowed(_)
            | Event::CallReleased(_)
            | Event::CallRecalled(_)
            | Event::CallBlocked { .. }
            | Event::CallEnded(_) => turn::apply(execution, event, stamp),
            program_events!() => program::apply(execution, event),
            Event::ProxyCalled(called) => execution.model_calls.apply_called(called),
            Event::ProxyAnswered(answered) => proxy::apply_answered(execution, answered),
            Event::ProxyFailed(failed) => proxy::apply_failed(execution, failed),
            Event::ProxyLost(lost) => proxy::apply_lost(execution, lost),
            Event::Validated { .. } => validation::apply(execution, event),
        }
    }

    fn binds(event: &Event, each: &mut dyn FnMut(&Hash)) {
        rows::binds(event, each);
    }

    fn owed(&self) -> Vec<Owed> {
        owed::owed(self)
    }

    fn rows(id: ExecutionId, before: Option<&Execution>, event: &Event, stamp: Stamp) -> Vec<Row> {
        rows::of_event(id, before, event, stamp)
    }

    fn state_rows(id: ExecutionId, before: Option<&Execution>, after: &Execution) -> Vec<Row> {
        rows::of_state(id, before, after)
    }
}
