//! The one window of a decision on everything that is not in its own hands. The store implements it inside the appending
//! transaction, the simulation in memory, nothing else does. It must answer from committed state and from what earlier
//! decisions of the same transaction made; what the present one made is the draft's to know.
use crate::aggregate::{Fold, Stream};
use crate::bound::{Bound, Hash};
use crate::capability::Attributes;
use crate::id::AgentId;
use crate::plan::Plan;
use crate::time::Time;
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
}

/// Sums that decisions are made by. Each has keys, and each key fixed buckets of time; bucket 0 is for all time. Of the
/// others only the newest is ever asked for, and no more than two are kept: whoever asks for a longer window must keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Counter {
    /// Executions bound to a worker's connection.
    Bound,
    /// Executions of an agent that have begun and not ended.
    Running,
    /// Calls and openings of an agent's sessions, by minute of `run`.
    SessionCalls,
    /// Live API keys.
    Keys,
    /// Bytes of the values in a namespace of state.
    StateBytes,
    /// Refusals of one kind, by minute of `run`.
    Refusals,
    /// Those of them that no event tells of yet.
    RefusalsUntold,
}

impl Counter {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Namespace {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A stored value without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// From 1; each write adds one.
    pub version: u64,
    pub value: Bound,
    pub owner: AgentId,
    pub at: Time,
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

    fn entry(&mut self, namespace: &str, key: &str) -> Result<Option<Entry>, Unread>;

    /// Keys of a counter whose bucket 0 is not 0, at most [`PAGE_MAX`].
    fn page(&mut self, counter: Counter) -> Result<Vec<(String, i64)>, Unread>;
}
