//! What a person lets all agents of a project together use up in a day and a month. Must never judge a single model call.
use super::{Event, Project, Refusal};
use crate::agent::{self, Agent};
use crate::budget::{self, Line, Whose};
use crate::draft::{Draft, Stop, refuse};
use crate::facts::Counter;
use crate::id::{AgentId, ProjectId};
use crate::row::Row;

/// Agents whose messages wait for a budget may be woken now; those beyond a page are when it opens by itself.
pub(super) fn set(id: ProjectId, draft: &mut Draft<'_>, lines: Vec<Line>) -> Result<(), Stop> {
    if !budget::fits(&lines) {
        return Err(refuse::<Project>(Refusal::BudgetWrong {}));
    }
    draft.emit::<Project>(id, Event::BudgetSet { lines })?;
    for (key, _) in draft.page(Counter::HeldBack)? {
        let Ok(held) = key.parse::<AgentId>() else { continue };
        if draft.get::<Agent>(held)?.is_some_and(|agent| agent.held_until.is_some()) {
            draft.emit::<Agent>(held, agent::Event::WakeHeld { until: None })?;
        }
    }
    Ok(())
}

pub(super) fn rows(before: Option<&Project>, lines: &[Line]) -> Vec<Row> {
    budget::limit_rows(Whose::Project, before.map_or(&[], |project| &project.budget), lines)
}
