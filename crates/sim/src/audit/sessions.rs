//! Sessions by the events alone: who is connected is let in by a key that lives, and one idempotency key is one call. How calls end is
//! looked at with those of executions.
use super::{Checked, Rule, broken};
use std::collections::{BTreeMap, BTreeSet};
use tenure_core::agent;
use tenure_core::bound::Hash;
use tenure_core::id::{AgentId, CallId, KeyId, SessionId};
use tenure_core::session::{Event, Opener};

#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// Whose they are, and the key that opened each.
    live: BTreeMap<SessionId, (AgentId, KeyId)>,
    keys: BTreeMap<KeyId, AgentId>,
    asked: BTreeSet<(AgentId, Hash)>,
    calls: BTreeSet<CallId>,
}

impl Sessions {
    pub(super) fn record(&mut self, id: SessionId, event: &Event) -> Checked {
        match event {
            Event::Opened { agent, opener: Opener::Key(key), .. } => {
                if self.keys.get(key) != Some(agent) {
                    return broken(Rule::NoEventNoAction, format!("{id} was opened by a key that is dead"));
                }
                self.live.insert(id, (*agent, *key));
            }
            Event::Invoked { idempotency, call, .. } => {
                let Some((agent, _)) = self.live.get(&id) else {
                    return broken(Rule::NoEventNoAction, format!("{id} called something and is not open"));
                };
                if !self.asked.insert((*agent, *idempotency)) || !self.calls.insert(call.call) {
                    return broken(Rule::Idempotency, format!("{id} made a call twice"));
                }
            }
            Event::Ended { .. } if self.live.remove(&id).is_none() => {
                return broken(Rule::OneEnd, format!("{id} ended twice"));
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn record_agent(&mut self, id: AgentId, event: &agent::Event) {
        match event {
            agent::Event::KeyCreated { key, .. } => drop(self.keys.insert(*key, id)),
            agent::Event::KeyRevoked { key } => drop(self.keys.remove(key)),
            _ => {}
        }
    }

    /// Between two commits: whoever is connected holds a key that lives.
    pub(super) fn check(&self) -> Checked {
        match self.live.iter().find(|(_, (_, key))| !self.keys.contains_key(key)) {
            Some((id, _)) => broken(Rule::NoEventNoAction, format!("{id} outlived the key that opened it")),
            None => Ok(()),
        }
    }

    pub(super) fn finish(&self) -> Checked {
        match self.live.first_key_value() {
            Some((id, _)) => broken(Rule::Standstill, format!("{id} has not ended")),
            None => Ok(()),
        }
    }
}
