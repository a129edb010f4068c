//! What may be typed. What it means is resolved in `config` and the verbs' own files.
mod approval;
mod policy;
mod audit;
mod budget;
mod retention;
mod comms;
mod cost;
mod files;
mod items;
mod doctor;
mod instance;
mod life;
mod mcp;
mod prices;
mod sandbox;
mod package;
mod secret;
mod sessions;
mod state;

pub use approval::{Approval, ApprovalFilter, Approve, Which};
pub use audit::{Audit, Consistent, Export, Query, Seal, Tail};
pub use budget::{Budget, Limit, Limits, Whose};
pub use comms::{Comms, Dead, Letters, Send};
pub use cost::Cost;
pub use doctor::Doctor;
pub use files::Files;
pub use instance::{Instance, Whom};
pub use items::{AlertFilter, AlertVerb, Alerts, Schedules};
pub use life::{AgentLogs, Create, Edit, Harness, Isolation, Profile, Quarantine, Revisions, Rollback, Run};
pub use mcp::{Mcp, McpClient, McpVerb};
pub use package::{Package, PackageKeys};
pub use policy::{Candidate, Check, Documents, Explain, Policy};
pub use prices::Prices;
pub use retention::{Retention, Wanted as RetentionWanted};
pub use sandbox::Sandbox;
pub use secret::{Secret, SecretValue};
pub use sessions::{Chat, Session, Watch};
pub use state::{Acl, Keys, NewValue, Shared, Since, State};

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tenure_core::manifest::{self, HostMount};

/// Run AI agents under a ledger, limits and a sandbox.
#[derive(Debug, Parser)]
#[command(
    name = "tenure",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done · 1 failure · 2 usage · 3 refused · 4 not found · 5 conflict · 6 no daemon · \
                  7 not allowed · 8 the watched execution failed or was cancelled · 9 not in this release"
)]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// How to print.
    #[arg(short, long, global = true, value_enum, env = "TENURE_OUTPUT", help_heading = "Global")]
    pub output: Option<Format>,
    /// The daemon, by a name that `tenure config add` made [default: the one in use, else this data directory's]
    #[arg(long, global = true, env = "TENURE_CONTEXT", value_name = "NAME", help_heading = "Global")]
    pub context: Option<String>,
    /// The daemon, by its address: https://HOST:7800, http://127.0.0.1:7800, 127.0.0.1:7800 or unix:/path
    #[arg(
        long,
        alias = "daemon-addr",
        global = true,
        env = "TENURE_BASE_URL",
        value_name = "URL",
        help_heading = "Global"
    )]
    pub base_url: Option<String>,
    /// An API key; the Unix socket wants none.
    #[arg(
        long,
        global = true,
        env = "TENURE_API_KEY",
        hide_env_values = true,
        value_name = "KEY",
        help_heading = "Global"
    )]
    pub api_key: Option<String>,
    /// The certificate of an https daemon, and no other: sha256:… as `tenure up` and `tenure status` print it there
    #[arg(long, global = true, env = "TENURE_FINGERPRINT", value_name = "SHA256", help_heading = "Global")]
    pub fingerprint: Option<String>,
    /// Where the ledger, work folders and weights are.
    #[arg(long, global = true, env = "TENURE_DATA_DIR", value_name = "DIR", help_heading = "Global")]
    pub data_dir: Option<PathBuf>,
    /// A tenure.toml of yours [default: tenure/tenure.toml in your config folder; ./tenure.toml may only set `output`]
    #[arg(long, global = true, env = "TENURE_CONFIG", value_name = "FILE", help_heading = "Global")]
    pub config: Option<PathBuf>,
    /// Ask nothing before destroying.
    #[arg(short, long, global = true, help_heading = "Global")]
    pub yes: bool,
    /// More columns and detail; each request to the daemon is told on standard error.
    #[arg(short, long, global = true, help_heading = "Global")]
    pub verbose: bool,
}

/// How a list is printed.
#[derive(Debug, Clone, Default, Args)]
pub struct Listing {
    /// Only ids, or names of what has none; one a line.
    #[arg(short, long)]
    pub quiet: bool,
    /// No line of titles.
    #[arg(long)]
    pub no_headers: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    #[default]
    Table,
    Json,
    Yaml,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the daemon, in the foreground or with `-d` behind it.
    Up(Up),
    /// End the daemon of this data directory; executions go on at the next start.
    Down,
    #[command(hide = true)]
    Worker(Worker),
    /// Write a first manifest, from three questions or from flags.
    Init(Init),
    /// Show what the daemon is, holds and does.
    Status,
    /// Try what is in force; ends with 1 where something is not.
    Doctor(Doctor),
    /// Deploy, list, look at and delete agents.
    #[command(subcommand)]
    Agent(Agent),
    /// Watch the agents as they work, and hold them; elsewhere than at a terminal, a table.
    Agents(Listing),
    /// Check manifests.
    #[command(subcommand)]
    Manifest(Manifest),
    /// Pause agents: nothing of them begins; what runs goes on.
    Pause(Pause),
    /// Resume paused agents.
    Resume(Supervise),
    /// Kill what runs of agents; they may begin again.
    Kill(Supervise),
    /// Write to agents, and see what they write to each other.
    #[command(subcommand)]
    Comms(Comms),
    /// See what agents tell their supervisor, and say that somebody has seen to it.
    Alerts(Alerts),
    /// Say by which rules calls are judged, and try rules on calls.
    #[command(subcommand)]
    Policy(Policy),
    /// Allow what agents want to do, or not, and see what was asked.
    #[command(subcommand)]
    Approval(Approval),
    /// Start an execution of an agent.
    Execute(Execute),
    /// List, look at and cancel executions.
    #[command(subcommand)]
    Execution(Execution),
    /// List the executions that have not ended.
    Ps(Listing),
    /// Show what an execution's iterations said and did.
    Logs(Logs),
    /// Talk with an agent, line by line; the conversation is kept, and taken up again later.
    Chat(Chat),
    /// Follow all that happens to agents: what they call, and what people do to them.
    Watch(Watch),
    /// List and close sessions: agents that are connected from outside.
    #[command(subcommand)]
    Session(Session),
    /// Let an MCP client act as an agent, over stdin and stdout.
    Mcp(Mcp),
    /// Add, list and choose the daemons that are meant.
    #[command(subcommand)]
    Config(Config),
    /// See and change what agents keep, and what they share.
    #[command(subcommand)]
    State(State),
    /// Limit what agents may use up in a day and a month, and see what they did.
    #[command(subcommand)]
    Budget(Budget),
    /// Show what model calls cost, by agent, model, day or execution.
    Cost(Cost),
    /// Say how long, and how much, of what ended executions were told and said is kept.
    #[command(subcommand)]
    Retention(Retention),
    /// Make, list and revoke API keys.
    #[command(subcommand)]
    Key(Key),
    /// Keep secrets that agents use and never see.
    #[command(subcommand)]
    Secret(Secret),
    /// Build, push and verify signed packages of agents' programs.
    #[command(subcommand)]
    Package(Package),
    /// Name, pull, list and test models.
    #[command(subcommand)]
    Model(Model),
    /// Find out what this host enforces, and what holds an agent.
    #[command(subcommand)]
    Sandbox(Sandbox),
    /// Verify and read the ledger.
    #[command(subcommand)]
    Audit(Audit),
    /// Print the API: its paths and shapes, or its OpenAPI description.
    Api(Api),
    /// Print completions for a shell.
    Completions { shell: clap_complete::Shell },
    /// Print the manual page, or write one for each verb.
    Man {
        /// Where to write them.
        #[arg(value_name = "DIR")]
        folder: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct Up {
    /// Start it in the background, wait until it serves, and give the terminal back.
    #[arg(short, long)]
    pub detach: bool,
    /// In a session of its own, which no terminal ends.
    #[arg(long, hide = true)]
    pub own_session: bool,
    /// Where to serve holders of API keys; `none` serves the Unix socket alone [default: 127.0.0.1:7800]
    #[arg(long, env = "TENURE_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Speak TLS there: `self-signed` makes a certificate and prints its fingerprint, `none` is for this host alone [default: none]
    #[arg(long, env = "TENURE_TLS", value_name = "HOW")]
    pub tls: Option<Tls>,
    /// Speak TLS there with this certificate and its chain, in PEM; it is read anew when it changes.
    #[arg(long, env = "TENURE_TLS_CERT", value_name = "FILE", requires = "tls_key", conflicts_with = "tls")]
    pub tls_cert: Option<PathBuf>,
    /// The key of --tls-cert, which nobody else may be able to read.
    #[arg(long, env = "TENURE_TLS_KEY", value_name = "FILE", requires = "tls_cert", conflicts_with = "tls")]
    pub tls_key: Option<PathBuf>,
    /// Sandboxes at the same time [default: 8]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub slots: Option<u32>,
    /// A folder in /data, /mnt, /opt or /srv that manifests may name, `:rw` to be written too; may be given again.
    #[arg(
        long = "allow-mount",
        env = "TENURE_ALLOW_MOUNTS",
        value_name = "PATH[:rw]",
        value_delimiter = ',',
        value_parser = tenure_worker::host_mount
    )]
    pub allow_mounts: Vec<HostMount>,
    /// How long the files of a deleted agent are kept, as in `7d` or `12h` [default: 7d]
    #[arg(long, env = "TENURE_HOME_GRACE", value_name = "TIME", value_parser = grace)]
    pub home_grace: Option<Duration>,
    /// Start although the database is older than its head outside says; the reason is recorded.
    #[arg(long, value_name = "WHY")]
    pub accept_restore: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    SelfSigned,
    None,
}

#[derive(Debug, Args)]
pub struct Worker {
    /// Speak frames over the socket that is stdin.
    #[arg(long, required = true)]
    pub stdio: bool,
    #[arg(long, default_value_t = 8)]
    pub slots: u32,
    #[arg(long = "allow-mount", value_parser = tenure_worker::host_mount)]
    pub allow_mounts: Vec<HostMount>,
}

#[derive(Debug, Subcommand)]
pub enum Agent {
    /// Make an agent from a few words, without a manifest file.
    Create(Box<Create>),
    /// Change an agent: by flags, or at a terminal without any, its manifest in $EDITOR.
    Edit(Box<Edit>),
    /// Have an agent think with another model.
    SetModel {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        agent: String,
        /// An alias or provider/model.
        #[arg(value_parser = named)]
        model: String,
    },
    /// Set an agent to work now, with an instruction beside its standing orders.
    Run(Run),
    /// List what an agent did, the latest first: each task with how it ended and what it took.
    Logs(AgentLogs),
    /// List the revisions of an agent, print one, or hold two against each other.
    Revisions(Revisions),
    /// Go back to an older revision: the next one is the same as that.
    Rollback(Rollback),
    /// Deploy a manifest: a new agent, or a new revision of the one with its name.
    Deploy {
        /// YAML or JSON; `-` reads stdin.
        file: PathBuf,
        /// Check everything, write nothing.
        #[arg(long)]
        dry_run: bool,
        /// Keep its programs apart in this way, whatever the manifest says; kept in the revision's annotations.
        #[arg(long, value_enum)]
        isolation: Option<Isolation>,
    },
    /// List agents.
    #[command(visible_alias = "ls")]
    List {
        /// deployed, registered, active, idle, paused, quarantined, revoked or archived.
        #[arg(long)]
        status: Option<String>,
        /// With all of these labels: key=value, or a key alone for any value.
        #[arg(long, value_name = "LABELS", value_delimiter = ',', alias = "label")]
        labels: Vec<String>,
        /// Those alone whose manifest says that they provide this.
        #[arg(long, value_name = "CAPABILITY", value_parser = named)]
        provides: Option<String>,
        /// From after this place, which a shorter list named.
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        #[command(flatten)]
        listing: Listing,
    },
    /// Show one agent with its limits, revisions and manifest.
    #[command(visible_aliases = ["show", "describe"])]
    Get {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        agent: String,
        /// Only the canonical manifest, as YAML that can be deployed.
        #[arg(long)]
        manifest: bool,
    },
    /// See and fetch what an agent made, and put files there.
    #[command(subcommand)]
    Files(Files),
    /// Tell what an agent missed: messages, failures, what people and the daemon did.
    Briefing {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        agent: String,
        /// Since then: 2026-02-23T10:00:00Z, or 30m, 24h, 7d ago [default: the end of its last execution]
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
    },
    /// List the wakes that an agent planned itself, or end some.
    Schedules(Schedules),
    /// The same as `tenure pause`.
    Pause(Pause),
    /// The same as `tenure resume`.
    Resume(Supervise),
    /// Give an agent a new key to connect with; its text is shown once. The present one dies.
    Rotate {
        /// Name, id or short id.
        #[arg(value_parser = named)]
        agent: String,
        /// Let the present key live beside the new one for so long, as in `10m`; at most 7 days [default: 0]
        #[arg(long, value_name = "TIME", value_parser = grace)]
        overlap: Option<Duration>,
    },
    #[command(flatten)]
    Instance(Instance),
    /// Put agents into quarantine: what runs is cancelled, their sessions end, and nothing of them begins until they are recovered.
    Quarantine(Quarantine),
    /// Let agents begin again that are in quarantine.
    Recover(Supervise),
    /// Revoke agents for good: what runs is cancelled, their keys die, nothing begins any more; history and state stay.
    Revoke(Supervise),
    /// Delete agents: their executions are cancelled, their history stays, and their names are free again.
    #[command(visible_alias = "rm")]
    Delete {
        /// Name, id or short id of each.
        #[arg(required = true, value_name = "AGENT", value_parser = named)]
        agents: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub struct Pause {
    #[command(flatten)]
    pub whom: Supervise,
    /// When it is over by itself: 2026-02-23T10:00:00Z, or in 30m, 24h, 7d.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub until: Option<String>,
}

#[derive(Debug, Args)]
pub struct Supervise {
    /// Name, id or short id of each.
    #[arg(required = true, value_name = "AGENT", value_parser = named)]
    pub agents: Vec<String>,
    /// Why; kept in the ledger.
    #[arg(long)]
    pub note: Option<String>,
}

#[derive(Debug, Args)]
pub struct Init {
    /// What the agent is called.
    pub name: Option<String>,
    /// What it does; it is told this at each start.
    #[arg(long)]
    pub purpose: Option<String>,
    /// What it may do with its work folder; `run` is to write, and to run programs.
    #[arg(long, value_enum)]
    pub may: Option<Reach>,
    /// Where the manifest is written.
    #[arg(long, default_value = "agent.yaml", value_name = "FILE")]
    pub file: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Reach {
    Read,
    Write,
    Run,
}

#[derive(Debug, Subcommand)]
pub enum Manifest {
    /// The same as `tenure init`.
    Init(Init),
    /// Check a manifest without deploying it.
    Validate {
        /// YAML or JSON; `-` reads stdin.
        file: PathBuf,
    },
    /// Print the JSON Schema of the canonical form.
    Schema,
}

#[derive(Debug, Args)]
pub struct Execute {
    /// The agent, then its input: `tenure execute fizz "Write fizz.py"`; with --agent, the input alone.
    #[arg(value_name = "AGENT [INPUT]", num_args = 1..=2, required_unless_present = "agent")]
    pub words: Vec<String>,
    /// Name, id or short id; NAME@3 runs its revision 3.
    #[arg(long, value_parser = named)]
    pub agent: Option<String>,
    /// JSON, or text; `@FILE` reads a file, `-` stdin [default: null]. What is empty, or begins as JSON and is none, wants
    /// --text.
    #[arg(long, allow_hyphen_values = true)]
    pub input: Option<String>,
    /// Take the input as text, whatever it looks like.
    #[arg(long)]
    pub text: bool,
    /// Stream what happens until it ends.
    #[arg(long)]
    pub watch: bool,
    /// Instead of the manifest's own, from 1 to 1000.
    #[arg(
        long,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub max_iterations: Option<u32>,
    /// A repeated start with the same key returns the first execution.
    #[arg(long, value_name = "KEY", value_parser = named)]
    pub idempotency_key: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Execution {
    /// List executions, the latest first.
    #[command(visible_alias = "ls")]
    List {
        /// Name, id or short id.
        #[arg(long, value_parser = named)]
        agent: Option<String>,
        /// queued, running, waiting, completed, failed, cancelled, or the reason of a failure such as timeout.
        #[arg(long)]
        status: Option<String>,
        /// Started since then: 2026-02-23T10:00:00Z, or 30m, 24h, 7d ago.
        #[arg(long)]
        since: Option<String>,
        /// From before this place, which a shorter list named.
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        #[command(flatten)]
        listing: Listing,
    },
    /// Show one execution with its iterations.
    #[command(visible_aliases = ["show", "describe"])]
    Get {
        /// Id or short id.
        #[arg(value_parser = named)]
        execution: String,
    },
    /// Show what its iterations said and did.
    Logs(Logs),
    /// Stream what happens until it ends.
    Watch {
        /// Id or short id.
        #[arg(value_parser = named)]
        execution: String,
    },
    /// Start it once more: the same agent as it is now, and the same input.
    Retry {
        /// Id or short id.
        #[arg(value_parser = named)]
        execution: String,
        /// Stream what happens until it ends.
        #[arg(long)]
        watch: bool,
    },
    /// Cancel executions.
    Cancel {
        /// Id or short id of each.
        #[arg(required = true, value_name = "EXECUTION", value_parser = named)]
        executions: Vec<String>,
        /// Kept in the ledger.
        #[arg(long)]
        why: Option<String>,
    },
}

#[derive(Debug, Args)]
pub struct Logs {
    /// Id or short id.
    #[arg(value_parser = named)]
    pub execution: String,
    /// Only this one, counted from 1.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub iteration: Option<u32>,
    /// Stream what happens until it ends.
    #[arg(long, short, conflicts_with = "iteration")]
    pub follow: bool,
}

#[derive(Debug, Subcommand)]
pub enum Config {
    /// Keep a daemon's --base-url, --api-key and --fingerprint under a name, in a file that only you can read.
    Add {
        #[arg(value_parser = named)]
        name: String,
        /// A file with the API key, or `-` for stdin: what is typed as --api-key stays in the shell's history.
        #[arg(long, value_name = "FILE", conflicts_with = "api_key")]
        key_file: Option<PathBuf>,
        /// Take the place of the one of this name.
        #[arg(long)]
        replace: bool,
        /// Mean it from now on.
        #[arg(long = "use")]
        in_use: bool,
    },
    /// Mean this daemon wherever no flag or variable names another; `local` is this data directory's.
    Use {
        #[arg(value_parser = named)]
        name: String,
    },
    /// List the daemons that have names.
    #[command(visible_alias = "ls")]
    List,
    /// Show which daemon is meant and what says so, or one by its name.
    #[command(visible_aliases = ["get", "current"])]
    Show { name: Option<String> },
    /// Forget names, with the keys kept under them.
    #[command(visible_alias = "rm")]
    Remove {
        #[arg(required = true, value_name = "NAME", value_parser = named)]
        names: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum Key {
    /// Make a key; its text is shown once.
    Create {
        #[arg(long, value_parser = named)]
        name: String,
        /// viewer, approver, operator or owner.
        #[arg(long, default_value = "operator")]
        role: tenure_core::access::Role,
    },
    /// List keys, revoked ones included.
    #[command(visible_alias = "ls")]
    List(Listing),
    /// Revoke keys.
    #[command(visible_alias = "rm")]
    Revoke {
        /// Id, short id, or the name of a live key, of each.
        #[arg(required = true, value_name = "KEY", value_parser = named)]
        keys: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum Model {
    /// Fetch the weights of a local model.
    Pull {
        /// A name of the catalogue, or local-default.
        #[arg(default_value = "local-default")]
        name: String,
        /// Take them from a file instead of the hub.
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
    },
    /// Let a word stand for a model, or for several in the order in which they are tried.
    Alias {
        #[arg(value_parser = named)]
        word: String,
        /// provider/model, a word such as local or anthropic, or one of `tenure model add`; the next where one cannot be used.
        #[arg(required = true, num_args = 1..=5, value_name = "MODEL", value_parser = named)]
        models: Vec<String>,
    },
    /// Add a model at an address of its own, under a name.
    Add {
        #[arg(value_parser = named)]
        word: String,
        /// anthropic/MODEL, openai/MODEL (or whatever speaks as OpenAI does) or ollama/MODEL.
        #[arg(value_name = "PROVIDER/MODEL", value_parser = named)]
        model: String,
        /// Where it is, instead of the provider's own address.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        /// The variable that has its key where the daemon runs.
        #[arg(long, value_name = "VARIABLE", conflicts_with = "key_file")]
        key_env: Option<String>,
        /// A file with its key, which nobody else may be able to read.
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
    },
    /// Remove words of `alias` and `add`, or the weights of a local model from the disk.
    #[command(visible_alias = "rm")]
    Remove {
        #[arg(required = true, value_name = "WORD", value_parser = named)]
        words: Vec<String>,
    },
    /// Say what models cost, and see it: US dollars for a million tokens.
    Prices {
        #[command(subcommand)]
        verb: Option<Prices>,
    },
    /// List models and what they lack.
    #[command(visible_alias = "ls")]
    List(Listing),
    /// Ask a model for one short answer.
    Test {
        /// An alias or provider/model.
        #[arg(default_value = "default", value_parser = named)]
        model: String,
    },
}

#[derive(Debug, Args)]
pub struct Api {
    /// Only paths and shapes with this in their name.
    pub word: Option<String>,
    /// The description itself, as JSON; `-o yaml` for YAML.
    #[arg(long, conflicts_with = "word")]
    pub openapi: bool,
}

/// A name or id that says something: an empty one comes of a variable that is not set.
fn named(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("it is empty: is a variable not set?".to_string()),
        _ => Ok(text.to_string()),
    }
}

fn grace(text: &str) -> Result<Duration, String> {
    manifest::Duration::parse(text).map(|time| Duration::from_millis(time.as_millis())).map_err(|fault| fault.reason)
}
