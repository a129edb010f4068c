//! The keys by which an agent connects from outside, and the sessions that they hold open. Whatever ends a key, or the agent's
//! right to be connected, ends its sessions in the same decision: there is no moment in which one is gone and the other not.
use super::{Agent, Event, Refusal};
use crate::bound::Hash;
use crate::draft::{Draft, Stop, refuse};
use crate::facts::Unread;
use crate::id::{AgentId, InstanceId, KeyId, SessionId};
use crate::instance;
use crate::session::{self, Ending, Opener, Session};
use crate::time::{Stamp, Time};
use serde::{Deserialize, Serialize};

/// How long an old key may be let live beside its successor.
pub const OVERLAP_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1000;

/// A key that may still open something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentKey {
    pub id: KeyId,
    /// When it dies by itself: another has taken its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dies_at: Option<Time>,
}

/// A session that has not ended, and what opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveSession {
    pub id: SessionId,
    #[serde(rename = "key")]
    pub opener: Opener,
}

/// An agent's key as its row shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentKeyRow {
    pub id: KeyId,
    pub agent: AgentId,
    /// SHA-256 of the key's text, which has 160 random bits and so needs no slow hash.
    pub hash: Hash,
    pub created_at: Time,
    pub dies_at: Option<Time>,
    pub revoked_at: Option<Time>,
}

impl AgentKeyRow {
    pub fn is_live(&self, wall: Time) -> bool {
        self.revoked_at.is_none() && self.dies_at.is_none_or(|dies_at| wall < dies_at)
    }
}

impl Agent {
    /// # Errors
    /// The key is none of this agent's, or dead.
    pub fn holds_key(&self, key: KeyId, wall: Time) -> Result<(), Stop> {
        let live = |held: &&AgentKey| held.id == key && held.dies_at.is_none_or(|dies_at| wall < dies_at);
        self.keys.iter().find(live).map(|_| ()).ok_or_else(|| refuse::<Agent>(Refusal::KeyDead {}))
    }
}

pub(super) fn create(id: AgentId, draft: &mut Draft<'_>, hash: Hash) -> Result<(), Unread> {
    let key = KeyId::mint(&mut draft.mint);
    draft.emit::<Agent>(id, Event::KeyCreated { key, hash })
}

/// A new key; the present one dies now, or lives beside it for `overlap_ms`. One that was living on already dies now.
pub(super) fn rotate(id: AgentId, draft: &mut Draft<'_>, hash: Hash, overlap_ms: u64) -> Result<(), Stop> {
    let agent = super::known(id, draft)?;
    agent.not_revoked()?;
    if overlap_ms > OVERLAP_MS_MAX {
        return Err(refuse::<Agent>(Refusal::OverlapTooLong {}));
    }
    let dies_at = draft.wall.plus_ms(overlap_ms);
    for key in super::known(id, draft)?.keys.clone() {
        if overlap_ms > 0 && key.dies_at.is_none() {
            draft.emit::<Agent>(id, Event::KeyRetired { key: key.id, dies_at })?;
        } else {
            revoke(id, draft, key.id)?;
        }
    }
    Ok(create(id, draft, hash)?)
}

/// Those whose overlap is over.
pub(super) fn end_due(id: AgentId, draft: &mut Draft<'_>) -> Result<(), Stop> {
    let now = draft.wall;
    let due: Vec<KeyId> = super::known(id, draft)?
        .keys
        .iter()
        .filter(|key| key.dies_at.is_some_and(|dies_at| dies_at <= now))
        .map(|key| key.id)
        .collect();
    if due.is_empty() {
        return Err(refuse::<Agent>(Refusal::NoKeyDue {}));
    }
    due.into_iter().try_for_each(|key| Ok(revoke(id, draft, key)?))
}

fn revoke(id: AgentId, draft: &mut Draft<'_>, key: KeyId) -> Result<(), Unread> {
    draft.emit::<Agent>(id, Event::KeyRevoked { key })?;
    end_sessions(id, draft, &Ending::KeyRevoked, |session| session.opener == Opener::Key(key))
}

/// The agent is shut out for good: its keys die, and what they hold open ends.
pub(super) fn shut_out(id: AgentId, draft: &mut Draft<'_>, ending: &Ending) -> Result<(), Unread> {
    end_all(id, draft, ending)?;
    let keys: Vec<KeyId> =
        draft.get::<Agent>(id)?.map(|agent| agent.keys.iter().map(|key| key.id).collect()).unwrap_or_default();
    keys.into_iter().try_for_each(|key| draft.emit::<Agent>(id, Event::KeyRevoked { key }))
}

/// Nothing of the agent stays connected or running of itself: its sessions end, and its instance.
pub(super) fn end_all(id: AgentId, draft: &mut Draft<'_>, ending: &Ending) -> Result<(), Unread> {
    end_sessions(id, draft, ending, |_| true)?;
    match draft.get::<Agent>(id)?.and_then(|agent| agent.instance) {
        Some(instance) => instance::shut(draft, instance, ending),
        None => Ok(()),
    }
}

/// At most [`session::LIVE_MAX`] of them, and an instance's.
pub(super) fn end_sessions(
    id: AgentId,
    draft: &mut Draft<'_>,
    ending: &Ending,
    which: impl Fn(&LiveSession) -> bool,
) -> Result<(), Unread> {
    let live = draft.get::<Agent>(id)?.map(|agent| agent.sessions.clone()).unwrap_or_default();
    for session in live.into_iter().filter(which) {
        session::end(session.id, draft, ending.clone())?;
    }
    Ok(())
}

/// A session of the agent begins. Where it has as many as it may, the one that was silent for longest makes room.
pub(crate) fn session_opened(
    id: AgentId,
    draft: &mut Draft<'_>,
    session: SessionId,
    opener: Opener,
) -> Result<(), Unread> {
    let mut live = draft.get::<Agent>(id)?.map(|agent| agent.sessions.clone()).unwrap_or_default();
    live.retain(|live| live.opener.instance().is_none());
    if live.len() >= session::LIVE_MAX {
        let mut silent = None;
        for other in live {
            let heard = draft.get::<Session>(other.id)?.map(|known| known.heard);
            if silent.is_none_or(|(least, _)| heard < least) {
                silent = Some((heard, other.id));
            }
        }
        if let Some((_, other)) = silent {
            session::end(other, draft, Ending::Replaced)?;
        }
    }
    draft.emit::<Agent>(id, Event::SessionOpened { session, opener })
}

pub(super) fn retired(agent: &mut Agent, key: KeyId, dies_at: Time) {
    if let Some(held) = agent.keys.iter_mut().find(|held| held.id == key) {
        held.dies_at = Some(dies_at);
    }
}

pub(super) fn opened(agent: &mut Agent, session: SessionId, opener: Opener, stamp: Stamp) {
    agent.sessions.push(LiveSession { id: session, opener });
    agent.last_session_at = Some(stamp.at);
}

/// `held`: only a person starts another.
pub(super) fn program(agent: &mut Agent, instance: Option<InstanceId>, held: bool) {
    (agent.instance, agent.program_held) = (instance, held);
}
