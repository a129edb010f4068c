//! What may be typed of alerts, and of the wakes that agents plan themselves.
use clap::{Args, Subcommand};

use super::{Listing, named};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Alerts {
    #[command(subcommand)]
    pub verb: Option<AlertVerb>,
    #[command(flatten)]
    pub wanted: AlertFilter,
}

#[derive(Debug, Subcommand)]
pub enum AlertVerb {
    /// List alerts, the newest first.
    #[command(visible_alias = "ls")]
    List(AlertFilter),
    /// Say that somebody has seen to them.
    #[command(visible_alias = "acknowledge")]
    Ack {
        /// Id or short id of each.
        #[arg(required = true, value_name = "ALERT", value_parser = named)]
        alerts: Vec<String>,
        /// Why, for the record.
        #[arg(long, allow_hyphen_values = true)]
        note: Option<String>,
    },
}

#[derive(Debug, Default, Args)]
pub struct AlertFilter {
    /// Of this agent: name, id or short id.
    #[arg(long, value_parser = named)]
    pub agent: Option<String>,
    /// No others than these.
    #[arg(long, value_parser = ["info", "warning", "critical"])]
    pub severity: Option<String>,
    /// Those that are acknowledged too.
    #[arg(long)]
    pub all: bool,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    #[command(flatten)]
    pub listing: Listing,
}

#[derive(Debug, Args)]
pub struct Schedules {
    /// Name, id or short id.
    #[arg(value_parser = named)]
    pub agent: String,
    /// End this one; may be given several times.
    #[arg(long, value_name = "NAME", value_parser = named)]
    pub delete: Vec<String>,
    #[command(flatten)]
    pub listing: Listing,
}
