//! What is typed to make, change, set to work and put away an agent without a manifest file.
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tenure_core::agent::{Cause, Severity};

use super::{Listing, Supervise, named};

/// What an agent is, in a few words.
#[derive(Debug, Clone, Default, Args)]
pub struct Profile {
    /// What it is for; without --instructions it is told this at each start.
    #[arg(long)]
    pub purpose: Option<String>,
    /// It works by itself: one attempt a run, woken by the daemon.
    #[arg(long)]
    pub autonomous: bool,
    /// When it is woken: five fields (minute, hour, day, month, day of the week) or a word such as @daily.
    #[arg(long, value_name = "CRON")]
    pub schedule: Option<String>,
    /// The zone of --schedule, such as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub timezone: Option<String>,
    /// Its standing orders; `@FILE` reads a file, `-` stdin.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub instructions: Option<String>,
    /// What else wakes it: schedule, comms (a message to it), manual. --schedule brings its own.
    #[arg(long, value_name = "TRIGGER", value_delimiter = ',')]
    pub triggers: Vec<String>,
    /// How far it may go: turns of an autonomous agent's run, else attempts.
    #[arg(
        long,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub max_iterations: Option<u32>,
    /// An alias or provider/model [default: the alias `default`]
    #[arg(long, value_parser = named)]
    pub model: Option<String>,
    /// To find it by; may be given again.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// What it may use, names or globs [default for a new agent: its own files, programs, state and messages]
    #[arg(long, value_name = "TOOL", value_delimiter = ',')]
    pub tools: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Harness {
    ClaudeCode,
    Codex,
    Opencode,
    Qwen,
}

#[derive(Debug, Args)]
pub struct Create {
    /// What it is called.
    #[arg(value_parser = named, required_unless_present = "called", conflicts_with = "called")]
    pub name: Option<String>,
    /// The same.
    #[arg(long = "name", id = "called", value_name = "NAME", value_parser = named)]
    pub called: Option<String>,
    #[command(flatten)]
    pub profile: Profile,
    /// A coding agent of others that it is, run unchanged in its sandbox; what it is set to do is its prompt.
    #[arg(long, conflicts_with = "tools")]
    pub harness: Option<Harness>,
    /// Where the harness's program lies on this host [default: looked for on the PATH]
    #[arg(long, value_name = "PATH", requires = "harness")]
    pub program: Option<PathBuf>,
    /// Print the manifest that it would have; ask nobody.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Edit {
    /// Name, id or short id.
    #[arg(value_parser = named)]
    pub agent: String,
    #[command(flatten)]
    pub profile: Profile,
    /// No schedule any more.
    #[arg(long, conflicts_with_all = ["schedule", "timezone"])]
    pub unset_schedule: bool,
    /// UTC again.
    #[arg(long, conflicts_with = "timezone")]
    pub unset_timezone: bool,
    /// Only what its schedule brings.
    #[arg(long, conflicts_with = "triggers")]
    pub unset_triggers: bool,
    /// Take a label away; may be given again.
    #[arg(long = "unset-label", value_name = "KEY", value_parser = named)]
    pub unset_labels: Vec<String>,
    /// Check everything, write nothing.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Run {
    /// Name, id or short id; NAME@3 runs its revision 3.
    #[arg(value_parser = named)]
    pub agent: String,
    /// What to do now, beside its standing orders: text, or JSON; `@FILE` reads a file, `-` stdin.
    #[arg(value_name = "INSTRUCTION", allow_hyphen_values = true)]
    pub instruction: String,
    /// Take it as text, whatever it looks like.
    #[arg(long)]
    pub text: bool,
    /// Stream what happens until it ends.
    #[arg(long)]
    pub watch: bool,
}

#[derive(Debug, Args)]
pub struct AgentLogs {
    /// Name, id or short id.
    #[arg(value_parser = named)]
    pub agent: String,
    /// From before this place, which a shorter list named.
    #[arg(long, value_name = "CURSOR", conflicts_with = "follow")]
    pub after: Option<String>,
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    /// Go on with each task as it starts and ends.
    #[arg(long, short)]
    pub follow: bool,
    #[command(flatten)]
    pub listing: Listing,
}

#[derive(Debug, Args)]
pub struct Revisions {
    /// Name, id or short id.
    #[arg(value_parser = named)]
    pub agent: String,
    /// Print the manifest of one.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub show: Option<u32>,
    /// Print what B has differently from A, as in 1..3.
    #[arg(long, value_name = "A..B", value_parser = span, conflicts_with = "show")]
    pub diff: Option<(u32, u32)>,
    /// From before this place, which a shorter list named.
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<String>,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    #[command(flatten)]
    pub listing: Listing,
}

#[derive(Debug, Args)]
pub struct Rollback {
    /// Name, id or short id.
    #[arg(value_parser = named)]
    pub agent: String,
    /// The revision to go back to [default: the one before the newest]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub to: Option<u32>,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_string(), value.trim().to_string())),
        _ => Err("write key=value".to_string()),
    }
}

fn span(text: &str) -> Result<(u32, u32), String> {
    let number = |text: &str| text.trim().parse::<u32>().ok().filter(|number| *number > 0);
    let ends = text.split_once("..").and_then(|(from, to)| Some((number(from)?, number(to)?)));
    ends.ok_or_else(|| "write two numbers of revisions, as in 1..3".to_string())
}

#[derive(Debug, Args)]
pub struct Quarantine {
    #[command(flatten)]
    pub whom: Supervise,
    /// Why: crash, resource_abuse, security_violation or manual.
    #[arg(long = "type", value_name = "TYPE", default_value = "manual", value_parser = cause)]
    pub cause: Cause,
    /// How bad it is: low, medium, high or critical; recovery may be tried 5, 3, 1 or 0 times.
    #[arg(long, default_value = "medium", value_parser = severity)]
    pub severity: Severity,
}

fn cause(text: &str) -> Result<Cause, String> {
    text.parse().map_err(|_| format!("`{text}` is none of crash, resource_abuse, security_violation, manual"))
}

fn severity(text: &str) -> Result<Severity, String> {
    text.parse().map_err(|_| format!("`{text}` is none of low, medium, high, critical"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Isolation {
    /// The sandbox of this host.
    Native,
    /// A container of Docker or Podman.
    Docker,
}

impl Isolation {
    pub fn as_str(self) -> &'static str {
        match self {
            Isolation::Native => "native",
            Isolation::Docker => "docker",
        }
    }
}
