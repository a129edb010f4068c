//! `tenure state …`.
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use tenure_core::manifest;

use super::{Listing, named};

#[derive(Debug, Subcommand)]
pub enum State {
    /// List the keys that an agent keeps.
    #[command(visible_alias = "ls")]
    List {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        agent: String,
        #[command(flatten)]
        keys: Keys,
    },
    /// Print a value, as JSON; `-v` tells its version, owner and times too.
    Get {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        agent: String,
        key: String,
        /// An earlier version, of those that `history` lists.
        #[arg(long, value_name = "NUMBER")]
        version: Option<u64>,
    },
    /// Set a value; recorded in the ledger as yours.
    Set {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        agent: String,
        key: String,
        #[command(flatten)]
        value: NewValue,
        /// The version that it must have now, 0 for none.
        #[arg(long, value_name = "NUMBER")]
        expected_version: Option<u64>,
    },
    /// Delete a value; recorded in the ledger as yours. Its earlier versions stay for a while.
    #[command(visible_alias = "rm")]
    Delete {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        agent: String,
        key: String,
        /// The version that it must have now.
        #[arg(long, value_name = "NUMBER")]
        expected_version: Option<u64>,
    },
    /// Show how much an agent keeps and may keep, or set it.
    Quota {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        agent: String,
        /// As in `200Mi`; the history of values has as much apart.
        #[arg(long, value_name = "SIZE", value_parser = size)]
        set: Option<u64>,
    },
    /// List the kept versions of a key, newest first.
    History {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        agent: String,
        key: String,
        #[command(flatten)]
        listing: Listing,
    },
    /// Print what is set, deleted or expires from now on, or since a cursor.
    Watch {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        agent: String,
        #[command(flatten)]
        since: Since,
    },
    /// Print all values of an agent as one JSON document, to be put back by `restore`.
    Backup {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        agent: String,
        /// Only keys that begin so.
        #[arg(long, value_name = "TEXT")]
        prefix: Option<String>,
    },
    /// Put the values of a backup back, all or none; other keys stay. At most 16 MiB and 1000 values.
    Restore {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        agent: String,
        /// What `backup` printed; `-` reads stdin.
        file: PathBuf,
    },
    /// What agents share with each other.
    #[command(subcommand)]
    Shared(Shared),
}

#[derive(Debug, Subcommand)]
pub enum Shared {
    /// List the keys that agents share.
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        keys: Keys,
    },
    /// Print a value, as JSON; `-v` tells its version, owner and times too.
    Get {
        key: String,
        /// An earlier version, of those that `history` lists.
        #[arg(long, value_name = "NUMBER")]
        version: Option<u64>,
    },
    /// Set a value; recorded in the ledger as yours.
    Set {
        key: String,
        #[command(flatten)]
        value: NewValue,
        /// The version that it must have now, 0 for a new key.
        #[arg(long, value_name = "NUMBER")]
        expected_version: u64,
    },
    /// Delete a value; recorded in the ledger as yours.
    #[command(visible_alias = "rm")]
    Delete {
        key: String,
        /// The version that it must have now.
        #[arg(long, value_name = "NUMBER")]
        expected_version: u64,
    },
    /// Show how much is shared and may be, or set it.
    Quota {
        /// As in `1Gi`; the history of values has as much apart.
        #[arg(long, value_name = "SIZE", value_parser = size)]
        set: Option<u64>,
    },
    /// List the kept versions of a key, newest first.
    History {
        key: String,
        #[command(flatten)]
        listing: Listing,
    },
    /// Print what is set, deleted or expires from now on, or since a cursor.
    Watch {
        #[command(flatten)]
        since: Since,
    },
    /// Say which agents may read and write which keys.
    #[command(subcommand)]
    Acl(Acl),
}

#[derive(Debug, Subcommand)]
pub enum Acl {
    /// List the rules.
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        listing: Listing,
    },
    /// Set the rule of a prefix; a key falls under the longest one that it begins with.
    Set {
        /// What keys begin with; '' is of all.
        prefix: String,
        /// Agents that may read, `*` for every one; none where it is not given.
        #[arg(long, value_name = "AGENT", value_delimiter = ',')]
        read: Vec<String>,
        /// Agents that may write, `*` for every one; none where it is not given.
        #[arg(long, value_name = "AGENT", value_delimiter = ',')]
        write: Vec<String>,
    },
    /// Remove the rule of a prefix.
    #[command(visible_alias = "rm")]
    Delete { prefix: String },
}

#[derive(Debug, Args)]
pub struct Keys {
    /// Only keys that begin so.
    #[arg(long, value_name = "TEXT")]
    pub prefix: Option<String>,
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    #[command(flatten)]
    pub listing: Listing,
}

#[derive(Debug, Args)]
pub struct NewValue {
    /// JSON, or a text where it does not begin as JSON; `@FILE` or `-` reads it.
    #[arg(allow_negative_numbers = true)]
    pub value: String,
    /// It is a text, whatever it looks like.
    #[arg(long)]
    pub text: bool,
    /// After this time it expires, as in `30m` or `7d`.
    #[arg(long, value_name = "TIME", value_parser = super::grace)]
    pub ttl: Option<Duration>,
}

#[derive(Debug, Args)]
pub struct Since {
    /// The cursor of the last change that was seen, as it stands before each line; 0 for all that the ledger has.
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<u64>,
    /// Only keys that begin so.
    #[arg(long, value_name = "TEXT")]
    pub prefix: Option<String>,
    /// Print what there is, and do not wait for more.
    #[arg(long, requires = "after")]
    pub no_follow: bool,
}

fn size(text: &str) -> Result<u64, String> {
    manifest::Bytes::parse(text).map(manifest::Bytes::get).map_err(|fault| fault.reason)
}
