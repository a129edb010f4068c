//! `tenure approval …`.
use clap::{Args, Subcommand};

use super::{Listing, named};

#[derive(Debug, Subcommand)]
pub enum Approval {
    /// List what you are asked to allow, the newest first.
    #[command(visible_alias = "ls")]
    List(ApprovalFilter),
    /// Show one with all that is decided by: what would be done, its arguments, the rules, what it cost so far.
    #[command(visible_aliases = ["get", "describe"])]
    Show {
        /// Id or short id.
        #[arg(value_parser = named)]
        approval: String,
        /// Only the exception, to put behind the rule that asks: such calls then pass for good.
        #[arg(long)]
        rule: bool,
    },
    /// Allow calls: as they were asked for, or one with other arguments.
    #[command(
        after_help = "A grant lets calls like this one pass unasked; `tenure approval show ID` prints which ones, as an exception to the rule that asks."
    )]
    Approve(Approve),
    /// Do not allow calls. Their agents are told the reason and go on.
    Reject {
        #[command(flatten)]
        which: Which,
        /// The agent is told it.
        #[arg(long, allow_hyphen_values = true)]
        reason: Option<String>,
    },
    /// Follow what is asked, and how it is answered.
    Watch {
        /// Of this agent: name, id or short id.
        #[arg(long, value_parser = named)]
        agent: Option<String>,
    },
    /// List what agents may do without asking again.
    Grants {
        /// Of this agent: name, id or short id.
        #[arg(long, value_parser = named)]
        agent: Option<String>,
        /// Those that are over too.
        #[arg(long)]
        all: bool,
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        #[command(flatten)]
        listing: Listing,
    },
    /// Take grants back: from now on their calls are asked for again.
    Revoke {
        /// Id or short id of each.
        #[arg(required = true, value_name = "GRANT", value_parser = named)]
        grants: Vec<String>,
    },
}

#[derive(Debug, Default, Args)]
pub struct ApprovalFilter {
    /// Of this agent: name, id or short id.
    #[arg(long, value_parser = named)]
    pub agent: Option<String>,
    /// Of this capability.
    #[arg(long, value_parser = named)]
    pub capability: Option<String>,
    /// Those that are decided too.
    #[arg(long)]
    pub all: bool,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    #[command(flatten)]
    pub listing: Listing,
}

/// Which are meant: by their ids, or all pending ones of a kind.
#[derive(Debug, Args)]
pub struct Which {
    /// Id or short id of each.
    #[arg(value_name = "APPROVAL", value_parser = named, required_unless_present = "all", conflicts_with = "all")]
    pub approvals: Vec<String>,
    /// All that are pending, of the agent and capability that are named.
    #[arg(long)]
    pub all: bool,
    /// With --all, of this agent alone.
    #[arg(long, value_parser = named, requires = "all")]
    pub agent: Option<String>,
    /// With --all, of this capability alone.
    #[arg(long, value_parser = named, requires = "all")]
    pub capability: Option<String>,
}

#[derive(Debug, Args)]
pub struct Approve {
    #[command(flatten)]
    pub which: Which,
    /// Why, for the record.
    #[arg(long, allow_hyphen_values = true)]
    pub note: Option<String>,
    /// Other arguments, as JSON; `@FILE` and `-` are read.
    #[arg(long, value_name = "JSON", conflicts_with = "all", allow_hyphen_values = true)]
    pub arguments: Option<String>,
    /// Calls like it pass unasked for so many minutes.
    #[arg(long, value_name = "MINUTES", group = "grant", value_parser = clap::value_parser!(u32).range(1..=43_200))]
    pub minutes: Option<u32>,
    /// So many more calls like it pass unasked.
    #[arg(long, value_name = "COUNT", group = "grant", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub calls: Option<u32>,
    /// Calls like it pass unasked in the execution that asked.
    #[arg(long, group = "grant")]
    pub execution: bool,
}
