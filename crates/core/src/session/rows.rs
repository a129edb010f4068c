//! Rows of a session: what lists show of it, its calls, and what its limits are counted by.
use super::{Event, Session};
use crate::bound::Hash;
use crate::call::{self, Holder};
use crate::facts::{Counter, Namespace};
use crate::id::{AgentId, KeyId, SessionId};
use crate::row::Row;
use crate::time::{Stamp, Time};

/// A session as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    pub id: SessionId,
    pub agent: AgentId,
    pub agent_name: String,
    pub key: KeyId,
    pub opened_at: Time,
    pub heard_at: Time,
    pub invocations: u32,
    /// Why it ended.
    pub ending: Option<String>,
    pub ended_at: Option<Time>,
}

impl Session {
    pub fn row(&self, id: SessionId) -> SessionRow {
        SessionRow {
            id,
            agent: self.agent,
            agent_name: self.agent_name.clone(),
            key: self.key,
            opened_at: self.opened_at,
            heard_at: self.heard_at,
            invocations: self.invocations,
            ending: self.ended.as_ref().map(|ended| ended.ending.as_str().to_string()),
            ended_at: self.ended.as_ref().map(|ended| ended.at),
        }
    }
}

/// The bucket of a counter; 0 is for all time.
pub(super) fn minute(stamp: Stamp) -> u64 {
    1 + stamp.run.millis() / 60_000
}

/// What an idempotency key is held under.
pub(super) fn invocation(agent: AgentId, idempotency: Hash) -> String {
    format!("{agent}:{idempotency}")
}

pub(super) fn of_event(id: SessionId, before: Option<&Session>, event: &Event, stamp: Stamp) -> Vec<Row> {
    let counted = |agent: AgentId| Row::Counted {
        counter: Counter::SessionCalls,
        key: agent.to_string(),
        bucket: minute(stamp),
        by: 1,
    };
    match event {
        Event::Opened { agent, .. } => vec![counted(*agent)],
        Event::Invoked { ordinal, idempotency, call, .. } => {
            let Some(session) = before else { return Vec::new() };
            let held = Row::Held {
                namespace: Namespace::InvocationKey,
                key: invocation(session.agent, *idempotency),
                holder: Some(call.call.to_string()),
            };
            vec![counted(session.agent), held, call.row(Holder::Session(id), 0, 0, *ordinal, false)]
        }
        Event::CallCalled(called) => vec![call::called_row(called, stamp)],
        Event::CallBlocked { call, blocked, .. } => vec![call::blocked_row(*call, blocked, stamp)],
        Event::CallEnded(ended) => vec![call::ended_row(ended, stamp)],
        Event::Heard { .. } | Event::Ended { .. } | Event::Refused(_) => Vec::new(),
    }
}

pub(super) fn binds(event: &Event, each: &mut dyn FnMut(&Hash)) {
    match event {
        Event::Invoked { call, .. } => {
            each(&call.arguments.hash);
            each(&call.attributes.hash);
        }
        Event::CallCalled(called) => {
            each(&called.arguments);
            each(&called.attributes);
        }
        Event::CallEnded(ended) => ended.result.iter().chain(&ended.attributes).for_each(|bound| each(&bound.hash)),
        Event::Opened { .. }
        | Event::Heard { .. }
        | Event::CallBlocked { .. }
        | Event::Ended { .. }
        | Event::Refused(_) => {}
    }
}
