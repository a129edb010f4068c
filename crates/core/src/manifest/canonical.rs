//! The canonical manifest: what every dialect becomes at the door, and the types that the JSON Schema is generated from.
//! A field is `None` where the file does not state it; defaults are given by the methods of [`super::Manifest`] and are
//! never written into this form, so that what was stated stays known.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::quantity::{Bytes, Duration, Millicores, Money};
use super::tools::ToolPattern;
use super::validator::Validator;
use super::words::AgentName;

/// The job description of one agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    pub api_version: ApiVersion,
    pub kind: Kind,
    pub metadata: Metadata,
    pub spec: Spec,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub enum ApiVersion {
    #[serde(rename = "tenure.dev/v1")]
    V1,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Kind {
    Agent,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    pub name: AgentName,
    /// A semantic version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub version: Option<semver::Version>,
    /// What the agent is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// To find agents by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Kept and shown, never looked at.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// What kind of colleague the agent is; shown, and decides nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persona: Option<Persona>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution: Option<Execution>,
    /// Capabilities (names or globs) and MCP servers; without this field, those that only read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Tool>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security: Option<Security>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<Trigger>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsSpec>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supervision: Option<Supervision>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<Dependency>,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, serde::Deserialize, JsonSchema)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            pub(super) const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];

            /// The word that a manifest has for it.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}
pub(super) use words;

words!(Persona {
    Assistant = "assistant",
    Specialist = "specialist",
    Guardian = "guardian",
    Orchestrator = "orchestrator",
    Utility = "utility",
    Companion = "companion",
});

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

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// The language that the agent's programs are written in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Its version: one to three numbers, of which the host must have the same ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{1,6}(\.[0-9]{1,6}){0,2}$"))]
    pub version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Default: native.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    /// An alias or `provider/model`. Default: the alias `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// For agents that are programs: the program and its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub command: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Task {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// Default: the instruction, then `User:` and the input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_template: Option<String>,
}

words!(Mode { OneShot = "one-shot", Iterative = "iterative" });

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Execution {
    /// Default: iterative.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Default: 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_iterations: Option<u32>,
    /// Of each iteration. Default: 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_turns: Option<u32>,
    /// Default: 300s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iteration_timeout: Option<Duration>,
    /// Checked in order; the first failure ends the iteration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub validation: Vec<Validator>,
}

/// One entry of `tools`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Tool {
    Capability(ToolPattern),
    Mcp(McpServer),
}

/// An MCP server: either a command that speaks over stdio, or a URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct McpServer {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Security {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<Filesystem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// What must hold this agent; where the host does not give it, nothing runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub require: Vec<Guard>,
}

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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Network {
    pub mode: NetworkMode,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowlist: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocklist: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub max_connections: Option<u32>,
    /// In each second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bytes>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Filesystem {
    /// Default: /workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<Vec<String>>,
    /// Default: /workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write: Option<Vec<String>>,
    /// Whether there is a /tmp, emptied with each iteration. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temp: Option<bool>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Thousandths of a core. Default: 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Millicores>,
    /// Default: 512Mi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Default: 1Gi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Bytes>,
    /// Processes and threads at one time. Default: 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub pids: Option<u32>,
    /// Files in the work folder. Default: 10000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub files: Option<u32>,
    /// What one call may print. Default: 16Mi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Bytes>,
    /// Of the whole execution. Default: 30m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

words!(StorageClass { Ephemeral = "ephemeral", Persistent = "persistent" });
words!(AccessMode { ReadWrite = "read-write", ReadOnly = "read-only" });

#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    pub name: String,
    pub mount_point: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<StorageClass>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_mode: Option<AccessMode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16_777_216))]
    pub size_limit_mb: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 87_600))]
    pub ttl_hours: Option<u32>,
}

words!(Overlap { Skip = "skip", Queue = "queue", Replace = "replace" });
words!(Missed { RunOnce = "run-once", Skip = "skip" });

#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Five fields: minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// An IANA time zone. Default: UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Duration>,
    /// When the last run is not over. Default: skip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    /// When a run was missed. Default: run-once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed: Option<Missed>,
}

words!(Trigger { Schedule = "schedule", Comms = "comms", Manual = "manual" });

/// The limits whose home is `spec.limits`; iterations, turns and times have theirs in `execution` and `resources`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsSpec {
    /// Of an execution. Default: 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub tool_calls: Option<u32>,
    /// Of an execution, in and out. Default: 200000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    pub tokens: Option<u64>,
    /// Of an execution. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub money: Option<Money>,
    /// Default: 60.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub messages_per_minute: Option<u32>,
    /// Default: 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub hop_limit: Option<u32>,
}

/// A secret that one capability may use with one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    pub name: String,
    pub capability: ToolPattern,
    pub host: String,
}

words!(MemoryType { Volatile = "volatile", Persistent = "persistent", Hybrid = "hybrid" });
words!(MemoryBackend { Memory = "memory", Sqlite = "sqlite", Redis = "redis" });

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Memory {
    /// Default: persistent.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<MemoryType>,
    /// Default: sqlite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<MemoryBackend>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<Bytes>,
    /// Says again what `type` says; a contradiction is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent: Option<bool>,
    /// Whether other agents may read it. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_access: Option<bool>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Supervision {
    /// Default: 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub max_crashes: Option<u32>,
    /// Default: 10m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Duration>,
    /// Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_restart: Option<bool>,
    /// The first wait before a restart; it doubles with each further one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Duration>,
}

words!(DependencyType { Module = "module", Service = "service", Agent = "agent" });

#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    pub name: String,
    /// A range of semantic versions, as in `^1.2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub version: Option<semver::VersionReq>,
    #[serde(rename = "type")]
    pub kind: DependencyType,
    /// Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
}
