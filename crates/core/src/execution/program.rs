//! An agent that is a program. Of kind `command`: each iteration runs it once, as a call of the agent's own under the one gate,
//! and what it prints is the iteration's output. Of kind `hooks` or `acp`: an instance keeps it running, and each iteration is a
//! message to it, whose answer is the output. What to run or say, and what came of it, is worked out in a reconciler.
use super::decide::{Decider, close, no};
use super::{Cause, Event, Execution, Iteration, Refusal, Step, turn, validation};
use crate::bound::Payload;
use crate::call::{Blocked, Proposal, Proposed};
use crate::capability::clip;
use crate::draft::{Draft, Stop};
use crate::facts::Unread;
use crate::id::{CallId, ExecutionId};
use crate::instance;

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
        | Step::Told { .. }
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

/// Where its instance is not ready this is refused, and owed on.
pub(super) fn tell(it: &mut Decider<'_, '_>, iteration: u32, message: Payload) -> Result<(), Stop> {
    if present(it, iteration)?.is_some() || !it.execution()?.kind.is_hosted() {
        return Err(no(Refusal::Stale {}));
    }
    let Execution { agent, revision, limits, .. } = *it.execution()?;
    let id = it.id;
    let told = instance::tell(it.draft, agent, id, revision)?;
    let (instance, call) = told.ok_or_else(|| no(Refusal::ProgramNotReady {}))?;
    it.emit(Event::ProgramTold { iteration, instance, call })?;
    Ok(instance::ask(it.draft, instance, call, message, limits.iteration_timeout_ms)?)
}

/// The call of its message is over. One that was lost with its program is told again, under the same id.
pub(crate) fn heard(id: ExecutionId, draft: &mut Draft<'_>, call: CallId, lost: bool) -> Result<(), Unread> {
    let Some(execution) = draft.get::<Execution>(id)? else { return Ok(()) };
    let waits = |iteration: &&Iteration| matches!(iteration.step, Step::Told { call: told, .. } if told == call);
    match execution.iteration().filter(waits).map(|iteration| iteration.number) {
        Some(iteration) => draft.emit::<Execution>(id, Event::ProgramHeard { iteration, call, lost }),
        None => Ok(()),
    }
}

/// Nobody waits for the answer any more.
pub(super) fn take_back(it: &mut Decider<'_, '_>) -> Result<(), Stop> {
    match it.iteration()?.step {
        Step::Told { instance, call } => instance::take_back(it.draft, instance, call),
        Step::Program { .. }
        | Step::Thinking { .. }
        | Step::Acting { .. }
        | Step::Validating { .. }
        | Step::Closing { .. } => Ok(()),
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
    if let Event::ProgramTold { instance, call, .. } = event {
        iteration.told = Some(*call);
        iteration.step = Step::Told { instance: *instance, call: *call };
    }
    if let Event::ProgramHeard { call, lost, .. } = event {
        iteration.step = Step::Program { call: Some(*call).filter(|_| !lost) };
    }
    if let Event::ProgramEnded { output: Some(output), .. } = event {
        iteration.step = validation::begun(*output, validators);
    }
}
