//! Where values are kept that a request is about: an agent's, or those that agents share.
use std::collections::BTreeMap;

use tenure_core::actor::Actor;
use tenure_core::aggregate::Command;
use tenure_core::id::AgentId;
use tenure_core::state::{Entry, Home, Space, Write};
use tenure_core::{agent, project};
use tenure_store::Error;
use tenure_store::rows::agents;
use tenure_store::sql::Sql;

use super::super::ApiState;
use super::super::problem::Failure;

#[derive(Debug, Clone)]
pub(super) struct Place(pub(super) Space);

/// Names of agents by their ids.
pub(super) type Names = BTreeMap<AgentId, String>;

/// The names of the agents that these entries are of, or were written by.
pub(super) fn names_of<'e>(sql: &mut dyn Sql, entries: impl Iterator<Item = &'e Entry>) -> Result<Names, Error> {
    let ids = entries.flat_map(|entry| {
        let home = if let Home::Agent(id) = entry.home { Some(id) } else { None };
        let by = if let Actor::Agent(id) = entry.by { Some(id) } else { None };
        home.into_iter().chain(by)
    });
    let mut names = Names::new();
    for id in ids {
        if !names.contains_key(&id)
            && let Some(name) = agents::name_of(sql, id)?
        {
            names.insert(id, name);
        }
    }
    Ok(names)
}

impl ApiState {
    pub(super) async fn agents_place(&self, wanted: &str) -> Result<Place, Failure> {
        Ok(Place::of_agent(self.agent(wanted).await?.id))
    }

    pub(super) fn shared_place(&self) -> Place {
        Place(Space::shared(self.app.committer.project()))
    }
}

impl Place {
    pub(super) fn of_agent(id: AgentId) -> Place {
        Place(Space::persistent(id))
    }

    /// Name and id of the agent whose value it is; of a shared one, of the agent that wrote it.
    pub(super) fn owner(&self, entry: &Entry, names: &Names) -> (Option<String>, Option<AgentId>) {
        let id = match (self.0.home, entry.by) {
            (Home::Agent(id), _) | (_, Actor::Agent(id)) => id,
            (Home::Project(_), _) => return (None, None),
        };
        (names.get(&id).cloned(), Some(id))
    }

    pub(super) fn set(&self, write: Write) -> Command {
        match self.0.home {
            Home::Project(id) => Command::Project(id, project::Command::SetShared(write)),
            Home::Agent(id) => Command::Agent(id, agent::Command::SetState(write)),
        }
    }

    pub(super) fn remove(&self, key: String, expected: Option<u64>) -> Command {
        match self.0.home {
            Home::Project(id) => Command::Project(id, project::Command::DeleteShared { key, expected }),
            Home::Agent(id) => Command::Agent(id, agent::Command::DeleteState { key, expected }),
        }
    }

    pub(super) fn limit(&self, quota: u64) -> Command {
        match self.0.home {
            Home::Project(id) => Command::Project(id, project::Command::SetSharedQuota { quota }),
            Home::Agent(id) => Command::Agent(id, agent::Command::SetStateQuota { quota }),
        }
    }
}
