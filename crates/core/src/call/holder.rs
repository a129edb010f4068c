//! What holds calls, as one type: an execution or a session.
use crate::aggregate::{Member, Stream};
use crate::execution::Execution;
use crate::id::{ExecutionId, IdError, SessionId};
use crate::session::Session;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// What holds a call: it says which calls there are, and what follows when all are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::EnumDiscriminants)]
#[strum_discriminants(
    name(HolderKind),
    derive(Hash, Serialize, Deserialize, strum::IntoStaticStr),
    serde(rename_all = "snake_case"),
    strum(serialize_all = "snake_case"),
    doc = "What holds a call, by its kind alone."
)]
pub enum Holder {
    Execution(ExecutionId),
    Session(SessionId),
}

impl Holder {
    /// None of a stream that holds no calls.
    pub fn of(stream: Stream) -> Option<Holder> {
        let execution = Execution::id(stream).map(Holder::Execution);
        execution.or_else(|| Session::id(stream).map(Holder::Session))
    }

    pub fn kind(self) -> HolderKind {
        self.into()
    }

    pub fn execution(self) -> Option<ExecutionId> {
        match self {
            Holder::Execution(id) => Some(id),
            Holder::Session(_) => None,
        }
    }

    pub fn session(self) -> Option<SessionId> {
        match self {
            Holder::Session(id) => Some(id),
            Holder::Execution(_) => None,
        }
    }
}

impl From<ExecutionId> for Holder {
    fn from(id: ExecutionId) -> Holder {
        Holder::Execution(id)
    }
}

impl From<SessionId> for Holder {
    fn from(id: SessionId) -> Holder {
        Holder::Session(id)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Execution(id) => fmt::Display::fmt(id, f),
            Holder::Session(id) => fmt::Display::fmt(id, f),
        }
    }
}

impl Serialize for Holder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Holder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Holder, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl FromStr for Holder {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Holder, IdError> {
        match text.starts_with(SessionId::PREFIX) {
            true => text.parse().map(Holder::Session),
            false => text.parse().map(Holder::Execution),
        }
    }
}
