//! The manifest's checks of an iteration's output, in order; the first failure stops. What a check computes is computed
//! in a reconciler; a check that needs the sandbox is one leased call of the actor `validator`.
use super::decide::{Draft, Misstep, close};
use super::turn::begin_call;
use super::{Cause, Check, Event, Execution, Finding, Step};
use crate::actor::Actor;
use crate::call::{Open, Proposal, State};
use crate::capability::{self, Effects};
use crate::id::CallId;

fn present(draft: &Draft<'_>, iteration: u32, index: u32) -> Result<Check, Misstep> {
    let open = draft.iteration()?;
    match &open.step {
        Step::Validating { index: at, check, .. } if open.number == iteration && *at == index => Ok(check.clone()),
        Step::Validating { .. } | Step::Thinking { .. } | Step::Acting { .. } | Step::Closing { .. } => {
            Err(Misstep::Stale)
        }
    }
}

pub(super) fn check(draft: &mut Draft<'_>, iteration: u32, index: u32, proposal: Proposal) -> Result<(), Misstep> {
    if present(draft, iteration, index)? != Check::None || draft.iteration()?.binding.is_none() {
        return Err(Misstep::Stale);
    }
    let bound = draft.bind(proposal.arguments);
    let call = Open {
        id: CallId::mint(draft.mint),
        effects: capability::find(&proposal.capability).map_or(Effects::Irreversible, |known| known.effects),
        capability: proposal.capability,
        arguments: bound.hash,
        attributes: proposal.attributes,
        idempotent: true,
        losses: 0,
        state: State::Proposed,
    };
    begin_call(draft, &call, Actor::Validator);
    Ok(())
}

pub(super) fn report(draft: &mut Draft<'_>, iteration: u32, index: u32, finding: Finding) -> Result<(), Misstep> {
    if let Check::Open { .. } = present(draft, iteration, index)? {
        return Err(Misstep::Stale);
    }
    let reasons = draft.bind(finding.reasons);
    let (validator, pass, score_milli) = (finding.validator, finding.pass, finding.score_milli.min(1000));
    draft.emit(Event::Validated { iteration, index, validator, pass, score_milli, reasons });
    if !pass {
        close(draft, Cause::Invalid { index });
    }
    Ok(())
}

/// A check that was lost is called again; when all have passed, the iteration has.
pub(super) fn advance(draft: &mut Draft<'_>) -> bool {
    let (Ok(execution), Ok(iteration)) = (draft.execution(), draft.iteration()) else { return false };
    let Step::Validating { index, output, check } = &iteration.step else { return false };
    if *index >= execution.terms.validators {
        let output = *output;
        close(draft, Cause::Passed { output });
        return true;
    }
    match check {
        Check::Open { call } if call.state == State::Proposed && iteration.binding.is_some() => {
            let call = call.clone();
            begin_call(draft, &call, Actor::Validator);
            true
        }
        Check::Open { .. } | Check::None | Check::Ended { .. } => false,
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
