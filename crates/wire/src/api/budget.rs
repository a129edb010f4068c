//! What agents, and all of them together, may use up in a calendar day and month of UTC.
use serde::{Deserialize, Serialize};
use tenure_core::budget::{Line, Measure, Period};
use tenure_core::id::AgentId;

use super::moment::Moment;

/// One limit, and what of it is used up or held for model calls that are open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Budget {
    /// Whose it is; none where it is the project's, for all agents together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub agent_id: Option<AgentId>,
    /// `money`, in millionths of a US dollar, or `tokens`.
    #[cfg_attr(feature = "openapi", schema(value_type = MeasureWord))]
    pub measure: Measure,
    #[cfg_attr(feature = "openapi", schema(value_type = PeriodWord))]
    pub period: Period,
    /// `open`, `near` from 80 % on, `spent`: nothing begins until it opens again; `too_small`: not even one model call fits in it.
    pub status: BudgetStatus,
    pub used: u64,
    pub limit: u64,
    /// What the shortest model call holds before it is made, where that is known: a limit below it lets nothing run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_holds: Option<u64>,
    /// When the next day or month begins.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub opens_at: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BudgetStatus {
    Open,
    Near,
    Spent,
    TooSmall,
}

impl BudgetStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            BudgetStatus::Open => "open",
            BudgetStatus::Near => "near",
            BudgetStatus::Spent => "spent",
            BudgetStatus::TooSmall => "too_small",
        }
    }
}

/// Limits to set; those that are not named stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SetBudget {
    pub lines: Vec<BudgetLine>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BudgetLine {
    #[cfg_attr(feature = "openapi", schema(value_type = MeasureWord))]
    pub measure: Measure,
    #[cfg_attr(feature = "openapi", schema(value_type = PeriodWord))]
    pub period: Period,
    /// In tokens, or in millionths of a US dollar; null takes the limit away.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 4_503_599_627_370_496_u64))]
    pub limit: Option<u64>,
}

impl From<BudgetLine> for Line {
    fn from(BudgetLine { measure, period, limit }: BudgetLine) -> Line {
        Line { measure, period, limit }
    }
}

/// The words of core's measures and periods, for the description of the API.
#[cfg(feature = "openapi")]
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MeasureWord {
    Tokens,
    Money,
}

#[cfg(feature = "openapi")]
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PeriodWord {
    Day,
    Month,
}
