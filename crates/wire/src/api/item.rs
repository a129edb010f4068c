//! What agents plan for themselves, and what they tell their supervisor.
use serde::{Deserialize, Serialize};
use tenure_core::id::{AgentId, AlertId};

use super::moment::Moment;

/// A wake that an agent planned itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlannedWake {
    /// Unique among the agent's.
    pub name: String,
    /// Absent for a single wake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// While the agent is paused it rests; an expression then goes on from its next time.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub next: Moment,
    /// What the execution is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<serde_json::Value>,
    /// What came of its last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Moment,
}

/// What an agent tells its supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Alert {
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "alr_06exampleexampleexampleex0"))]
    pub id: AlertId,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub agent: AgentId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_name: Option<String>,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// `open` or `acknowledged`.
    pub state: String,
    /// Absent once erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Who acknowledged it, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub sent_at: Moment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub acknowledged_at: Option<Moment>,
}

/// The body of an acknowledgement; it may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Acknowledge {
    /// Kept in the ledger; cut at 250 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Alerts that nobody has acknowledged, by their severity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OpenAlerts {
    pub info: u64,
    pub warning: u64,
    pub critical: u64,
}

impl OpenAlerts {
    pub fn count(&self) -> u64 {
        self.info + self.warning + self.critical
    }
}
