//! The manifest's checks of an iteration's output, in order; the first failure stops. What a check computes is computed
//! in a reconciler; a check that needs the sandbox is one leased call of the actor `validator`.
use super::decide::{Decider, close, no};
use super::turn::begin_call;
use super::{Cause, Check, Event, Execution, Finding, Refusal, Step};
use crate::actor::Actor;
use crate::bound::Bound;
use crate::call::{Proposal, Proposed, State};
use crate::draft::Stop;
use crate::id::CallId;

/// What follows an output: its first validator, or the end.
pub(super) fn begun(output: Bound, validators: u32) -> Step {
    match validators {
        0 => Step::Closing { cause: Cause::Passed { output }, calls: Vec::new() },
        _ => Step::Validating { index: 0, output, check: Check::None },
    }
}

fn present(it: &Decider<'_, '_>, iteration: u32, index: u32) -> Result<Check, Stop> {
    let open = it.iteration()?;
    match &open.step {
        Step::Validating { index: at, check, .. } if open.number == iteration && *at == index => Ok(check.clone()),
        Step::Validating { .. }
        | Step::Thinking { .. }
        | Step::Program { .. }
        | Step::Told { .. }
        | Step::Acting { .. }
        | Step::Closing { .. } => Err(no(Refusal::Stale {})),
    }
}

pub(super) fn check(it: &mut Decider<'_, '_>, iteration: u32, index: u32, proposal: Proposal) -> Result<(), Stop> {
    if present(it, iteration, index)? != Check::None || it.iteration()?.binding.is_none() {
        return Err(no(Refusal::Stale {}));
    }
    let call = CallId::mint(&mut it.draft.mint);
    let (mut proposed, _) = Proposed::of(call, proposal, it.draft);
    // A check only looks, so that it is repeated if lost.
    proposed.idempotent = true;
    let open = proposed.open();
    begin_call(it, &open, Some(Actor::Validator), Some(proposed))
}

pub(super) fn report(it: &mut Decider<'_, '_>, iteration: u32, index: u32, finding: Finding) -> Result<(), Stop> {
    if let Check::Open { .. } = present(it, iteration, index)? {
        return Err(no(Refusal::Stale {}));
    }
    let reasons = it.bind(finding.reasons);
    let (validator, pass, score_milli) = (finding.validator, finding.pass, finding.score_milli.min(1000));
    it.emit(Event::Validated { iteration, index, validator, pass, score_milli, reasons })?;
    if pass { Ok(()) } else { close(it, Cause::Invalid { index }) }
}

/// A check that was lost is called again; when all have passed, the iteration has.
pub(super) fn advance(it: &mut Decider<'_, '_>) -> Result<bool, Stop> {
    let (validators, iteration) = (it.execution()?.validators, it.iteration()?);
    let Step::Validating { index, output, check } = &iteration.step else { return Ok(false) };
    if *index >= validators {
        let output = *output;
        close(it, Cause::Passed { output })?;
        return Ok(true);
    }
    match check {
        Check::Open { call } if call.state == State::Proposed && iteration.binding.is_some() => {
            let call = call.clone();
            begin_call(it, &call, Some(Actor::Validator), None)?;
            Ok(true)
        }
        Check::Open { .. } | Check::None | Check::Ended { .. } => Ok(false),
    }
}

pub(super) fn apply(execution: &mut Execution, event: &Event) {
    let Event::Validated { pass: true, .. } = event else { return };
    if let Some(iteration) = execution.iteration_mut()
        && let Step::Validating { index, check, .. } = &mut iteration.step
    {
        *index += 1;
        *check = Check::None;
    }
}
