//! What opened a session: an agent's key from outside, or the instance whose program lives in its jail. On disk and in rows it is
//! the id of either.
use crate::id::{IdError, InstanceId, KeyId};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Opener {
    Key(KeyId),
    Instance(InstanceId),
}

impl Opener {
    pub fn instance(self) -> Option<InstanceId> {
        match self {
            Opener::Key(_) => None,
            Opener::Instance(id) => Some(id),
        }
    }
}

impl fmt::Display for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Opener::Key(id) => fmt::Display::fmt(id, f),
            Opener::Instance(id) => fmt::Display::fmt(id, f),
        }
    }
}

impl FromStr for Opener {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Opener, IdError> {
        match text.starts_with(InstanceId::PREFIX) {
            true => text.parse().map(Opener::Instance),
            false => text.parse().map(Opener::Key),
        }
    }
}

impl Serialize for Opener {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Opener {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Opener, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}
