//! `tenure cost`.
use clap::{Args, ValueEnum};
use tenure_wire::api::cost::CostBy;

use super::{Listing, named};

#[derive(Debug, Args)]
#[command(
    after_help = "Whole days of UTC are counted. A cost with `+` is too low: the price of some calls is not known."
)]
pub struct Cost {
    /// What to sum up by.
    #[arg(long, value_enum, default_value_t = By::Agent)]
    pub by: By,
    /// Since then: 2026-02-23T10:00:00Z, or 24h, 7d ago [default: 30 days ago]
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only this agent's.
    #[arg(long, value_name = "AGENT", value_parser = named)]
    pub agent: Option<String>,
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: u32,
    #[command(flatten)]
    pub listing: Listing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum By {
    Agent,
    Model,
    Day,
    Execution,
}

impl From<By> for CostBy {
    fn from(by: By) -> CostBy {
        match by {
            By::Agent => CostBy::Agent,
            By::Model => CostBy::Model,
            By::Day => CostBy::Day,
            By::Execution => CostBy::Execution,
        }
    }
}
