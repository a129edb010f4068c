//! What the world owes the folded state, and when. Pure: the writer diffs it before and after each command and keeps
//! the difference as rows; reconcilers read those rows and nothing else.
use crate::agent;
use crate::execution::{Cause, Check, Execution, Iteration, Phase, Step, Thought};
use crate::fleet::{Lapsed, Worker};
use crate::fold::Fold;
use crate::id::{CallId, LeaseId, SessionId};
use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    pub deed: Deed,
    /// Not before this moment.
    pub at: Time,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "deed", rename_all = "snake_case")]
pub enum Deed {
    /// Give a queued or unbound execution to a worker.
    Bind {
        iteration: u32,
    },
    /// Call the model; `open`: it was called, and its end is owed.
    Think {
        iteration: u32,
        turn: u32,
        attempt: u32,
        open: bool,
    },
    /// Send a called call to its worker, and bring its outcome.
    Dispatch {
        call: CallId,
        lease: LeaseId,
        session: SessionId,
    },
    Validate {
        iteration: u32,
        index: u32,
        check: Option<CallId>,
    },
    /// Destroy the jail of a closing iteration. `last`: none comes after it.
    Release {
        iteration: u32,
        session: SessionId,
        last: bool,
    },
    /// A clock runs out.
    Expire,
    /// Give back what a lapsed session held.
    Sweep {
        session: SessionId,
        since: Time,
    },
    /// Cancel the executions of a deleted agent, then archive it.
    Leave,
}

/// The reconciler that a deed belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Bind,
    Think,
    Dispatch,
    Validate,
    Release,
    Expire,
    Sweep,
    Leave,
}

impl Kind {
    pub const ALL: [Kind; 8] = [
        Kind::Bind,
        Kind::Think,
        Kind::Dispatch,
        Kind::Validate,
        Kind::Release,
        Kind::Expire,
        Kind::Sweep,
        Kind::Leave,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Kind::Bind => "bind",
            Kind::Think => "think",
            Kind::Dispatch => "dispatch",
            Kind::Validate => "validate",
            Kind::Release => "release",
            Kind::Expire => "expire",
            Kind::Sweep => "sweep",
            Kind::Leave => "leave",
        }
    }
}

impl Deed {
    pub fn kind(&self) -> Kind {
        match self {
            Deed::Bind { .. } => Kind::Bind,
            Deed::Think { .. } => Kind::Think,
            Deed::Dispatch { .. } => Kind::Dispatch,
            Deed::Validate { .. } => Kind::Validate,
            Deed::Release { .. } => Kind::Release,
            Deed::Expire => Kind::Expire,
            Deed::Sweep { .. } => Kind::Sweep,
            Deed::Leave => Kind::Leave,
        }
    }
}

impl fmt::Display for Deed {
    /// The key of its row: unique among what one stream owes at a time.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Deed::Bind { iteration } => write!(f, "bind:{iteration}"),
            Deed::Think { iteration, turn, attempt, open } => {
                write!(f, "think:{iteration}:{turn}:{attempt}:{}", if *open { "open" } else { "due" })
            }
            Deed::Dispatch { call, lease, session } => write!(f, "dispatch:{call}:{lease}:{session}"),
            Deed::Validate { iteration, index, check: None } => write!(f, "validate:{iteration}:{index}"),
            Deed::Validate { iteration, index, check: Some(call) } => write!(f, "validate:{iteration}:{index}:{call}"),
            Deed::Release { iteration, session, last: false } => write!(f, "release:{iteration}:{session}"),
            Deed::Release { iteration, session, last: true } => write!(f, "release-last:{iteration}:{session}"),
            Deed::Expire => f.write_str("expire"),
            Deed::Sweep { session, since } => write!(f, "sweep:{session}:{}", since.millis()),
            Deed::Leave => f.write_str("leave"),
        }
    }
}

impl std::str::FromStr for Deed {
    type Err = String;

    fn from_str(text: &str) -> Result<Deed, String> {
        let parts: Vec<&str> = text.split(':').collect();
        parse(&parts).ok_or_else(|| format!("`{text}` is no owed deed"))
    }
}

fn parse(parts: &[&str]) -> Option<Deed> {
    Some(match parts {
        ["bind", iteration] => Deed::Bind { iteration: iteration.parse().ok()? },
        ["think", iteration, turn, attempt, state] => Deed::Think {
            iteration: iteration.parse().ok()?,
            turn: turn.parse().ok()?,
            attempt: attempt.parse().ok()?,
            open: *state == "open",
        },
        ["dispatch", call, lease, session] => {
            Deed::Dispatch { call: call.parse().ok()?, lease: lease.parse().ok()?, session: session.parse().ok()? }
        }
        ["validate", iteration, index] => {
            Deed::Validate { iteration: iteration.parse().ok()?, index: index.parse().ok()?, check: None }
        }
        ["validate", iteration, index, call] => {
            Deed::Validate { iteration: iteration.parse().ok()?, index: index.parse().ok()?, check: call.parse().ok() }
        }
        [word @ ("release" | "release-last"), iteration, session] => {
            let last = *word == "release-last";
            Deed::Release { iteration: iteration.parse().ok()?, session: session.parse().ok()?, last }
        }
        ["expire"] => Deed::Expire,
        ["sweep", session, since] => {
            Deed::Sweep { session: session.parse().ok()?, since: Time::from_millis(since.parse().ok()?) }
        }
        ["leave"] => Deed::Leave,
        _ => return None,
    })
}

pub fn owed(fold: &Fold) -> Vec<Owed> {
    match fold {
        Fold::Project(_) => Vec::new(),
        Fold::Agent(agent) => match agent.state {
            agent::State::Leaving { since } => vec![Owed { deed: Deed::Leave, at: since }],
            agent::State::Deployed | agent::State::Archived { .. } => Vec::new(),
        },
        Fold::Worker(worker) => sweeps(worker),
        Fold::Execution(execution) => match &execution.phase {
            Phase::Queued { iteration, since } => {
                vec![Owed { deed: Deed::Bind { iteration: *iteration }, at: *since }]
            }
            Phase::Running(iteration) => of_iteration(execution, iteration),
            Phase::Ended(_) => Vec::new(),
        },
    }
}

const AT_ONCE: Time = Time::from_millis(0);

fn sweeps(worker: &Worker) -> Vec<Owed> {
    let sweep = |lapsed: &Lapsed| Deed::Sweep { session: lapsed.session, since: lapsed.since };
    worker.sweeping.iter().map(|lapsed| Owed { deed: sweep(lapsed), at: AT_ONCE }).collect()
}

fn of_iteration(execution: &Execution, iteration: &Iteration) -> Vec<Owed> {
    let number = iteration.number;
    let Some(binding) = iteration.binding else {
        let think_open = open_thought(iteration);
        let bind = Owed { deed: Deed::Bind { iteration: number }, at: AT_ONCE };
        return std::iter::once(bind).chain(think_open).collect();
    };
    let mut owed = Vec::with_capacity(3);
    match &iteration.step {
        Step::Thinking { attempt, thought, .. } => match thought {
            Thought::Due { at } => {
                let deed = Deed::Think { iteration: number, turn: iteration.turns, attempt: *attempt, open: false };
                owed.push(Owed { deed, at: *at });
            }
            Thought::Open { .. } => owed.extend(open_thought(iteration)),
        },
        Step::Acting { calls } => owed.extend(calls.iter().filter_map(|call| dispatch(call, binding.session))),
        Step::Validating { index, check, .. } => match check {
            Check::None => owed.push(validate(number, *index, None)),
            Check::Ended { call } => owed.push(validate(number, *index, Some(*call))),
            Check::Open { call } => owed.extend(dispatch(call, binding.session)),
        },
        Step::Closing { cause, .. } => {
            let last = match cause {
                Cause::Passed { .. } | Cause::End { .. } => true,
                Cause::Invalid { .. } | Cause::Turns | Cause::IterationTimeout | Cause::Unanswered { .. } => {
                    number >= execution.terms.limits.max_iterations
                }
            };
            let deed = Deed::Release { iteration: number, session: binding.session, last };
            owed.push(Owed { deed, at: AT_ONCE });
            return owed;
        }
    }
    let limits = execution.terms.limits;
    let due = [execution.wall.due(limits.timeout_ms), iteration.clock.due(limits.iteration_timeout_ms)];
    owed.extend(due.into_iter().flatten().min().map(|at| Owed { deed: Deed::Expire, at }));
    owed
}

/// The end of a model call is owed whether or not the iteration is bound.
fn open_thought(iteration: &Iteration) -> Option<Owed> {
    match &iteration.step {
        Step::Thinking { attempt, thought: Thought::Open { .. }, .. } => {
            let (iteration, turn, attempt) = (iteration.number, iteration.turns, *attempt);
            Some(Owed { deed: Deed::Think { iteration, turn, attempt, open: true }, at: AT_ONCE })
        }
        Step::Thinking { thought: Thought::Due { .. }, .. }
        | Step::Acting { .. }
        | Step::Validating { .. }
        | Step::Closing { .. } => None,
    }
}

fn validate(iteration: u32, index: u32, check: Option<CallId>) -> Owed {
    Owed { deed: Deed::Validate { iteration, index, check }, at: AT_ONCE }
}

fn dispatch(call: &crate::call::Open, session: SessionId) -> Option<Owed> {
    let (lease, _) = call.lease()?;
    Some(Owed { deed: Deed::Dispatch { call: call.id, lease, session }, at: AT_ONCE })
}
