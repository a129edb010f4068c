//! What watchers of an execution are sent. A committed event bears its ledger index, which is also its SSE id; plain
//! pieces (model text, process output) bear none and may be dropped.
mod programs;

use programs::proxy_what;
use serde::{Deserialize, Serialize};
use tenure_core::capability::mcp;
use tenure_core::execution::{Ending, Event};
use tenure_core::id::{AgentId, ApprovalId, CallId, ExecutionId, InstanceId, SessionId, WorkerId};
use tenure_core::network::Traffic;
use tenure_core::time::Stamp;
use tenure_core::{approval, call, capability};

use super::execution::{ExecutionStatus, Target, cause_from_one};
use super::moment::Moment;

/// The SSE event name of a committed event.
pub const SSE_EVENT: &str = "event";
/// The SSE event name of a plain piece.
pub const SSE_PIECE: &str = "piece";

/// One committed event of an execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExecutionEvent {
    /// Its place in the ledger; a stream is resumed after it.
    pub index: u64,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Moment,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub execution: ExecutionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iteration: Option<u32>,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind")]
pub enum What {
    #[serde(rename = "execution.started")]
    ExecutionStarted {
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        agent: AgentId,
        revision: u32,
        model: String,
        max_iterations: u32,
    },
    #[serde(rename = "execution.cancel_requested")]
    CancelRequested { by: String, why: String },
    #[serde(rename = "iteration.started")]
    IterationStarted {
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        worker: WorkerId,
    },
    #[serde(rename = "iteration.bound")]
    IterationBound {
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        worker: WorkerId,
    },
    /// Its worker is gone; `sandbox_lost`: the model is told that only the work folder survived.
    #[serde(rename = "iteration.unbound")]
    IterationUnbound { why: String, sandbox_lost: bool },
    #[serde(rename = "iteration.jail_lost")]
    JailLost {
        why: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
        traffic: Option<Traffic>,
    },
    #[serde(rename = "budget.warned")]
    /// Its agent is told, once, that this is nearly used up: `tokens`, `money` (in millionths of a US dollar), `tool_calls` or
    /// `time` (in milliseconds).
    BudgetWarned { budget: String, used: u64, limit: u64 },
    /// It started another agent.
    #[serde(rename = "execution.child_started")]
    ChildStarted {
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        child: ExecutionId,
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        agent: AgentId,
    },
    /// An execution that it started has ended, perhaps after itself.
    #[serde(rename = "execution.child_ended")]
    ChildEnded {
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        child: ExecutionId,
    },
    /// The proxy kept a program from a place; `count`: how often since the last such event for it.
    #[serde(rename = "network.refused")]
    NetworkRefused { host: String, port: u16, rule: String, count: u32 },
    #[serde(rename = "model.called")]
    /// `turn` and `attempt` count from 1.
    ModelCalled { turn: u32, attempt: u32, model: String },
    #[serde(rename = "model.answered")]
    ModelAnswered {
        /// From 1.
        turn: u32,
        model: String,
        calls: Vec<Proposed>,
        tokens_in: u64,
        tokens_out: u64,
        tokens_cached: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost_micro_usd: Option<u64>,
        took_ms: u64,
        /// The provider did not count its tokens, so that some were estimated.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        tokens_estimated: bool,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        cassette: bool,
        /// What it said, where the stream was asked for text; cut to 64 KiB.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
    #[serde(rename = "model.failed")]
    ModelFailed {
        /// From 1.
        turn: u32,
        attempt: u32,
        failure: String,
        sentence: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
        retry_at: Option<Moment>,
        /// What the provider counted of it all the same.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tokens_in: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tokens_out: Option<u64>,
    },
    /// Its end is not known: the daemon died while it ran.
    #[serde(rename = "model.lost")]
    ModelLost { turn: u32, attempt: u32 },
    /// A program in the sandbox asks a model; `asked`: the word by which it did.
    #[serde(rename = "proxy.called")]
    ProxyCalled {
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        call: CallId,
        attempt: u32,
        wire: String,
        asked: String,
        model: String,
    },
    #[serde(rename = "proxy.answered")]
    ProxyAnswered {
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        call: CallId,
        model: String,
        tokens_in: u64,
        tokens_out: u64,
        tokens_cached: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost_micro_usd: Option<u64>,
        took_ms: u64,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        tokens_estimated: bool,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        cassette: bool,
    },
    #[serde(rename = "proxy.failed")]
    ProxyFailed {
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        call: CallId,
        failure: String,
        sentence: String,
        /// What it is charged, where nobody counted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        charged_micro_usd: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tokens_in: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tokens_out: Option<u64>,
    },
    /// Its end is not known: the daemon died while it ran.
    #[serde(rename = "proxy.lost")]
    ProxyLost {
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        call: CallId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        charged_micro_usd: Option<u64>,
    },
    #[serde(rename = "call.called")]
    CallCalled {
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        call: CallId,
        capability: String,
        #[serde(flatten)]
        target: Target,
        rules: Vec<String>,
    },
    /// A person must allow it first: `GET /v1/approvals/{approval}` shows it.
    #[serde(rename = "call.held")]
    CallHeld {
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        call: CallId,
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        approval: ApprovalId,
        capability: String,
        #[serde(flatten)]
        target: Target,
        rules: Vec<String>,
        #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
        expires_at: Moment,
    },
    /// A person allowed it; `complete`: nobody else is waited for.
    #[serde(rename = "call.allowed")]
    CallAllowed {
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        call: CallId,
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        approval: ApprovalId,
        by: String,
        complete: bool,
        /// With other arguments than it was asked for with.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        edited: bool,
    },
    /// Other rules hold, which ask for nobody's word: it is as it was before it waited.
    #[serde(rename = "call.released")]
    CallReleased {
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        call: CallId,
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        approval: ApprovalId,
    },
    /// In flight when other rules came to hold, which block it: it is ended, and how far it came is not known.
    #[serde(rename = "call.recalled")]
    CallRecalled {
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        call: CallId,
        capability: String,
        why: String,
    },
    #[serde(rename = "call.blocked")]
    CallBlocked {
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        call: CallId,
        capability: String,
        why: String,
    },
    #[serde(rename = "call.ended")]
    CallEnded {
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        call: CallId,
        outcome: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// Of a limit that was hit: how much there was, in its own unit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        took_ms: u64,
        /// What its program printed, where the stream was asked for text; cut to 16 KiB, as the next.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stdout: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stderr: Option<String>,
        /// Why it failed, in a sentence, where the stream was asked for text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    #[serde(rename = "iteration.validated")]
    Validated {
        /// Which of the manifest's validators, from 1.
        place: u32,
        validator: String,
        pass: bool,
        /// 0 to 1.
        score: f64,
        /// What the next iteration is told, where the stream was asked for text; cut to 16 KiB.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reasons: Option<String>,
    },
    /// Its jail is destroyed and its place given back while a person is waited for.
    #[serde(rename = "iteration.parked")]
    IterationParked {},
    /// The agent's MCP servers are asked what tools they have, before its model is.
    #[serde(rename = "iteration.tools_asked")]
    ToolsAsked { servers: Vec<String> },
    /// The agent is a program, which is to run as this call.
    #[serde(rename = "program.asked")]
    ProgramAsked {
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        call: CallId,
    },
    /// The program that its instance keeps running has the message, in this call of that instance's session.
    #[serde(rename = "program.told")]
    ProgramTold {
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        instance: InstanceId,
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        call: CallId,
    },
    /// `lost`: the program was, and is told again.
    #[serde(rename = "program.heard")]
    ProgramHeard {
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        call: CallId,
        lost: bool,
    },
    /// It has ended; `failure`: why it gave no output.
    #[serde(rename = "program.ended")]
    ProgramEnded {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<String>,
    },
    #[serde(rename = "iteration.closing")]
    IterationClosing { cause: String },
    #[serde(rename = "iteration.released")]
    IterationReleased {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
        traffic: Option<Traffic>,
    },
    #[serde(rename = "iteration.completed")]
    IterationCompleted {},
    #[serde(rename = "iteration.failed")]
    IterationFailed { cause: String },
    #[serde(rename = "execution.ended")]
    ExecutionEnded {
        status: ExecutionStatus,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// One thing that it was told or said is erased.
    #[serde(rename = "execution.payload_erased")]
    PayloadErased { payload: String, reason: String },
    /// What it was told and said is erased; `more`: the rest follows.
    #[serde(rename = "execution.erased")]
    Erased {
        payloads: u64,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        more: bool,
    },
    #[serde(rename = "command.refused")]
    CommandRefused { verb: String, code: String, repeats: u64 },
}

/// A call as a model's answer asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Proposed {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub call: CallId,
    pub capability: String,
    #[serde(flatten)]
    pub target: Target,
}

/// Plain data of the present turn or of a running process: no index, no promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "piece", rename_all = "snake_case")]
pub enum Piece {
    /// What the model is saying. `so_far`: all of the open turn up to now, sent once on joining.
    Text {
        text: String,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        so_far: bool,
    },
    /// What a running process prints. `of`: in the stream of all events, where a session's call began it.
    Output {
        stderr: bool,
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<Printer>,
    },
    /// Pieces were dropped because this watcher was slow.
    Gap {},
}

/// Whose call runs a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Printer {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub agent: AgentId,
    pub agent_name: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub session: SessionId,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub call: CallId,
}

impl ExecutionEvent {
    pub fn of(index: u64, stamp: Stamp, execution: ExecutionId, event: &Event) -> ExecutionEvent {
        ExecutionEvent {
            index,
            at: Moment(stamp.at),
            execution,
            iteration: iteration_of(event),
            what: what_of(event, stamp),
        }
    }

    pub fn ends(&self) -> bool {
        matches!(self.what, What::ExecutionEnded { .. })
    }
}

fn iteration_of(event: &Event) -> Option<u32> {
    match event {
        Event::IterationStarted { iteration, .. }
        | Event::IterationBound { iteration, .. }
        | Event::IterationUnbound { iteration, .. }
        | Event::JailLost { iteration, .. }
        | Event::NetworkRefused { iteration, .. }
        | Event::Validated { iteration, .. }
        | Event::IterationClosing { iteration, .. }
        | Event::IterationReleased { iteration, .. }
        | Event::ToolsAsked { iteration, .. }
        | Event::ProgramAsked { iteration, .. }
        | Event::ProgramTold { iteration, .. }
        | Event::ProgramHeard { iteration, .. }
        | Event::ProgramEnded { iteration, .. }
        | Event::IterationParked { iteration }
        | Event::IterationCompleted { iteration, .. }
        | Event::IterationFailed { iteration, .. } => Some(*iteration),
        Event::ModelCalled { turn, .. }
        | Event::ModelAnswered { turn, .. }
        | Event::ModelFailed { turn, .. }
        | Event::ModelLost { turn, .. } => Some(turn.iteration),
        Event::Started { .. }
        | Event::BudgetWarned { .. }
        | Event::ChildStarted { .. }
        | Event::ChildEnded { .. }
        | Event::CancelRequested { .. }
        | Event::ProxyCalled(_)
        | Event::ProxyAnswered(_)
        | Event::ProxyFailed(_)
        | Event::ProxyLost(_)
        | Event::CallCalled(_)
        | Event::CallHeld(_)
        | Event::CallAllowed(_)
        | Event::CallReleased(_)
        | Event::CallRecalled(_)
        | Event::CallBlocked { .. }
        | Event::CallEnded(_)
        | Event::Ended { .. }
        | Event::PayloadErased { .. }
        | Event::Erased { .. }
        | Event::Refused(_) => None,
    }
}

fn what_of(event: &Event, stamp: Stamp) -> What {
    match event {
        Event::Started { agent, revision, model, limits, .. } => What::ExecutionStarted {
            agent: *agent,
            revision: *revision,
            model: model.clone(),
            max_iterations: limits.max_iterations,
        },
        Event::CancelRequested { by, why } => What::CancelRequested { by: by.to_string(), why: why.clone() },
        Event::IterationStarted { binding, .. } => What::IterationStarted { worker: binding.worker },
        Event::IterationBound { binding, .. } => What::IterationBound { worker: binding.worker },
        Event::IterationUnbound { had_sandbox, why, .. } => {
            What::IterationUnbound { why: why.clone(), sandbox_lost: *had_sandbox }
        }
        Event::JailLost { why, traffic, .. } => What::JailLost { why: why.clone(), traffic: *traffic },
        Event::NetworkRefused { refusal, .. } => What::NetworkRefused {
            host: refusal.host.clone(),
            port: refusal.port,
            rule: refusal.rule.clone(),
            count: refusal.count,
        },
        Event::BudgetWarned { budget, used, limit } => {
            What::BudgetWarned { budget: budget.to_string(), used: *used, limit: *limit }
        }
        Event::ChildStarted { execution, agent } => What::ChildStarted { child: *execution, agent: *agent },
        Event::ChildEnded { execution } => What::ChildEnded { child: *execution },
        Event::ModelCalled { .. }
        | Event::ModelAnswered { .. }
        | Event::ModelFailed { .. }
        | Event::ModelLost { .. } => model_what(event, stamp),
        Event::ProxyCalled(_) | Event::ProxyAnswered(_) | Event::ProxyFailed(_) | Event::ProxyLost(_) => {
            proxy_what(event)
        }
        Event::CallCalled(called) => call_called(called),
        Event::CallHeld(held) => call_held(held),
        Event::CallAllowed(allowed) => call_allowed(allowed),
        Event::CallReleased(released) => What::CallReleased { call: released.call, approval: released.approval },
        Event::CallRecalled(recalled) => call_recalled(recalled),
        Event::ToolsAsked { calls, .. } => {
            let named = calls.iter().filter_map(|call| Some(mcp::Name::parse(&call.capability)?.server.to_string()));
            What::ToolsAsked { servers: named.collect() }
        }
        Event::ProgramAsked { call, .. } => What::ProgramAsked { call: call.call },
        Event::ProgramTold { instance, call, .. } => What::ProgramTold { instance: *instance, call: *call },
        Event::ProgramHeard { call, lost, .. } => What::ProgramHeard { call: *call, lost: *lost },
        Event::ProgramEnded { failure, .. } => What::ProgramEnded { failure: failure.clone() },
        Event::IterationParked { .. } => What::IterationParked {},
        Event::CallBlocked { call, capability, blocked, .. } => {
            What::CallBlocked { call: *call, capability: capability.clone(), why: blocked.to_string() }
        }
        Event::CallEnded(ended) => call_ended(ended),
        Event::Validated { index, validator, pass, score_milli, .. } => What::Validated {
            place: index + 1,
            validator: validator.clone(),
            pass: *pass,
            score: f64::from(*score_milli) / 1000.0,
            reasons: None,
        },
        Event::IterationClosing { cause, .. } => What::IterationClosing { cause: cause_from_one(&cause.to_word()) },
        Event::IterationReleased { traffic, .. } => What::IterationReleased { traffic: *traffic },
        Event::IterationCompleted { .. } => What::IterationCompleted {},
        Event::IterationFailed { cause, .. } => What::IterationFailed { cause: cause_from_one(&cause.to_word()) },
        Event::Ended { ending, .. } => ended(ending),
        Event::PayloadErased { payload, reason } => {
            What::PayloadErased { payload: payload.to_string(), reason: reason.clone() }
        }
        Event::Erased { payloads, more, .. } => What::Erased { payloads: payloads.len() as u64, more: *more },
        Event::Refused(refused) => {
            What::CommandRefused { verb: refused.verb.clone(), code: refused.code.clone(), repeats: refused.repeats }
        }
    }
}

fn call_called(called: &call::Called) -> What {
    What::CallCalled {
        call: called.call,
        capability: called.capability.clone(),
        target: called.shown.clone().into(),
        rules: called.judgement.rules.clone(),
    }
}

fn call_recalled(recalled: &call::Recalled) -> What {
    What::CallRecalled { call: recalled.call, capability: recalled.capability.clone(), why: recalled.to_string() }
}

fn model_what(event: &Event, stamp: Stamp) -> What {
    match event {
        Event::ModelCalled { turn, model, .. } => {
            What::ModelCalled { turn: turn.turn + 1, attempt: turn.attempt, model: model.clone() }
        }
        Event::ModelAnswered { turn, model, calls, usage, cassette, .. } => What::ModelAnswered {
            turn: turn.turn + 1,
            model: model.clone(),
            calls: calls.iter().map(proposed).collect(),
            tokens_in: usage.input,
            tokens_out: usage.output,
            tokens_cached: usage.cached,
            cost_micro_usd: usage.micro_usd,
            took_ms: usage.took_ms,
            tokens_estimated: usage.estimated,
            cassette: *cassette,
            text: None,
        },
        Event::ModelFailed { turn, failure, sentence, retry_at, usage, .. } => What::ModelFailed {
            turn: turn.turn + 1,
            attempt: turn.attempt,
            failure: failure.clone(),
            sentence: sentence.clone(),
            // Retries are owed by the daemon's life; people are shown when that will be, if it lives on.
            retry_at: retry_at.map(|retry| stamp.at.plus_ms(retry.since_ms(stamp.run)).into()),
            tokens_in: usage.map(|usage| usage.input),
            tokens_out: usage.map(|usage| usage.output),
        },
        Event::ModelLost { turn, .. } => What::ModelLost { turn: turn.turn + 1, attempt: turn.attempt },
        Event::Started { .. }
        | Event::BudgetWarned { .. }
        | Event::ChildStarted { .. }
        | Event::ChildEnded { .. }
        | Event::CancelRequested { .. }
        | Event::IterationStarted { .. }
        | Event::IterationBound { .. }
        | Event::IterationUnbound { .. }
        | Event::JailLost { .. }
        | Event::NetworkRefused { .. }
        | Event::ProxyCalled(_)
        | Event::ProxyAnswered(_)
        | Event::ProxyFailed(_)
        | Event::ProxyLost(_)
        | Event::CallCalled(_)
        | Event::CallHeld(_)
        | Event::CallAllowed(_)
        | Event::CallReleased(_)
        | Event::CallRecalled(_)
        | Event::ProgramAsked { .. }
        | Event::ProgramTold { .. }
        | Event::ProgramHeard { .. }
        | Event::ProgramEnded { .. }
        | Event::ToolsAsked { .. }
        | Event::IterationParked { .. }
        | Event::CallBlocked { .. }
        | Event::CallEnded(_)
        | Event::Validated { .. }
        | Event::IterationClosing { .. }
        | Event::IterationReleased { .. }
        | Event::IterationCompleted { .. }
        | Event::IterationFailed { .. }
        | Event::Ended { .. }
        | Event::PayloadErased { .. }
        | Event::Erased { .. }
        | Event::Refused(_) => unreachable!("invariant: only model events come here"),
    }
}

fn proposed(call: &call::Proposed) -> Proposed {
    Proposed { call: call.call, capability: call.capability.clone(), target: call.shown.clone().into() }
}

fn call_held(held: &approval::Held) -> What {
    What::CallHeld {
        call: held.call,
        approval: held.approval,
        capability: held.capability.clone(),
        target: held.shown.clone().into(),
        rules: held.judgement.rules.clone(),
        expires_at: held.expires.into(),
    }
}

fn call_allowed(allowed: &approval::Allowed) -> What {
    What::CallAllowed {
        call: allowed.call,
        approval: allowed.approval,
        by: allowed.by.to_string(),
        complete: allowed.complete,
        edited: allowed.edited.is_some(),
    }
}

fn call_ended(ended: &call::Ended) -> What {
    let (code, exit_code) = match &ended.outcome {
        call::Outcome::Done { exit_code } => (None, *exit_code),
        call::Outcome::Failed { code } => (Some(code.clone()), None),
        call::Outcome::ResourceExhausted { resource, .. } => (Some(resource.clone()), None),
        call::Outcome::Lost { again: true } => (Some("again".to_string()), None),
        call::Outcome::Redirected { path } => (Some(capability::clip(path)), None),
        call::Outcome::TimedOut | call::Outcome::Killed | call::Outcome::Lost { again: false } => (None, None),
    };
    let limit = match &ended.outcome {
        call::Outcome::ResourceExhausted { limit, .. } => *limit,
        call::Outcome::Done { .. }
        | call::Outcome::Failed { .. }
        | call::Outcome::TimedOut
        | call::Outcome::Killed
        | call::Outcome::Redirected { .. }
        | call::Outcome::Lost { .. } => None,
    };
    let outcome = ended.outcome.as_str().to_string();
    let took_ms = ended.took_ms;
    What::CallEnded {
        call: ended.call,
        outcome,
        code,
        limit,
        exit_code,
        took_ms,
        stdout: None,
        stderr: None,
        error: None,
    }
}

fn ended(ending: &Ending) -> What {
    match ending {
        Ending::Completed { .. } => {
            What::ExecutionEnded { status: ExecutionStatus::Completed, reason: None, detail: None }
        }
        Ending::Failed { reason, detail } => What::ExecutionEnded {
            status: ExecutionStatus::Failed,
            reason: Some(reason.as_str().to_string()),
            detail: Some(detail.clone()),
        },
        Ending::Cancelled { by, why } => What::ExecutionEnded {
            status: ExecutionStatus::Cancelled,
            reason: None,
            detail: Some(format!("by {by}: {why}")),
        },
    }
}
