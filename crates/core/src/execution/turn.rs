//! One turn: a model call, and the capability calls that its answer asks for. All are answered before the next turn.
use super::decide::{Draft, Misstep, close, failed};
use super::{
    Answer, CallModel, Cause, Check, EndCall, Event, Execution, Iteration, MODEL_LOSSES_MAX, MODEL_RETRIES_MAX,
    ModelFailure, Phase, ProposedCall, Reason, Remedy, Step, TURN_CALLS_MAX, Thought, Turn, iteration::step_calls,
};
use crate::actor::Actor;
use crate::call::{self, Open, Outcome, State};
use crate::capability::{self, Effects};
use crate::id::{CallId, LeaseId};
use crate::judge::{Ask, Judgement, Verdict};
use crate::time::Time;

const RETRY_FIRST_MS: u64 = 1_000;
const RETRY_LAST_MS: u64 = 60_000;

pub(super) fn call_model(draft: &mut Draft<'_>, call: CallModel) -> Result<(), Misstep> {
    let iteration = draft.iteration()?;
    match &iteration.step {
        Step::Thinking { attempt, thought: Thought::Due { .. }, .. }
            if iteration.binding.is_some() && call.turn == turn_of(iteration, *attempt) => {}
        Step::Thinking { .. } | Step::Acting { .. } | Step::Validating { .. } | Step::Closing { .. } => {
            return Err(Misstep::Stale);
        }
    }
    draft.emit(Event::ModelCalled {
        turn: call.turn,
        model: call.model,
        request: call.request,
        deadline: call.deadline,
        reserved_micro_usd: call.reserved_micro_usd,
    });
    Ok(())
}

fn turn_of(iteration: &Iteration, attempt: u32) -> Turn {
    Turn { iteration: iteration.number, turn: iteration.turns, attempt }
}

/// The open model call that a report must speak of: its retries so far and its reservation.
fn open_thought(draft: &Draft<'_>, turn: Turn) -> Result<(u32, Option<u64>), Misstep> {
    let iteration = draft.iteration()?;
    match &iteration.step {
        Step::Thinking { attempt, retries, thought: Thought::Open { reserved_micro_usd, .. } }
            if turn == turn_of(iteration, *attempt) =>
        {
            Ok((*retries, *reserved_micro_usd))
        }
        Step::Thinking { .. } | Step::Acting { .. } | Step::Validating { .. } | Step::Closing { .. } => {
            Err(Misstep::Stale)
        }
    }
}

pub(super) fn answer_model(draft: &mut Draft<'_>, turn: Turn, answer: Answer) -> Result<(), Misstep> {
    open_thought(draft, turn)?;
    if answer.calls.len() > TURN_CALLS_MAX || answer.calls.is_empty() != answer.output.is_some() {
        return Err(Misstep::TooManyCalls);
    }
    let delta = draft.bind(answer.delta);
    let output = answer.output.map(|output| draft.bind(output));
    let mut calls = Vec::with_capacity(answer.calls.len());
    let mut misfits = Vec::new();
    for proposal in answer.calls {
        let call = CallId::mint(draft.mint);
        let (proposed, misfit) = propose(draft, call, proposal);
        misfits.extend(misfit.map(|sentence| (call, proposed.capability.clone(), sentence)));
        calls.push(proposed);
    }
    let (model, usage, cassette) = (answer.model, answer.usage, answer.cassette);
    draft.emit(Event::ModelAnswered { turn, model, delta, output, calls, usage, cassette });
    for (call, capability, sentence) in misfits {
        draft.emit(Event::CallBlocked { call, capability, blocked: call::Blocked::Misfit { sentence } });
    }
    Ok(())
}

fn propose(draft: &mut Draft<'_>, call: CallId, proposal: call::Proposal) -> (ProposedCall, Option<String>) {
    let known = capability::find(&proposal.capability);
    let proposed = ProposedCall {
        call,
        capability: capability::clip(&proposal.capability),
        arguments: draft.bind(proposal.arguments),
        attributes: proposal.attributes,
        effects: known.map_or(Effects::Irreversible, |capability| capability.effects),
        idempotent: known.is_some_and(|capability| capability.idempotent),
    };
    (proposed, proposal.misfit.map(|sentence| capability::clip(&sentence)))
}

pub(super) fn fail_model(draft: &mut Draft<'_>, turn: Turn, failure: ModelFailure) -> Result<(), Misstep> {
    let (retries, _) = open_thought(draft, turn)?;
    let sentence = capability::clip(&failure.sentence);
    let kind = failure.kind;
    let for_good = failed(Reason::ModelError, format!("{kind}: {sentence}"));
    let (retry_at, cause) = match failure.remedy {
        Remedy::Again { after_ms } if retries < MODEL_RETRIES_MAX => {
            let pause = RETRY_FIRST_MS.saturating_mul(1 << retries.min(16)).min(RETRY_LAST_MS);
            let pause = after_ms.map_or(pause, |wanted| wanted.clamp(pause, 10 * RETRY_LAST_MS));
            (Some(draft.now.plus_ms(pause)), None)
        }
        Remedy::NextIteration => (None, Some(Cause::Unanswered { failure: kind.clone() })),
        Remedy::Again { .. } | Remedy::None => (None, Some(for_good)),
    };
    draft.emit(Event::ModelFailed { turn, failure: kind, sentence, retry_at, charged_micro_usd: None });
    if let Some(cause) = cause {
        close(draft, cause);
    }
    Ok(())
}

pub(super) fn lose_model(draft: &mut Draft<'_>, turn: Turn) -> Result<(), Misstep> {
    let (_, reserved) = open_thought(draft, turn)?;
    draft.emit(Event::ModelLost { turn, charged_micro_usd: reserved });
    if draft.execution()?.spent.model_losses > MODEL_LOSSES_MAX {
        close(draft, failed(Reason::Lost, format!("{} model calls were lost", MODEL_LOSSES_MAX + 1)));
    }
    Ok(())
}

pub(super) fn end_call(draft: &mut Draft<'_>, end: EndCall) -> Result<(), Misstep> {
    let call = step_calls(&draft.iteration()?.step).iter().find(|call| call.id == end.call).ok_or(Misstep::Stale)?;
    if call.lease() != Some((end.lease, end.fence)) {
        return Err(Misstep::Stale);
    }
    let result = end.result.map(|result| draft.bind(result));
    let level = end.level.map(|level| capability::clip(&level));
    draft.emit(Event::CallEnded(call::Ended {
        call: end.call,
        lease: end.lease,
        outcome: end.outcome,
        result,
        took_ms: end.took_ms,
        level,
    }));
    Ok(())
}

/// Before a model is asked: are there turns and tokens left?
pub(super) fn limit(draft: &mut Draft<'_>) -> bool {
    let (Ok(execution), Ok(iteration)) = (draft.execution(), draft.iteration()) else { return false };
    let limits = execution.terms.limits;
    let tokens = execution.spent.input_tokens + execution.spent.output_tokens;
    if iteration.turns >= limits.max_turns {
        close(draft, Cause::Turns);
        return true;
    }
    if tokens >= limits.tokens {
        close(draft, failed(Reason::TokenBudget, format!("{tokens} of {} tokens are used up", limits.tokens)));
        return true;
    }
    false
}

/// Judges and calls the next proposed call: all at once when all are free of side effects, else one after another.
pub(super) fn begin_next_call(draft: &mut Draft<'_>) -> bool {
    let (Ok(execution), Ok(iteration)) = (draft.execution(), draft.iteration()) else { return false };
    if iteration.binding.is_none() {
        return false;
    }
    let calls = step_calls(&iteration.step);
    let side_by_side = calls.iter().all(|call| call.effects == Effects::None);
    if !side_by_side && calls.iter().any(|call| call.lease().is_some()) {
        return false;
    }
    let Some(call) = calls.iter().find(|call| call.state == State::Proposed).cloned() else { return false };
    let limits = execution.terms.limits;
    if call.losses == 0 && execution.spent.tool_calls >= limits.tool_calls {
        close(draft, failed(Reason::ToolBudget, format!("all {} tool calls are used up", limits.tool_calls)));
        return true;
    }
    let actor = Actor::Agent(execution.agent);
    begin_call(draft, &call, actor);
    true
}

/// One proposed call: judged now, then called under a fresh lease or blocked. Needs a binding.
pub(super) fn begin_call(draft: &mut Draft<'_>, call: &Open, actor: Actor) {
    let (Ok(execution), Ok(iteration)) = (draft.execution(), draft.iteration()) else { return };
    let Some(binding) = iteration.binding else { return };
    let ask = Ask { actor, capability: &call.capability, attributes: &call.attributes, tools: &execution.terms.tools };
    let judgement = draft.judge.judge(&ask);
    match allowed(judgement) {
        Err(judgement) => draft.emit(Event::CallBlocked {
            call: call.id,
            capability: call.capability.clone(),
            blocked: call::Blocked::Policy { judgement },
        }),
        Ok(judgement) => {
            let lease = LeaseId::mint(draft.mint);
            draft.emit(Event::CallCalled(call::Called {
                call: call.id,
                capability: call.capability.clone(),
                arguments: call.arguments,
                attributes: call.attributes.clone(),
                effects: call.effects,
                idempotent: call.idempotent,
                judgement,
                lease,
                fence: binding.fence,
            }));
        }
    }
}

/// Nobody can answer an approval yet, so a call that wants one is refused rather than left to wait for ever.
fn allowed(mut judgement: Judgement) -> Result<Judgement, Judgement> {
    match judgement.verdict {
        Verdict::Autonomous | Verdict::Notify => Ok(judgement),
        Verdict::ApprovalRequired => {
            judgement.rules.push("floor:no_approvals_yet".to_string());
            Err(judgement)
        }
        Verdict::Blocked => Err(judgement),
    }
}

pub(super) fn apply(execution: &mut Execution, event: &Event, at: Time) {
    match event {
        Event::ModelCalled { deadline, reserved_micro_usd, .. } => {
            if let Some(Step::Thinking { thought, .. }) = step_mut(execution) {
                *thought = Thought::Open { deadline: *deadline, reserved_micro_usd: *reserved_micro_usd };
            }
        }
        Event::ModelAnswered { output, calls, usage, .. } => {
            execution.spent.input_tokens += usage.input;
            execution.spent.output_tokens += usage.output;
            charge(execution, usage.micro_usd);
            let step = answered_step(output.as_ref(), calls, execution.terms.validators);
            if let Phase::Running(iteration) = &mut execution.phase {
                iteration.turns += 1;
                iteration.calls += calls.len() as u32;
                iteration.step = step;
            }
        }
        Event::ModelFailed { retry_at, charged_micro_usd, .. } => {
            if charged_micro_usd.is_some() {
                charge(execution, *charged_micro_usd);
            }
            if let Some(Step::Thinking { attempt, retries, thought }) = step_mut(execution) {
                *attempt += 1;
                *retries += 1;
                *thought = Thought::Due { at: retry_at.unwrap_or(at) };
            }
        }
        Event::ModelLost { charged_micro_usd, .. } => {
            charge(execution, *charged_micro_usd);
            execution.spent.model_losses += 1;
            if let Some(Step::Thinking { attempt, thought, .. }) = step_mut(execution) {
                *attempt += 1;
                *thought = Thought::Due { at };
            }
        }
        Event::CallCalled(called) => apply_called(execution, called),
        Event::CallBlocked { call, blocked, .. } => apply_blocked(execution, *call, blocked, at),
        Event::CallEnded(ended) => apply_ended(execution, ended, at),
        Event::Started { .. }
        | Event::CancelRequested { .. }
        | Event::IterationStarted { .. }
        | Event::IterationBound { .. }
        | Event::IterationUnbound { .. }
        | Event::JailLost { .. }
        | Event::Validated { .. }
        | Event::IterationClosing { .. }
        | Event::IterationReleased { .. }
        | Event::IterationCompleted { .. }
        | Event::IterationFailed { .. }
        | Event::Ended { .. }
        | Event::NetworkRefused { .. }
        | Event::Refused(_) => {}
    }
}

fn charge(execution: &mut Execution, micro_usd: Option<u64>) {
    match micro_usd {
        Some(cost) => execution.spent.micro_usd = execution.spent.micro_usd.saturating_add(cost),
        None => execution.spent.unpriced += 1,
    }
}

fn step_mut(execution: &mut Execution) -> Option<&mut Step> {
    execution.iteration_mut().map(|iteration| &mut iteration.step)
}

fn answered_step(output: Option<&crate::bound::Bound>, calls: &[ProposedCall], validators: u32) -> Step {
    match output {
        Some(output) if validators == 0 => {
            Step::Closing { cause: Cause::Passed { output: *output }, calls: Vec::new() }
        }
        Some(output) => Step::Validating { index: 0, output: *output, check: Check::None },
        None => Step::Acting { calls: calls.iter().map(opened).collect() },
    }
}

fn opened(proposed: &ProposedCall) -> Open {
    Open {
        id: proposed.call,
        capability: proposed.capability.clone(),
        arguments: proposed.arguments.hash,
        attributes: proposed.attributes.clone(),
        idempotent: proposed.idempotent,
        effects: proposed.effects,
        losses: 0,
        state: State::Proposed,
    }
}

fn apply_called(execution: &mut Execution, called: &call::Called) {
    let state = State::Called { lease: called.lease, fence: called.fence };
    let Some(iteration) = execution.iteration_mut() else { return };
    iteration.jailed = true;
    match &mut iteration.step {
        Step::Acting { calls } => {
            let Some(call) = calls.iter_mut().find(|call| call.id == called.call) else { return };
            call.state = state;
            if call.losses == 0 {
                execution.spent.tool_calls += 1;
            }
        }
        Step::Validating { check: Check::Open { call }, .. } => call.state = state,
        Step::Validating { check: check @ (Check::None | Check::Ended { .. }), .. } => {
            let (id, capability) = (called.call, called.capability.clone());
            *check = Check::Open {
                call: Open {
                    id,
                    capability,
                    arguments: called.arguments,
                    attributes: called.attributes.clone(),
                    idempotent: true,
                    effects: called.effects,
                    losses: 0,
                    state,
                },
            };
        }
        Step::Thinking { .. } | Step::Closing { .. } => {}
    }
}

fn apply_blocked(execution: &mut Execution, id: CallId, blocked: &call::Blocked, at: Time) {
    let refused = match blocked {
        call::Blocked::Policy { .. } => 1,
        call::Blocked::Misfit { .. } | call::Blocked::Withdrawn => 0,
    };
    if let Some(iteration) = execution.iteration_mut() {
        iteration.blocked += refused;
        let acting = matches!(iteration.step, Step::Acting { .. });
        if acting {
            execution.spent.tool_calls += 1;
        }
    }
    close_call(execution, id, at);
}

fn apply_ended(execution: &mut Execution, ended: &call::Ended, at: Time) {
    let again = matches!(ended.outcome, Outcome::Lost { again: true });
    if !again {
        close_call(execution, ended.call, at);
        return;
    }
    let Some(iteration) = execution.iteration_mut() else { return };
    let call = match &mut iteration.step {
        Step::Acting { calls } | Step::Closing { calls, .. } => calls.iter_mut().find(|call| call.id == ended.call),
        Step::Validating { check: Check::Open { call }, .. } => Some(call),
        Step::Validating { check: Check::None | Check::Ended { .. }, .. } | Step::Thinking { .. } => None,
    };
    if let Some(call) = call {
        call.losses += 1;
        call.state = State::Proposed;
    }
}

/// A call has its terminal event: the turn goes on when it was the last.
fn close_call(execution: &mut Execution, id: CallId, at: Time) {
    let Some(iteration) = execution.iteration_mut() else { return };
    match &mut iteration.step {
        Step::Acting { calls } => {
            calls.retain(|call| call.id != id);
            if calls.is_empty() {
                iteration.step = Step::Thinking { attempt: 1, retries: 0, thought: Thought::Due { at } };
            }
        }
        Step::Closing { calls, .. } => calls.retain(|call| call.id != id),
        Step::Validating { check: check @ Check::Open { .. }, .. } => *check = Check::Ended { call: id },
        Step::Validating { check: Check::None | Check::Ended { .. }, .. } | Step::Thinking { .. } => {}
    }
}
