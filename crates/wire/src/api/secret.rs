//! Secrets, over the wire: a value goes in, and none comes out.
use std::fmt;

use serde::{Deserialize, Serialize};
use tenure_core::id::{AgentId, SecretId};
use zeroize::Zeroizing;

use super::moment::Moment;

/// A value on its way in. It is shown nowhere, and its memory is wiped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretValue(Zeroizing<String>);

impl SecretValue {
    pub fn new(value: String) -> SecretValue {
        SecretValue(Zeroizing::new(value))
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewSecret {
    /// 1 to 63 letters, digits, `.`, `_` and `-`, unique among live ones without regard to case.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 63))]
    pub name: String,
    /// 8 to 65536 bytes; never returned.
    #[cfg_attr(feature = "openapi", schema(value_type = String, min_length = 8, max_length = 65536))]
    pub value: SecretValue,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RotateSecret {
    /// 8 to 65536 bytes; never returned.
    #[cfg_attr(feature = "openapi", schema(value_type = String, min_length = 8, max_length = 65536))]
    pub value: SecretValue,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BindSecret {
    /// Name, id or short id.
    pub agent: String,
    /// `network.credentialed_request`.
    pub capability: String,
    /// A name, `*.name` or an address, with an optional port.
    pub host: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SecretStatus {
    Live,
    /// Its value is gone from the store: nothing can use it until it has another.
    Lost,
    Revoked,
}

impl SecretStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            SecretStatus::Live => "live",
            SecretStatus::Lost => "lost",
            SecretStatus::Revoked => "revoked",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeptSecret {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: SecretId,
    pub name: String,
    pub status: SecretStatus,
    /// Counts its values from 1.
    pub version: u32,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub set_at: Moment,
    /// When it was set, rotated or revoked last.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub changed_at: Moment,
    pub bindings: Vec<SecretBinding>,
}

/// Who may use a secret, by which capability and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SecretBinding {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub agent: AgentId,
    pub agent_name: String,
    pub capability: String,
    pub host: String,
    pub by: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Moment,
    /// Its row was put in or changed by another hand than this ledger's: it lets nobody use anything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forged: bool,
}
