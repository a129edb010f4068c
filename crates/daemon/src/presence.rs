//! When something was last heard of each live session that is no call of it: plain data, kept in memory, of which nothing is
//! promised. What it knows keeps a session from ending as idle, and shows in lists. Must never grow with what came and went.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tenure_core::id::SessionId;
use tenure_core::session::IDLE_MS;
use tenure_core::time::Run;

/// Sessions that are known; when there are more, those that were silent for long are forgotten, and then none is added.
const KNOWN_MAX: usize = 16_384;

#[derive(Debug, Clone, Default)]
pub struct Presence(Arc<Mutex<HashMap<SessionId, Heard>>>);

#[derive(Debug, Clone, Copy)]
struct Heard {
    at: Run,
    /// Event streams that it holds open.
    streams: usize,
}

/// An event stream of a session: while it is held, the session is present.
#[derive(Debug)]
pub struct Listening {
    presence: Presence,
    session: SessionId,
}

impl Presence {
    pub fn heard(&self, session: SessionId, now: Run) {
        let mut known = self.known();
        if known.len() >= KNOWN_MAX && !known.contains_key(&session) {
            known.retain(|_, heard| heard.streams > 0 || now.since_ms(heard.at) < IDLE_MS);
            if known.len() >= KNOWN_MAX {
                return;
            }
        }
        known.entry(session).or_insert(Heard { at: now, streams: 0 }).at = now;
    }

    pub fn listen(&self, session: SessionId, now: Run) -> Listening {
        self.heard(session, now);
        if let Some(heard) = self.known().get_mut(&session) {
            heard.streams += 1;
        }
        Listening { presence: self.clone(), session }
    }

    /// When it was heard last; now, while it listens.
    pub fn last(&self, session: SessionId, now: Run) -> Option<Run> {
        self.known().get(&session).map(|heard| if heard.streams > 0 { now } else { heard.at })
    }

    pub fn forget(&self, session: SessionId) {
        let mut known = self.known();
        if known.get(&session).is_some_and(|heard| heard.streams == 0) {
            known.remove(&session);
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<SessionId, Heard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(heard) = self.presence.known().get_mut(&self.session) {
            heard.streams = heard.streams.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenure_core::id::Mint;
    use tenure_core::time::Time;

    #[test]
    fn a_session_that_listens_is_present_and_one_that_was_heard_is_known_by_when() {
        let (presence, mut mint) = (Presence::default(), Mint::new(Time::from_millis(1), 1));
        let (heard, listens) = (SessionId::mint(&mut mint), SessionId::mint(&mut mint));
        let (before, now) = (Run::default(), Run::default().plus_ms(IDLE_MS));
        presence.heard(heard, before);
        let listening = presence.listen(listens, before);
        assert_eq!((presence.last(heard, now), presence.last(listens, now)), (Some(before), Some(now)));
        drop(listening);
        assert_eq!(presence.last(listens, now), Some(before), "the control: it does not listen any more");
        presence.forget(heard);
        assert_eq!(presence.last(heard, now), None);
    }
}
