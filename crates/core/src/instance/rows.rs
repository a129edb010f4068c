//! An instance as lists show it.
use super::{Health, Instance, Phase};
use crate::id::{AgentId, CallId, InstanceId, SessionId};
use crate::time::Time;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceRow {
    pub id: InstanceId,
    pub agent: AgentId,
    pub agent_name: String,
    /// `due`, `starting`, `ready`, `stopping` or `stopped`.
    pub state: String,
    /// Why it stops, or is stopped.
    pub why: Option<String>,
    /// Of the program that runs, or ran last.
    pub revision: u32,
    pub starts: u32,
    /// Crashes that count at the last of them.
    pub crashes: u32,
    /// The call that told of the last of them.
    pub crashed_by: Option<CallId>,
    /// That the program has and has not answered.
    pub messages: u32,
    pub session: Option<SessionId>,
    pub created_at: Time,
    /// Since when its program is ready.
    pub ready_at: Option<Time>,
    pub stopped_at: Option<Time>,
    pub health: Option<Health>,
}

impl Instance {
    pub(super) fn row(&self, id: InstanceId) -> InstanceRow {
        let (state, why) = match &self.phase {
            Phase::Due { .. } => ("due", None),
            Phase::Starting { .. } => ("starting", None),
            Phase::Ready { .. } => ("ready", None),
            Phase::Stopping { why, .. } => ("stopping", Some(why.as_str().to_string())),
            Phase::Stopped { why, .. } => ("stopped", Some(why.as_str().to_string())),
        };
        let (ready_at, health) = match &self.phase {
            Phase::Ready { since, health, .. } => (Some(*since), health.clone()),
            Phase::Due { .. } | Phase::Starting { .. } | Phase::Stopping { .. } | Phase::Stopped { .. } => (None, None),
        };
        let stopped_at = if let Phase::Stopped { at, .. } = &self.phase { Some(*at) } else { None };
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        InstanceRow {
            id,
            agent: self.agent,
            agent_name: self.agent_name.clone(),
            state: state.to_string(),
            why,
            revision: self.revision,
            starts: self.starts,
            crashes: count(self.crashes.len()),
            crashed_by: self.crashed_by,
            messages: count(self.messages.len()),
            session: self.program().map(|program| program.session),
            created_at: self.created_at,
            ready_at,
            stopped_at,
            health,
        }
    }
}
