//! `tenure audit …`.
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Listing, named};

#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Prove that the ledger holds: chain, heads, and all folds, rows and texts that follow from it. Or that an export does.
    Verify {
        /// An export, or what `consistency --out` wrote, checked by itself on any machine; `-` for stdin.
        file: Option<PathBuf>,
        /// The quick one: that no record was changed, and nothing of what follows from them.
        #[arg(long, conflicts_with = "file")]
        chain: bool,
        /// The public key that you trust: 64 hexadecimal digits, or a file that holds them.
        #[arg(long, value_name = "KEY", requires = "file")]
        key: Option<String>,
    },
    /// Write records to a file that anybody checks without the ledger.
    Export(Export),
    /// Print the newest records.
    Tail(Tail),
    /// Look for records by what they say; the daemon looks through the whole ledger.
    Query(Query),
    /// Print all that ever happened to one agent, execution, session or call, also once it is deleted.
    History {
        /// An agent's name, or an id.
        #[arg(value_parser = named)]
        id: String,
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        #[command(flatten)]
        listing: Listing,
    },
    /// Prove that the ledger only grew since a head that you kept, or write the newest head to keep it.
    Consistency(Consistent),
    /// Count records by kind, agent and day, and say what the newest head is.
    Stats,
    /// Change the ledger's key while no daemon runs: the old key's last act is to sign the record that names the new one.
    RotateKey {
        /// Stays in the ledger.
        #[arg(long, value_name = "REASON", value_parser = named)]
        why: String,
    },
    /// Move the records of executions and sessions that ended long ago into a sealed file, while no daemon runs.
    Seal(Seal),
    /// Erase for ever what an ended execution or session was told and said, or one payload of it. Its records stay, and say that and why.
    Erase {
        /// Id or short id of an execution or a session, or a payload's hash as records name it.
        #[arg(value_parser = named)]
        id: String,
        /// Stays in the ledger.
        #[arg(long, value_name = "REASON", value_parser = named)]
        why: String,
    },
}

#[derive(Debug, Args)]
pub struct Consistent {
    /// A signed head that you kept: head.json, a line of a sink, an export, or what `--out` wrote before.
    #[arg(long, value_name = "HEADFILE")]
    pub from: Option<PathBuf>,
    /// Write both heads and the proof to this file; `audit verify` checks it anywhere.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// In the place of a file that is there.
    #[arg(long, requires = "out")]
    pub force: bool,
    /// The public key that you trust: 64 hexadecimal digits, or a file that holds them.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
}

#[derive(Debug, Args)]
pub struct Seal {
    /// Of what had ended before then: 2026-02-23, 2026-02-23T10:00:00Z, or 90d, 24h ago.
    #[arg(long, value_name = "TIME")]
    pub before: String,
    /// A copy of the sealed file goes here; it itself lies in the folder `sealed` of the data directory.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// In the place of a file that is there.
    #[arg(long, requires = "out")]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct Export {
    /// Only of this agent, its executions and sessions: name, id or short id.
    #[arg(long, value_parser = named)]
    pub agent: Option<String>,
    /// Only of this one: id or short id.
    #[arg(long, value_parser = named)]
    pub execution: Option<String>,
    /// Only from then on: 2026-02-23T10:00:00Z, or 30m, 24h, 7d ago.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only before then.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// To this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// In the place of a file that is there.
    #[arg(long, requires = "out")]
    pub force: bool,
    /// With what the records bind: inputs, outputs, arguments, results.
    #[arg(long)]
    pub payloads: bool,
}

#[derive(Debug, Args)]
pub struct Query {
    /// Of those that fit, so many of the newest.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    /// So many of the oldest instead.
    #[arg(long)]
    pub oldest: bool,
    /// Only of this agent, its executions and sessions: name, id or short id.
    #[arg(long, value_parser = named)]
    pub agent: Option<String>,
    /// Only of this one: id or short id.
    #[arg(long, value_parser = named)]
    pub execution: Option<String>,
    /// Only of these kinds: `call.called`, or all that begin so, as in `call.`; may be given again.
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = named)]
    pub kind: Vec<String>,
    /// Only what this actor commanded: `owner:1000`, `daemon`, `key_…`, `agt_…`.
    #[arg(long, value_parser = named)]
    pub actor: Option<String>,
    /// Only of the kinds that a word of an agent's life fits: created, registered, activated, started, message_received,
    /// message_sent, upgraded, quarantined, recovered, terminated, error.
    #[arg(long, value_name = "WORD", value_parser = named)]
    pub lifecycle: Option<String>,
    /// Only from then on: 2026-02-23T10:00:00Z, or 30m, 24h, 7d ago.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only before then.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only refused commands, blocked calls, and places that the network's rules kept from.
    #[arg(long)]
    pub refused: bool,
    #[command(flatten)]
    pub listing: Listing,
}

#[derive(Debug, Args)]
pub struct Tail {
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: u32,
    /// Go on with what comes.
    #[arg(long, short)]
    pub follow: bool,
    /// Only of this agent, its executions and sessions: name, id or short id.
    #[arg(long, value_parser = named)]
    pub agent: Option<String>,
    /// Only of this one: id or short id.
    #[arg(long, value_parser = named)]
    pub execution: Option<String>,
    /// Only of these kinds: `call.called`, or all that begin so, as in `call.`; may be given again.
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = named)]
    pub kind: Vec<String>,
    /// Only since then: 2026-02-23T10:00:00Z, or 30m, 24h, 7d ago.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    #[command(flatten)]
    pub listing: Listing,
}
