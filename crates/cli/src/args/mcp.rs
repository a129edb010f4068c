//! `tenure mcp`.
use clap::{Args, Subcommand, ValueEnum};

use super::named;

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "It wants the agent's key: TENURE_API_KEY, as `tenure agent rotate NAME` prints it."
)]
pub struct Mcp {
    #[command(subcommand)]
    pub verb: Option<McpVerb>,
}

#[derive(Debug, Subcommand)]
pub enum McpVerb {
    /// Print what a client's settings want to start `tenure mcp`; the agent's key is not in it.
    Config {
        /// Whose settings.
        #[arg(long, value_enum, default_value_t = McpClient::Generic)]
        client: McpClient,
        /// The agent that the client is to be.
        #[arg(long, value_name = "NAME", value_parser = named)]
        agent: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum McpClient {
    /// `.mcp.json` of a project.
    ClaudeCode,
    /// `config.toml` in `~/.codex`.
    Codex,
    /// JSON as most clients read it.
    Generic,
}
