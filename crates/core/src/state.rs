//! Stored values: any JSON value under a key, with versions, compare-and-set, expiry and quotas. Three scopes: a session's,
//! which ends with it; an agent's own; and a project's, which agents share. A value is bound data; its event says namespace,
//! key, version, size, hash, expiry and actor. Nothing here may read a value.
//!
//! ```text
//! none ──set──> v1 ──set──> v2 ──delete, expire──> none (v3 says so) ──set──> v4
//! ```
//! A version that another one took the place of is history, and so is the mark of a key that is gone: both count by a
//! quota of their own, and the oldest are dropped first, their bytes erased.
mod access;
mod change;
mod keep;

pub use access::{ACLS_MAX, Access, Acl, AclRow, acl_of, may_read, may_write};
pub use change::{Change, Dropped, Ended, EndedBy, Restored, SessionOver, Set, VersionDropped};
pub use keep::{SWEEP_MAX, delete, end_persistent, end_session, restore, set, set_quota, sweep};

use crate::actor::Actor;
use crate::agent::Agent;
use crate::aggregate::{Member, Stream};
use crate::bound::{Bound, Payload};
use crate::call::Holder;
use crate::draft::Draft;
use crate::facts::{Counter, Unread};
use crate::id::{AgentId, ProjectId};
use crate::project::Project;
use crate::time::Time;
use serde::{Deserialize, Serialize};

/// Of one value, as JSON.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;
pub const KEY_BYTES_MAX: usize = 512;
/// Versions of a key that are kept, the present one among them.
pub const VERSIONS_MAX: u64 = 100;
/// Ten years.
pub const TTL_SECONDS_MAX: u64 = 10 * 366 * 24 * 60 * 60;
/// What a quota may be set to.
pub const QUOTA_BYTES_MAX: u64 = 1 << 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Scope {
    /// Ends with the session, or the execution, that it belongs to, its history too.
    Session,
    /// An agent's own, beyond its executions.
    Persistent,
    /// A project's, for all its agents.
    Shared,
}

impl Scope {
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The quota where no person set one.
    pub const fn bytes_max(self) -> u64 {
        const MIB: u64 = 1024 * 1024;
        match self {
            Scope::Session => 50 * MIB,
            Scope::Persistent => 100 * MIB,
            Scope::Shared => 500 * MIB,
        }
    }

    /// Keys of one namespace.
    pub const fn keys_max(self) -> u64 {
        match self {
            Scope::Session => 10_000,
            Scope::Persistent | Scope::Shared => 100_000,
        }
    }
}

/// Whose stream the changes of a namespace are recorded on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    Agent(AgentId),
    Project(ProjectId),
}

impl Home {
    /// None of a stream that keeps no values.
    pub fn of(stream: Stream) -> Option<Home> {
        Agent::id(stream).map(Home::Agent).or_else(|| Project::id(stream).map(Home::Project))
    }
}

impl From<Home> for Stream {
    fn from(home: Home) -> Stream {
        match home {
            Home::Agent(id) => Stream::Agent(id),
            Home::Project(id) => Stream::Project(id),
        }
    }
}

impl std::fmt::Display for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Stream::from(*self).fmt(f)
    }
}

impl std::str::FromStr for Home {
    type Err = String;

    fn from_str(text: &str) -> Result<Home, String> {
        let agent = text.parse().map(Home::Agent);
        agent.or_else(|_| text.parse().map(Home::Project)).map_err(|_| format!("`{text}` keeps no values"))
    }
}

/// A namespace of keys, and where its changes are recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    pub scope: Scope,
    pub namespace: String,
    pub home: Home,
}

impl Space {
    /// Of what ends with an execution, or with a session of an agent that is connected from outside.
    pub fn session(agent: AgentId, holder: Holder) -> Space {
        Space { scope: Scope::Session, namespace: format!("session:{holder}"), home: Home::Agent(agent) }
    }

    pub fn persistent(agent: AgentId) -> Space {
        Space { scope: Scope::Persistent, namespace: format!("persistent:{agent}"), home: Home::Agent(agent) }
    }

    pub fn shared(project: ProjectId) -> Space {
        Space { scope: Scope::Shared, namespace: format!("shared:{project}"), home: Home::Project(project) }
    }

    /// As an entry has it.
    fn of(namespace: &str, home: Home) -> Space {
        let scope = match namespace.split(':').next() {
            Some("session") => Scope::Session,
            Some("shared") => Scope::Shared,
            Some(_) | None => Scope::Persistent,
        };
        Space { scope, namespace: namespace.to_string(), home }
    }
}

/// One version of a key, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// From 1; each change of the key adds one.
    pub version: u64,
    /// None where the key is gone with this version.
    pub value: Option<Bound>,
    /// Who made this version.
    pub by: Actor,
    pub at: Time,
    pub expires: Option<Time>,
    pub home: Home,
}

impl Entry {
    /// There is a value, and its time is not over.
    pub fn is_live(&self, now: Time) -> bool {
        self.value.is_some() && self.expires.is_none_or(|expires| expires > now)
    }

    /// What it takes of a quota.
    pub fn bytes(&self, key: &str) -> u64 {
        bytes(key, self.value.map_or(0, |value| value.size))
    }
}

/// What a key and a value of that size take of a quota.
pub fn bytes(key: &str, value: u64) -> u64 {
    value.saturating_add(key.len() as u64)
}

/// A value on its way under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub key: String,
    pub value: Payload,
    /// The version that the key must have now, 0 for none.
    pub expected: Option<u64>,
    pub ttl_ms: Option<u64>,
}

/// Why a change of state was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// The present version; 0 where there is none.
    Version {
        current: u64,
    },
    Quota {
        used: u64,
        wanted: u64,
        quota: u64,
    },
    Keys {
        most: u64,
    },
    Value {
        size: u64,
    },
    /// No key may be like that: empty, too long, or with control characters.
    Key {
        size: u64,
    },
    Ttl {},
    /// There is nothing under it.
    Missing {},
    /// A quota that no namespace may have.
    WrongQuota {},
}

impl Conflict {
    /// Its stable name, as models and programs see it.
    pub fn code(self) -> &'static str {
        match self {
            Conflict::Version { .. } => "VersionConflict",
            Conflict::Quota { .. } | Conflict::Keys { .. } => "QuotaExceeded",
            Conflict::Value { .. } => "too_large",
            Conflict::Key { .. } | Conflict::Ttl {} | Conflict::WrongQuota {} => "invalid_arguments",
            Conflict::Missing {} => "not_found",
        }
    }
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Conflict::Version { current: 0 } => {
                f.write_str("there is nothing under the key, so that its version is 0; read it and decide again")
            }
            Conflict::Version { current } => write!(f, "its version is {current}; read it and decide again"),
            Conflict::Quota { used, wanted, quota } => {
                write!(f, "{wanted} of {quota} bytes would be kept, {used} are; nothing changed: delete what is old")
            }
            Conflict::Keys { most } => write!(f, "{most} keys are kept, and no more may be; nothing changed"),
            Conflict::Value { size } => write!(
                f,
                "the value has {size} bytes as JSON and may have {VALUE_BYTES_MAX}; nothing changed: keep more in a file"
            ),
            Conflict::Key { size } => write!(
                f,
                "a key has 1 to {KEY_BYTES_MAX} bytes, none of them a control character; this one has {size} bytes"
            ),
            Conflict::Ttl {} => write!(f, "a time to live is 1 to {TTL_SECONDS_MAX} seconds"),
            Conflict::Missing {} => f.write_str("there is nothing under the key"),
            Conflict::WrongQuota {} => write!(f, "a quota is 1 to {QUOTA_BYTES_MAX} bytes"),
        }
    }
}

/// What is kept of a namespace, and what may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub keys: u64,
    pub bytes: u64,
    pub history_bytes: u64,
    /// Of the values and, apart from them, of the history.
    pub quota: u64,
}

/// # Errors
/// `Unread`.
pub fn usage(draft: &mut Draft<'_>, space: &Space) -> Result<Usage, Unread> {
    let count = |draft: &mut Draft<'_>, counter| Ok(amount(draft.count(counter, &space.namespace)?));
    let set = count(draft, Counter::StateQuota)?;
    Ok(Usage {
        keys: count(draft, Counter::StateKeys)?,
        bytes: count(draft, Counter::StateBytes)?,
        history_bytes: count(draft, Counter::StateHistory)?,
        quota: quota(space.scope, set),
    })
}

/// The quota of a namespace of that scope; `set`: by a person, 0 where none did.
pub const fn quota(scope: Scope, set: u64) -> u64 {
    if set == 0 { scope.bytes_max() } else { set }
}

fn amount(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// The present version of a key, or an earlier one that is still kept; none where there is no value.
///
/// # Errors
/// `Unread`.
pub fn get(draft: &mut Draft<'_>, space: &Space, key: &str, version: Option<u64>) -> Result<Option<Entry>, Unread> {
    let (now, present) = (draft.wall, draft.entry(&space.namespace, key)?);
    let Some(version) = version else { return Ok(present.filter(|entry| entry.is_live(now))) };
    if let Some(present) = present.filter(|present| present.version == version) {
        return Ok(Some(present).filter(|entry| entry.is_live(now)));
    }
    let found = draft.versions(&space.namespace, key, version, 1)?.pop();
    Ok(found.filter(|entry| entry.version == version && entry.value.is_some()))
}
