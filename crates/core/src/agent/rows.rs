//! The rows of an agent, and the payloads that its events bind. They follow from the event and the fold before it, or from the
//! state, alone.
use super::{
    Agent, AgentKeyRow, Deployed, Event, Listed, State, Supervised, alert, approval, budget, mailbox, planned,
};
use crate::bound::Hash;
use crate::facts::Namespace;
use crate::id::{AgentId, WorkerId};
use crate::row::Row;
use crate::state::Home;
use crate::time::{Stamp, Time};

/// What changes of an agent's list entry with its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub state: String,
    pub status: Status,
    pub supervised: Option<Supervised>,
    pub revision: u32,
    pub home: Option<WorkerId>,
    /// Executions that have not ended.
    pub open: u32,
    pub last_started_at: Option<Time>,
    pub last_ended_at: Option<Time>,
    /// When its schedule wakes it next, while that is waited for.
    pub next_run_at: Option<Time>,
    pub last_woken_at: Option<Time>,
    /// Sessions that have not ended.
    pub sessions: u32,
    pub last_session_at: Option<Time>,
    pub messages_waiting: u32,
}

/// The one word for what an agent's state and its presence come to.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, strum::Display, strum::EnumIter, strum::EnumString, strum::IntoStaticStr,
)]
#[strum(serialize_all = "snake_case")]
pub enum Status {
    /// Nothing of it has ever run.
    Registered,
    Active,
    Idle,
    Paused,
    Quarantined,
    Revoked,
    /// Deleted, also while the last of its executions ends.
    Archived,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Agent {
    pub fn status(&self) -> Status {
        let present = self.open.saturating_add(u32::try_from(self.sessions.len()).unwrap_or(u32::MAX));
        match (&self.state, present, self.last_ended_at.or(self.last_session_at)) {
            (State::Deployed, 0, None) => Status::Registered,
            (State::Deployed, 0, Some(_)) => Status::Idle,
            (State::Deployed, _, _) => Status::Active,
            (State::Paused { .. }, ..) => Status::Paused,
            (State::Quarantined(_), ..) => Status::Quarantined,
            (State::Revoked(_), ..) => Status::Revoked,
            (State::Deleting { .. } | State::Archived { .. }, ..) => Status::Archived,
        }
    }
}

/// An agent as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentRow {
    pub id: AgentId,
    pub name: String,
    pub listed: Listed,
    pub standing: Standing,
    pub created_at: Time,
    /// When it was deployed last.
    pub at: Time,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionRow {
    pub agent: AgentId,
    pub number: u32,
    pub version: Option<String>,
    pub digest: Hash,
    pub manifest: Hash,
    pub plan: Hash,
    pub at: Time,
}

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
        Event::Quarantined { evidence, .. } => each(&evidence.hash),
        Event::MessageSent { envelope, .. } | Event::MessageQueued { envelope, .. } => each(&envelope.body.hash),
        planned_events!() => planned::binds(event, each),
        alert_events!() => alert::binds(event, each),
        grant_events!() => {}
        Event::Paused { .. }
        | Event::Resumed { .. }
        | Event::Woken { .. }
        | Event::WakeSkipped { .. }
        | Event::WakeHeld { .. }
        | Event::BudgetSet { .. }
        | Event::BudgetNear(_)
        | Event::Killed(_)
        | Event::Recovered { .. }
        | Event::Revoked(_)
        | Event::Deleted { .. }
        | Event::Archived { .. }
        | Event::KeyCreated { .. }
        | Event::KeyRetired { .. }
        | Event::KeyRevoked { .. }
        | Event::SessionOpened { .. }
        | Event::SessionEnded { .. }
        | Event::InstanceStarted { .. }
        | Event::InstanceEnded { .. }
        | Event::Homed { .. }
        | Event::HomeRemoved { .. }
        | Event::FilePut(_)
        | Event::FilePutEnded { .. }
        | Event::ExecutionStarted { .. }
        | Event::ExecutionEnded { .. }
        | Event::RetentionDue { .. }
        | state_events!()
        | message_events_without_body!()
        | Event::Refused(_) => {}
    }
}

pub(super) fn of_event(id: AgentId, before: Option<&Agent>, event: &Event, stamp: Stamp) -> Vec<Row> {
    if let Some(change) = event.state() {
        return change.rows(Home::Agent(id), stamp);
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
        Event::Archived { .. } => {
            let rows = before.map(|agent| {
                let left =
                    agent.mailbox.left(id).chain(planned::left(agent, id)).chain(budget::over(id, &agent.budget));
                let left = left.chain(budget::held(id, Some(agent), false));
                std::iter::once(holds(&agent.name, None)).chain(left)
            });
            rows.into_iter().flatten().collect()
        }
        message_events!() => mailbox::rows(id, event, stamp),
        planned_events!() => planned::rows(id, event, stamp),
        alert_events!() => alert::rows(id, event, stamp),
        grant_events!() => approval::rows(id, before, event, stamp),
        Event::ExecutionEnded { execution } => approval::over_with(id, before, *execution, stamp),
        Event::Woken { .. } => budget::held(id, before, false).into_iter().collect(),
        Event::WakeHeld { until } => budget::held(id, before, until.is_some()).into_iter().collect(),
        Event::Quarantined { .. } | Event::Revoked(_) => budget::held(id, before, false).into_iter().collect(),
        Event::BudgetSet { lines } => budget::limited(id, before, lines),
        Event::Paused { .. }
        | Event::Resumed { .. }
        | Event::BudgetNear(_)
        | Event::WakeSkipped { .. }
        | Event::Killed(_)
        | Event::Recovered { .. }
        | Event::Deleted { .. }
        | Event::SessionOpened { .. }
        | Event::SessionEnded { .. }
        | Event::InstanceStarted { .. }
        | Event::InstanceEnded { .. }
        | Event::Homed { .. }
        | Event::HomeRemoved { .. }
        | Event::FilePut(_)
        | Event::FilePutEnded { .. }
        | Event::ExecutionStarted { .. }
        | Event::RetentionDue { .. }
        | state_events!()
        | Event::Refused(_) => Vec::new(),
    }
}

impl Agent {
    pub(super) fn standing(&self) -> Standing {
        Standing {
            state: self.state.as_str().to_string(),
            status: self.status(),
            supervised: self.supervised(),
            revision: self.revision,
            home: self.home,
            open: self.open,
            last_started_at: self.last_started_at,
            last_ended_at: self.last_ended_at,
            next_run_at: self.next_wake().map(|next| next.due).into_iter().chain(self.next_planned()).min(),
            last_woken_at: self.last_woken_at,
            sessions: u32::try_from(self.sessions.len()).unwrap_or(u32::MAX),
            last_session_at: self.last_session_at,
            messages_waiting: self.mailbox.waiting,
        }
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
