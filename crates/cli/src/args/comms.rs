//! What may be typed after `tenure comms`.
use clap::{Args, Subcommand};

use super::{Listing, named};

#[derive(Debug, Subcommand)]
pub enum Comms {
    /// Write to an agent; with `comms` among its triggers the message wakes it.
    Send(Send),
    /// List an agent's messages, the newest first.
    #[command(visible_alias = "ls")]
    List {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        agent: String,
        /// waiting, received, dead or dropped.
        #[arg(long)]
        state: Option<String>,
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        #[command(flatten)]
        listing: Listing,
    },
    /// Show one message with what it says, and its answer.
    #[command(visible_aliases = ["show", "describe"])]
    Get {
        /// Id or short id.
        #[arg(value_parser = named)]
        message: String,
        /// Whose it is, where it went to several.
        #[arg(long, value_parser = named)]
        agent: Option<String>,
    },
    /// List, send again and drop what could not be delivered.
    #[command(subcommand)]
    Dead(Dead),
    /// List the channels that agents take from.
    Channels {
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        #[command(flatten)]
        listing: Listing,
    },
}

#[derive(Debug, Args)]
pub struct Send {
    /// Name, id or short id.
    #[arg(value_parser = named)]
    pub agent: String,
    /// What it is told: a text.
    #[arg(allow_hyphen_values = true)]
    pub message: String,
    /// Read the message as JSON.
    #[arg(long)]
    pub json: bool,
    /// low, normal or high.
    #[arg(long)]
    pub priority: Option<String>,
    /// An answer is taken for so long, as in 30s, 10m or 2h; not taken by then, the message is a dead letter.
    #[arg(long, value_name = "TIME")]
    pub deadline: Option<String>,
    /// What an answer is known by [default: the message's id]
    #[arg(long, value_name = "WORD")]
    pub correlation: Option<String>,
    /// Sent again under the same key, the message comes once [default: one for each call]
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Wait for its answer, or for the end of the execution that took it.
    #[arg(long)]
    pub wait: bool,
}

#[derive(Debug, Subcommand)]
pub enum Dead {
    /// List dead letters, the oldest first.
    #[command(visible_alias = "ls")]
    List {
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        #[command(flatten)]
        listing: Listing,
    },
    /// Send them again: they wait anew, behind what came since.
    Resend(Letters),
    /// Drop them for good.
    Drop(Letters),
}

#[derive(Debug, Args)]
pub struct Letters {
    /// Id or short id of each.
    #[arg(required = true, value_name = "MESSAGE", value_parser = named)]
    pub messages: Vec<String>,
    /// Whose they are, where one went to several.
    #[arg(long, value_parser = named)]
    pub agent: Option<String>,
}
