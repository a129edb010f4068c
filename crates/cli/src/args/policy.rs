//! `tenure policy …`.
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Listing, named};

#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Print the policy that holds, or one that did: its documents, and the floor that none changes.
    Show {
        /// Of this number, as `history` lists it; 0 is what is built in.
        number: Option<u32>,
        /// Write each document to LAYER/NAME in this folder instead, from where `apply` takes them.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Check a policy: its rules against the capabilities there are, and each rule against its own examples.
    #[command(
        after_help = "Agents and MCP servers that rules name, and that nobody here bears, are warnings, and so are hosts in a form \
                      that no call has. Where no daemon answers, names are not checked, and a file is read beside what is built in."
    )]
    Validate(Documents),
    /// Say how a call would be judged, by which rules of which layers. Nothing is called.
    Check(Check),
    /// Say why a recorded call, or one that was not made, is judged as it is: layers, rules, and the facts that they see.
    Explain(Explain),
    /// Try the cases that are kept beside the rules (`*.test.toml`).
    Test {
        #[command(flatten)]
        documents: Documents,
        /// More files of cases.
        #[arg(long, value_name = "FILE")]
        cases: Vec<PathBuf>,
    },
    /// Show which rules a candidate adds, changes and removes.
    Diff(Documents),
    /// Judge recorded calls by a candidate, and show which verdicts would have been others.
    Replay {
        #[command(flatten)]
        documents: Documents,
        /// Calls since then: 2026-02-23T10:00:00Z, or 24h, 7d, 30d ago.
        #[arg(long, value_name = "TIME", default_value = "30d")]
        since: String,
    },
    /// Propose rules from recorded calls, as a diff to review; nothing is applied.
    #[command(
        after_help = "A call that no rule permits would ask a person; what people allowed at least three times and never \
                      refused would be told them; of what an agent did, anything else would ask. The diff fits a folder \
                      that `tenure policy show --out DIR` wrote: `patch -p1 -d DIR`."
    )]
    Learn {
        /// Of this agent alone: name, id or short id.
        #[arg(long, value_parser = named)]
        agent: Option<String>,
        /// Calls since then: 2026-02-23T10:00:00Z, or 24h, 7d, 30d ago.
        #[arg(long, value_name = "TIME", default_value = "30d")]
        since: String,
        /// Write the documents as they would be to LAYER/NAME in this folder, from where `apply` takes them.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Translate the settings of another tool to rules, and list what cannot be translated; nothing is applied.
    Import {
        /// Whose settings they are.
        #[arg(long, value_name = "TOOL", value_parser = ["claude-code", "codex"])]
        from: String,
        /// settings.json of Claude Code; config.toml or a file of prefix_rule of Codex; `-` reads stdin.
        file: PathBuf,
        /// Write the rules to this file, which must not be there.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Apply a policy; it judges from the next call on, what waits too.
    #[command(
        after_help = "A folder is the whole policy: DIR/system/*.cedar, DIR/project/*.cedar, DIR/agent/NAME/*.cedar, \
                      DIR/session/KEY/*.cedar. A file is one document of --layer, beside those that hold."
    )]
    Apply {
        #[command(flatten)]
        documents: Documents,
        /// Why, for the record.
        #[arg(long, allow_hyphen_values = true)]
        note: Option<String>,
        /// The number that must hold now.
        #[arg(long, value_name = "NUMBER")]
        expected: Option<u32>,
        /// Check it and show what would change; apply nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Take a document out of the policy that holds.
    #[command(visible_alias = "rm")]
    Remove {
        /// Its name, as in `network.cedar`.
        #[arg(value_parser = named)]
        name: String,
        /// system, project, agent:NAME or session:KEY.
        #[arg(long, default_value = "project", value_parser = named)]
        layer: String,
        /// Why, for the record.
        #[arg(long, allow_hyphen_values = true)]
        note: Option<String>,
    },
    /// List the policies that were applied, the newest first.
    History {
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        #[command(flatten)]
        listing: Listing,
    },
    /// Go back to a policy that was applied before; the history goes on.
    Rollback {
        /// As `history` lists it; 0 is what is built in.
        to: u32,
        /// Why, for the record.
        #[arg(long, allow_hyphen_values = true)]
        note: Option<String>,
    },
    /// Print a set of rules to begin with: permissive, moderate or restrictive.
    Template {
        #[arg(value_parser = ["permissive", "moderate", "restrictive"])]
        name: String,
    },
    /// Print the Cedar schema that rules are held against.
    Schema,
}

/// A policy that is not applied yet.
#[derive(Debug, Args)]
pub struct Documents {
    /// A folder, the whole policy; or a file in Cedar, a document of --layer beside those that hold; `-` reads stdin.
    #[arg(required_unless_present = "template")]
    pub path: Option<PathBuf>,
    /// Of a file: system, project (without it), agent:NAME or session:KEY. A folder says the layers by its own folders.
    #[arg(long, value_parser = named)]
    pub layer: Option<String>,
    /// Of a file: as what it is kept; its own name without it.
    #[arg(long, value_parser = named)]
    pub name: Option<String>,
    /// These rules in the place of the whole layer `system`.
    #[arg(long, value_parser = ["permissive", "moderate", "restrictive"], conflicts_with_all = ["path", "name", "layer"])]
    pub template: Option<String>,
}

#[derive(Debug, Args)]
pub struct Candidate {
    /// By a candidate: a folder, or a file of --layer.
    #[arg(long, value_name = "PATH")]
    pub with: Option<PathBuf>,
    /// Of --with, where it is a file: system, project (without it), agent:NAME or session:KEY.
    #[arg(long, value_parser = named, requires = "with")]
    pub layer: Option<String>,
}

#[derive(Debug, Args)]
pub struct Explain {
    /// A recorded call, by its id; or describe one with --agent and --capability.
    #[arg(conflicts_with_all = ["agent", "capability", "input"], required_unless_present_all = ["agent", "capability"])]
    pub call: Option<String>,
    /// Name, id or short id.
    #[arg(long, value_parser = named, requires = "capability")]
    pub agent: Option<String>,
    /// As in `filesystem.write`.
    #[arg(long, value_parser = named, requires = "agent")]
    pub capability: Option<String>,
    /// Its arguments, as JSON; `@FILE` and `-` are read.
    #[arg(long, value_name = "JSON")]
    pub input: Option<String>,
    #[command(flatten)]
    pub by: Candidate,
}

#[derive(Debug, Args)]
pub struct Check {
    /// Name, id or short id.
    #[arg(long, value_parser = named)]
    pub agent: String,
    /// As in `filesystem.write`.
    #[arg(long, value_parser = named)]
    pub capability: String,
    /// Its arguments, as JSON; `@FILE` and `-` are read.
    #[arg(long, value_name = "JSON")]
    pub input: Option<String>,
    #[command(flatten)]
    pub by: Candidate,
}
