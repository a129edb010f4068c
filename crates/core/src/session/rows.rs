//! Rows of a session: what lists show of it, its calls, and what its limits are counted by.
use super::{Event, Opener, Session};
use crate::approval;
use crate::binding::{self, Use};
use crate::bound::{Bound, Hash};
use crate::call::{self, Blocked, Holder};
use crate::facts::{Counter, Namespace};
use crate::id::{AgentId, CallId, ConnectionId, SessionId};
use crate::retention;
use crate::retention::erasing::Payloads;
use crate::row::Row;
use crate::time::{Stamp, Time};

/// A session as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    pub id: SessionId,
    pub agent: AgentId,
    pub agent_name: String,
    pub opener: Opener,
    pub opened_at: Time,
    pub heard_at: Time,
    pub invocations: u32,
    /// Why it ended.
    pub ending: Option<String>,
    pub ended_at: Option<Time>,
    /// Calls that have no end yet.
    pub calls: u32,
    /// When the first of those was asked for that wait for a worker; none where none waits.
    pub waiting_since: Option<Time>,
    /// Jails that it has had, the present one included.
    pub jails: u32,
    /// That its jail is of, or that of the call for which it waits.
    pub revision: Option<u32>,
    pub connection: Option<ConnectionId>,
    /// Its jail takes no further call.
    pub jail_ends: bool,
    /// Bytes that its calls bound, once it has ended and none of them is open; none once they are erased.
    pub kept_bytes: Option<u64>,
    pub erased_at: Option<Time>,
}

impl Session {
    pub fn row(&self, id: SessionId) -> SessionRow {
        SessionRow {
            id,
            agent: self.agent,
            agent_name: self.agent_name.clone(),
            opener: self.opener,
            opened_at: self.opened_at,
            heard_at: self.heard_at,
            invocations: self.invocations,
            ending: self.ended.as_ref().map(|ended| ended.ending.as_str().to_string()),
            ended_at: self.ended.as_ref().map(|ended| ended.at),
            calls: u32::try_from(self.calls.len()).unwrap_or(u32::MAX),
            waiting_since: self.waits().map(|first| first.asked_at),
            jails: self.jails,
            revision: self.jail.map(|jail| jail.revision).or_else(|| self.waits().map(|first| first.revision)),
            connection: self.jail.map(|jail| jail.binding.connection),
            jail_ends: self.jail.is_some_and(|jail| jail.yielding || jail.releasing),
            kept_bytes: self.settled().and_then(Payloads::bytes),
            erased_at: self.settled().and_then(Payloads::erased_at),
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
        Event::HookAsked { ordinal, call, .. } => vec![call.row(Holder::Session(id), 0, 0, *ordinal, true)],
        Event::CallCalled(called) => {
            before.map(|session| call::called_rows(session.agent, called, stamp)).unwrap_or_default()
        }
        Event::CallHeld(held) => approval::held_rows(asked(id, before, held.call), held, stamp),
        Event::CallAllowed(allowed) => approval::allowed_rows(asked(id, before, allowed.call), allowed, stamp),
        Event::CallReleased(released) => approval::released_rows(asked(id, before, released.call), released, stamp),
        Event::CallRecalled(recalled) => vec![call::recalled_row(recalled, stamp)],
        Event::CallBlocked { call, blocked, .. } => {
            let answered = approval::blocked_row(asked(id, before, *call), blocked, stamp);
            let rows = std::iter::once(call::blocked_row(*call, blocked, stamp)).chain(answered);
            rows.chain(freed(before, *call, blocked)).collect()
        }
        Event::CallEnded(ended) => vec![call::ended_row(ended, stamp)],
        Event::Heard { .. }
        | Event::Bound { .. }
        | Event::Unbound { .. }
        | Event::JailLost { .. }
        | Event::Yielding { .. }
        | Event::Releasing { .. }
        | Event::Released { .. }
        | Event::NetworkRefused { .. }
        | Event::CancelRequested { .. }
        | Event::Ended { .. }
        | Event::Refused(_) => Vec::new(),
        Event::PayloadErased { payload, .. } => vec![Row::Erased { hash: *payload }],
        Event::Erased { payloads, .. } => payloads.iter().map(|hash| Row::Erased { hash: *hash }).collect(),
    }
}

/// A program that was lost before its call began asks for it again under the same key, once it is told of its message again.
fn freed(before: Option<&Session>, call: CallId, blocked: &Blocked) -> Option<Row> {
    let never_began = matches!(blocked, Blocked::Withdrawn | Blocked::Expired | Blocked::Cancelled);
    let session = before.filter(|_| never_began)?;
    let idempotency = session.calls.iter().find(|held| held.call.id == call)?.key?;
    let key = invocation(session.agent, idempotency);
    Some(Row::Held { namespace: Namespace::InvocationKey, key, holder: None })
}

/// What people were asked of.
fn asked(id: SessionId, before: Option<&Session>, call: CallId) -> Option<approval::Asked<'_>> {
    let (session, holder) = (before?, Holder::Session(id));
    Some(approval::Asked { agent: session.agent, holder, call: session.call(call)? })
}

pub(super) fn of_state(id: SessionId, before: Option<&Session>, after: &Session) -> Vec<Row> {
    let row = after.row(id);
    let kept = |row: &SessionRow| row.kept_bytes.map_or(0, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    let known = before.map(|before| before.row(id));
    let by = kept(&row) - known.as_ref().map_or(0, kept);
    let kept = (by != 0).then(|| retention::kept_rows(after.agent, by));
    let shown = known.is_none_or(|known| known != row).then_some(Row::Session(row));
    let counted = binding::counted(after.agent, before.map(in_use).unwrap_or_default(), in_use(after));
    shown.into_iter().chain(counted).chain(kept.into_iter().flatten()).collect()
}

/// With a jail it runs, and takes up a slot.
fn in_use(session: &Session) -> Use {
    // An instance's program is there for the executions that it does, which count themselves.
    let runs = session.jail.is_some() && session.instance().is_none();
    Use { connection: session.jail.map(|jail| jail.binding.connection), runs }
}

/// The payloads that come with an event: a session's own, which go when it is erased.
pub(super) fn brings(event: &Event, each: &mut dyn FnMut(&Bound)) {
    match event {
        Event::Invoked { call, .. } | Event::HookAsked { call, .. } => {
            each(&call.arguments);
            each(&call.attributes);
        }
        Event::CallAllowed(allowed) => allowed.edited.iter().for_each(|edited| {
            each(&edited.arguments);
            each(&edited.attributes);
        }),
        Event::CallEnded(ended) => {
            let own = ended.result.iter().filter(|_| !ended.gives_stored());
            own.chain(&ended.attributes).for_each(each);
        }
        Event::Opened { .. }
        | Event::Heard { .. }
        | Event::CallCalled(_)
        | Event::CallHeld(_)
        | Event::CallBlocked { .. }
        | Event::CallReleased(_)
        | Event::CallRecalled(_)
        | Event::Bound { .. }
        | Event::Unbound { .. }
        | Event::JailLost { .. }
        | Event::Yielding { .. }
        | Event::Releasing { .. }
        | Event::Released { .. }
        | Event::NetworkRefused { .. }
        | Event::CancelRequested { .. }
        | Event::Ended { .. }
        | Event::PayloadErased { .. }
        | Event::Erased { .. }
        | Event::Refused(_) => {}
    }
}

/// What an event holds the hashes of: what comes with it, and what was there before.
pub(super) fn binds(event: &Event, each: &mut dyn FnMut(&Hash)) {
    brings(event, &mut |bound| each(&bound.hash));
    if let Event::CallCalled(called) = event {
        called.binds(each);
    }
    if let Event::CallHeld(held) = event {
        held.binds(each);
    }
    if let Event::CallEnded(ended) = event {
        ended.binds(each);
    }
}
