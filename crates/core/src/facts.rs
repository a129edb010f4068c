//! The one window of a decision on everything that is not in its own hands. The store implements it inside the appending
//! transaction, the simulation in memory, nothing else does. It must answer from committed state and from what earlier
//! decisions of the same transaction made; what the present one made is the draft's to know.
use crate::aggregate::{Event, Fold, Stream};
use crate::bound::Hash;
use crate::budget::Whose;
use crate::capability::Attributes;
use crate::comms::MessageRow;
use crate::id::{AgentId, MessageId};
use crate::item::{Item, ItemKind};
use crate::plan::Plan;
use crate::retention::Retained;
use crate::secret::BindingRow;
use crate::state::{Acl, Entry, Home};
use crate::time::{Stamp, Time};
use std::sync::Arc;

/// Most keys that `page` gives.
pub const PAGE_MAX: u32 = 256;

/// A fact could not be read. The window keeps the error itself; nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unread;

/// What is unique: one holder a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Namespace {
    /// A name in lower case: the agent that has it and is not archived.
    AgentName,
    /// Agent and hash of the caller's key: the execution that it started.
    IdempotencyKey,
    /// A conversation's id: the execution of its last turn.
    Conversation,
    /// Agent and hash of the key of a call that a session asked for: the call.
    InvocationKey,
    /// A live API key's id, held by itself.
    Key,
    /// A live API key's name: its id.
    KeyName,
    /// `channel/agent`: the agent, which takes what is published there.
    Subscriber,
    /// Agent and hash of the key that a person sent a message under: the message.
    MessageKey,
    /// A name in lower case: the secret that has it and is not revoked.
    SecretName,
    /// `name@version`, the name in lower case: the package.
    PackageVersion,
    /// A package's name in lower case: its highest version.
    PackageNewest,
}

/// Sums that decisions are made by. Each has keys, and each key fixed buckets of time; bucket 0 is for all time. Of the
/// others only the newest is ever asked for, and no more than two are kept: whoever asks for a longer window must keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Counter {
    /// Executions, and sessions with a jail, bound to a worker's connection.
    Bound,
    /// Executions of an agent that have begun and not ended, and its sessions that have a jail.
    Running,
    /// Calls and openings of an agent's sessions, by minute of `run`.
    SessionCalls,
    /// Live API keys.
    Keys,
    /// Bytes of the values in a namespace of state, and of their keys.
    StateBytes,
    /// Keys that have a value.
    StateKeys,
    /// Bytes of the versions that another one took the place of, and of the marks of keys that are gone.
    StateHistory,
    /// The quota that a person set for a namespace of state; 0 where none did.
    StateQuota,
    /// Rules on who may read and write shared keys.
    StateAcls,
    /// Refusals of one kind, by minute of `run`.
    Refusals,
    /// Those of them that no event tells of yet.
    RefusalsUntold,
    /// Messages that an agent sent, by minute of `run`.
    MessagesSent,
    /// `recipient/sender`: messages refused that the recipient was told of, by minute of `run`.
    MessagesRefused,
    /// The most hops of a message that an execution took.
    Hops,
    /// Agents that take what is published to a channel.
    Subscribers,
    /// Alerts of an agent, and of a severity, that nobody has acknowledged.
    AlertsOpen,
    /// Alerts that an agent sent, by minute of `run`.
    AlertsSent,
    /// Tokens that all below an execution used up.
    TokensBelow,
    /// Millionths of a dollar that all below an execution spent or hold.
    MoneyBelow,
    /// Tokens that an agent, or its project, used up or holds for open model calls, by day of UTC.
    DayTokens,
    /// The same by month.
    MonthTokens,
    /// Millionths of a US dollar, by day of UTC.
    DayMoney,
    /// The same by month.
    MonthMoney,
    /// `agent or project/measure/period`: what a person lets it use up.
    BudgetLimit,
    /// Agents whose messages wait until a budget opens again.
    HeldBack,
    /// `agent/capability`: calls that rules count, by minute of `run`.
    CallsByMinute,
    /// The same, by hour of `run`.
    CallsByHour,
    /// Bytes that ended executions of an agent, or of its project, bound and that are not erased.
    KeptBytes,
    /// Secrets that are not revoked.
    Secrets,
    /// Packages that are kept.
    Packages,
}

impl Counter {
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Buckets of a key that are kept, the newest among them. Days and months go by the wall clock, which people set ahead and
    /// back: what was used up in a day must still be known when it comes again.
    pub fn buckets_kept(self) -> u64 {
        const MINUTES: u64 = 2;
        const MINUTES_OF_AN_HOUR: u64 = 61;
        const HOURS: u64 = 25;
        const DAYS: u64 = 400;
        const MONTHS: u64 = 24;
        if matches!(self, Counter::DayTokens | Counter::DayMoney) {
            DAYS
        } else if matches!(self, Counter::MonthTokens | Counter::MonthMoney) {
            MONTHS
        } else if matches!(self, Counter::CallsByMinute) {
            MINUTES_OF_AN_HOUR
        } else if matches!(self, Counter::CallsByHour) {
            HOURS
        } else {
            MINUTES
        }
    }
}

impl Namespace {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A stored value whose time is over at a moment, or will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiring {
    pub namespace: String,
    pub key: String,
    pub at: Time,
}

/// A change of state as its record has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Of the record in the ledger.
    pub index: u64,
    pub at: Time,
    pub event: Event,
}

pub trait Facts {
    /// # Errors
    /// `Unread`, as all of these.
    fn fold(&mut self, stream: Stream) -> Result<Option<Arc<Fold>>, Unread>;

    fn plan(&mut self, agent: AgentId, revision: u32) -> Result<Option<Arc<Plan>>, Unread>;

    /// What a judge may see of a call, by the hash that its event holds; none once it is erased.
    fn attributes(&mut self, bound: &Hash) -> Result<Option<Attributes>, Unread>;

    fn holder(&mut self, namespace: Namespace, key: &str) -> Result<Option<String>, Unread>;

    /// One bucket of a counter.
    fn count(&mut self, counter: Counter, key: &str, bucket: u64) -> Result<i64, Unread>;

    /// The newest version of a key, a mark that it is gone included.
    fn entry(&mut self, namespace: &str, key: &str) -> Result<Option<Entry>, Unread>;

    /// Kept versions of a key, from `at_most` down.
    fn versions(&mut self, namespace: &str, key: &str, at_most: u64, limit: u32) -> Result<Vec<Entry>, Unread>;

    /// What is history in a namespace, the oldest first: by time, key and version.
    fn old_versions(&mut self, namespace: &str, limit: u32) -> Result<Vec<(String, Entry)>, Unread>;

    /// Keys after `after` that begin with a prefix and have a value, in the order of their bytes.
    fn entries(
        &mut self,
        namespace: &str,
        prefix: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<(String, Entry)>, Unread>;

    /// Values of a stream's namespaces that expire, the soonest first: by time, namespace and key.
    fn expiring(&mut self, home: Home, limit: u32) -> Result<Vec<Expiring>, Unread>;

    /// Keys of a stream's namespaces that were set, deleted or expired, in records after `after`; the newest alone where
    /// that is none.
    fn state_changes(&mut self, home: Home, after: Option<u64>, limit: u32) -> Result<Vec<Changed>, Unread>;

    /// The rules on shared keys, by prefix.
    fn acls(&mut self) -> Result<Vec<Acl>, Unread>;

    /// Keys of a counter whose bucket 0 is not 0, at most [`PAGE_MAX`].
    fn page(&mut self, counter: Counter) -> Result<Vec<(String, i64)>, Unread>;

    /// Messages that wait for an agent, in the order in which it takes them.
    fn waiting(&mut self, agent: AgentId, limit: u32) -> Result<Vec<MessageRow>, Unread>;

    /// Messages to an agent whose answer has a deadline and has not come, the earliest deadline first.
    fn unanswered(&mut self, agent: AgentId, limit: u32) -> Result<Vec<MessageRow>, Unread>;

    /// One message as this agent has it.
    fn message(&mut self, agent: AgentId, message: MessageId) -> Result<Option<MessageRow>, Unread>;

    /// What a message says; none once it is erased.
    fn body(&mut self, bound: &Hash) -> Result<Option<Vec<u8>>, Unread>;

    /// The newest events of a stream from `since` on, the newest first.
    fn happened(&mut self, stream: Stream, since: Option<Time>, limit: u32) -> Result<Vec<(Stamp, Event)>, Unread>;

    /// Events of a stream after its `n`th, each with its place.
    fn events_after(&mut self, stream: Stream, n: u64, limit: u32) -> Result<Vec<(u64, Event)>, Unread>;

    /// Ended executions whose payloads are kept, the first that ended first, without those whose parent has not ended.
    fn kept(&mut self, whose: Whose, limit: u32) -> Result<Vec<Retained>, Unread>;

    /// One of the things that are listed of an agent.
    fn item(&mut self, kind: ItemKind, agent: AgentId, key: &str) -> Result<Option<Item>, Unread>;

    /// Those of an agent in this state, by their keys.
    fn items(&mut self, kind: ItemKind, agent: AgentId, state: &str, limit: u32) -> Result<Vec<Item>, Unread>;

    /// Who may use which secrets where, of an agent, by their names.
    fn secret_bindings(&mut self, agent: AgentId) -> Result<Vec<BindingRow>, Unread>;

    /// The stream of the project that the ledger belongs to; none before it is founded.
    fn project_stream(&mut self) -> Option<Stream>;
}
