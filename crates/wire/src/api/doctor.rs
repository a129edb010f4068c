//! What is in force, found out by trying it.
use serde::{Deserialize, Serialize};

/// What was tried, of a daemon or of what would hold an agent's next call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Diagnosis {
    /// The project's, or the agent's.
    pub id: String,
    /// The project's, or the agent's.
    pub name: String,
    /// `in_force` where nothing is `not_in_force`.
    pub status: CheckState,
    pub checks: Vec<Check>,
}

/// One thing that holds, or was meant to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Check {
    /// What it is of, such as `ledger`, `rule`, `budget` or `sandbox`.
    pub part: String,
    pub name: String,
    pub status: CheckState,
    /// What came of trying it.
    pub found: String,
    /// What to do where it is not in force, or is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    InForce,
    NotInForce,
    /// Nobody has asked for it.
    NotSet,
}

impl CheckState {
    pub fn as_str(self) -> &'static str {
        match self {
            CheckState::InForce => "in_force",
            CheckState::NotInForce => "not_in_force",
            CheckState::NotSet => "not_set",
        }
    }
}

impl Check {
    pub fn in_force(part: &str, name: &str, found: impl Into<String>) -> Check {
        Check::of(CheckState::InForce, part, name, found.into(), None)
    }

    pub fn not_in_force(part: &str, name: &str, found: impl Into<String>, next: &str) -> Check {
        Check::of(CheckState::NotInForce, part, name, found.into(), Some(next.to_string()))
    }

    pub fn not_set(part: &str, name: &str, found: impl Into<String>, next: &str) -> Check {
        Check::of(CheckState::NotSet, part, name, found.into(), Some(next.to_string()))
    }

    fn of(status: CheckState, part: &str, name: &str, found: String, next: Option<String>) -> Check {
        Check { part: part.to_string(), name: name.to_string(), status, found, next }
    }
}

impl Diagnosis {
    pub fn new(id: String, name: String, checks: Vec<Check>) -> Diagnosis {
        let failing = checks.iter().any(|check| check.status == CheckState::NotInForce);
        let status = if failing { CheckState::NotInForce } else { CheckState::InForce };
        Diagnosis { id, name, status, checks }
    }

    /// With what was tried elsewhere, after what is here.
    #[must_use]
    pub fn with(self, more: impl IntoIterator<Item = Check>) -> Diagnosis {
        Diagnosis::new(self.id, self.name, self.checks.into_iter().chain(more).collect())
    }
}
