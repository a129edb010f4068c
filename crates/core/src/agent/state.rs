//! What people do to an agent's stored values: the same changes as its own, with a person as their actor, and refusals where
//! an agent is told of a conflict. Nothing here may read a value.
use super::{Agent, Event, Refusal, known};
use crate::draft::{Draft, Stop, refuse};
use crate::id::AgentId;
use crate::state::{self, Change, Conflict, Space, Write};

impl Event {
    /// The change of state that it is, if it is one.
    pub fn state(&self) -> Option<Change<'_>> {
        match self {
            Event::StateSet(set) => Some(Change::Set(set)),
            Event::StateDeleted(ended) | Event::StateExpired(ended) => Some(Change::Ended(ended)),
            Event::StateDropped(dropped) => Some(Change::Dropped(dropped)),
            Event::StateSessionOver(over) => Some(Change::SessionOver(over)),
            Event::StateQuotaSet { namespace, by, .. } => Some(Change::Quota { namespace, by: *by }),
            Event::StateSweepDue { due } => Some(Change::SweepDue(*due)),
            Event::StateRestored(_) | Event::Archived { .. } | life_events!() | item_events!() | message_events!() => {
                None
            }
        }
    }
}

impl Refusal {
    fn of_state(key: &str, conflict: Conflict) -> Refusal {
        let key = key.to_string();
        match conflict {
            Conflict::Version { current } => Refusal::StateVersion { key, current },
            Conflict::Quota { .. } | Conflict::Keys { .. } => Refusal::StateQuota { key, conflict },
            Conflict::Missing {} => Refusal::StateMissing { key },
            Conflict::Value { .. } | Conflict::Key { .. } | Conflict::Ttl {} | Conflict::WrongQuota {} => {
                Refusal::StateWrong { key, conflict }
            }
        }
    }
}

fn no(key: &str, conflict: Conflict) -> Stop {
    refuse::<Agent>(Refusal::of_state(key, conflict))
}

/// A revoked agent's state stays, for people to read and to mend; a deleted one's is written no more.
fn space(id: AgentId, draft: &mut Draft<'_>) -> Result<Space, Stop> {
    known(id, draft)?.not_deleted()?;
    Ok(Space::persistent(id))
}

pub(super) fn set(id: AgentId, draft: &mut Draft<'_>, write: Write) -> Result<(), Stop> {
    let (space, by, key) = (space(id, draft)?, draft.actor, write.key.clone());
    state::set(draft, &space, by, write)?.map(|_| ()).map_err(|conflict| no(&key, conflict))
}

pub(super) fn delete(id: AgentId, draft: &mut Draft<'_>, key: &str, expected: Option<u64>) -> Result<(), Stop> {
    let (space, by) = (space(id, draft)?, draft.actor);
    state::delete(draft, &space, by, key, expected)?.map(|_| ()).map_err(|conflict| no(key, conflict))
}

pub(super) fn set_quota(id: AgentId, draft: &mut Draft<'_>, quota: u64) -> Result<(), Stop> {
    let space = space(id, draft)?;
    state::set_quota(draft, &space, quota)?.map_err(|conflict| no("", conflict))
}

pub(super) fn restore(id: AgentId, draft: &mut Draft<'_>, values: Vec<Write>) -> Result<(), Stop> {
    space(id, draft)?;
    let by = draft.actor;
    state::restore(draft, id, by, values)?.map_err(|(key, conflict)| no(&key, conflict))
}

pub(super) fn sweep(id: AgentId, draft: &mut Draft<'_>) -> Result<(), Stop> {
    let (now, due) = (draft.wall, known(id, draft)?.state_due);
    let is_due = due.is_some_and(|due| due <= now);
    if is_due && state::sweep(draft, &Space::persistent(id), due)? {
        Ok(())
    } else {
        Err(refuse::<Agent>(Refusal::NothingDue {}))
    }
}
