//! What a person lets an agent use up in a day and a month, and how messages wait while that is used up. Must never judge
//! a single model call.
use super::{Agent, Event, Refusal, known};
use crate::budget::{self, Allowance, Line, Whose};
use crate::draft::{Draft, Stop, refuse};
use crate::facts::{Counter, Unread};
use crate::id::AgentId;
use crate::manifest::Trigger;
use crate::row::Row;
use crate::time::Time;

pub(super) fn set(id: AgentId, draft: &mut Draft<'_>, lines: Vec<Line>) -> Result<(), Stop> {
    known(id, draft)?.not_deleted()?;
    if !budget::fits(&lines) {
        return Err(refuse::<Agent>(Refusal::BudgetWrong {}));
    }
    Ok(draft.emit::<Agent>(id, Event::BudgetSet { lines })?)
}

/// What waits is tried anew.
pub(super) fn apply(agent: &mut Agent, lines: &[Line]) {
    agent.held_until = None;
    budget::set(&mut agent.budget, lines);
}

/// Of an agent that is over nothing is limited any more.
pub(super) fn over(id: AgentId, before: &[Allowance]) -> Vec<Row> {
    budget::limit_rows(Whose::Agent(id), before, &budget::no_lines())
}

pub(super) fn limited(id: AgentId, before: Option<&Agent>, lines: &[Line]) -> Vec<Row> {
    let known = before.map_or(&[][..], |agent| &agent.budget);
    budget::limit_rows(Whose::Agent(id), known, lines).into_iter().chain(held(id, before, false)).collect()
}

/// Too little is left for a model call: messages that come wait, instead of each beginning what cannot go on.
pub(crate) fn hold_messages(id: AgentId, draft: &mut Draft<'_>, until: Time) -> Result<(), Unread> {
    let Some(agent) = draft.get::<Agent>(id)? else { return Ok(()) };
    if agent.held_until == Some(until) || !agent.triggers.contains(&Trigger::Comms) || agent.not_revoked().is_err() {
        return Ok(());
    }
    draft.emit::<Agent>(id, Event::WakeHeld { until: Some(until) })
}

/// Whether its messages wait for a budget, as a project that raises its own must know.
pub(super) fn held(id: AgentId, before: Option<&Agent>, waits: bool) -> Option<Row> {
    let waited = before.is_some_and(|agent| agent.held_until.is_some());
    let by = i64::from(waits) - i64::from(waited);
    (by != 0).then(|| Row::Counted { counter: Counter::HeldBack, key: id.to_string(), bucket: 0, by })
}
