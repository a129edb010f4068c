//! Model calls of programs in an execution's jail: bound to the connection and iteration whose listener they came by, held to the
//! same limits as a turn's. One that may not be made is refused with the reason, and the execution goes on.
use super::decide::{Decider, bound_to, no};
use super::spent::Whose;
use super::turn::{charge, count};
use super::{Event, Execution, Reason, Refusal, Step, budget, lineage, spent};
use crate::budget::Wanted;
use crate::draft::Stop;
use crate::id::{CallId, ConnectionId};
use crate::model_call::{self, Answer, Answered, Begin, End, Failed, Failure, Lost, Open};
use crate::row::Row;

pub(super) fn call(it: &mut Decider<'_, '_>, connection: ConnectionId, number: u32, begin: Begin) -> Result<(), Stop> {
    let iteration = it.iteration()?;
    bound_to(iteration.binding, connection)?;
    let is_at_work = iteration.number == number && !matches!(iteration.step, Step::Closing { .. });
    let calls = &it.execution()?.model_calls;
    if !is_at_work || calls.open(begin.call).is_some() {
        return Err(no(Refusal::Stale {}));
    }
    if calls.open.len() >= model_call::OPEN_MAX {
        return Err(no(Refusal::TooManyModelCalls {}));
    }
    if calls.made >= model_call::CALLS_MAX {
        let detail = format!("programs made all {} model calls that one execution may", model_call::CALLS_MAX);
        return Err(refused(Reason::ToolBudget, detail));
    }
    let (tokens, micro_usd) = (begin.reserved_tokens, begin.reserved_micro_usd);
    let short = match budget::over(it, it.execution()?.model_calls.held())? {
        Some(short) => Some(short),
        None => match budget::too_dear(it, &begin.model, micro_usd)? {
            Some(short) => Some(short),
            None => lineage::short(it, &begin.model, micro_usd)?,
        },
    };
    if let Some((reason, detail)) = short {
        return Err(refused(reason, detail));
    }
    if let Some(shut) = budget::shut(it, Wanted { tokens, micro_usd })? {
        return Err(refused(budget::reason(shut.measure), shut.to_string()));
    }
    let calls = it.execution()?.model_calls.clone();
    let called = calls.begin(it.draft, begin);
    it.emit(Event::ProxyCalled(called))
}

fn refused(reason: Reason, detail: String) -> Stop {
    no(Refusal::ModelCallRefused { reason, detail })
}

fn open(it: &Decider<'_, '_>, call: CallId) -> Result<Open, Stop> {
    it.execution()?.model_calls.open(call).cloned().ok_or_else(|| no(Refusal::Stale {}))
}

pub(super) fn answer(it: &mut Decider<'_, '_>, answer: Answer) -> Result<(), Stop> {
    let answered = open(it, answer.call)?.answered(it.draft, answer);
    it.emit(Event::ProxyAnswered(answered))?;
    budget::tell_shared(it)
}

pub(super) fn fail(it: &mut Decider<'_, '_>, failure: Failure) -> Result<(), Stop> {
    let failed = open(it, failure.call)?.failed(failure);
    it.emit(Event::ProxyFailed(failed))?;
    budget::tell_shared(it)
}

pub(super) fn lose(it: &mut Decider<'_, '_>, call: CallId) -> Result<(), Stop> {
    let lost = open(it, call)?.lost();
    it.emit(Event::ProxyLost(lost))?;
    budget::tell_shared(it)
}

/// With the jail its programs end, and so do their calls.
pub(super) fn withdraw(it: &mut Decider<'_, '_>) -> Result<(), Stop> {
    for open in it.execution()?.model_calls.open.clone() {
        it.emit(Event::ProxyFailed(open.withdrawn()))?;
    }
    Ok(())
}

pub(super) fn apply_answered(execution: &mut Execution, answered: &Answered) {
    execution.model_calls.apply_ended(answered.call);
    count(execution, &answered.usage);
    charge(execution, answered.usage.micro_usd);
}

pub(super) fn apply_failed(execution: &mut Execution, failed: &Failed) {
    execution.model_calls.apply_ended(failed.call);
    if let Some(usage) = &failed.usage {
        count(execution, usage);
    }
    if failed.charged_micro_usd.is_some() || failed.usage.is_some() {
        charge(execution, failed.charged_micro_usd);
    }
}

/// Charged to money alone, as a turn's.
pub(super) fn apply_lost(execution: &mut Execution, lost: &Lost) {
    execution.model_calls.apply_ended(lost.call);
    charge(execution, lost.charged_micro_usd);
}

/// What a call holds, and what it cost.
pub(super) fn rows(before: Option<&Execution>, event: &Event) -> Vec<Row> {
    if let Event::ProxyCalled(called) = event {
        return spent::called(before, Some(called.day), called.reserved_tokens, called.reserved_micro_usd);
    }
    if let Event::ProxyAnswered(Answered { call, model, usage, .. }) = event {
        return spent::ended(
            before,
            Whose::Program(*call),
            End::Answered { model },
            Some(usage),
            None,
            usage.micro_usd,
        );
    }
    if let Event::ProxyFailed(Failed { call, usage, charged_tokens, charged_micro_usd, .. }) = event {
        let (tokens, micro_usd) = (*charged_tokens, *charged_micro_usd);
        return spent::ended(before, Whose::Program(*call), End::Failed, usage.as_ref(), tokens, micro_usd);
    }
    if let Event::ProxyLost(Lost { call, charged_tokens, charged_micro_usd }) = event {
        let tokens = Some(*charged_tokens);
        return spent::ended(before, Whose::Program(*call), End::Lost, None, tokens, *charged_micro_usd);
    }
    Vec::new()
}
