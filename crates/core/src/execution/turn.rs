//! One turn: a model call, and the capability calls that its answer asks for. All are answered before the next turn.
use super::budget;
use super::decide::{Decider, close, failed, no};
use super::{
    Answer, CallModel, Cause, Check, Event, Execution, Iteration, MODEL_LOSSES_MAX, MODEL_RETRIES_MAX, ModelCall,
    ModelFailure, Phase, Reason, Refusal, Remedy, Step, TURN_CALLS_MAX, Turn, Usage, iteration::step_calls, lineage,
    validation,
};
use crate::actor::Actor;
use crate::approval::Held;
use crate::bound::{Bound, Payload};
use crate::budget::Day;
use crate::call::{self, EndCall, May, Open, Proposed};
use crate::capability::{self, Place, mcp};
use crate::draft::Stop;
use crate::id::CallId;
use crate::manifest::AgentKind;
use crate::model_call::{AMOUNT_MAX, Charge, RETRY_LAST_MS, backoff_ms, recordable};
use crate::time::{Run, Stamp};

const SPENT_MAX: u64 = 1 << 52;

pub(super) fn call_model(it: &mut Decider<'_, '_>, mut call: CallModel) -> Result<(), Stop> {
    call.reserved_tokens = call.reserved_tokens.min(AMOUNT_MAX);
    call.reserved_micro_usd = call.reserved_micro_usd.map(|cost| cost.min(AMOUNT_MAX));
    let iteration = it.iteration()?;
    match &iteration.step {
        Step::Thinking { attempt, call: ModelCall::Due { .. }, .. }
            if iteration.binding.is_some() && call.turn == turn_of(iteration, *attempt) => {}
        Step::Thinking { .. }
        | Step::Program { .. }
        | Step::Told { .. }
        | Step::Acting { .. }
        | Step::Validating { .. }
        | Step::Closing { .. } => {
            return Err(no(Refusal::Stale {}));
        }
    }
    if budget::is_too_dear(it, &call.model, call.reserved_micro_usd)?
        || lineage::is_too_dear(it, &call.model, call.reserved_micro_usd)?
        || budget::is_shut(it, &call)?
    {
        return Ok(());
    }
    it.emit(Event::ModelCalled {
        turn: call.turn,
        model: call.model,
        request: call.request,
        deadline: call.deadline,
        reserved_micro_usd: call.reserved_micro_usd,
        reserved_tokens: call.reserved_tokens,
        day: Some(Day::of(it.draft.wall)),
    })
}

fn turn_of(iteration: &Iteration, attempt: u32) -> Turn {
    Turn { iteration: iteration.number, turn: iteration.turns, attempt }
}

/// The open model call that a report must speak of: its retries so far, and what it holds of money and tokens.
fn open_model_call(it: &Decider<'_, '_>, turn: Turn) -> Result<(u32, Option<u64>, u64), Stop> {
    let iteration = it.iteration()?;
    match &iteration.step {
        Step::Thinking {
            attempt, retries, call: ModelCall::Open { reserved_micro_usd, reserved_tokens, .. }, ..
        } if turn == turn_of(iteration, *attempt) => Ok((*retries, *reserved_micro_usd, *reserved_tokens)),
        Step::Thinking { .. }
        | Step::Program { .. }
        | Step::Told { .. }
        | Step::Acting { .. }
        | Step::Validating { .. }
        | Step::Closing { .. } => Err(no(Refusal::Stale {})),
    }
}

pub(super) fn answer_model(it: &mut Decider<'_, '_>, turn: Turn, answer: Answer) -> Result<(), Stop> {
    open_model_call(it, turn)?;
    if answer.calls.len() > TURN_CALLS_MAX || (!answer.calls.is_empty() && answer.output.is_some()) {
        return Err(no(Refusal::TooManyCalls {}));
    }
    let delta = it.bind(answer.delta);
    let output = answer.output.map(|output| it.bind(output));
    let mut calls = Vec::with_capacity(answer.calls.len());
    let mut misfits = Vec::new();
    for proposal in answer.calls {
        let call = CallId::mint(&mut it.draft.mint);
        let (proposed, misfit) = Proposed::of(call, proposal, it.draft);
        misfits.extend(misfit.map(|sentence| (call, proposed.capability.clone(), sentence)));
        calls.push(proposed);
    }
    let (model, usage, cassette) = (answer.model, recordable(answer.usage), answer.cassette);
    it.emit(Event::ModelAnswered { turn, model, delta, output, calls, usage, cassette })?;
    budget::tell_shared(it)?;
    for (call, capability, sentence) in misfits {
        let open = open_call(it, call)?;
        if over_budget(it, &open)? {
            return Ok(());
        }
        it.emit(Event::CallBlocked { call, capability, blocked: call::Blocked::Misfit { sentence }, check: None })?;
    }
    Ok(())
}

pub(super) fn fail_model(it: &mut Decider<'_, '_>, turn: Turn, failure: ModelFailure) -> Result<(), Stop> {
    let (retries, held_micro_usd, held_tokens) = open_model_call(it, turn)?;
    let sentence = capability::clip(&failure.sentence);
    let kind = failure.kind;
    let for_good = failed(Reason::ModelError, format!("{kind}: {sentence}"));
    let (retry_at, cause) = match failure.remedy {
        Remedy::Again { after_ms } if retries < MODEL_RETRIES_MAX => {
            let pause = backoff_ms(retries);
            let pause = after_ms.map_or(pause, |wanted| wanted.clamp(pause, 10 * RETRY_LAST_MS));
            (Some(it.draft.stamp.run.plus_ms(pause)), None)
        }
        Remedy::Elsewhere if retries < MODEL_RETRIES_MAX => (Some(it.draft.stamp.run), None),
        Remedy::NextIteration => (None, Some(Cause::Unanswered { failure: kind.clone() })),
        Remedy::Again { .. } | Remedy::Elsewhere | Remedy::None => (None, Some(for_good)),
    };
    let Charge { usage, micro_usd: charged_micro_usd, tokens: charged_tokens } =
        Charge::of(failure.used, held_micro_usd, held_tokens);
    it.emit(Event::ModelFailed { turn, failure: kind, sentence, retry_at, charged_micro_usd, charged_tokens, usage })?;
    budget::tell_shared(it)?;
    match cause {
        Some(cause) => close(it, cause),
        None => Ok(()),
    }
}

pub(super) fn lose_model(it: &mut Decider<'_, '_>, turn: Turn) -> Result<(), Stop> {
    let (_, charged_micro_usd, tokens) = open_model_call(it, turn)?;
    it.emit(Event::ModelLost { turn, charged_micro_usd, charged_tokens: Some(tokens) })?;
    budget::tell_shared(it)?;
    if it.execution()?.spent.model_losses > MODEL_LOSSES_MAX {
        return close(it, failed(Reason::Lost, format!("{} model calls were lost", MODEL_LOSSES_MAX + 1)));
    }
    Ok(())
}

impl Step {
    /// What an attempt does next: a program is run, or heard once `call` of it has ended; a model is asked.
    pub(super) fn next(kind: AgentKind, call: Option<CallId>, run: Run) -> Step {
        match kind {
            AgentKind::Command | AgentKind::Hooks | AgentKind::Acp => Step::Program { call },
            AgentKind::Llm => Step::thinking(run),
        }
    }

    /// The next turn, due now.
    pub(super) fn thinking(run: Run) -> Step {
        Step::Thinking { attempt: 1, retries: 0, failure: None, call: ModelCall::Due { at: run } }
    }
}

pub(super) fn block(it: &mut Decider<'_, '_>, call: &Open, blocked: call::Blocked) -> Result<(), Stop> {
    it.emit(Event::CallBlocked { call: call.id, capability: call.capability.clone(), blocked, check: None })
}

fn open_call(it: &Decider<'_, '_>, id: CallId) -> Result<Open, Stop> {
    let calls = step_calls(&it.iteration()?.step);
    calls.iter().find(|call| call.id == id).cloned().ok_or_else(|| no(Refusal::Stale {}))
}

pub(super) fn end_call(it: &mut Decider<'_, '_>, end: EndCall) -> Result<(), Stop> {
    let call = open_call(it, end.call)?;
    let closing = matches!(it.iteration()?.step, Step::Closing { .. });
    match call.end(end, closing, it.draft) {
        Some(ended) => it.emit(Event::CallEnded(ended)),
        None => Err(no(Refusal::Stale {})),
    }
}

/// A call on our own rows, with its arguments at hand: judged, done and ended in this commit.
pub(super) fn perform(
    it: &mut Decider<'_, '_>,
    id: CallId,
    arguments: &Payload,
    value: Option<Payload>,
) -> Result<(), Stop> {
    let call = open_call(it, id)?;
    let iteration = it.iteration()?;
    let may_start = match &iteration.step {
        Step::Acting { calls } => call::startable(calls).any(|call| call.id == id && call.place == Place::Rows),
        Step::Thinking { .. }
        | Step::Program { .. }
        | Step::Told { .. }
        | Step::Validating { .. }
        | Step::Closing { .. } => false,
    };
    if !may_start {
        return Err(no(Refusal::Stale {}));
    }
    if over_budget(it, &call)? {
        return Ok(());
    }
    let caller = it.caller(None)?;
    let judged = call::judge(it.draft, caller, &call)?;
    match judged.may {
        May::Never => return block(it, &call, call::Blocked::Policy { judgement: judged.judgement }),
        May::Wait => {
            let held = Held::of(it.draft, &call, judged.judgement, judged.shown);
            return it.emit(Event::CallHeld(held));
        }
        May::Begin { .. } => {}
    }
    let called = call.called(it.draft, caller, judged, None, None)?;
    it.emit(Event::CallCalled(called))?;
    let ended = call::perform(it.draft, caller, &call, arguments, value)?;
    it.emit(Event::CallEnded(ended))
}

/// Before a model is asked: are there turns, tokens and money left?
pub(super) fn limit(it: &mut Decider<'_, '_>) -> Result<bool, Stop> {
    let (execution, iteration) = (it.execution()?, it.iteration()?);
    let limits = execution.limits;
    if iteration.turns >= limits.max_turns {
        close(it, Cause::Turns)?;
        return Ok(true);
    }
    if budget::is_over(it)? || lineage::is_over(it)? {
        return Ok(true);
    }
    budget::warn(it)?;
    Ok(false)
}

/// It says what tools there are, and is counted in no limit.
fn is_list(capability: &str) -> bool {
    mcp::Name::parse(capability).is_some_and(|name| name.method.is_list())
}

/// Ends the iteration where no tool call is left.
fn over_budget(it: &mut Decider<'_, '_>, call: &Open) -> Result<bool, Stop> {
    let execution = it.execution()?;
    let most = execution.limits.tool_calls;
    if !call.is_first_try() || is_list(&call.capability) || execution.spent.tool_calls < most {
        return Ok(false);
    }
    close(it, failed(Reason::ToolBudget, format!("all {most} tool calls are used up")))?;
    Ok(true)
}

/// Judges and calls the next proposed call that a sandbox does; one on our own rows waits for its arguments.
pub(super) fn begin_next_call(it: &mut Decider<'_, '_>) -> Result<bool, Stop> {
    let iteration = it.iteration()?;
    if iteration.binding.is_none() || iteration.parked {
        return Ok(false);
    }
    let next = call::startable(step_calls(&iteration.step)).find(|call| call.place == Place::Sandbox).cloned();
    let Some(call) = next else { return Ok(false) };
    if !over_budget(it, &call)? {
        begin_call(it, &call, None, None)?;
    }
    Ok(true)
}

/// One proposed call: judged now, then called under a fresh lease or blocked. Needs a binding.
pub(super) fn begin_call(
    it: &mut Decider<'_, '_>,
    call: &Open,
    actor: Option<Actor>,
    check: Option<Proposed>,
) -> Result<(), Stop> {
    let Some(binding) = it.iteration()?.binding else { return Err(no(Refusal::Stale {})) };
    let caller = it.caller(actor)?;
    match call::begin(it.draft, caller, call, binding.fence, check.clone())? {
        call::Begun::Called(called) => it.emit(Event::CallCalled(called)),
        // A validator's own call is the manifest's, and nobody is asked about it.
        call::Begun::Held(held) if actor.is_some() => {
            let (capability, blocked) = (call.capability.clone(), call::Blocked::Policy { judgement: held.judgement });
            let check = check.map(Box::new);
            it.emit(Event::CallBlocked { call: call.id, capability, blocked, check })
        }
        call::Begun::Held(held) => it.emit(Event::CallHeld(held)),
        call::Begun::Blocked(blocked) => {
            let check = check.map(Box::new);
            it.emit(Event::CallBlocked { call: call.id, capability: call.capability.clone(), blocked, check })
        }
    }
}

pub(super) fn apply(execution: &mut Execution, event: &Event, stamp: Stamp) {
    let run = stamp.run;
    match event {
        Event::ModelCalled { model, deadline, reserved_micro_usd, reserved_tokens, day, .. } => {
            if let Some(Step::Thinking { call, .. }) = step_mut(execution) {
                *call = ModelCall::Open {
                    model: model.clone(),
                    deadline: *deadline,
                    reserved_micro_usd: *reserved_micro_usd,
                    reserved_tokens: *reserved_tokens,
                    day: *day,
                };
            }
        }
        Event::ModelAnswered { output, calls, usage, .. } => {
            count(execution, usage);
            charge(execution, usage.micro_usd);
            let step = answered_step(output.as_ref(), calls, execution.validators, run);
            if let Phase::Running(iteration) = &mut execution.phase {
                iteration.turns += 1;
                iteration.calls += calls.len() as u32;
                iteration.step = step;
            }
        }
        Event::ModelFailed { failure: kind, sentence, retry_at, charged_micro_usd, usage, .. } => {
            if let Some(usage) = usage {
                count(execution, usage);
            }
            if charged_micro_usd.is_some() || usage.is_some() {
                charge(execution, *charged_micro_usd);
            }
            if let Some(Step::Thinking { attempt, retries, failure, call }) = step_mut(execution) {
                *attempt += 1;
                *retries += 1;
                *failure = Some(format!("{kind}: {sentence}"));
                *call = ModelCall::Due { at: retry_at.unwrap_or(run) };
            }
        }
        Event::ModelLost { charged_micro_usd, .. } => apply_lost(execution, *charged_micro_usd, run),
        Event::CallCalled(called) => apply_called(execution, called, run),
        Event::CallHeld(held) => change_call(execution, held.call, |call| call.apply_held(held)),
        Event::CallAllowed(allowed) => change_call(execution, allowed.call, |call| call.apply_allowed(allowed)),
        Event::CallReleased(released) => change_call(execution, released.call, Open::apply_released),
        Event::CallRecalled(recalled) => apply_recalled(execution, recalled.call),
        Event::CallBlocked { call, capability, blocked, .. } => {
            apply_blocked(execution, *call, capability, blocked, run)
        }
        Event::CallEnded(ended) => apply_ended(execution, ended, run),
        Event::Started { .. }
        | Event::CancelRequested { .. }
        | Event::IterationStarted { .. }
        | Event::ToolsAsked { .. }
        | program_events!()
        | Event::IterationBound { .. }
        | Event::IterationUnbound { .. }
        | Event::JailLost { .. }
        | Event::Validated { .. }
        | Event::IterationClosing { .. }
        | Event::IterationReleased { .. }
        | Event::IterationParked { .. }
        | Event::IterationCompleted { .. }
        | Event::IterationFailed { .. }
        | Event::Ended { .. }
        | Event::NetworkRefused { .. }
        | Event::BudgetWarned { .. }
        | child_events!()
        | proxy_events!()
        | Event::PayloadErased { .. }
        | Event::Erased { .. }
        | Event::Refused(_) => {}
    }
}

fn apply_lost(execution: &mut Execution, charged_micro_usd: Option<u64>, run: Run) {
    charge(execution, charged_micro_usd);
    execution.spent.model_losses += 1;
    if let Some(Step::Thinking { attempt, call, .. }) = step_mut(execution) {
        *attempt += 1;
        *call = ModelCall::Due { at: run };
    }
}

fn add(sum: u64, more: u64) -> u64 {
    sum.saturating_add(more).min(SPENT_MAX)
}

pub(super) fn count(execution: &mut Execution, usage: &Usage) {
    let spent = &mut execution.spent;
    spent.input_tokens = add(spent.input_tokens, usage.input);
    spent.output_tokens = add(spent.output_tokens, usage.output);
    spent.estimated |= usage.estimated;
}

pub(super) fn charge(execution: &mut Execution, micro_usd: Option<u64>) {
    match micro_usd {
        Some(cost) => execution.spent.micro_usd = add(execution.spent.micro_usd, cost),
        None => execution.spent.unpriced += 1,
    }
}

fn step_mut(execution: &mut Execution) -> Option<&mut Step> {
    execution.iteration_mut().map(|iteration| &mut iteration.step)
}

fn answered_step(output: Option<&Bound>, calls: &[Proposed], validators: u32, run: Run) -> Step {
    match output {
        Some(output) => validation::begun(*output, validators),
        None if calls.is_empty() => Step::thinking(run),
        None => Step::Acting { calls: calls.iter().map(Proposed::open).collect() },
    }
}

fn apply_called(execution: &mut Execution, called: &call::Called, run: Run) {
    let Some(iteration) = execution.iteration_mut() else { return };
    iteration.has_sandbox |= called.lease.is_some();
    match &mut iteration.step {
        Step::Acting { calls } => {
            let Some(call) = calls.iter_mut().find(|call| call.id == called.call) else { return };
            call.apply_called(called, run);
            if call.is_first_try() && !is_list(&called.capability) {
                execution.spent.tool_calls += 1;
            }
        }
        Step::Validating { check, .. } => {
            if let Some(proposed) = &called.check {
                *check = Check::Open { call: proposed.open() };
            }
            if let Check::Open { call } = check {
                call.apply_called(called, run);
            }
        }
        Step::Thinking { .. } | Step::Program { .. } | Step::Told { .. } | Step::Closing { .. } => {}
    }
}

fn change_call(execution: &mut Execution, id: CallId, change: impl FnOnce(&mut Open)) {
    if let Some(Step::Acting { calls }) = step_mut(execution)
        && let Some(call) = calls.iter_mut().find(|call| call.id == id)
    {
        change(call);
    }
}

fn apply_recalled(execution: &mut Execution, id: CallId) {
    if let Some(Step::Validating { check: Check::Open { call }, .. }) = step_mut(execution)
        && call.id == id
    {
        call.recalled = true;
    }
    change_call(execution, id, |call| call.recalled = true);
}

fn apply_blocked(execution: &mut Execution, id: CallId, capability: &str, blocked: &call::Blocked, run: Run) {
    let refused = match blocked {
        call::Blocked::Policy { .. } | call::Blocked::Rejected { .. } | call::Blocked::Unapproved { .. } => 1,
        call::Blocked::Misfit { .. } | call::Blocked::Withdrawn | call::Blocked::Expired | call::Blocked::Cancelled => {
            0
        }
    };
    if let Some(iteration) = execution.iteration_mut() {
        iteration.blocked += if is_list(capability) { 0 } else { refused };
        let fresh = step_calls(&iteration.step).iter().any(|call| call.id == id && call.is_first_try());
        if matches!(iteration.step, Step::Acting { .. }) && fresh && !is_list(capability) {
            execution.spent.tool_calls += 1;
        }
    }
    close_call(execution, id, run);
}

fn apply_ended(execution: &mut Execution, ended: &call::Ended, run: Run) {
    if !ended.outcome.is_again() {
        close_call(execution, ended.call, run);
        return;
    }
    let Some(iteration) = execution.iteration_mut() else { return };
    let call = match &mut iteration.step {
        Step::Acting { calls } | Step::Closing { calls, .. } => calls.iter_mut().find(|call| call.id == ended.call),
        Step::Validating { check: Check::Open { call }, .. } => Some(call),
        Step::Validating { check: Check::None | Check::Ended { .. }, .. }
        | Step::Thinking { .. }
        | Step::Program { .. }
        | Step::Told { .. } => None,
    };
    if let Some(call) = call {
        call.apply_again(ended);
    }
}

/// A call has its terminal event: the turn goes on when it was the last.
fn close_call(execution: &mut Execution, id: CallId, run: Run) {
    let kind = execution.kind;
    let Some(iteration) = execution.iteration_mut() else { return };
    match &mut iteration.step {
        Step::Acting { calls } => {
            calls.retain(|call| call.id != id);
            if calls.is_empty() {
                iteration.step = Step::next(kind, Some(id), run);
            }
        }
        Step::Closing { calls, .. } => calls.retain(|call| call.id != id),
        // A check that was blocked at once never was open.
        Step::Validating { check: check @ (Check::Open { .. } | Check::None), .. } => {
            *check = Check::Ended { call: id }
        }
        Step::Validating { check: Check::Ended { .. }, .. }
        | Step::Thinking { .. }
        | Step::Program { .. }
        | Step::Told { .. } => {}
    }
}
