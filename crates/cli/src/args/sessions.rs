//! `tenure chat`, `tenure session …` and `tenure watch`.
use clap::{Args, Subcommand};

use super::{Listing, named};

#[derive(Debug, Args)]
pub struct Chat {
    /// Name, id or short id.
    #[arg(value_parser = named)]
    pub agent: String,
    /// Begin another conversation; without it, and without --resume, the one that was begun last goes on.
    #[arg(long, conflicts_with_all = ["resume", "list"])]
    pub new: bool,
    /// Go on with this one: its id or short id.
    #[arg(long, value_name = "ID", value_parser = named, conflicts_with = "list")]
    pub resume: Option<String>,
    /// List the conversations with it.
    #[arg(long)]
    pub list: bool,
    #[arg(long, default_value_t = 50, requires = "list", value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: u32,
    #[command(flatten)]
    pub listing: Listing,
}

#[derive(Debug, Args)]
pub struct Watch {
    /// Of this agent alone: name, id or short id.
    #[arg(long, value_parser = named)]
    pub agent: Option<String>,
    /// Calls of these capabilities alone, as in `state.*`.
    #[arg(long, value_name = "GLOB", value_parser = named)]
    pub capability: Option<String>,
    /// What came after this place of the ledger too; the JSON lines say theirs as `index`.
    #[arg(long, value_name = "INDEX")]
    pub after: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub enum Session {
    /// List sessions, the newest first; ended ones included.
    #[command(visible_alias = "ls")]
    List {
        /// Of this agent alone: name, id or short id.
        #[arg(long, value_parser = named)]
        agent: Option<String>,
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        #[command(flatten)]
        listing: Listing,
    },
    /// Close sessions; their agents may open others.
    Close {
        /// Id or short id of each.
        #[arg(required = true, value_name = "SESSION", value_parser = named)]
        sessions: Vec<String>,
    },
}
