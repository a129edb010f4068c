//! An agent that is a program: each iteration runs it once, as a call of the agent's own under the one gate, and what it prints
//! is the iteration's output. What to run, and what came of it, is worked out in a reconciler.
use super::decide::{Decider, close, no};
use super::{Cause, Event, Execution, Refusal, Step, turn, validation};
use crate::bound::Payload;
use crate::call::{Blocked, Proposal, Proposed};
use crate::capability::clip;
use crate::draft::Stop;
use crate::id::CallId;

/// How the program of an iteration ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With what it printed.
    Answered { output: Payload },
    /// A sentence, which the next attempt is told. It may not have run at all.
    Failed { failure: String },
}

impl Outcome {
    pub(super) fn output(&self) -> Option<&Payload> {
        match self {
            Outcome::Answered { output } => Some(output),
            Outcome::Failed { .. } => None,
        }
    }
}

fn present(it: &Decider<'_, '_>, iteration: u32) -> Result<Option<CallId>, Stop> {
    let open = it.iteration()?;
    match open.step {
        Step::Program { call } if open.number == iteration && open.binding.is_some() => Ok(call),
        Step::Program { .. }
        | Step::Thinking { .. }
        | Step::Acting { .. }
        | Step::Validating { .. }
        | Step::Closing { .. } => Err(no(Refusal::Stale {})),
    }
}

pub(super) fn ask(it: &mut Decider<'_, '_>, iteration: u32, proposal: Proposal) -> Result<(), Stop> {
    if present(it, iteration)?.is_some() {
        return Err(no(Refusal::Stale {}));
    }
    let (call, misfit) = Proposed::of(CallId::mint(&mut it.draft.mint), proposal, it.draft);
    let open = call.open();
    it.emit(Event::ProgramAsked { iteration, call })?;
    match misfit {
        Some(sentence) => turn::block(it, &open, Blocked::Misfit { sentence }),
        None => Ok(()),
    }
}

pub(super) fn end(it: &mut Decider<'_, '_>, iteration: u32, outcome: Outcome) -> Result<(), Stop> {
    let call = present(it, iteration)?;
    match outcome {
        Outcome::Answered { .. } if call.is_none() => Err(no(Refusal::Stale {})),
        Outcome::Answered { output } => {
            let output = Some(it.bind(output));
            it.emit(Event::ProgramEnded { iteration, output, failure: None })
        }
        Outcome::Failed { failure } => {
            let failure = clip(&failure);
            it.emit(Event::ProgramEnded { iteration, output: None, failure: Some(failure.clone()) })?;
            close(it, Cause::Program { failure })
        }
    }
}

pub(super) fn apply(execution: &mut Execution, event: &Event) {
    let validators = execution.validators;
    let Some(iteration) = execution.iteration_mut() else { return };
    if let Event::ProgramAsked { call, .. } = event {
        iteration.calls += 1;
        iteration.step = Step::Acting { calls: vec![call.open()] };
    }
    if let Event::ProgramEnded { output: Some(output), .. } = event {
        iteration.step = validation::begun(*output, validators);
    }
}
