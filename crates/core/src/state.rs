//! Stored values of agents: any JSON value under a key, with versions, compare-and-set and a quota. The value is bound
//! data; its event says namespace, key, version, size and hash. Nothing here may read a value.
use crate::agent::{self, Agent};
use crate::bound::Payload;
use crate::draft::Draft;
use crate::facts::{Counter, Entry, Unread};
use crate::id::AgentId;

/// Of one agent's persistent values together.
pub const PERSISTENT_BYTES_MAX: u64 = 100 * 1024 * 1024;
/// Of one value.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;
pub const KEY_BYTES_MAX: usize = 512;

/// Why a value was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// The present version; 0 where there is none.
    Version {
        current: u64,
    },
    Quota {
        used: u64,
        wanted: u64,
    },
}

/// The namespace of what an agent keeps beyond its executions.
pub fn persistent(agent: AgentId) -> String {
    format!("persistent:{agent}")
}

/// # Errors
/// `Unread`.
pub fn get(draft: &mut Draft<'_>, namespace: &str, key: &str) -> Result<Option<Entry>, Unread> {
    draft.entry(namespace, key)
}

/// Stores a value; `expected` is the version that it must have now, 0 for none.
///
/// # Errors
/// `Unread`. A conflict changes nothing.
pub fn set(
    draft: &mut Draft<'_>,
    agent: AgentId,
    namespace: &str,
    key: &str,
    value: Payload,
    expected: Option<u64>,
) -> Result<Result<u64, Conflict>, Unread> {
    let before = draft.entry(namespace, key)?;
    let current = before.as_ref().map_or(0, |entry| entry.version);
    if expected.is_some_and(|expected| expected != current) {
        return Ok(Err(Conflict::Version { current }));
    }
    let size = value.bound().size + key.len() as u64;
    let replaced = before.map_or(0, |entry| entry.value.size + key.len() as u64);
    let used = u64::try_from(draft.count(Counter::StateBytes, namespace)?).unwrap_or(0);
    let wanted = used.saturating_sub(replaced).saturating_add(size);
    if wanted > PERSISTENT_BYTES_MAX {
        return Ok(Err(Conflict::Quota { used, wanted }));
    }
    let grew_by = i64::try_from(wanted).unwrap_or(i64::MAX) - i64::try_from(used).unwrap_or(i64::MAX);
    let (namespace, key, version) = (namespace.to_string(), key.to_string(), current + 1);
    let value = draft.bind(value);
    draft.emit::<Agent>(agent, agent::Event::StateSet { namespace, key, version, value, grew_by })?;
    Ok(Ok(version))
}
