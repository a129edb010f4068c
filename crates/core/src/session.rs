//! A session: an agent that is connected from outside, with a key of its own, and calls capabilities under the same gate as an
//! execution does. It holds calls ([`crate::call`]) and outlives the connections that it is used over.
//!
//! ```text
//! open ──invoke──> open (a call on our own rows is judged, done and ended in that commit; one for a sandbox is in flight)
//!   │ silent for IDLE_MS, closed, or its agent was killed, its key or agent revoked, its agent deleted
//!   └──────────────> ended (no call begins; those under a lease end with the jail, which is to be destroyed)
//!
//! no jail ──calls wait, bind──> a jail ──idle for JAIL_IDLE_MS, asked to yield, another revision, ended──> releasing ──> no jail
//!                                 └─ its connection lapses: no jail
//! ```
//! While its agent is paused it stays, and each new call is refused; those that were taken go on. A jail is of one revision: calls
//! under another wait until it is released. The fold holds counts and ids, never texts.
mod decide;
mod erase;
mod hosted;
mod jail;
mod opener;
mod rows;

pub(crate) use erase::erase;
pub(crate) use hosted::{ask_hook, open_for, take_back, told};
pub use opener::Opener;
pub use rows::SessionRow;

use crate::actor::Actor;
use crate::aggregate::{Aggregate, events, refusals, verbs};
use crate::approval;
use crate::binding::{Binding, Unplaced};
use crate::bound::{Hash, Payload};
use crate::call::{self, Blocked, EndCall, Open};
use crate::capability::Place;
use crate::draft::{Draft, Stop};
use crate::facts::Unread;
use crate::id::{AgentId, CallId, ConnectionId, InstanceId, KeyId, LeaseId, SessionId, WorkerId};
use crate::network::{self, Traffic};
use crate::owed::{Obligation, Owed};
use crate::retention::Why;
use crate::retention::erasing::Payloads;
use crate::row::Row;
use crate::time::{Due, Run, Stamp, Time};
use serde::{Deserialize, Serialize};

/// Sessions that one agent may have at a time.
pub const LIVE_MAX: usize = 8;
/// A session of which nothing was heard for so long ends.
pub const IDLE_MS: u64 = 15 * 60 * 1000;
/// Calls, and openings of sessions, of one agent in one minute.
pub const CALLS_PER_MINUTE_MAX: i64 = 600;
/// Calls of one session that may be in flight in a sandbox, or wait for one; and those on our own rows that wait for people.
pub const CALLS_MAX: usize = 8;
/// A jail in which nothing runs is destroyed after so long.
pub const JAIL_IDLE_MS: u64 = 60 * 1000;
/// How much later than its time a leased call may be ended by its worker; then its jail is destroyed.
pub const LATE_MS: u64 = 10 * 1000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub agent: AgentId,
    pub agent_name: String,
    #[serde(rename = "key")]
    pub opener: Opener,
    pub opened_at: Time,
    /// When something of it was heard last.
    pub heard: Run,
    pub heard_at: Time,
    /// Calls that it asked for.
    pub invocations: u32,
    /// Those that have no terminal event yet; at most [`CALLS_MAX`] of each place.
    pub calls: Vec<InFlight>,
    /// Jails that it has had, the present one included.
    pub jails: u32,
    pub jail: Option<Jail>,
    /// Of what its calls bound.
    #[serde(default)]
    pub bytes: u64,
    pub ended: Option<Ended>,
}

/// A call without a terminal event, and by when it is to have one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    pub call: Open,
    /// The revision that it was asked under.
    pub revision: u32,
    /// How long it may wait, and then run.
    pub timeout_ms: u64,
    pub deadline: Run,
    pub asked_at: Time,
    /// Whoever asked has taken it back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancelled: bool,
    /// It asks a hook of the program that its agent is: the host's own deed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hook: bool,
    /// Under which an instance's program asked for it; free again where it never began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Hash>,
}

/// The sandbox of a session. It may not have been made yet: only a lease makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jail {
    pub number: u32,
    pub revision: u32,
    pub binding: Binding,
    pub has_sandbox: bool,
    /// Somebody waits for its slot: no further call begins in it.
    pub yielding: bool,
    /// It is being destroyed.
    pub releasing: bool,
    /// Since when nothing runs in it.
    pub idle_since: Option<Run>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub ending: Ending,
    pub at: Time,
    /// When the last of its calls ended, too.
    pub settled_at: Option<Time>,
    pub payloads: Payloads,
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
    /// Its agent is in quarantine.
    Quarantined,
    /// The key that opened it is dead.
    KeyRevoked,
    AgentRevoked,
    AgentDeleted,
    /// It was an instance's, whose program has ended or is to end.
    InstanceOver,
}

impl Ending {
    pub fn as_str(&self) -> &'static str {
        match self {
            Ending::Closed { .. } => "closed",
            Ending::Idle => "idle",
            Ending::Replaced => "replaced",
            Ending::Killed => "killed",
            Ending::Quarantined => "quarantined",
            Ending::KeyRevoked => "key_revoked",
            Ending::AgentRevoked => "agent_revoked",
            Ending::AgentDeleted => "agent_deleted",
            Ending::InstanceOver => "instance_over",
        }
    }
}

verbs! {
    pub enum Command {
        /// Addressed to a fresh id.
        "session.open" => Open { agent: AgentId, key: KeyId },
        "session.invoke" => Invoke(Invoke),
        /// By the reconciler: something was heard of it that is no call.
        "session.touch" => Touch { heard: Run },
        "session.close" ends => Close {},
        /// Gives its waiting calls to a worker, by the connection that it has now.
        "session.bind" => Bind { worker: WorkerId, connection: ConnectionId },
        /// Its connection lapsed and every jail of it is proven dead.
        "session.unbind" ends => Unbind { connection: ConnectionId, since: Run, why: String },
        /// Its jail died while its connection lives; `leases` were in flight in it.
        "session.lose_jail" ends => LoseJail {
            connection: ConnectionId,
            jail: u32,
            leases: Vec<LeaseId>,
            why: String,
            traffic: Option<Traffic>,
        },
        /// Its jail is gone.
        "session.release" ends urgent => Release { connection: ConnectionId, jail: u32, traffic: Option<Traffic> },
        /// The worker's proxy kept its programs from places; at most [`network::REFUSALS_MAX`] at a time.
        "session.refuse_network" ends => RefuseNetwork {
            connection: ConnectionId,
            jail: u32,
            refusals: Vec<network::Refusal>,
        },
        /// Somebody waits for its slot.
        "session.yield" ends => Yield { jail: u32 },
        "session.end_call" ends urgent => EndCall(EndCall),
        /// Takes back one call: it does not begin, or what runs of it is ended.
        "session.cancel_call" ends => CancelCall { call: CallId },
        /// The time of a call is over, or its jail is idle.
        "session.expire_calls" ends => ExpireCalls {},
        /// By the reconciler, once a call has waited too long for a person.
        "session.expire_approvals" ends => ExpireApprovals {},
        /// By the reconciler: other rules hold since the call began to wait.
        "session.rejudge" => Rejudge { call: CallId },
        /// Brings the arguments of a call on our own rows that people have allowed, and the value that it binds by them.
        "session.perform" urgent => Perform { call: CallId, arguments: Payload, value: Option<Payload> },
        /// By the reconciler: nothing was heard of it for long.
        "session.expire" ends => Expire {},
        /// What its calls were asked and answered is erased; its records stay.
        "session.erase" ends => Erase { reason: String },
        /// One payload that its `n`th record brought, of what has ended.
        "session.erase_payload" ends => ErasePayload { payload: Hash, n: u64, reason: String },
        /// By the reconciler: the next page.
        "session.erase_rest" ends => EraseRest {},
    }

    fn payloads(&self) -> Vec<&Payload> {
        match self {
            Command::Invoke(invoke) => {
                let proposal = &invoke.proposal;
                [&proposal.arguments, &proposal.attributes].into_iter().chain(&invoke.value).collect()
            }
            Command::EndCall(end) => end.result.iter().chain(&end.attributes).collect(),
            Command::Perform { value, .. } => value.iter().collect(),
            Command::Open { .. }
            | Command::Touch { .. }
            | Command::Close {}
            | Command::Bind { .. }
            | Command::Unbind { .. }
            | Command::LoseJail { .. }
            | Command::Release { .. }
            | Command::RefuseNetwork { .. }
            | Command::Yield { .. }
            | Command::CancelCall { .. }
            | Command::ExpireCalls {}
            | Command::ExpireApprovals {}
            | Command::Rejudge { .. }
            | Command::Erase { .. }
            | Command::ErasePayload { .. }
            | Command::EraseRest {}
            | Command::Expire {} => Vec::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoke {
    /// What it was asked with.
    pub opener: Opener,
    pub proposal: call::Proposal,
    /// The value that the call binds by its arguments, if it binds one.
    pub value: Option<Payload>,
    /// Hash of the caller's idempotency key within the agent: the same key is one call.
    pub idempotency: Hash,
}

events! {
    pub enum Event {
        "session.opened" => Opened {
            agent: AgentId,
            agent_name: String,
            #[serde(rename = "key")]
            opener: Opener,
        },
        "session.heard" => Heard { heard: Run },
        /// A call was asked for; `ordinal` counts from 1.
        "session.invoked" => Invoked {
            /// The revision of its agent that says what it may do.
            revision: u32,
            ordinal: u32,
            idempotency: Hash,
            /// How long it may wait for a sandbox, and then run.
            #[serde(default)]
            timeout_ms: u64,
            call: call::Proposed,
        },
        /// A hook of the program that its agent is, by the instance that opened it; counted with what it invoked.
        "hook.asked" => HookAsked { revision: u32, ordinal: u32, timeout_ms: u64, call: call::Proposed },
        /// It has a slot of a worker; `jail` counts those that it has had.
        "session.bound" => Bound { jail: u32, revision: u32, binding: Binding },
        "session.unbound" => Unbound {
            jail: u32,
            connection: ConnectionId,
            since: Run,
            had_sandbox: bool,
            why: String,
        },
        "session.jail_lost" => JailLost {
            jail: u32,
            connection: ConnectionId,
            why: String,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            traffic: Option<Traffic>,
        },
        "session.yielding" => Yielding { jail: u32 },
        "session.releasing" => Releasing { jail: u32, why: String },
        "session.released" => Released {
            jail: u32,
            connection: ConnectionId,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            traffic: Option<Traffic>,
        },
        "network.refused" => NetworkRefused {
            jail: u32,
            #[serde(flatten)]
            refusal: network::Refusal,
        },
        "call.cancel_requested" => CancelRequested { call: CallId, by: Actor },
        "call.called" => CallCalled(call::Called),
        /// A person must allow it first.
        "call.held" => CallHeld(approval::Held),
        "call.allowed" => CallAllowed(approval::Allowed),
        "call.released" => CallReleased(approval::Released),
        /// In flight, and blocked by other rules.
        "call.recalled" => CallRecalled(call::Recalled),
        "call.blocked" => CallBlocked {
            call: CallId,
            capability: String,
            #[serde(flatten)]
            blocked: Blocked,
        },
        "call.ended" => CallEnded(call::Ended),
        /// `bytes`: what it bound until then.
        "session.ended" => Ended {
            #[serde(flatten)]
            ending: Ending,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            bytes: Option<u64>,
        },
        /// This one payload is gone, which one of its records brought.
        "session.payload_erased" => PayloadErased { payload: Hash, reason: String },
        /// These payloads are gone, which its records up to the `through`th bound; `why` is on the first page.
        "session.erased" => Erased {
            #[serde(flatten)]
            why: Option<Why>,
            payloads: Vec<Hash>,
            through: u64,
            #[serde(default, skip_serializing_if = "std::ops::Not::not")]
            more: bool,
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
        /// As many calls of it are in flight as may be.
        "session.calls_in_flight" => CallsInFlight {},
        "session.call_ended" => CallEnded {},
        /// No worker can take it now.
        "session.unplaced" quiet => Unplaced { why: Unplaced },
        /// The command speaks of a call, lease, jail or connection that is no longer the present one.
        "session.stale" => Stale {},
        "session.too_many_refusals" => TooManyRefusals {},
        "session.not_due" quiet => NotDue {},
        /// It is open, or a call of it is.
        "session.not_ended" => NotEnded {},
        "session.already_erased" quiet => Erased {},
        "session.reason_wrong" => ReasonWrong {},
        "session.payload_unknown" => PayloadUnknown {},
    }
}

impl Session {
    /// A call of it that has no end yet.
    pub fn call(&self, id: CallId) -> Option<&Open> {
        self.calls.iter().map(|held| &held.call).find(|call| call.id == id)
    }

    fn take(&mut self, call: &call::Proposed, revision: u32, timeout_ms: u64, stamp: Stamp) -> &mut InFlight {
        self.invocations = self.invocations.saturating_add(1);
        let deadline = stamp.run.plus_ms(timeout_ms);
        let (call, asked_at) = (call.open(), stamp.at);
        self.calls.push_mut(InFlight {
            call,
            revision,
            timeout_ms,
            deadline,
            asked_at,
            cancelled: false,
            hook: false,
            key: None,
        })
    }

    /// The instance whose program lives in its jail.
    pub fn instance(&self) -> Option<InstanceId> {
        self.opener.instance()
    }

    /// Calls of its agent's own that are open.
    fn open_of(&self, place: Place) -> usize {
        self.calls.iter().filter(|held| !held.hook && held.call.place == place).count()
    }

    /// It is not idle while people have not answered.
    fn waits_for_people(&self) -> bool {
        self.calls.iter().any(|held| held.call.waits_for().is_some())
    }

    /// What still ends after it counts, too.
    fn bring(&mut self, size: u64) {
        self.bytes = self.bytes.saturating_add(size);
        if let Some(Ended { payloads: Payloads::Present { bytes: Some(bytes) }, .. }) = &mut self.ended {
            *bytes = self.bytes;
        }
    }

    /// What became of its payloads, once it has ended and none of its calls is open.
    fn settled(&self) -> Option<Payloads> {
        self.ended.as_ref().filter(|ended| ended.settled_at.is_some()).map(|ended| ended.payloads)
    }

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
        if let Event::Opened { agent, agent_name, opener } = event {
            *fold = Some(Session {
                agent: *agent,
                agent_name: agent_name.clone(),
                opener: *opener,
                opened_at: stamp.at,
                heard: stamp.run,
                heard_at: stamp.at,
                invocations: 0,
                calls: Vec::new(),
                jails: 0,
                jail: None,
                bytes: 0,
                ended: None,
            });
            return;
        }
        let Some(session) = fold else { return };
        rows::brings(event, &mut |bound| session.bring(bound.size));
        match event {
            Event::Heard { heard } => {
                let ago = i64::try_from(stamp.run.since_ms(*heard)).unwrap_or(0);
                session.heard = *heard;
                session.heard_at = Time::from_millis(stamp.at.millis() - ago);
            }
            Event::Invoked { revision, timeout_ms, call, idempotency, .. } => {
                session.heard = stamp.run;
                session.heard_at = stamp.at;
                let key = session.instance().map(|_| *idempotency);
                session.take(call, *revision, *timeout_ms, stamp).key = key;
            }
            Event::HookAsked { revision, timeout_ms, call, .. } => {
                session.take(call, *revision, *timeout_ms, stamp).hook = true;
            }
            Event::Ended { ending, bytes } => {
                let payloads = Payloads::Present { bytes: *bytes };
                session.ended = Some(Ended { ending: ending.clone(), at: stamp.at, settled_at: None, payloads });
            }
            Event::Erased { through, more, .. } => {
                if let Some(ended) = &mut session.ended {
                    ended.payloads = Payloads::after(*through, *more, stamp.at);
                }
            }
            Event::CallCalled(_)
            | Event::CallHeld(_)
            | Event::CallAllowed(_)
            | Event::CallReleased(_)
            | Event::CallRecalled(_)
            | Event::CallBlocked { .. }
            | Event::CallEnded(_)
            | Event::CancelRequested { .. }
            | Event::Bound { .. }
            | Event::Unbound { .. }
            | Event::JailLost { .. }
            | Event::Yielding { .. }
            | Event::Releasing { .. }
            | Event::Released { .. } => jail::apply(session, event, stamp),
            Event::PayloadErased { .. } | Event::NetworkRefused { .. } | Event::Opened { .. } | Event::Refused(_) => {}
        }
        if let Some(ended) = session.ended.as_mut().filter(|_| session.calls.is_empty()) {
            ended.settled_at = ended.settled_at.or(Some(stamp.at));
        }
    }

    fn binds(event: &Event, each: &mut dyn FnMut(&Hash)) {
        rows::binds(event, each);
    }

    /// Who has not ended owes its end, so that none is ever forgotten; and so does a call, and a jail.
    fn owed(&self) -> Vec<Owed> {
        let mut owed = jail::owed(self);
        if let Some(Payloads::Erasing { through }) = self.settled() {
            owed.push(Owed { obligation: Obligation::Erase { through }, due: Due::AT_ONCE });
        }
        if self.ended.is_none() && !self.waits_for_people() && self.instance().is_none() {
            owed.push(Owed { obligation: Obligation::Expire, due: Due::Run(self.due()) });
        }
        owed
    }

    fn rows(id: SessionId, before: Option<&Session>, event: &Event, stamp: Stamp) -> Vec<Row> {
        rows::of_event(id, before, event, stamp)
    }

    fn state_rows(id: SessionId, before: Option<&Session>, after: &Session) -> Vec<Row> {
        rows::of_state(id, before, after)
    }
}

/// A person allows one of its calls.
pub(crate) fn allow(id: SessionId, draft: &mut Draft<'_>, allowed: approval::Allowed) -> Result<(), Stop> {
    draft.emit::<Session>(id, Event::CallAllowed(allowed))?;
    Ok(jail::advance(id, draft)?)
}

/// A person does not.
pub(crate) fn reject(id: SessionId, draft: &mut Draft<'_>, call: &Open, blocked: Blocked) -> Result<(), Stop> {
    decide::block(id, draft, call, blocked)?;
    Ok(jail::advance(id, draft)?)
}

/// Ends a session in somebody else's decision; nothing where it has ended.
pub(crate) fn end(id: SessionId, draft: &mut Draft<'_>, ending: Ending) -> Result<(), Unread> {
    decide::end(id, draft, ending)
}
