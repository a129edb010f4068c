//! Things of an agent's that are listed one by one and that decisions look up: the schedules that it made for itself, the alerts
//! that it sent, what people are asked to allow and have allowed. One kind of row serves them all, so that the next such thing
//! needs no table. What one says is bound; the row holds only what lists and decisions need. How many may be open is bounded by each kind; alerts that somebody has seen to stay,
//! as records do.
use crate::bound::Hash;
use crate::id::AgentId;
use crate::time::Time;
use serde::{Deserialize, Serialize};

#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ItemKind {
    /// By its name.
    Schedule,
    /// By its id.
    Alert,
    /// By its id.
    Approval,
    /// By its id.
    Grant,
}

impl ItemKind {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// One of them, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub kind: ItemKind,
    pub agent: AgentId,
    /// Unique among those of its kind and agent.
    pub key: String,
    /// A word of its kind.
    pub state: String,
    /// What a list and a decision need of it, as JSON; never changed.
    pub data: String,
    /// What it says.
    pub text: Option<Hash>,
    /// Who changed its state last, and why.
    pub detail: Option<String>,
    pub due: Option<Time>,
    pub at: Time,
    pub changed_at: Time,
}

/// What becomes of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemChange {
    pub state: &'static str,
    pub detail: Option<String>,
    pub due: Option<Time>,
}

impl Item {
    /// The store's table does the same.
    pub fn change(&mut self, change: &ItemChange, at: Time) {
        self.state = change.state.to_string();
        (self.detail, self.due, self.changed_at) = (change.detail.clone(), change.due, at);
    }

    /// # Errors
    /// Text that is no such data.
    pub fn parse_data<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.data)
    }
}
