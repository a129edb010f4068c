//! A session: an agent that is connected from outside, with a key of its own, and calls capabilities under the same gate as an
//! execution does. It holds calls ([`crate::call`]) and outlives the connections that it is used over.
//!
//! ```text
//! open ──invoke──> open (a call is judged, done and ended in that commit)
//!   │ silent for IDLE_MS, closed, or its agent was killed, its key or agent revoked, its agent deleted
//!   └──────────────> ended
//! ```
//! While its agent is paused it stays, and each call is refused. It may call what lies in our own rows; what needs a sandbox is
//! refused until sessions are bound to workers as iterations are. The fold holds counts and ids, never texts.
mod decide;
mod rows;

pub use rows::SessionRow;

use crate::actor::Actor;
use crate::aggregate::{Aggregate, events, refusals, verbs};
use crate::bound::{Hash, Payload};
use crate::call::{self, Open};
use crate::draft::{Draft, Stop};
use crate::facts::Unread;
use crate::id::{AgentId, CallId, KeyId, SessionId};
use crate::owed::{Obligation, Owed};
use crate::row::Row;
use crate::time::{Due, Run, Stamp, Time};
use serde::{Deserialize, Serialize};

/// Sessions that one agent may have at a time.
pub const LIVE_MAX: usize = 8;
/// A session of which nothing was heard for so long ends.
pub const IDLE_MS: u64 = 15 * 60 * 1000;
/// Calls, and openings of sessions, of one agent in one minute.
pub const CALLS_PER_MINUTE_MAX: i64 = 600;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub agent: AgentId,
    pub agent_name: String,
    /// The key that opened it.
    pub key: KeyId,
    pub opened_at: Time,
    /// When something of it was heard last.
    pub heard: Run,
    pub heard_at: Time,
    /// Calls that it asked for.
    pub invocations: u32,
    /// Those that have no terminal event yet.
    pub calls: Vec<Open>,
    pub ended: Option<Ended>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub ending: Ending,
    pub at: Time,
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Ending {
    /// By its agent, or by a person.
    Closed {
        by: Actor,
    },
    /// Nothing was heard of it for [`IDLE_MS`].
    Idle,
    /// The agent opened more than [`LIVE_MAX`], and this one was silent for longest.
    Replaced,
    /// Its agent was killed; it may connect again.
    Killed,
    /// The key that opened it is dead.
    KeyRevoked,
    AgentRevoked,
    AgentDeleted,
}

impl Ending {
    pub fn as_str(&self) -> &'static str {
        match self {
            Ending::Closed { .. } => "closed",
            Ending::Idle => "idle",
            Ending::Replaced => "replaced",
            Ending::Killed => "killed",
            Ending::KeyRevoked => "key_revoked",
            Ending::AgentRevoked => "agent_revoked",
            Ending::AgentDeleted => "agent_deleted",
        }
    }
}

verbs! {
    #[expect(clippy::large_enum_variant, reason = "a command lives for one commit")]
    pub enum Command {
        /// Addressed to a fresh id.
        "session.open" => Open { agent: AgentId, key: KeyId },
        "session.invoke" => Invoke(Invoke),
        /// By the reconciler: something was heard of it that is no call.
        "session.touch" => Touch { heard: Run },
        "session.close" ends => Close {},
        /// By the reconciler: nothing was heard of it for long.
        "session.expire" ends => Expire {},
    }

    fn payloads(&self) -> Vec<&Payload> {
        match self {
            Command::Invoke(invoke) => {
                let proposal = &invoke.proposal;
                [&proposal.arguments, &proposal.attributes].into_iter().chain(&invoke.value).collect()
            }
            Command::Open { .. } | Command::Touch { .. } | Command::Close {} | Command::Expire {} => Vec::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoke {
    /// The key that it was asked with.
    pub key: KeyId,
    pub proposal: call::Proposal,
    /// The value that the call binds by its arguments, if it binds one.
    pub value: Option<Payload>,
    /// Hash of the caller's idempotency key within the agent: the same key is one call.
    pub idempotency: Hash,
}

events! {
    #[expect(clippy::large_enum_variant, reason = "an event lives for one commit")]
    pub enum Event {
        "session.opened" => Opened { agent: AgentId, agent_name: String, key: KeyId },
        "session.heard" => Heard { heard: Run },
        /// A call was asked for; `ordinal` counts from 1.
        "session.invoked" => Invoked {
            /// The revision of its agent that says what it may do.
            revision: u32,
            ordinal: u32,
            idempotency: Hash,
            call: call::Proposed,
        },
        "call.called" => CallCalled(call::Called),
        "call.blocked" => CallBlocked {
            call: CallId,
            capability: String,
            #[serde(flatten)]
            blocked: call::Blocked,
        },
        "call.ended" => CallEnded(call::Ended),
        "session.ended" => Ended {
            #[serde(flatten)]
            ending: Ending,
        },
    }
}

refusals! {
    pub enum Refusal {
        "session.unknown" => Unknown {},
        "session.already_opened" => Opened {},
        "session.already_ended" => Ended { ending: Ending },
        /// Its agent is paused: each call of it is refused until it is resumed.
        "session.paused" => Paused { until: Option<Time> },
        /// Asked for before with the same idempotency key.
        "session.repeated" quiet => Repeated { call: CallId },
        "session.too_many_calls" => TooManyCalls {},
        /// It needs a sandbox, and sessions have none yet.
        "session.no_sandbox_yet" => NoSandboxYet { capability: String },
        "session.not_due" quiet => NotDue {},
    }
}

impl Session {
    fn due(&self) -> Run {
        self.heard.plus_ms(IDLE_MS)
    }
}

impl Aggregate for Session {
    type Id = SessionId;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(id: SessionId, draft: &mut Draft<'_>, command: Command) -> Result<(), Stop> {
        decide::decide(id, draft, command)
    }

    fn apply(fold: &mut Option<Session>, event: &Event, stamp: Stamp) {
        if let Event::Opened { agent, agent_name, key } = event {
            *fold = Some(Session {
                agent: *agent,
                agent_name: agent_name.clone(),
                key: *key,
                opened_at: stamp.at,
                heard: stamp.run,
                heard_at: stamp.at,
                invocations: 0,
                calls: Vec::new(),
                ended: None,
            });
            return;
        }
        let Some(session) = fold else { return };
        match event {
            Event::Heard { heard } => {
                let ago = i64::try_from(stamp.run.since_ms(*heard)).unwrap_or(0);
                session.heard = *heard;
                session.heard_at = Time::from_millis(stamp.at.millis() - ago);
            }
            Event::Invoked { call, .. } => {
                session.heard = stamp.run;
                session.heard_at = stamp.at;
                session.invocations = session.invocations.saturating_add(1);
                session.calls.push(call.open());
            }
            Event::CallCalled(called) => {
                if let Some(call) = session.calls.iter_mut().find(|call| call.id == called.call) {
                    call.apply_called(called);
                }
            }
            Event::CallBlocked { call, .. } => session.calls.retain(|open| open.id != *call),
            Event::CallEnded(ended) => session.calls.retain(|open| open.id != ended.call),
            Event::Ended { ending } => session.ended = Some(Ended { ending: ending.clone(), at: stamp.at }),
            Event::Opened { .. } | Event::Refused(_) => {}
        }
    }

    fn binds(event: &Event, each: &mut dyn FnMut(&Hash)) {
        rows::binds(event, each);
    }

    /// Who has not ended owes its end, so that none is ever forgotten.
    fn owed(&self) -> Vec<Owed> {
        match self.ended {
            None => vec![Owed { obligation: Obligation::Expire, due: Due::Run(self.due()) }],
            Some(_) => Vec::new(),
        }
    }

    fn rows(id: SessionId, before: Option<&Session>, event: &Event, stamp: Stamp) -> Vec<Row> {
        rows::of_event(id, before, event, stamp)
    }

    fn state_rows(id: SessionId, before: Option<&Session>, after: &Session) -> Vec<Row> {
        let row = after.row(id);
        if before.is_some_and(|before| before.row(id) == row) { Vec::new() } else { vec![Row::Session(row)] }
    }
}

/// Ends a session in somebody else's decision; nothing where it has ended.
pub(crate) fn end(id: SessionId, draft: &mut Draft<'_>, ending: Ending) -> Result<(), Unread> {
    decide::end(id, draft, ending)
}
