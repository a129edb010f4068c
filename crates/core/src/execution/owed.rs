//! What the world owes an execution: who is not ended owes something, so that none is ever forgotten.
use super::{Cause, Check, Execution, Iteration, ModelCall, Payloads, Phase, Step, iteration::step_calls};
use crate::approval;
use crate::call;
use crate::id::CallId;
use crate::owed::{Obligation, Owed};
use crate::time::{Due, Run};

pub(super) fn owed(execution: &Execution) -> Vec<Owed> {
    let mut owed = of_phase(execution);
    owed.extend(execution.model_calls.owed());
    let left = execution.uncancelled_children().len();
    if left > 0 {
        owed.push(at_once(Obligation::CancelChildren { left: u32::try_from(left).unwrap_or(u32::MAX) }));
    }
    owed
}

fn of_phase(execution: &Execution) -> Vec<Owed> {
    match &execution.phase {
        Phase::Queued { iteration, since } => {
            vec![Owed { obligation: Obligation::Place { iteration: *iteration }, due: Due::Run(*since) }]
        }
        Phase::Running(iteration) => of_iteration(execution, iteration),
        Phase::Ended { payloads: Payloads::Erasing { through }, .. } => {
            vec![at_once(Obligation::Erase { through: *through })]
        }
        Phase::Ended { .. } => Vec::new(),
    }
}

fn of_iteration(execution: &Execution, iteration: &Iteration) -> Vec<Owed> {
    let number = iteration.number;
    let connection = iteration.binding.map(|binding| binding.connection);
    let mut owed = Vec::with_capacity(3);
    owed.extend(approval::owed(step_calls(&iteration.step)));
    let Some(connection) = connection else {
        if !iteration.waits_for_people() {
            owed.push(at_once(Obligation::Place { iteration: number }));
        }
        owed.extend(open_model_call(iteration));
        owed.extend(calls(iteration, None));
        return owed;
    };
    if iteration.parked && !matches!(iteration.step, Step::Closing { .. }) {
        owed.push(at_once(Obligation::Release { iteration: number, connection, last: false }));
        return owed;
    }
    match &iteration.step {
        Step::Thinking { attempt, call, .. } => match call {
            ModelCall::Due { at } => owed.push(Owed {
                obligation: Obligation::Think {
                    iteration: number,
                    turn: iteration.turns,
                    attempt: *attempt,
                    open: false,
                },
                due: Due::Run(*at),
            }),
            ModelCall::Open { .. } => owed.extend(open_model_call(iteration)),
        },
        Step::Program { call } => owed.push(at_once(Obligation::Program { iteration: number, call: *call })),
        // Its instance's own calls are owed there.
        Step::Told { .. } => {}
        Step::Acting { .. } | Step::Validating { check: Check::Open { .. }, .. } => {
            owed.extend(calls(iteration, Some(connection)));
        }
        Step::Validating { index, check: Check::None, .. } => owed.push(validate(number, *index, None)),
        Step::Validating { index, check: Check::Ended { call }, .. } => {
            owed.push(validate(number, *index, Some(*call)));
        }
        Step::Closing { cause, .. } => {
            let last = match cause {
                Cause::Passed { .. } | Cause::End { .. } => true,
                Cause::Invalid { .. }
                | Cause::Turns
                | Cause::IterationTimeout
                | Cause::Program { .. }
                | Cause::Unanswered { .. } => number >= execution.limits.max_iterations,
            };
            owed.push(at_once(Obligation::Release { iteration: number, connection, last }));
            return owed;
        }
    }
    let limits = execution.limits;
    let due = [execution.wall.due(limits.timeout_ms), iteration.clock.due(limits.iteration_timeout_ms)];
    let least: Option<Run> = due.into_iter().flatten().min();
    owed.extend(least.map(|run| Owed { obligation: Obligation::Expire, due: Due::Run(run) }));
    owed
}

fn calls(iteration: &Iteration, connection: Option<crate::id::ConnectionId>) -> impl Iterator<Item = Owed> {
    let closing = matches!(iteration.step, Step::Closing { .. });
    call::owed(step_calls(&iteration.step), connection).filter(move |_| !closing)
}

/// The end of a model call is owed whether or not the iteration is bound.
fn open_model_call(iteration: &Iteration) -> Option<Owed> {
    match &iteration.step {
        Step::Thinking { attempt, call: ModelCall::Open { .. }, .. } => {
            let (iteration, turn, attempt) = (iteration.number, iteration.turns, *attempt);
            Some(at_once(Obligation::Think { iteration, turn, attempt, open: true }))
        }
        Step::Thinking { call: ModelCall::Due { .. }, .. }
        | Step::Program { .. }
        | Step::Told { .. }
        | Step::Acting { .. }
        | Step::Validating { .. }
        | Step::Closing { .. } => None,
    }
}

fn validate(iteration: u32, index: u32, check: Option<CallId>) -> Owed {
    at_once(Obligation::Validate { iteration, index, check })
}

fn at_once(obligation: Obligation) -> Owed {
    Owed { obligation, due: Due::AT_ONCE }
}
