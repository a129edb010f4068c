//! What the world owes an agent: its wakes, the ends of pauses and keys, the cancelling of what runs of one that is killed or gone.
use super::{Agent, State, Waking};
use crate::owed::{Obligation, Owed};
use crate::time::Due;

pub(super) fn owed(agent: &Agent) -> Vec<Owed> {
    let mut owed = Vec::new();
    let mut owe = |obligation, due| owed.push(Owed { obligation, due });
    if let Some(dies_at) = agent.keys.iter().filter_map(|key| key.dies_at).min() {
        owe(Obligation::EndKey, Due::Wall(dies_at));
    }
    if agent.is_ending() {
        owe(Obligation::CancelExecutions, Due::AT_ONCE);
    }
    if let Some(next) = agent.next_wake() {
        owe(Obligation::Wake { waking: Waking::Schedule { scheduled: next.scheduled } }, Due::Wall(next.due));
    }
    if let Some(due) = agent.next_planned() {
        owe(Obligation::Wake { waking: Waking::Planned { due } }, Due::Wall(due));
    }
    if let Some(due) = agent.state_due {
        owe(Obligation::SweepState, Due::Wall(due));
    }
    if let Some(due) = agent.keeping.due {
        owe(Obligation::Retain { due }, Due::Wall(due));
    }
    match (&agent.state, agent.home) {
        (State::Paused { until: Some(until), .. }, _) => owe(Obligation::EndPause, Due::Wall(*until)),
        (State::Archived { home_due: Some(due) }, Some(worker)) => {
            owe(Obligation::RemoveHome { worker }, Due::Wall(*due));
        }
        (
            State::Deployed
            | State::Paused { .. }
            | State::Quarantined(_)
            | State::Revoked(_)
            | State::Deleting { .. }
            | State::Archived { .. },
            _,
        ) => {}
    }
    agent.mailbox.owed(agent, &mut owed);
    owed
}
