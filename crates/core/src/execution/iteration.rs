//! An iteration: bound to one worker session at a time, closed once, released when its jail is gone.
use super::decide::{Around, Draft, Misstep, bound_to};
use super::{Binding, Cause, Check, Ending, Event, Execution, Iteration, Phase, Reason, Step, Thought};
use crate::call::{self, LOSSES_MAX, Open, Outcome, State};
use crate::id::{LeaseId, SessionId};
use crate::network::{self, Traffic};
use crate::time::{Clock, Time};

pub(super) fn bind(draft: &mut Draft<'_>, session: SessionId, around: Around<'_>) -> Result<(), Misstep> {
    let worker = around.worker.ok_or(Misstep::NoSession)?;
    let session = worker.session.as_ref().filter(|open| open.id == session).ok_or(Misstep::NoSession)?;
    if around.bound >= u64::from(session.slots) {
        return Err(Misstep::SlotsFull);
    }
    let binding = Binding { worker: worker.id, session: session.id, fence: worker.fence };
    match &draft.execution()?.phase {
        Phase::Ended(_) => Err(Misstep::Ended),
        Phase::Queued { iteration, .. } => {
            let iteration = *iteration;
            draft.emit(Event::IterationStarted { iteration, binding });
            Ok(())
        }
        Phase::Running(iteration) if iteration.binding.is_some() => Err(Misstep::Bound),
        Phase::Running(iteration) => {
            let iteration = iteration.number;
            draft.emit(Event::IterationBound { iteration, binding });
            Ok(())
        }
    }
}

pub(super) fn unbind(draft: &mut Draft<'_>, session: SessionId, since: Time, why: String) -> Result<(), Misstep> {
    let iteration = draft.iteration()?;
    bound_to(iteration.binding, session)?;
    let (number, jailed) = (iteration.number, iteration.jailed);
    lose_calls(draft, |_| true);
    draft.emit(Event::IterationUnbound { iteration: number, session, since, jailed, why });
    Ok(())
}

pub(super) fn lose_jail(
    draft: &mut Draft<'_>,
    session: SessionId,
    number: u32,
    leases: &[LeaseId],
    why: String,
    traffic: Option<Traffic>,
) -> Result<(), Misstep> {
    let iteration = draft.iteration()?;
    bound_to(iteration.binding, session)?;
    if iteration.number != number || !iteration.jailed {
        return Err(Misstep::Stale);
    }
    lose_calls(draft, |lease| leases.contains(&lease));
    draft.emit(Event::JailLost { iteration: number, session, why, traffic });
    Ok(())
}

pub(super) fn release(
    draft: &mut Draft<'_>,
    session: SessionId,
    number: u32,
    traffic: Option<Traffic>,
) -> Result<(), Misstep> {
    let iteration = draft.iteration()?;
    bound_to(iteration.binding, session)?;
    if iteration.number != number || !iteration.jailed || !matches!(iteration.step, Step::Closing { .. }) {
        return Err(Misstep::Stale);
    }
    for call in leased(&iteration.step) {
        end_unfinished(draft, &call, Outcome::Killed);
    }
    draft.emit(Event::IterationReleased { iteration: number, session, traffic });
    Ok(())
}

pub(super) fn refuse_network(
    draft: &mut Draft<'_>,
    session: SessionId,
    number: u32,
    refusals: Vec<network::Refusal>,
) -> Result<(), Misstep> {
    let iteration = draft.iteration()?;
    bound_to(iteration.binding, session)?;
    if iteration.number != number || !iteration.jailed {
        return Err(Misstep::Stale);
    }
    if refusals.len() > network::REFUSALS_MAX {
        return Err(Misstep::TooManyRefusals);
    }
    for refusal in refusals {
        draft.emit(Event::NetworkRefused { iteration: number, refusal });
    }
    Ok(())
}

/// The jail is proven dead: what is idempotent comes again, of the rest the outcome is unknown.
fn lose_calls(draft: &mut Draft<'_>, lost: impl Fn(LeaseId) -> bool) {
    let Ok(iteration) = draft.iteration() else { return };
    let closing = matches!(iteration.step, Step::Closing { .. });
    for call in leased(&iteration.step).into_iter().filter(|call| call.lease().is_some_and(|(lease, _)| lost(lease))) {
        let again = call.idempotent && call.losses < LOSSES_MAX && !closing;
        end_unfinished(draft, &call, Outcome::Lost { again });
    }
}

fn end_unfinished(draft: &mut Draft<'_>, call: &Open, outcome: Outcome) {
    let Some((lease, _)) = call.lease() else { return };
    draft.emit(Event::CallEnded(call::Ended { call: call.id, lease, outcome, result: None, took_ms: 0, level: None }));
}

fn leased(step: &Step) -> Vec<Open> {
    step_calls(step).iter().filter(|call| call.lease().is_some()).cloned().collect()
}

pub(super) fn step_calls(step: &Step) -> &[Open] {
    match step {
        Step::Acting { calls } | Step::Closing { calls, .. } => calls,
        Step::Validating { check: Check::Open { call }, .. } => std::slice::from_ref(call),
        Step::Validating { check: Check::None | Check::Ended { .. }, .. } | Step::Thinking { .. } => &[],
    }
}

/// A closing iteration: withdraw what was never called, wait for its jail, then end it and go on.
pub(super) fn finish(draft: &mut Draft<'_>) -> bool {
    let Ok(iteration) = draft.iteration() else { return false };
    let Step::Closing { cause, calls } = &iteration.step else { return false };
    if let Some(call) = calls.iter().find(|call| call.state == State::Proposed) {
        let (call, capability) = (call.id, call.capability.clone());
        draft.emit(Event::CallBlocked { call, capability, blocked: call::Blocked::Withdrawn });
        return true;
    }
    if iteration.jailed && iteration.binding.is_some() {
        return false;
    }
    let (number, cause, binding) = (iteration.number, cause.clone(), iteration.binding);
    let all_blocked = iteration.calls > 0 && iteration.blocked == iteration.calls;
    if let Cause::Passed { output } = cause {
        draft.emit(Event::IterationCompleted { iteration: number, output });
        draft.emit(Event::Ended { ending: Ending::Completed { output } });
        return true;
    }
    draft.emit(Event::IterationFailed { iteration: number, cause: cause.clone() });
    let ending = match cause {
        Cause::End { ending } => Some(ending),
        Cause::Passed { .. }
        | Cause::Invalid { .. }
        | Cause::Turns
        | Cause::IterationTimeout
        | Cause::Unanswered { .. } => spent(draft, number, &cause, all_blocked),
    };
    match (ending, binding) {
        (Some(ending), _) => draft.emit(Event::Ended { ending }),
        (None, Some(binding)) => draft.emit(Event::IterationStarted { iteration: number + 1, binding }),
        (None, None) => {}
    }
    true
}

fn spent(draft: &Draft<'_>, number: u32, cause: &Cause, all_blocked: bool) -> Option<Ending> {
    let limits = draft.execution().ok()?.terms.limits;
    if number < limits.max_iterations {
        return None;
    }
    if all_blocked {
        let detail = "every call of the last iteration was refused by policy".to_string();
        return Some(Ending::Failed { reason: Reason::Blocked, detail });
    }
    let detail = match cause {
        Cause::Turns => {
            format!("the last of {} attempts used up its {} turns", limits.max_iterations, limits.max_turns)
        }
        Cause::Passed { .. }
        | Cause::Invalid { .. }
        | Cause::IterationTimeout
        | Cause::Unanswered { .. }
        | Cause::End { .. } => {
            format!("all {} attempts are used up", limits.max_iterations)
        }
    };
    Some(Ending::Failed { reason: Reason::MaxIterations, detail })
}

pub(super) fn apply(execution: &mut Execution, event: &Event, at: Time) {
    match event {
        Event::IterationStarted { iteration, binding } => {
            execution.wall.start(at);
            execution.phase = Phase::Running(fresh(*iteration, *binding, at));
        }
        Event::IterationBound { binding, .. } => {
            execution.wall.start(at);
            if let Some(iteration) = execution.iteration_mut() {
                iteration.clock.start(at);
                iteration.binding = Some(*binding);
            }
        }
        Event::IterationUnbound { since, .. } => {
            execution.wall.stop(*since);
            if let Some(iteration) = execution.iteration_mut() {
                iteration.clock.stop(*since);
                iteration.binding = None;
                iteration.jailed = false;
            }
        }
        Event::JailLost { .. } => {
            if let Some(iteration) = execution.iteration_mut() {
                // Calls that are still open run in its successor.
                iteration.jailed = step_calls(&iteration.step).iter().any(|call| call.lease().is_some());
            }
        }
        Event::IterationReleased { .. } => {
            if let Some(iteration) = execution.iteration_mut() {
                iteration.jailed = false;
            }
        }
        Event::IterationClosing { cause, .. } => {
            if let Some(iteration) = execution.iteration_mut() {
                let calls = step_calls(&iteration.step).to_vec();
                iteration.step = Step::Closing { cause: cause.clone(), calls };
            }
        }
        Event::IterationFailed { iteration, .. } => {
            execution.phase = Phase::Queued { iteration: iteration + 1, since: at };
        }
        Event::Ended { ending } => {
            execution.wall.stop(at);
            execution.phase = Phase::Ended(ending.clone());
        }
        Event::IterationCompleted { .. } => {}
        Event::Started { .. }
        | Event::CancelRequested { .. }
        | Event::ModelCalled { .. }
        | Event::ModelAnswered { .. }
        | Event::ModelFailed { .. }
        | Event::ModelLost { .. }
        | Event::CallCalled(_)
        | Event::CallBlocked { .. }
        | Event::CallEnded(_)
        | Event::Validated { .. }
        | Event::NetworkRefused { .. }
        | Event::Refused(_) => {}
    }
}

fn fresh(number: u32, binding: Binding, at: Time) -> Iteration {
    Iteration {
        number,
        clock: Clock { used_ms: 0, since: Some(at) },
        binding: Some(binding),
        jailed: false,
        turns: 0,
        calls: 0,
        blocked: 0,
        step: Step::Thinking { attempt: 1, retries: 0, thought: Thought::Due { at } },
    }
}
