//! `tenure audit …`.
use clap::{Args, Subcommand};

use super::{Listing, named};

#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Prove that the ledger holds: chain, heads, and all folds, rows and texts that follow from it.
    Verify {
        /// The quick one: that no record was changed, and nothing of what follows from them.
        #[arg(long)]
        chain: bool,
    },
    /// Print the newest records.
    Tail(Tail),
    /// Erase for ever what an ended execution was told and said. Its records stay, and say that and why.
    Erase {
        /// Id or short id.
        #[arg(value_parser = named)]
        execution: String,
        /// Stays in the ledger.
        #[arg(long, value_name = "REASON", value_parser = named)]
        why: String,
    },
}

#[derive(Debug, Args)]
pub struct Tail {
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: u32,
    /// Go on with what comes.
    #[arg(long, short)]
    pub follow: bool,
    /// Only of this agent and its executions: name, id or short id.
    #[arg(long, value_parser = named)]
    pub agent: Option<String>,
    /// Only of this one: id or short id.
    #[arg(long, value_parser = named)]
    pub execution: Option<String>,
    /// Only of these kinds: `call.called`, or all that begin so, as in `call.`; may be given again.
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = named)]
    pub kind: Vec<String>,
    /// Only since then: 2026-02-23T10:00:00Z, or 30m, 24h, 7d ago.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    #[command(flatten)]
    pub listing: Listing,
}
