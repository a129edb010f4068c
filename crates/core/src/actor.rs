//! Who commands. An actor is known before a command is decided; an unauthenticated caller never becomes one.
use crate::id::{AgentId, ApprovalId, KeyId, WorkerId};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Actor {
    /// The user that owns the daemon, known by the Unix socket's peer credentials.
    Owner {
        uid: u32,
    },
    /// Whoever holds this API key.
    Key(KeyId),
    /// Whoever holds the signed link to this approval's card; it answers that one alone.
    Link(ApprovalId),
    Agent(AgentId),
    Worker(WorkerId),
    /// The daemon's reconcilers.
    Daemon,
    /// The manifest's own checks; counted in no limit of the agent's.
    Validator,
}

impl Actor {
    /// The agent, where it is one.
    pub fn agent(self) -> Option<AgentId> {
        match self {
            Actor::Agent(agent) => Some(agent),
            Actor::Owner { .. }
            | Actor::Key(_)
            | Actor::Link(_)
            | Actor::Worker(_)
            | Actor::Daemon
            | Actor::Validator => None,
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::Owner { uid } => write!(f, "owner:{uid}"),
            Actor::Key(key) => write!(f, "{key}"),
            Actor::Link(approval) => write!(f, "link:{approval}"),
            Actor::Agent(agent) => write!(f, "{agent}"),
            Actor::Worker(worker) => write!(f, "{worker}"),
            Actor::Daemon => f.write_str("daemon"),
            Actor::Validator => f.write_str("validator"),
        }
    }
}

impl FromStr for Actor {
    type Err = String;

    fn from_str(text: &str) -> Result<Actor, String> {
        let unknown = || format!("`{text}` names no actor");
        if let Some(uid) = text.strip_prefix("owner:") {
            return uid.parse().map(|uid| Actor::Owner { uid }).map_err(|_| unknown());
        }
        if let Some(approval) = text.strip_prefix("link:") {
            return approval.parse().map(Actor::Link).map_err(|_| unknown());
        }
        match text.split('_').next() {
            Some("daemon") => Ok(Actor::Daemon),
            Some("validator") => Ok(Actor::Validator),
            Some("key") => text.parse().map(Actor::Key).map_err(|_| unknown()),
            Some("agt") => text.parse().map(Actor::Agent).map_err(|_| unknown()),
            Some("wrk") => text.parse().map(Actor::Worker).map_err(|_| unknown()),
            Some(_) | None => Err(unknown()),
        }
    }
}

impl Serialize for Actor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Actor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Actor, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}
