//! What people do to a project's shared values, and the rules by which its agents may use them. Nothing here may read a
//! value.
use super::{Event, Project, Refusal};
use crate::draft::{Draft, Stop, refuse};
use crate::facts::Counter;
use crate::id::ProjectId;
use crate::row::Row;
use crate::state::{self, ACLS_MAX, Acl, AclRow, Change, Conflict, KEY_BYTES_MAX, Space, Write};
use crate::time::Stamp;

impl Event {
    /// The change of state that it is, if it is one.
    pub fn state(&self) -> Option<Change<'_>> {
        match self {
            Event::StateSet(set) => Some(Change::Set(set)),
            Event::StateDeleted(ended) | Event::StateExpired(ended) => Some(Change::Ended(ended)),
            Event::StateDropped(dropped) => Some(Change::Dropped(dropped)),
            Event::StateQuotaSet { namespace, by, .. } => Some(Change::Quota { namespace, by: *by }),
            Event::StateSweepDue { due } => Some(Change::SweepDue(*due)),
            Event::Founded { .. }
            | Event::DaemonStarted { .. }
            | Event::ClockStepped { .. }
            | Event::RestoreAccepted { .. }
            | Event::KeyRotated(_)
            | Event::Sealed(_)
            | Event::KeyCreated { .. }
            | Event::KeyRevoked { .. }
            | Event::AclSet { .. }
            | Event::AclRemoved { .. }
            | Event::BudgetSet { .. }
            | Event::BudgetNear(_)
            | Event::PolicyApplied { .. }
            | Event::PolicyRejudged { .. }
            | Event::PublisherRemoved { .. }
            | Event::PublisherTrusted { .. }
            | Event::RetentionSet { .. }
            | Event::RetentionDue { .. }
            | Event::Refused(_) => None,
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
    refuse::<Project>(Refusal::of_state(key, conflict))
}

pub(super) fn set(id: ProjectId, draft: &mut Draft<'_>, write: Write) -> Result<(), Stop> {
    let (by, key) = (draft.actor, write.key.clone());
    state::set(draft, &Space::shared(id), by, write)?.map(|_| ()).map_err(|conflict| no(&key, conflict))
}

pub(super) fn delete(id: ProjectId, draft: &mut Draft<'_>, key: &str, expected: Option<u64>) -> Result<(), Stop> {
    let by = draft.actor;
    state::delete(draft, &Space::shared(id), by, key, expected)?.map(|_| ()).map_err(|conflict| no(key, conflict))
}

pub(super) fn set_quota(id: ProjectId, draft: &mut Draft<'_>, quota: u64) -> Result<(), Stop> {
    state::set_quota(draft, &Space::shared(id), quota)?.map_err(|conflict| no("", conflict))
}

pub(super) fn sweep(id: ProjectId, draft: &mut Draft<'_>) -> Result<(), Stop> {
    let (now, due) = (draft.wall, draft.seen::<Project>(id).and_then(|project| project.state_due));
    let is_due = due.is_some_and(|due| due <= now);
    if is_due && state::sweep(draft, &Space::shared(id), due)? {
        Ok(())
    } else {
        Err(refuse::<Project>(Refusal::NothingDue {}))
    }
}

pub(super) fn set_acl(id: ProjectId, draft: &mut Draft<'_>, acl: Acl) -> Result<(), Stop> {
    let prefix_fits = acl.prefix.len() <= KEY_BYTES_MAX && !acl.prefix.chars().any(char::is_control);
    if !prefix_fits || !acl.read.fits() || !acl.write.fits() {
        return Err(refuse::<Project>(Refusal::AclWrong {}));
    }
    let is_new = !draft.acls()?.iter().any(|known| known.prefix == acl.prefix);
    if is_new && draft.count(Counter::StateAcls, &id.to_string())? >= ACLS_MAX {
        return Err(refuse::<Project>(Refusal::AclsFull {}));
    }
    let by = draft.actor;
    Ok(draft.emit::<Project>(id, Event::AclSet { acl, by, is_new })?)
}

pub(super) fn remove_acl(id: ProjectId, draft: &mut Draft<'_>, prefix: String) -> Result<(), Stop> {
    if !draft.acls()?.iter().any(|known| known.prefix == prefix) {
        return Err(refuse::<Project>(Refusal::AclUnknown { prefix }));
    }
    Ok(draft.emit::<Project>(id, Event::AclRemoved { prefix })?)
}

pub(super) fn acl_rows(project: ProjectId, event: &Event, stamp: Stamp) -> Vec<Row> {
    let counted = |by| Row::Counted { counter: Counter::StateAcls, key: project.to_string(), bucket: 0, by };
    match event {
        Event::AclSet { acl, by, is_new } => {
            let Acl { prefix, read, write } = acl.clone();
            let row = Row::Acl(AclRow { prefix, read, write, by: *by, at: stamp.at });
            vec![row, counted(i64::from(*is_new))]
        }
        Event::AclRemoved { prefix } => vec![Row::AclRemoved { prefix: prefix.clone() }, counted(-1)],
        Event::Founded { .. }
        | Event::DaemonStarted { .. }
        | Event::ClockStepped { .. }
        | Event::RestoreAccepted { .. }
        | Event::KeyRotated(_)
        | Event::Sealed(_)
        | Event::KeyCreated { .. }
        | Event::KeyRevoked { .. }
        | Event::StateSet(_)
        | Event::StateDeleted(_)
        | Event::StateExpired(_)
        | Event::StateDropped(_)
        | Event::StateQuotaSet { .. }
        | Event::StateSweepDue { .. }
        | Event::BudgetSet { .. }
        | Event::BudgetNear(_)
        | Event::PolicyApplied { .. }
        | Event::PolicyRejudged { .. }
        | Event::PublisherTrusted { .. }
        | Event::PublisherRemoved { .. }
        | Event::RetentionSet { .. }
        | Event::RetentionDue { .. }
        | Event::Refused(_) => Vec::new(),
    }
}
