//! Words that are no command yet: those of later releases are said to be that, others get the near word from the parser.
use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};

use crate::args::Format;
use crate::failure::{Exit, Failure};

/// The first words of a command, and what it will be.
const LATER: [(&str, &str); 26] = [
    ("agent pause", "pausing agents"),
    ("agent resume", "pausing agents"),
    ("agent create", "agents that are made without a manifest file"),
    ("agent run", "autonomous agents"),
    ("agent logs", "autonomous agents"),
    ("agent start", "agents that are programs"),
    ("agent stop", "agents that are programs"),
    ("agent upgrade", "agents that are programs"),
    ("agent rollback", "rolling back to an older revision"),
    ("agent quarantine", "supervision and quarantine"),
    ("agent recover", "supervision and quarantine"),
    ("agent set-model", "changing a model without a deploy"),
    ("agents", "the live terminal view"),
    ("pause", "pausing agents"),
    ("resume", "pausing agents"),
    ("kill", "revoking agents"),
    ("approval", "approvals"),
    ("policy", "policies"),
    ("state", "state of agents"),
    ("mcp", "the MCP gateway"),
    ("join-key", "remote workers"),
    ("candidates", "remote workers"),
    ("execution fork", "forking executions"),
    ("execution replay", "replaying executions"),
    ("audit export", "signed exports of the ledger"),
    ("config", "named contexts"),
];

/// Prints why the words were not understood, and gives the exit code.
pub fn or_usage(words: &[OsString], error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument => {
            if let Some(failure) = not_yet(words, error) {
                failure.print(Format::Table);
                return failure.exit.into();
            }
        }
        _ => {}
    }
    let _ = error.print();
    if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() }
}

fn not_yet(words: &[OsString], error: &clap::Error) -> Option<Failure> {
    let wrong = error.get(ContextKind::InvalidSubcommand)?.to_string();
    let typed: Vec<&str> = words.iter().skip(1).filter_map(|word| word.to_str()).collect();
    let place = typed.iter().position(|word| *word == wrong)?;
    let before = place.checked_sub(1).and_then(|before| typed.get(before)).copied().unwrap_or_default();
    let pair = format!("{before} {wrong}");
    let (command, what) = LATER.iter().find(|(command, _)| *command == pair || *command == wrong)?;
    let failure = Failure::new(Exit::Later, format!("`tenure {command}` is not in this release"));
    Some(failure.why(format!("it comes with {what}")).next("`tenure help` lists what there is"))
}
