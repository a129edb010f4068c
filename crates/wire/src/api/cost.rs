//! What model calls cost.
use serde::{Deserialize, Serialize};

use super::moment::Moment;

/// Sums over model calls since a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Costs {
    pub by: CostBy,
    /// Whole days of UTC are counted, this one's too; executions from this moment on.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub since: Moment,
    /// The dearest first; days the newest first.
    pub items: Vec<Cost>,
    /// Of all days from that one on, also of what no item shows.
    pub total: Cost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CostBy {
    Agent,
    Model,
    Day,
    Execution,
}

impl CostBy {
    pub fn as_str(self) -> &'static str {
        match self {
            CostBy::Agent => "agent",
            CostBy::Model => "model",
            CostBy::Day => "day",
            CostBy::Execution => "execution",
        }
    }
}

impl std::str::FromStr for CostBy {
    type Err = String;

    fn from_str(text: &str) -> Result<CostBy, String> {
        let all = [CostBy::Agent, CostBy::Model, CostBy::Day, CostBy::Execution];
        let found = all.into_iter().find(|by| by.as_str() == text);
        found.ok_or_else(|| "costs are by agent, model, day or execution".to_string())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Cost {
    /// An id, a model's name, or a day; of the total, `total`.
    pub id: String,
    /// The agent's, of an agent or an execution; else the same as `id`.
    pub name: String,
    /// Model calls that have ended; none of an execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// Of them, those that failed or were withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<u64>,
    /// Of them, those whose end nobody knows; they cost what was held for them, and their tokens, which nobody counted, are in no
    /// sum here: budgets take those that were held as used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// Of them, those whose price is not known, so that the sum is too low.
    pub unpriced: u64,
    pub tokens_in: u64,
    pub tokens_out: u64,
    /// Of an execution not counted apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_cached: Option<u64>,
    /// Millionths of a US dollar, of what has a known price.
    pub cost_micro_usd: u64,
}
