//! Rows of an execution. Those of events come from the event and the fold before it; the list row comes from the fold alone,
//! so that what is shown is what is. A call's events touch only its own row, so that a governed call stays cheap: the
//! figures that only they move wait for the next change of state.
use super::spent::Whose;
use super::{
    Cause, Chained, Ending, Event, Execution, Iteration, Phase, Reason, Status, Trigger, lineage, proxy, spent,
};
use crate::approval;
use crate::binding::{self, Use};
use crate::bound::{Bound, Hash};
use crate::call::{self, Holder, Proposed};
use crate::facts::Namespace;
use crate::id::{AgentId, CallId, ConnectionId, ExecutionId, WorkerId};
use crate::model_call::End;
use crate::retention::kept_rows;
use crate::row::{Note, Row};
use crate::time::{Clock, Stamp, Time};

/// An execution as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionRow {
    pub id: ExecutionId,
    pub agent: AgentId,
    pub agent_name: String,
    pub revision: u32,
    pub status: Status,
    /// `worker`, `approval` or `model retry`.
    pub waiting_for: Option<String>,
    pub cancel_requested: bool,
    pub reason: Option<Reason>,
    /// About its end; until then, why its model is asked again.
    pub detail: Option<String>,
    /// Iterations that were begun.
    pub iterations: u32,
    pub max_iterations: u32,
    pub tool_calls: u32,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub micro_usd: u64,
    pub unpriced: u32,
    /// Some of the tokens were estimated.
    pub tokens_estimated: bool,
    pub connection: Option<ConnectionId>,
    pub worker: Option<WorkerId>,
    /// The wall clock that counts: not queued, not down.
    pub wall: Clock,
    pub input: Hash,
    pub briefing: Option<Hash>,
    pub output: Option<Hash>,
    pub trigger: Trigger,
    /// The execution that started it.
    pub parent: Option<ExecutionId>,
    pub started_at: Time,
    pub ended_at: Option<Time>,
    /// What it bound, while that is kept; none before its end, and where it was not counted.
    pub kept_bytes: Option<u64>,
    pub erased_at: Option<Time>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IterationRow {
    pub execution: ExecutionId,
    pub number: u32,
    /// `running`, `completed` or `failed`.
    pub status: String,
    pub cause: Option<String>,
    pub turns: u32,
    pub clock: Clock,
    pub output: Option<Hash>,
    /// The message, a call of its instance's session, whose answer is the output.
    pub told: Option<CallId>,
    pub started_at: Time,
    pub ended_at: Option<Time>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnRow {
    pub execution: ExecutionId,
    pub iteration: u32,
    pub turn: u32,
    pub delta: Hash,
    pub output: Option<Hash>,
    pub model: String,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cached_tokens: u64,
    pub micro_usd: Option<u64>,
    pub took_ms: u64,
    pub cassette: bool,
    pub at: Time,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationRow {
    pub execution: ExecutionId,
    pub iteration: u32,
    pub index: u32,
    pub validator: String,
    pub pass: bool,
    pub score_milli: u32,
    pub reasons: Hash,
    pub at: Time,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationRow {
    pub conversation: ExecutionId,
    /// From 1.
    pub turn: u32,
    pub execution: ExecutionId,
    pub agent: AgentId,
    pub agent_name: String,
    pub at: Time,
}

pub(super) fn of_event(id: ExecutionId, before: Option<&Execution>, event: &Event, stamp: Stamp) -> Vec<Row> {
    let iteration = before.and_then(Execution::iteration);
    match event {
        Event::Started { agent, agent_name, idempotency, conversation, parent, .. } => {
            let keyed = idempotency.map(|key| Row::Held {
                namespace: Namespace::IdempotencyKey,
                key: format!("{agent}:{key}"),
                holder: Some(id.to_string()),
            });
            let said = conversation.map(|chained| said(id, chained, *agent, agent_name, stamp));
            let hops = lineage::hops(id, parent.as_ref());
            keyed.into_iter().chain(said.into_iter().flatten()).chain(hops).collect()
        }
        Event::IterationStarted { iteration, .. } => vec![begun(id, *iteration, stamp)],
        Event::ToolsAsked { iteration, calls } => {
            let row = |(ordinal, call): (u32, &Proposed)| call.row(Holder::Execution(id), *iteration, 0, ordinal, true);
            (0..).zip(calls).map(row).collect()
        }
        Event::ProgramAsked { iteration, call } => vec![call.row(Holder::Execution(id), *iteration, 0, 0, false)],
        Event::ProgramTold { call, .. } => iteration.map(|open| told(id, open, *call, stamp)).into_iter().collect(),
        Event::IterationUnbound { had_sandbox: true, .. } | Event::JailLost { .. } => {
            iteration.map(|iteration| note(id, iteration, Note::SandboxLost)).into_iter().collect()
        }
        Event::BudgetWarned { budget, .. } => {
            iteration.map(|iteration| note(id, iteration, budget.note())).into_iter().collect()
        }
        Event::ModelCalled { .. }
        | Event::ModelAnswered { .. }
        | Event::ModelFailed { .. }
        | Event::ModelLost { .. } => of_model(id, before, event, stamp),
        proxy_events!() => proxy::rows(before, event),
        Event::CallCalled(called) => {
            let rows = before.map(|execution| call::called_rows(execution.agent, called, stamp)).into_iter().flatten();
            check_row(id, before, called.check.as_deref()).into_iter().chain(rows).collect()
        }
        Event::CallHeld(held) => approval::held_rows(asked(id, before, held.call), held, stamp),
        Event::CallAllowed(allowed) => approval::allowed_rows(asked(id, before, allowed.call), allowed, stamp),
        Event::CallReleased(released) => approval::released_rows(asked(id, before, released.call), released, stamp),
        Event::CallRecalled(recalled) => vec![call::recalled_row(recalled, stamp)],
        Event::CallBlocked { call, blocked, check, .. } => {
            blocked_rows(id, before, *call, blocked, check.as_deref(), stamp)
        }
        Event::CallEnded(ended) => vec![call::ended_row(ended, stamp)],
        Event::Validated { .. } => validated(id, event, stamp).into_iter().collect(),
        Event::IterationCompleted { output, .. } => {
            iteration.map(|open| ended(id, open, None, Some(output.hash), stamp)).into_iter().collect()
        }
        Event::IterationFailed { cause, .. } => {
            iteration.map(|open| ended(id, open, Some(cause), None, stamp)).into_iter().collect()
        }
        Event::Ended { bytes, .. } => kept(before, *bytes, 1),
        Event::Erased { payloads, .. } => erased(before, payloads),
        Event::PayloadErased { payload, .. } => vec![Row::Erased { hash: *payload }],
        Event::CancelRequested { .. }
        | Event::ProgramHeard { .. }
        | Event::ProgramEnded { .. }
        | Event::IterationBound { .. }
        | Event::IterationUnbound { had_sandbox: false, .. }
        | Event::IterationClosing { .. }
        | Event::IterationReleased { .. }
        | Event::IterationParked { .. }
        | Event::NetworkRefused { .. }
        | child_events!()
        | Event::Refused(_) => Vec::new(),
    }
}

fn begun(id: ExecutionId, iteration: u32, stamp: Stamp) -> Row {
    Row::Iteration(IterationRow {
        execution: id,
        number: iteration,
        status: "running".to_string(),
        cause: None,
        turns: 0,
        clock: Clock { used_ms: 0, since: Some(stamp.run) },
        output: None,
        told: None,
        started_at: stamp.at,
        ended_at: None,
    })
}

fn told(id: ExecutionId, open: &Iteration, call: CallId, stamp: Stamp) -> Row {
    Row::Iteration(IterationRow {
        execution: id,
        number: open.number,
        status: "running".to_string(),
        cause: None,
        turns: open.turns,
        clock: open.clock,
        output: None,
        told: Some(call),
        started_at: stamp.at,
        ended_at: None,
    })
}

fn blocked_rows(
    id: ExecutionId,
    before: Option<&Execution>,
    call: CallId,
    blocked: &call::Blocked,
    check: Option<&Proposed>,
    stamp: Stamp,
) -> Vec<Row> {
    let answered = approval::blocked_row(asked(id, before, call), blocked, stamp);
    let rows = check_row(id, before, check).into_iter();
    rows.chain([call::blocked_row(call, blocked, stamp)]).chain(answered).collect()
}

/// What people were asked of.
fn asked(id: ExecutionId, before: Option<&Execution>, call: CallId) -> Option<approval::Asked<'_>> {
    let (execution, holder) = (before?, Holder::Execution(id));
    Some(approval::Asked { agent: execution.agent, holder, call: execution.call(call)? })
}

/// What a model call holds, and what it cost.
fn of_model(id: ExecutionId, before: Option<&Execution>, event: &Event, stamp: Stamp) -> Vec<Row> {
    if let Event::ModelCalled { day, reserved_tokens, reserved_micro_usd, .. } = event {
        return spent::called(before, *day, *reserved_tokens, *reserved_micro_usd);
    }
    if let Event::ModelAnswered { model, usage, .. } = event {
        let mut rows = answered(id, event, stamp);
        rows.extend(spent::ended(before, Whose::Turn, End::Answered { model }, Some(usage), None, usage.micro_usd));
        return rows;
    }
    if let Event::ModelFailed { usage, charged_tokens, charged_micro_usd, .. } = event {
        return spent::ended(before, Whose::Turn, End::Failed, usage.as_ref(), *charged_tokens, *charged_micro_usd);
    }
    if let Event::ModelLost { charged_tokens, charged_micro_usd, .. } = event {
        return spent::ended(before, Whose::Turn, End::Lost, None, *charged_tokens, *charged_micro_usd);
    }
    Vec::new()
}

/// What retention counts.
fn kept_bytes(execution: &Execution) -> Option<u64> {
    match execution.phase {
        Phase::Ended { payloads, .. } => payloads.bytes(),
        Phase::Queued { .. } | Phase::Running(_) => None,
    }
}

/// With its first page it counts no more.
fn erased(before: Option<&Execution>, payloads: &[Hash]) -> Vec<Row> {
    let gone = payloads.iter().map(|hash| Row::Erased { hash: *hash });
    gone.chain(kept(before, before.and_then(kept_bytes), -1)).collect()
}

fn kept(execution: Option<&Execution>, bytes: Option<u64>, sign: i64) -> Vec<Row> {
    let (Some(execution), Some(bytes)) = (execution, bytes) else { return Vec::new() };
    let by = sign * i64::try_from(bytes).unwrap_or(i64::MAX);
    kept_rows(execution.agent, by).into()
}

fn validated(id: ExecutionId, event: &Event, stamp: Stamp) -> Option<Row> {
    let Event::Validated { iteration, index, validator, pass, score_milli, reasons } = event else { return None };
    Some(Row::Validation(ValidationRow {
        execution: id,
        iteration: *iteration,
        index: *index,
        validator: validator.clone(),
        pass: *pass,
        score_milli: *score_milli,
        reasons: reasons.hash,
        at: stamp.at,
    }))
}

pub(super) fn of_state(id: ExecutionId, before: Option<&Execution>, after: &Execution) -> Vec<Row> {
    let mut rows = Vec::new();
    let row = after.row(id);
    let known = before.map(|before| before.row(id));
    if known.is_none_or(|known| ExecutionRow { tool_calls: row.tool_calls, ..known } != row) {
        rows.push(Row::Execution(Box::new(row)));
    }
    rows.extend(binding::counted(after.agent, before.map(in_use).unwrap_or_default(), in_use(after)));
    rows
}

fn in_use(execution: &Execution) -> Use {
    // The slot of a program that an instance keeps running is its session's; a check takes one of its own.
    let has_slot = !execution.kind.is_hosted() || execution.iteration().is_some_and(|iteration| iteration.has_sandbox);
    let binding = execution.binding().filter(|_| has_slot);
    Use { connection: binding.map(|binding| binding.connection), runs: execution.has_begun() }
}

/// The payloads that come with an event: an execution's own, which go when it is erased.
pub(super) fn brings(event: &Event, each: &mut dyn FnMut(&Bound)) {
    let proposed = |call: &Proposed, each: &mut dyn FnMut(&Bound)| {
        each(&call.arguments);
        each(&call.attributes);
    };
    match event {
        Event::Started { input, briefing, .. } => {
            each(input);
            briefing.iter().for_each(each);
        }
        Event::ModelAnswered { delta, output, calls, .. } => {
            each(delta);
            output.iter().for_each(&mut *each);
            calls.iter().for_each(|call| proposed(call, each));
        }
        Event::ToolsAsked { calls, .. } => calls.iter().for_each(|call| proposed(call, each)),
        Event::ProgramAsked { call, .. } => proposed(call, each),
        Event::ProgramEnded { output, .. } => output.iter().for_each(each),
        Event::CallCalled(called) => called.check.iter().for_each(|call| proposed(call, each)),
        Event::CallBlocked { check, .. } => check.iter().for_each(|call| proposed(call, each)),
        Event::CallAllowed(allowed) => allowed.edited.iter().for_each(|edited| {
            each(&edited.arguments);
            each(&edited.attributes);
        }),
        Event::CallEnded(ended) => {
            let own = ended.result.iter().filter(|_| !ended.gives_stored());
            own.chain(&ended.attributes).for_each(each);
        }
        Event::Validated { reasons, .. } => each(reasons),
        Event::ProxyCalled(called) => each(&called.request),
        Event::ProxyAnswered(answered) => each(&answered.answer),
        // Their outputs were bound by the turn that gave them.
        Event::IterationClosing { .. }
        | Event::IterationCompleted { .. }
        | Event::IterationFailed { .. }
        | Event::Ended { .. }
        | Event::PayloadErased { .. }
        | Event::Erased { .. }
        | Event::CancelRequested { .. }
        | Event::IterationStarted { .. }
        | Event::IterationBound { .. }
        | Event::IterationUnbound { .. }
        | Event::JailLost { .. }
        | Event::NetworkRefused { .. }
        | Event::BudgetWarned { .. }
        | Event::ChildStarted { .. }
        | Event::ChildEnded { .. }
        | Event::ModelCalled { .. }
        | Event::ModelFailed { .. }
        | Event::ModelLost { .. }
        | Event::ProxyFailed(_)
        | Event::ProxyLost(_)
        | Event::IterationReleased { .. }
        | Event::IterationParked { .. }
        | Event::CallHeld(_)
        | Event::CallReleased(_)
        | Event::CallRecalled(_)
        | Event::ProgramTold { .. }
        | Event::ProgramHeard { .. }
        | Event::Refused(_) => {}
    }
}

/// What an event holds the hashes of: what comes with it, and what was there before.
pub(super) fn binds(event: &Event, each: &mut dyn FnMut(&Hash)) {
    brings(event, &mut |bound| each(&bound.hash));
    if let Event::CallCalled(called) = event {
        called.binds(each);
    }
    if let Event::CallHeld(held) = event {
        held.binds(each);
    }
    if let Event::CallEnded(ended) = event {
        ended.binds(each);
    }
}

impl Execution {
    fn validator_index(&self) -> u32 {
        match self.iteration().map(|iteration| &iteration.step) {
            Some(super::Step::Validating { index, .. }) => *index,
            Some(
                super::Step::Thinking { .. }
                | super::Step::Program { .. }
                | super::Step::Told { .. }
                | super::Step::Acting { .. }
                | super::Step::Closing { .. },
            )
            | None => 0,
        }
    }

    pub fn row(&self, id: ExecutionId) -> ExecutionRow {
        let (status, waiting_for) = self.status();
        let (reason, detail, output, ended_at) = match &self.phase {
            Phase::Ended { ending: Ending::Completed { output }, at, .. } => (None, None, Some(output.hash), Some(*at)),
            Phase::Ended { ending: Ending::Failed { reason, detail }, at, .. } => {
                (Some(*reason), Some(detail.clone()), None, Some(*at))
            }
            Phase::Ended { ending: Ending::Cancelled { by, why }, at, .. } => {
                (None, Some(format!("by {by}: {why}")), None, Some(*at))
            }
            Phase::Running(_) => (None, self.retried_failure().map(str::to_string), None, None),
            Phase::Queued { .. } => (None, None, None, None),
        };
        let binding = self.binding();
        let erased_at = match self.phase {
            Phase::Ended { payloads, .. } => payloads.erased_at(),
            Phase::Queued { .. } | Phase::Running(_) => None,
        };
        ExecutionRow {
            id,
            agent: self.agent,
            agent_name: self.agent_name.clone(),
            revision: self.revision,
            status,
            waiting_for: waiting_for.map(str::to_string),
            cancel_requested: self.cancel_requested,
            reason,
            detail,
            iterations: self.iterations,
            max_iterations: self.limits.max_iterations,
            tool_calls: self.spent.tool_calls,
            input_tokens: self.spent.input_tokens,
            output_tokens: self.spent.output_tokens,
            micro_usd: self.spent.micro_usd,
            unpriced: self.spent.unpriced,
            tokens_estimated: self.spent.estimated,
            connection: binding.map(|binding| binding.connection),
            worker: binding.map(|binding| binding.worker),
            wall: self.wall,
            input: self.input,
            briefing: self.briefing,
            output,
            kept_bytes: kept_bytes(self),
            erased_at,
            trigger: self.trigger,
            parent: self.parent.as_ref().map(|parent| parent.execution),
            started_at: self.started_at,
            ended_at,
        }
    }
}

fn ended(id: ExecutionId, open: &Iteration, cause: Option<&Cause>, output: Option<Hash>, stamp: Stamp) -> Row {
    let mut clock = open.clock;
    clock.stop(stamp.run);
    Row::Iteration(IterationRow {
        execution: id,
        number: open.number,
        status: if cause.is_some() { "failed" } else { "completed" }.to_string(),
        cause: cause.map(Cause::to_word),
        turns: open.turns,
        clock,
        output,
        told: open.told,
        started_at: stamp.at,
        ended_at: Some(stamp.at),
    })
}

/// A turn of a conversation, which from now on is its last.
fn said(id: ExecutionId, chained: Chained, agent: AgentId, agent_name: &str, stamp: Stamp) -> Vec<Row> {
    let held = |holder| Row::Held { namespace: Namespace::Conversation, key: chained.id.to_string(), holder };
    let row = Row::Conversation(ConversationRow {
        conversation: chained.id,
        turn: chained.turn,
        execution: id,
        agent,
        agent_name: agent_name.to_string(),
        at: stamp.at,
    });
    let before = (chained.turn > 1).then(|| held(None));
    before.into_iter().chain([held(Some(id.to_string())), row]).collect()
}

fn note(execution: ExecutionId, iteration: &Iteration, note: Note) -> Row {
    Row::Note { execution, iteration: iteration.number, turn: iteration.turns, note }
}

fn check_row(id: ExecutionId, before: Option<&Execution>, check: Option<&Proposed>) -> Option<Row> {
    let (check, iteration) = (check?, before?.iteration()?);
    let index = before.map_or(0, Execution::validator_index);
    Some(check.row(Holder::Execution(id), iteration.number, iteration.turns, index, true))
}

fn answered(id: ExecutionId, event: &Event, stamp: Stamp) -> Vec<Row> {
    let Event::ModelAnswered { turn, model, delta, output, calls, usage, cassette } = event else { return Vec::new() };
    let answer = Row::Turn(TurnRow {
        execution: id,
        iteration: turn.iteration,
        turn: turn.turn,
        delta: delta.hash,
        output: output.map(|output| output.hash),
        model: model.clone(),
        input_tokens: usage.input,
        output_tokens: usage.output,
        cached_tokens: usage.cached,
        micro_usd: usage.micro_usd,
        took_ms: usage.took_ms,
        cassette: *cassette,
        at: stamp.at,
    });
    let holder = Holder::Execution(id);
    let calls =
        calls.iter().zip(0u32..).map(|(call, ordinal)| call.row(holder, turn.iteration, turn.turn, ordinal, false));
    std::iter::once(answer).chain(calls).collect()
}
