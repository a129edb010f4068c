//! The canonical manifest, declared: what every dialect is translated to. A field is `None` where the file does not state
//! it; defaults are given by the methods of [`super::Manifest`] and are never written into this form, so that what was
//! stated stays known.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check;
use super::document::Value;
use super::fields::{Place, Problems, Rule, list, read_section, section};
use super::formats::{
    AgentName, COMMAND_WORDS_MAX, INSTRUCTION_BYTES_MAX, agent_name, command, cron, host, language, language_version,
    model, name, path, prompt_template, provided, timezone, url, version, version_range,
};
use super::quantity::{Bytes, Duration, Millicores, Money};
use super::section::{section, words};
use super::tools::{TOOLS_MAX, ToolPattern, login_user, server_name, tool_of_server, tool_pattern};
use super::validator::{VALIDATORS_MAX, Validator};
use super::values::{boolean, pairs, text, text_of, whole, word};

pub(super) const LIST_MAX: usize = 64;
/// The most words of `provides`.
pub const PROVIDES_MAX: usize = 64;
pub(super) const ACTIONS_MAX: usize = 4;
const KIB: Bytes = Bytes::new(1 << 10);
const GIB: Bytes = Bytes::new(1 << 30);
const TIB_16: Bytes = Bytes::new(16 << 40);
pub(super) const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
pub(super) const DAY: Duration = Duration::from_secs(86_400);
const MONTH: Duration = Duration::from_secs(30 * 86_400);
const TEN_YEARS: Duration = Duration::from_secs(3650 * 86_400);

section!(
    /// The job description of one agent.
    struct Manifest {
        api_version("apiVersion"): ApiVersion = word,
        kind: Kind = word,
        metadata: Metadata = section(),
        spec: Spec = section(),
    }
);

words!(ApiVersion { V1 = "tenure.dev/v1" });
words!(Kind { Agent = "Agent" });

section!(
    struct Metadata {
        name: AgentName = agent_name,
        /// A semantic version.
        #[schemars(with = "Option<String>")]
        version?: semver::Version = version,
        /// What the agent is for.
        description?: String = text_of(4096),
        /// To find agents by.
        labels*: BTreeMap<String, String> = pairs(256),
        /// Kept and shown, never looked at.
        annotations*: BTreeMap<String, String> = pairs(4096),
    }
);

section!(
    #[derive(Default)]
    struct Spec {
        /// What kind of colleague the agent is; shown. Others may depend on a `utility` as a service.
        persona?: Persona = word,
        /// What it does for others, in words of its own; to find it by, and it grants nothing.
        #[schemars(length(max = PROVIDES_MAX))]
        provides*: Vec<String> = list(PROVIDES_MAX, provided),
        /// What it asks for that is no capability of ours; shown, and it grants nothing.
        wishes*: Vec<Wish> = list(LIST_MAX, section()),
        runtime?: Runtime = section(),
        task?: Task = section(),
        execution?: Execution = section(),
        /// Capabilities (names or globs) and MCP servers; without this field, those that only read.
        tools?: Vec<Tool> = list(TOOLS_MAX, tool()),
        security?: Security = section(),
        volumes*: Vec<Volume> = list(LIST_MAX, section()),
        schedule?: Schedule = section(),
        triggers*: Vec<Trigger> = list(8, word),
        limits?: LimitsSpec = section(),
        /// Of what ended executions were told and said. Default: all is kept.
        retention?: Retention = section(),
        secrets*: Vec<Secret> = list(LIST_MAX, section()),
        memory?: Memory = section(),
        supervision?: Supervision = section(),
        dependencies*: Vec<Dependency> = list(LIST_MAX, section()),
    } then
        check::homes_of_limits(limits, execution, security),
        check::trigger_has_schedule(triggers),
        check::one_shot(execution),
        check::provided_once(provides),
        check::dependencies_once(dependencies)
);

words!(
    /// What somebody asks to do with a resource.
    Action { Read = "read", Write = "write", Execute = "execute", Delete = "delete" }
);

section!(
    /// Something that the agent asks for and that is no capability. It grants nothing.
    struct Wish {
        resource: String = name,
        actions: Vec<Action> = list(ACTIONS_MAX, word),
        scope?: String = text_of(256),
    }
);

words!(Persona {
    Assistant = "assistant",
    Specialist = "specialist",
    Guardian = "guardian",
    Orchestrator = "orchestrator",
    Utility = "utility",
    Companion = "companion",
});

words!(
    /// What the agent is: instructions for a model, or a program.
    AgentKind {
        /// Its instructions are run by the daemon's own loop.
        Llm = "llm",
        /// A program of its own behind lifecycle hooks.
        Hooks = "hooks",
        /// A coding agent behind the Agent Client Protocol.
        Acp = "acp",
        /// Any program: the prompt is its last argument, and what it prints is the output.
        Command = "command",
    }
);

words!(
    /// How the agent's programs are kept apart from the host.
    Isolation {
        /// Whatever the host does by default.
        Inherit = "inherit",
        Native = "native",
        Docker = "docker",
        Wasm = "wasm",
    }
);

section!(
    #[derive(Default)]
    struct Runtime {
        /// Default: llm.
        kind?: AgentKind = word,
        /// The language that the agent's programs are written in.
        language?: String = language,
        /// Its version: one to three numbers, of which the host must have the same ones.
        #[schemars(regex(pattern = r"^[0-9]{1,6}(\.[0-9]{1,6}){0,2}$"))]
        version?: String = language_version,
        image?: String = text_of(512),
        /// Default: native.
        isolation?: Isolation = word,
        /// An alias or `provider/model`. Default: the alias `default`.
        model?: String = model,
        /// For agents that are programs: the program and its arguments.
        #[schemars(length(min = 1, max = COMMAND_WORDS_MAX))]
        command?: Vec<String> = command,
        /// For agents behind the Agent Client Protocol: the mode in which the program asks before it acts; set, and read back.
        mode?: String = text_of(64),
    } then check::version_has_language(version), check::command_fits_kind(kind, command), check::mode_fits_kind(kind, mode)
);

section!(
    struct Task {
        instruction?: String = text_of(INSTRUCTION_BYTES_MAX),
        /// Default: the instruction, then `User:` and the input.
        prompt_template?: String = prompt_template,
    } then check::instruction_is_used(instruction, prompt_template)
);

words!(Mode { OneShot = "one-shot", Iterative = "iterative" });
words!(
    /// What executions of one agent that run at the same time have in common.
    Sharing { Shared = "shared", PerExecution = "per-execution" }
);

section!(
    #[derive(Default)]
    struct Execution {
        /// Default: iterative.
        mode?: Mode = word,
        /// Default: 10.
        max_iterations?: u32 [1..=1000],
        /// Of each iteration. Default: 50.
        max_turns?: u32 [1..=1000],
        /// Default: 300s.
        iteration_timeout?: Duration = Duration::between(SECOND, DAY),
        /// Executions of the agent at a time; more wait. Default: 1. Above 1, `workspace` must be stated.
        concurrency?: u32 [1..=256],
        /// Whether executions have the agent's one work folder, or each a new one that goes with it. Default: shared.
        workspace?: Sharing = word,
        /// Checked in order; the first failure ends the iteration.
        #[schemars(length(max = VALIDATORS_MAX))]
        validation*: Vec<Validator> = list(VALIDATORS_MAX, section()),
    } then check::concurrent_have_a_workspace(concurrency, workspace)
);

/// One entry of `tools`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Tool {
    Capability(ToolPattern),
    Mcp(McpServer),
}

fn tool() -> Rule<Tool> {
    let read = |place: &Place<'_>, problems: &mut Problems| match &place.node.value {
        Value::Map(_) => read_section(place, problems).map(Tool::Mcp),
        Value::Null | Value::Bool { .. } | Value::Number { .. } | Value::Text(_) | Value::List(_) => {
            place.read(problems, tool_pattern).map(Tool::Capability)
        }
    };
    Rule::new(read)
}

section!(
    /// An MCP server: either a command that speaks over stdio, or a URL.
    struct McpServer {
        /// Its tools are the capabilities `mcp.<name>.<tool>`.
        name: String = server_name,
        /// It runs in the agent's sandbox.
        #[schemars(length(min = 1, max = COMMAND_WORDS_MAX))]
        command?: Vec<String> = command,
        /// It is reached by the agent's network rules.
        url?: String = url,
        /// A secret of the vault that each request to the url is sent with, as `Authorization: Bearer …`; a person binds it.
        secret?: String = super::formats::name,
        /// With it the secret is this user's password, by basic authorization.
        user?: String = login_user,
        /// Those of its tools that the agent may use: names, or beginnings and a `*`. Default: all.
        tools?: Vec<String> = list(TOOLS_MAX, tool_of_server),
    } then check::command_or_url(secret, user)
);

section!(
    #[derive(Default)]
    struct Security {
        network?: Network = section(),
        filesystem?: Filesystem = section(),
        resources?: Resources = section(),
        /// What must hold this agent; where the host does not give it, nothing runs.
        require*: Vec<Guard> = list(16, word),
    }
);

words!(
    /// A protection that not every host gives.
    Guard {
        /// The kernel's own rules on files and TCP, on top of the view.
        Landlock = "landlock",
        /// A host user of the agent's own behind its files and programs.
        OwnIdentity = "own-identity",
        /// Limits on the agent's programs together, not on each alone.
        MemoryGroup = "memory-group",
        PidsGroup = "pids-group",
        CpuGroup = "cpu-group",
        /// Disk limits that the file system keeps, not a watcher.
        HardQuota = "hard-quota",
    }
);

words!(NetworkMode {
    /// Nothing can be reached.
    None = "none",
    /// Only what `allowlist` names.
    Allow = "allow",
    /// All public addresses but what `blocklist` names.
    Deny = "deny",
});

section!(
    struct Network {
        mode: NetworkMode = word,
        allowlist*: Vec<String> = list(256, host),
        blocklist*: Vec<String> = list(256, host),
        max_connections?: u32 [1..=65_535],
        /// In each second.
        bandwidth?: Bytes = Bytes::between(KIB, TIB_16),
    } then check::lists_fit_mode(mode, allowlist, blocklist)
);

section!(
    struct Filesystem {
        /// Default: /workspace.
        read?: Vec<String> = list(LIST_MAX, path),
        /// Default: /workspace.
        write?: Vec<String> = list(LIST_MAX, path),
        /// Whether there is a /tmp, emptied with each iteration. Default: true.
        temp?: bool = boolean,
    }
);

section!(
    #[derive(Default)]
    struct Resources {
        /// Thousandths of a core. Default: 1000.
        cpu?: Millicores = Millicores::read,
        /// Default: 512Mi.
        memory?: Bytes = Bytes::between(Bytes::mebi(16), TIB_16),
        /// Default: 1Gi.
        disk?: Bytes = Bytes::between(Bytes::mebi(1), TIB_16),
        /// Processes and threads at one time. Default: 100.
        pids?: u32 [1..=1_000_000],
        /// Files in the work folder. Default: 10000.
        files?: u32 [1..=100_000_000],
        /// What one call may print. Default: 16Mi.
        output?: Bytes = Bytes::between(KIB, GIB),
        /// Of the whole execution. Default: 30m.
        timeout?: Duration = Duration::between(SECOND, MONTH),
    }
);

words!(StorageClass { Ephemeral = "ephemeral", Persistent = "persistent" });
words!(AccessMode { ReadWrite = "read-write", ReadOnly = "read-only" });

section!(
    struct Volume {
        name: String = name,
        mount_point: String = path,
        storage_class?: StorageClass = word,
        access_mode?: AccessMode = word,
        size_limit_mb?: u32 [1..=16_777_216],
        ttl_hours?: u32 [1..=87_600],
    } then check::persistent_has_no_ttl(storage_class, ttl_hours)
);

words!(Overlap { Skip = "skip", Queue = "queue", Replace = "replace" });
words!(Missed { RunOnce = "run-once", Skip = "skip" });

section!(
    struct Schedule {
        /// Five fields: minute, hour, day of the month, month, day of the week.
        cron: String = cron,
        /// An IANA time zone. Default: UTC.
        timezone?: String = timezone,
        jitter?: Duration = Duration::between(SECOND, DAY),
        /// When the last run is not over. Default: skip.
        overlap?: Overlap = word,
        /// When a run was missed. Default: run-once.
        missed?: Missed = word,
    }
);

words!(Trigger { Schedule = "schedule", Comms = "comms", Manual = "manual" });

section!(
    /// The limits whose home is `spec.limits`; iterations, turns and times have theirs in `execution` and `resources`.
    #[derive(Default)]
    struct LimitsSpec {
        max_iterations~: u32 = whole(1..=1000),
        max_turns~: u32 = whole(1..=1000),
        iteration_timeout~: Duration = Duration::between(SECOND, DAY),
        timeout~: Duration = Duration::between(SECOND, MONTH),
        /// Of an execution. Default: 200.
        tool_calls?: u32 [1..=1_000_000],
        /// Of an execution, in and out. Default: 200000.
        tokens?: u64 [1..=1_000_000_000_000_i64],
        /// Of an execution. Default: none.
        money?: Money = Money::read,
        /// Default: 60.
        messages_per_minute?: u32 [1..=10_000],
        /// Default: 16.
        hop_limit?: u32 [1..=64],
    }
);

section!(
    /// What is older, or beyond the size of all together, is erased, the oldest first.
    #[derive(Default)]
    struct Retention {
        age?: Duration = Duration::between(MINUTE, TEN_YEARS),
        size?: Bytes = Bytes::between(Bytes::new(0), TIB_16),
    }
);

section!(
    /// A secret that one capability may use with one host.
    struct Secret {
        name: String = name,
        capability: ToolPattern = tool_pattern,
        host: String = host,
    }
);

words!(MemoryType { Volatile = "volatile", Persistent = "persistent", Hybrid = "hybrid" });
words!(MemoryBackend { Memory = "memory", Sqlite = "sqlite", Redis = "redis" });

section!(
    struct Memory {
        /// Default: persistent.
        kind("type")?: MemoryType = word,
        /// Default: sqlite.
        backend?: MemoryBackend = memory_backend(),
        ttl?: Duration = Duration::between(SECOND, TEN_YEARS),
        max_size("maxSize")?: Bytes = Bytes::between(Bytes::new(1), TIB_16),
        /// Says again what `type` says; a contradiction is refused.
        persistent?: bool = boolean,
        /// Whether other agents may read it. Default: false.
        shared_access("sharedAccess")?: bool = boolean,
    } then check::memory_fits_type(kind, backend, persistent)
);

/// `indexeddb` is another word for the embedded store, and is told to be one.
pub(super) fn memory_backend() -> Rule<MemoryBackend> {
    let read = |place: &Place<'_>, problems: &mut Problems| {
        let backend =
            place.read(problems, |node| if text(node)? == INDEXEDDB { Ok(MemoryBackend::Sqlite) } else { word(node) });
        if matches!(&place.node.value, Value::Text(word) if word == INDEXEDDB) {
            problems.note(place, "there is no browser here: `indexeddb` is the embedded store, `sqlite`");
        }
        backend
    };
    Rule::new(read)
}

const INDEXEDDB: &str = "indexeddb";

section!(
    struct Supervision {
        /// Default: 3.
        max_crashes("maxCrashes")?: u32 [0..=100],
        /// Default: 10m.
        window?: Duration = Duration::between(SECOND, MONTH),
        /// Default: true.
        auto_restart("autoRestart")?: bool = boolean,
        /// The first wait before a restart; it doubles with each further one.
        backoff?: Duration = Duration::between(Duration::from_millis(1), DAY),
    } then check::backoff_has_restarts(auto_restart, backoff)
);

words!(DependencyType { Module = "module", Service = "service", Agent = "agent" });

section!(
    struct Dependency {
        name: String = text_of(128),
        /// A range of semantic versions, as in `^1.2`.
        #[schemars(with = "Option<String>")]
        version?: semver::VersionReq = version_range,
        kind("type"): DependencyType = word,
        /// Default: true.
        required?: bool = boolean,
    }
);
