//! What may be typed of `tenure secret`. A value is never among it: the shell's history and the list of processes would have it.
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Listing, named};

#[derive(Debug, Subcommand)]
pub enum Secret {
    /// Keep a value under a name; nobody may use it until it is bound.
    Set(SecretValue),
    /// List secrets; never a value.
    #[command(visible_alias = "ls")]
    List {
        /// Revoked ones too.
        #[arg(long)]
        all: bool,
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        #[command(flatten)]
        listing: Listing,
    },
    /// Show who may use a secret, and where.
    #[command(visible_alias = "get")]
    Show {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        secret: String,
    },
    /// Give a secret a new value; calls that have not left use it.
    Rotate(SecretValue),
    /// Revoke secrets for good: their values are erased.
    #[command(visible_alias = "rm")]
    Revoke {
        /// Name, id or short id of each.
        #[arg(required = true, value_name = "SECRET", value_parser = named)]
        secrets: Vec<String>,
    },
    /// Let an agent use a secret with one host.
    Bind {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        secret: String,
        /// Name, id or short id.
        #[arg(long, value_parser = named)]
        agent: String,
        /// By what it is used: requests of the agent, or an MCP server of its manifest, written mcp.NAME.*
        #[arg(long, default_value = tenure_core::secret::USED_BY[0], value_parser = named)]
        capability: String,
        /// A name, *.name or an address, with a port if need be.
        #[arg(long, value_parser = named)]
        host: String,
    },
    /// Take a secret from an agent: its next call is refused.
    Unbind {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        secret: String,
        /// Name, id or short id.
        #[arg(long, value_parser = named)]
        agent: String,
        /// With this host alone; without it, with all.
        #[arg(long, value_parser = named)]
        host: Option<String>,
    },
}

/// The value is read from standard input; at a terminal it is asked for, unseen.
#[derive(Debug, Args)]
pub struct SecretValue {
    /// Letters, digits, `.`, `_` and `-`.
    #[arg(value_parser = named)]
    pub name: String,
    /// Read the value from a file instead; one line break at its end is left out.
    #[arg(long, value_name = "FILE")]
    pub from_file: Option<PathBuf>,
}
