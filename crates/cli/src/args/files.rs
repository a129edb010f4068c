//! `tenure agent files …`.
use std::path::PathBuf;

use clap::Subcommand;

use super::{Listing, named};

#[derive(Debug, Subcommand)]
pub enum Files {
    /// List a folder of the agent's.
    #[command(visible_alias = "list")]
    Ls {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        agent: String,
        /// As the agent names it [default: /workspace]
        path: Option<String>,
        #[command(flatten)]
        listing: Listing,
    },
    /// Print a file.
    Cat {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        agent: String,
        /// As the agent names it; a relative one is of /workspace.
        #[arg(value_parser = named)]
        path: String,
    },
    /// Fetch a file, or a folder as a tar.
    Get {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        agent: String,
        /// As the agent names it; a relative one is of /workspace.
        #[arg(value_parser = named)]
        path: String,
        /// Where to; `-` is stdout [default: the same name here, with .tar for a folder]
        #[arg(value_name = "TO")]
        to: Option<PathBuf>,
        /// Replace what is there.
        #[arg(long, short)]
        force: bool,
    },
    /// Put a file into the agent's folders, in the place of what has its name there; recorded in the ledger.
    Put {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        agent: String,
        /// A file of yours, of 4 MiB at most; `-` reads stdin.
        file: PathBuf,
        /// As the agent names it [default: /workspace and the file's name]
        #[arg(required_if_eq("file", "-"))]
        path: Option<String>,
    },
}
