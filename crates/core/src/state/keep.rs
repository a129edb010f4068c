//! The changes of state: each checked first, key, size, version and quota, then made as events, with the oldest history
//! dropped where it has no more room. A conflict changes nothing.
use super::{
    Conflict, Dropped, Ended, EndedBy, Entry, Home, KEY_BYTES_MAX, QUOTA_BYTES_MAX, Restored, Scope, SessionOver, Set,
    Space, TTL_SECONDS_MAX, VALUE_BYTES_MAX, VERSIONS_MAX, VersionDropped, Write, amount, bytes, usage,
};
use crate::actor::Actor;
use crate::agent::{self, Agent};
use crate::draft::Draft;
use crate::facts::{Counter, Expiring, PAGE_MAX, Unread};
use crate::id::AgentId;
use crate::project::{self, Project};
use crate::time::Time;

/// Values that one sweep ends.
pub const SWEEP_MAX: u32 = 128;

/// Stores a value; gives its version.
///
/// # Errors
/// `Unread`. A conflict changes nothing.
pub fn set(draft: &mut Draft<'_>, space: &Space, by: Actor, write: Write) -> Result<Result<u64, Conflict>, Unread> {
    let Write { key, value, expected, ttl_ms } = write;
    if let Err(conflict) = fits(&key, value.bound().size, ttl_ms) {
        return Ok(Err(conflict));
    }
    let before = draft.entry(&space.namespace, &key)?;
    let live = before.as_ref().filter(|entry| entry.is_live(draft.wall));
    let current = live.map_or(0, |entry| entry.version);
    if expected.is_some_and(|expected| expected != current) {
        return Ok(Err(Conflict::Version { current }));
    }
    let usage = usage(draft, space)?;
    let size = bytes(&key, value.bound().size);
    // One whose time is over is still counted, and gone with this change.
    let counted = before.as_ref().filter(|entry| entry.value.is_some()).map_or(0, |entry| entry.bytes(&key));
    let wanted = usage.bytes.saturating_sub(counted).saturating_add(size);
    if wanted > usage.quota {
        return Ok(Err(Conflict::Quota { used: usage.bytes, wanted, quota: usage.quota }));
    }
    if counted == 0 && usage.keys >= space.scope.keys_max() {
        return Ok(Err(Conflict::Keys { most: space.scope.keys_max() }));
    }
    let expires = ttl_ms.map(|ttl_ms| draft.wall.plus_ms(ttl_ms));
    let before = end_if_over(draft, space, &key, before)?;
    let version = before.as_ref().map_or(0, |entry| entry.version) + 1;
    let replaced = before.as_ref().and_then(|entry| entry.value).map(|value| value.size);
    let value = draft.bind(value);
    let namespace = space.namespace.clone();
    let event = Set { namespace, key: key.clone(), version, value, by, expires, replaced };
    emit(draft, space.home, agent::Event::StateSet, project::Event::StateSet, event)?;
    trim(draft, space, &key, before)?;
    Ok(Ok(version))
}

/// Takes a value away; gives the version that says so.
///
/// # Errors
/// `Unread`. A conflict changes nothing.
pub fn delete(
    draft: &mut Draft<'_>,
    space: &Space,
    by: Actor,
    key: &str,
    expected: Option<u64>,
) -> Result<Result<u64, Conflict>, Unread> {
    let before = draft.entry(&space.namespace, key)?.filter(|entry| entry.is_live(draft.wall));
    let current = before.as_ref().map_or(0, |entry| entry.version);
    match (before, expected) {
        (_, Some(expected)) if expected != current => Ok(Err(Conflict::Version { current })),
        (None, _) => Ok(Err(Conflict::Missing {})),
        (Some(entry), _) => end(draft, space, key, entry, EndedBy::Actor { by }).map(Ok),
    }
}

/// Sets all of these for an agent, or none. Each takes the place of what is there.
///
/// # Errors
/// `Unread`. The first conflict, and the key that it is about; nothing of the draft may be kept then.
pub fn restore(
    draft: &mut Draft<'_>,
    agent: AgentId,
    by: Actor,
    writes: Vec<Write>,
) -> Result<Result<(), (String, Conflict)>, Unread> {
    let (space, values) = (Space::persistent(agent), writes.len() as u64);
    for write in writes {
        let key = write.key.clone();
        if let Err(conflict) = set(draft, &space, by, write)? {
            return Ok(Err((key, conflict)));
        }
    }
    let event = Restored { namespace: space.namespace, values, by };
    draft.emit::<Agent>(agent, agent::Event::StateRestored(event)).map(Ok)
}

/// Changes what a namespace may keep; what it keeps already stays.
///
/// # Errors
/// `Unread`.
pub fn set_quota(draft: &mut Draft<'_>, space: &Space, quota: u64) -> Result<Result<(), Conflict>, Unread> {
    if quota == 0 || quota > QUOTA_BYTES_MAX {
        return Ok(Err(Conflict::WrongQuota {}));
    }
    let before = draft.count(Counter::StateQuota, &space.namespace)?;
    let by = i64::try_from(quota).unwrap_or(i64::MAX) - before;
    let namespace = space.namespace.clone();
    match space.home {
        Home::Agent(id) => draft.emit::<Agent>(id, agent::Event::StateQuotaSet { namespace, quota, by })?,
        Home::Project(id) => draft.emit::<Project>(id, project::Event::StateQuotaSet { namespace, quota, by })?,
    }
    // Less room for history: what is over it goes with the next sweep.
    if usage(draft, space)?.history_bytes > quota {
        sweep_at(draft, space.home, Some(draft.wall))?;
    }
    Ok(Ok(()))
}

/// A session of an agent is over; what it kept expires.
///
/// # Errors
/// `Unread`.
pub fn end_session(draft: &mut Draft<'_>, agent: AgentId, space: &Space) -> Result<(), Unread> {
    if draft.count(Counter::StateKeys, &space.namespace)? == 0 {
        return Ok(());
    }
    let over = SessionOver { namespace: space.namespace.clone() };
    draft.emit::<Agent>(agent, agent::Event::StateSessionOver(over))
}

/// A deleted agent's values are over, with all that is kept of their history.
///
/// # Errors
/// `Unread`.
pub fn end_persistent(draft: &mut Draft<'_>, agent: AgentId) -> Result<(), Unread> {
    let namespace = Space::persistent(agent).namespace;
    let (keys, history) =
        (draft.count(Counter::StateKeys, &namespace)?, draft.count(Counter::StateHistory, &namespace)?);
    if keys == 0 && history == 0 {
        return Ok(());
    }
    draft.emit::<Agent>(agent, agent::Event::StateSessionOver(SessionOver { namespace }))
}

/// Of a deleted agent's history nothing is kept.
fn room_for_history(draft: &mut Draft<'_>, home: Home, quota: u64) -> Result<u64, Unread> {
    let Home::Agent(id) = home else { return Ok(quota) };
    let archived = |agent: &Agent| matches!(agent.state, agent::State::Archived { .. });
    Ok(if draft.get::<Agent>(id)?.is_some_and(archived) { 0 } else { quota })
}

/// Ends a page of what is over, drops a page of what history has no room for, and says when there is more to do. False:
/// there was nothing to do, and the stream knows it already.
///
/// # Errors
/// `Unread`.
pub fn sweep(draft: &mut Draft<'_>, space: &Space, known: Option<Time>) -> Result<bool, Unread> {
    let (now, home) = (draft.wall, space.home);
    let page = draft.expiring(home, SWEEP_MAX + 1)?;
    let over = page.iter().take_while(|due| due.at <= now).take(SWEEP_MAX as usize).count();
    for Expiring { namespace, key, at } in &page[..over] {
        let space = Space::of(namespace, home);
        let Some(entry) = draft.entry(namespace, key)?.filter(|entry| entry.value.is_some()) else { continue };
        end(draft, &space, key, entry, EndedBy::Expiry { due: *at })?;
    }
    let usage = usage(draft, space)?;
    let room = room_for_history(draft, home, usage.quota)?;
    let dropped = drop_oldest(draft, space, usage.history_bytes.saturating_sub(room))?;
    let still_over = amount(draft.count(Counter::StateHistory, &space.namespace)?) > room;
    let next = if still_over { Some(now) } else { page.get(over).map(|due| due.at) };
    if over == 0 && !dropped && next == known {
        return Ok(false);
    }
    sweep_at(draft, home, next)?;
    Ok(true)
}

fn fits(key: &str, size: u64, ttl_ms: Option<u64>) -> Result<(), Conflict> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX || key.chars().any(char::is_control) {
        return Err(Conflict::Key { size: key.len() as u64 });
    }
    if size > VALUE_BYTES_MAX as u64 {
        return Err(Conflict::Value { size });
    }
    match ttl_ms {
        Some(ttl_ms) if ttl_ms == 0 || ttl_ms > TTL_SECONDS_MAX * 1000 => Err(Conflict::Ttl {}),
        Some(_) | None => Ok(()),
    }
}

/// A value whose time is over is ended before anything else becomes of its key; gives what is there after it.
fn end_if_over(
    draft: &mut Draft<'_>,
    space: &Space,
    key: &str,
    before: Option<Entry>,
) -> Result<Option<Entry>, Unread> {
    match before {
        Some(entry) if entry.value.is_some() && !entry.is_live(draft.wall) => {
            let due = entry.expires.unwrap_or(draft.wall);
            end(draft, space, key, entry, EndedBy::Expiry { due })?;
            draft.entry(&space.namespace, key)
        }
        before => Ok(before),
    }
}

fn end(draft: &mut Draft<'_>, space: &Space, key: &str, entry: Entry, by: EndedBy) -> Result<u64, Unread> {
    let Some(value) = entry.value else { return Ok(entry.version) };
    let version = entry.version + 1;
    let namespace = space.namespace.clone();
    let event = Ended { namespace, key: key.to_string(), version, size: value.size, hash: value.hash, by };
    match by {
        EndedBy::Actor { .. } => {
            emit(draft, space.home, agent::Event::StateDeleted, project::Event::StateDeleted, event)
        }
        EndedBy::Expiry { .. } => {
            emit(draft, space.home, agent::Event::StateExpired, project::Event::StateExpired, event)
        }
    }?;
    trim(draft, space, key, Some(entry))?;
    Ok(version)
}

/// Drops what a new version of a key leaves no place for: `before` is the one that it took the place of.
fn trim(draft: &mut Draft<'_>, space: &Space, key: &str, before: Option<Entry>) -> Result<(), Unread> {
    let namespace = space.namespace.as_str();
    if space.scope == Scope::Session
        && let Some(mark) = draft.entry(namespace, key)?.filter(|entry| entry.value.is_none())
    {
        // Nothing of a key that is gone outlives it there, so that a session leaves nothing but what is live.
        let most = u32::try_from(VERSIONS_MAX).unwrap_or(u32::MAX);
        let mut gone = draft.versions(namespace, key, mark.version - 1, most)?;
        gone.push(mark);
        return drop_versions(draft, space, gone.iter().map(|entry| dropped(key, entry)).collect());
    }
    let oldest = before.map_or(0, |entry| entry.version + 1).saturating_sub(VERSIONS_MAX);
    let found = if oldest > 0 { draft.versions(namespace, key, oldest, 1)? } else { Vec::new() };
    let gone = found.iter().filter(|entry| entry.version == oldest).map(|entry| dropped(key, entry));
    drop_versions(draft, space, gone.collect())?;
    let kept = usage(draft, space)?;
    drop_oldest(draft, space, kept.history_bytes.saturating_sub(kept.quota))?;
    let is_over = amount(draft.count(Counter::StateHistory, namespace)?) > kept.quota;
    if is_over && space.scope != Scope::Session {
        sweep_at(draft, space.home, Some(draft.wall))?;
    }
    Ok(())
}

/// Drops the oldest history of a namespace until so many bytes are free, or a page was dropped. True: it dropped any.
fn drop_oldest(draft: &mut Draft<'_>, space: &Space, mut wanted: u64) -> Result<bool, Unread> {
    if wanted == 0 {
        return Ok(false);
    }
    let mut versions = Vec::new();
    for (key, entry) in draft.old_versions(&space.namespace, PAGE_MAX)? {
        if wanted == 0 {
            break;
        }
        wanted = wanted.saturating_sub(entry.bytes(&key));
        versions.push(dropped(&key, &entry));
    }
    let any = !versions.is_empty();
    drop_versions(draft, space, versions)?;
    Ok(any)
}

fn dropped(key: &str, entry: &Entry) -> VersionDropped {
    VersionDropped { key: key.to_string(), version: entry.version, value: entry.value }
}

fn drop_versions(draft: &mut Draft<'_>, space: &Space, versions: Vec<VersionDropped>) -> Result<(), Unread> {
    if versions.is_empty() {
        return Ok(());
    }
    let event = Dropped { namespace: space.namespace.clone(), versions };
    emit(draft, space.home, agent::Event::StateDropped, project::Event::StateDropped, event)
}

fn sweep_at(draft: &mut Draft<'_>, home: Home, due: Option<Time>) -> Result<(), Unread> {
    match home {
        Home::Agent(id) => draft.emit::<Agent>(id, agent::Event::StateSweepDue { due }),
        Home::Project(id) => draft.emit::<Project>(id, project::Event::StateSweepDue { due }),
    }
}

/// The same event on whichever stream a namespace is at home.
fn emit<T>(
    draft: &mut Draft<'_>,
    home: Home,
    of_agent: fn(T) -> agent::Event,
    of_project: fn(T) -> project::Event,
    event: T,
) -> Result<(), Unread> {
    match home {
        Home::Agent(id) => draft.emit::<Agent>(id, of_agent(event)),
        Home::Project(id) => draft.emit::<Project>(id, of_project(event)),
    }
}
