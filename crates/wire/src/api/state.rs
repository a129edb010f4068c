//! Stored values: an agent's own, and those that a project's agents share.
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tenure_core::id::AgentId;

use super::moment::Moment;

/// A body with a value may be larger than a value, so that a large one is refused with its size.
pub const VALUE_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A backup that is put back has at most so many bytes, and as many values as [`RESTORED_VALUES_MAX`].
pub const RESTORE_BYTES_MAX: usize = 16 * 1024 * 1024;
pub const RESTORED_VALUES_MAX: usize = 1000;
/// For who may use shared keys: every agent.
pub const EVERYONE: &str = "*";

/// A key that has a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StateEntry {
    pub key: String,
    pub version: u64,
    /// Bytes of the value, as JSON.
    pub size: u64,
    /// Whose it is; of a shared one, the agent that wrote it. None where a person did.
    pub owner_agent: Option<String>,
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub owner_id: Option<AgentId>,
    pub updated_by: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub updated_at: Moment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<Moment>,
}

/// A value with what is known of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StateValue {
    pub key: String,
    /// As it was written.
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value))]
    pub value: Box<RawValue>,
    pub version: u64,
    pub owner_agent: Option<String>,
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub owner_id: Option<AgentId>,
    pub updated_by: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub updated_at: Moment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<Moment>,
}

/// What a change made of a key: its version now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StateWritten {
    pub key: String,
    pub version: u64,
}

/// One version of a key that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StateVersion {
    pub version: u64,
    /// The key is gone with this version.
    pub deleted: bool,
    /// Bytes of the value, as JSON.
    pub size: u64,
    pub by: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum StateEvent {
    Set,
    Deleted,
    Expired,
}

impl StateEvent {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A change of a key, as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StateChange {
    /// Of its record in the ledger: a cursor.
    pub index: u64,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Moment,
    pub what: StateEvent,
    pub key: String,
    pub version: u64,
    /// Bytes of the value that was set or is gone.
    pub size: u64,
    /// None of what expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// A page of changes, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StateChanges {
    pub items: Vec<StateChange>,
    /// Hand it back as `after` for what comes next.
    pub cursor: u64,
    /// There is more already.
    pub more: bool,
}

/// How much is kept, and how much may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StateQuota {
    pub keys: u64,
    pub keys_max: u64,
    /// Bytes of values and their keys.
    pub used: u64,
    pub quota: u64,
    /// A person set it.
    pub set: bool,
    /// Bytes of earlier versions, which count apart.
    pub history_used: u64,
    pub history_quota: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SetQuota {
    /// 1 byte to 1 TiB.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1_099_511_627_776_u64))]
    pub bytes: u64,
}

/// All values of an agent at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct StateBackup {
    pub agent: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub agent_id: AgentId,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Moment,
    pub values: Vec<BackupValue>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BackupValue {
    pub key: String,
    /// That it had; put back, it gets the next one of its key.
    pub version: u64,
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value))]
    pub value: Box<RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<Moment>,
}

/// The answer to a restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StateRestored {
    pub items: Vec<StateWritten>,
    /// Keys of the backup whose time is over since.
    pub expired: Vec<String>,
}

/// Who may use the shared keys that begin with a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SharedAcl {
    pub prefix: String,
    /// Names of agents, ids of those that have none any more, or `*` alone.
    pub read: Vec<String>,
    pub write: Vec<String>,
    pub by: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Moment,
    /// The rule was not written by this ledger: until it is set anew or removed, no agent may use keys under no other one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forged: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PutAcl {
    /// What keys begin with; the empty one is of all.
    pub prefix: String,
    /// Names or ids of agents, `*` alone for every one; none where it is empty.
    pub read: Vec<String>,
    pub write: Vec<String>,
}
