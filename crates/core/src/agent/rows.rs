//! The rows of an agent's events, and the payloads that they bind. They follow from the event and the fold before it alone.
use super::{Agent, AgentKeyRow, Deployed, Event, RevisionRow};
use crate::aggregate::Stream;
use crate::bound::Hash;
use crate::facts::Namespace;
use crate::id::AgentId;
use crate::row::Row;
use crate::time::Stamp;

pub(super) fn binds(event: &Event, each: &mut dyn FnMut(&Hash)) {
    if let Some(change) = event.state() {
        change.binds(each);
        return;
    }
    match event {
        Event::Created(deployed) | Event::Revised(deployed) => {
            each(&deployed.manifest.hash);
            each(&deployed.plan.hash);
        }
        Event::Paused { .. }
        | Event::Resumed { .. }
        | Event::Woken { .. }
        | Event::WakeSkipped { .. }
        | Event::Killed(_)
        | Event::Revoked(_)
        | Event::Deleted { .. }
        | Event::Archived { .. }
        | Event::KeyCreated { .. }
        | Event::KeyRetired { .. }
        | Event::KeyRevoked { .. }
        | Event::SessionOpened { .. }
        | Event::SessionEnded { .. }
        | Event::Homed { .. }
        | Event::HomeRemoved { .. }
        | Event::FilePut(_)
        | Event::FilePutEnded { .. }
        | Event::ExecutionStarted { .. }
        | Event::ExecutionEnded { .. }
        | Event::StateSet(_)
        | Event::StateDeleted(_)
        | Event::StateExpired(_)
        | Event::StateDropped(_)
        | Event::StateRestored(_)
        | Event::StateSessionOver(_)
        | Event::StateQuotaSet { .. }
        | Event::StateSweepDue { .. }
        | Event::Refused(_) => {}
    }
}

pub(super) fn rows(id: AgentId, before: Option<&Agent>, event: &Event, stamp: Stamp) -> Vec<Row> {
    if let Some(change) = event.state() {
        return change.rows(Stream::Agent(id), stamp);
    }
    match event {
        Event::Created(deployed) => {
            let name = holds(&deployed.name, Some(id));
            [name].into_iter().chain(deployed.rows(stamp)).collect()
        }
        Event::Revised(deployed) => deployed.rows(stamp).into(),
        Event::KeyCreated { key, hash } => vec![Row::AgentKey(AgentKeyRow {
            id: *key,
            agent: id,
            hash: *hash,
            created_at: stamp.at,
            dies_at: None,
            revoked_at: None,
        })],
        Event::KeyRetired { key, dies_at } => vec![Row::AgentKeyRetired { id: *key, dies_at: *dies_at }],
        Event::KeyRevoked { key } => vec![Row::AgentKeyRevoked { id: *key, at: stamp.at }],
        // From now on another one may have its name: the id is the identity.
        Event::Archived { .. } => before.map(|agent| holds(&agent.name, None)).into_iter().collect(),
        Event::Paused { .. }
        | Event::Resumed { .. }
        | Event::Woken { .. }
        | Event::WakeSkipped { .. }
        | Event::Killed(_)
        | Event::Revoked(_)
        | Event::Deleted { .. }
        | Event::SessionOpened { .. }
        | Event::SessionEnded { .. }
        | Event::Homed { .. }
        | Event::HomeRemoved { .. }
        | Event::FilePut(_)
        | Event::FilePutEnded { .. }
        | Event::ExecutionStarted { .. }
        | Event::ExecutionEnded { .. }
        | Event::StateSet(_)
        | Event::StateDeleted(_)
        | Event::StateExpired(_)
        | Event::StateDropped(_)
        | Event::StateRestored(_)
        | Event::StateSessionOver(_)
        | Event::StateQuotaSet { .. }
        | Event::StateSweepDue { .. }
        | Event::Refused(_) => Vec::new(),
    }
}

impl Deployed {
    fn rows(&self, stamp: Stamp) -> [Row; 2] {
        let (agent, name, listed, at) = (self.agent, self.name.clone(), self.listed.clone(), stamp.at);
        let revision = RevisionRow {
            agent,
            number: self.revision,
            version: self.listed.version.clone(),
            digest: self.digest,
            manifest: self.manifest.hash,
            plan: self.plan.hash,
            at,
        };
        [Row::Deployed { agent, name, listed, at }, Row::Revision(revision)]
    }
}

fn holds(name: &str, holder: Option<AgentId>) -> Row {
    let holder = holder.map(|id| id.to_string());
    Row::Held { namespace: Namespace::AgentName, key: name.to_ascii_lowercase(), holder }
}
