//! `tenure doctor`.
use clap::Args;

#[derive(Debug, Args)]
pub struct Doctor {
    /// Try what would hold this agent's next call too: name or id.
    pub agent: Option<String>,
    /// Ask the judge about a call of this capability alone, layer by layer.
    #[arg(long, requires = "agent", value_name = "NAME")]
    pub capability: Option<String>,
    /// The call's arguments, as JSON.
    #[arg(long, requires = "capability", value_name = "JSON")]
    pub input: Option<String>,
    /// Ask the model for no answer, which costs a few tokens.
    #[arg(long)]
    pub no_model: bool,
}
