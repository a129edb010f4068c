//! What is typed to hold the program of a code agent.
use clap::{Args, Subcommand};

use super::named;

#[derive(Debug, Subcommand)]
pub enum Instance {
    /// Start the programs of code agents: agents of kind `hooks` or `acp`.
    Start(Whom),
    /// Stop the programs of code agents: each is told, and has its time to end.
    Stop(Whom),
    /// Show where the program of a code agent stands: active, quarantined, terminated or not_found, with version and health.
    Status {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        agent: String,
    },
    /// Ask the program of a code agent for its health now, and show it with the kernel's figures.
    Health {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        agent: String,
    },
    /// Send a code agent a message, and print its answer.
    Message {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        agent: String,
        /// JSON, or a text.
        message: String,
    },
    /// Look into the program of a code agent: what it has in hand, its last 100 calls.
    Inspect {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        agent: String,
    },
}

#[derive(Debug, Args)]
pub struct Whom {
    /// Name, id or short id of each.
    #[arg(required = true, value_name = "AGENT", value_parser = named)]
    pub agents: Vec<String>,
}
