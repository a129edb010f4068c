//! What is asked of an execution's fold: where it stands, and which of its parts are open. Must never change it.
use super::{Ending, Execution, Iteration, ModelCall, Phase, Status, Step, iteration};
use crate::binding::Binding;
use crate::call::Open;
use crate::id::CallId;

impl Execution {
    pub fn iteration(&self) -> Option<&Iteration> {
        match &self.phase {
            Phase::Running(iteration) => Some(iteration),
            Phase::Queued { .. } | Phase::Ended { .. } => None,
        }
    }

    pub(super) fn iteration_mut(&mut self) -> Option<&mut Iteration> {
        match &mut self.phase {
            Phase::Running(iteration) => Some(iteration),
            Phase::Queued { .. } | Phase::Ended { .. } => None,
        }
    }

    /// A call of it that has no end yet.
    pub fn call(&self, id: CallId) -> Option<&Open> {
        iteration::step_calls(&self.iteration()?.step).iter().find(|call| call.id == id)
    }

    /// Whether it has been at work and is not over: it counts among those that its agent may have at a time.
    pub fn has_begun(&self) -> bool {
        match &self.phase {
            Phase::Running(_) => true,
            Phase::Queued { iteration, .. } => *iteration > 1,
            Phase::Ended { .. } => false,
        }
    }

    /// Why its model is asked again, while it is.
    pub(super) fn retried_failure(&self) -> Option<&str> {
        match self.iteration().map(|iteration| &iteration.step) {
            Some(Step::Thinking { failure, .. }) => failure.as_deref(),
            Some(
                Step::Program { .. }
                | Step::Told { .. }
                | Step::Acting { .. }
                | Step::Validating { .. }
                | Step::Closing { .. },
            )
            | None => None,
        }
    }

    pub fn binding(&self) -> Option<Binding> {
        self.iteration().and_then(|iteration| iteration.binding)
    }

    /// What it is at, and for `waiting` what it waits for.
    pub fn status(&self) -> (Status, Option<&'static str>) {
        match &self.phase {
            Phase::Queued { .. } => (Status::Queued, None),
            Phase::Running(iteration) if iteration.waits_for_people() => (Status::Waiting, Some("approval")),
            Phase::Running(Iteration { binding: None, .. }) => (Status::Waiting, Some("worker")),
            Phase::Running(iteration) => match &iteration.step {
                Step::Thinking { retries, call: ModelCall::Due { .. }, .. } if *retries > 0 => {
                    (Status::Waiting, Some("model retry"))
                }
                Step::Thinking { .. }
                | Step::Program { .. }
                | Step::Told { .. }
                | Step::Acting { .. }
                | Step::Validating { .. }
                | Step::Closing { .. } => (Status::Running, None),
            },
            Phase::Ended { ending: Ending::Completed { .. }, .. } => (Status::Completed, None),
            Phase::Ended { ending: Ending::Failed { .. }, .. } => (Status::Failed, None),
            Phase::Ended { ending: Ending::Cancelled { .. }, .. } => (Status::Cancelled, None),
        }
    }
}
