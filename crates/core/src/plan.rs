//! What an agent's revision runs by: its manifest, compiled once when it was deployed. It is versioned and bound; at run
//! time nobody reads a manifest. A rule that a later release tightens binds new deploys, never an old plan.
use crate::capability::path::WORKSPACE;
use crate::capability::permission;
use crate::comms;
use crate::cron::Timetable;
use crate::fault::Fault;
use crate::instance;
use crate::manifest::{
    AccessMode, AgentKind, DependencyType, Duration, Guard, Manifest, Missed, NetworkMode, Overlap, Persona, Runtime,
    Sharing, StorageClass, Trigger, Validator,
};
use crate::network::url::Url;
use crate::retention::Retention;
use crate::secret;
use crate::template;
use serde::{Deserialize, Serialize};

/// The shape that this program writes; older ones are lifted by [`Plan::read`].
pub const PLAN_VERSION: u32 = 3;
/// The oldest that it reads. Before 2 nothing bounded how many executions ran at a time, before 3 nothing woke an agent.
const PLAN_VERSION_MIN: u32 = 1;
/// Connections that one iteration may have open where its manifest names no number.
pub const CONNECTIONS_MAX: u32 = 64;
/// The volume that is the work folder where each execution has its own, and how long it is kept at most, in hours.
const OWN_WORK_FOLDER: &str = "workspace";
const OWN_WORK_FOLDER_HOURS: u32 = 30 * 24;
/// How long an ephemeral volume is kept where its manifest names no time, in hours.
pub const TTL_HOURS: u32 = 24;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub version: u32,
    /// Executions of the agent at a time.
    #[serde(default = "unbounded")]
    pub concurrency: u32,
    pub limits: Limits,
    /// What holds of the messages that it sends.
    #[serde(default)]
    pub comms: comms::Limits,
    /// Patterns of the capabilities that it may use.
    pub tools: Vec<String>,
    /// MCP servers whose tools are among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mcp: Vec<McpServer>,
    /// Of its manifest; policies may go by them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<(String, String)>,
    /// A model's alias or name.
    pub model: String,
    pub prompt: Prompt,
    pub validators: Vec<Validator>,
    pub sandbox: Sandbox,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Of what its ended executions bound.
    #[serde(default, skip_serializing_if = "Retention::is_off")]
    pub retention: Retention,
    /// The secrets that it asks to use; a person binds them, or does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<WantedSecret>,
    /// What starts it.
    #[serde(default = "manual")]
    pub triggers: Vec<Trigger>,
    /// What kind of colleague it is, and the version of it: others depend on it by these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persona: Option<Persona>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<semver::Version>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<Dependency>,
    /// What it advertises once its program is ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provides: Vec<String>,
    /// When its program is started again.
    #[serde(default, skip_serializing_if = "instance::Rules::is_default")]
    pub supervision: instance::Rules,
}

/// Something without which an agent is not deployed or, where it is a module, not started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<semver::VersionReq>,
    #[serde(rename = "type")]
    pub kind: DependencyType,
    pub required: bool,
}

/// An MCP server that is the agent's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpServer {
    pub name: String,
    #[serde(flatten)]
    pub at: McpAt,
    /// What each request to it is sent with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<McpLogin>,
}

/// A secret of the vault as the authorization of requests to an MCP server: as a bearer token, or as the password of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpLogin {
    pub secret: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// How it is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum McpAt {
    /// A program in the agent's sandbox, which speaks on its stdin and stdout.
    Command(Vec<String>),
    /// Streamable HTTP, by the agent's own network rules.
    Url(String),
}

/// A secret that an agent asks to use, by which capability and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedSecret {
    pub name: String,
    pub capability: String,
    pub host: String,
}

/// When the clock wakes an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    pub cron: String,
    /// An IANA time zone.
    pub timezone: String,
    /// Each wake is later by up to so much.
    pub jitter_ms: u64,
    pub overlap: Overlap,
    pub missed: Missed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub max_iterations: u32,
    pub max_turns: u32,
    pub tool_calls: u32,
    pub tokens: u64,
    pub iteration_timeout_ms: u64,
    pub timeout_ms: u64,
    /// Millionths of a US dollar; none: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_usd: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    pub template: String,
    pub instruction: String,
    /// The template uses `previous_error`; else it is a message of its own.
    pub tells_error: bool,
}

/// What is stated of the sandbox; [`Runtime`] is matched with a host when a jail is opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    pub memory_bytes: u64,
    pub cpu_millicores: u32,
    pub pids: u32,
    /// Bytes of output kept of one process.
    pub output_bytes: u64,
    /// Of the work folder, what lies in the trash included.
    pub disk_bytes: u64,
    pub files: u32,
    /// Paths at or below /workspace, and host paths that the operator allowed; what is in neither list is not there.
    pub read: Vec<String>,
    pub write: Vec<String>,
    /// A /tmp of its own, in memory; without it there is none.
    pub temp: bool,
    pub volumes: Vec<Volume>,
    pub network: Network,
    /// A jail that lacks one of these is not opened.
    pub require: Vec<Guard>,
    pub runtime: Option<Runtime>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub name: String,
    pub mount_point: String,
    pub read_only: bool,
    pub size_bytes: Option<u64>,
    pub life: Life,
}

/// How long a volume's content is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Life {
    /// With its agent.
    Persistent,
    /// With its execution, and never longer than this.
    Ephemeral { ttl_hours: u32 },
}

/// What of the network programs and `network.*` calls reach, always through the worker's proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub mode: NetworkMode,
    /// Names, `*.name`, addresses, each with an optional port.
    pub allow: Vec<String>,
    /// Beats `allow`.
    pub block: Vec<String>,
    pub connections_max: u32,
    /// Bytes a second, both ways together.
    pub bandwidth: Option<u64>,
}

/// An agent behind the Agent Client Protocol asks its supervisor, whatever its manifest lists.
fn tools_of(manifest: &Manifest) -> Vec<String> {
    let mut tools = tools(manifest);
    if manifest.kind() == AgentKind::Acp && !tools.iter().any(|tool| tool == permission::ASK) {
        tools.push(permission::ASK.to_string());
    }
    tools
}

/// What the manifest says of the program's crashes, and what holds where it says nothing.
fn supervised(manifest: &Manifest) -> instance::Rules {
    let usual = instance::Rules::default();
    let Some(stated) = &manifest.spec.supervision else { return usual };
    instance::Rules {
        max_crashes: stated.max_crashes.unwrap_or(usual.max_crashes),
        window_ms: stated.window.map_or(usual.window_ms, Duration::as_millis),
        auto_restart: stated.auto_restart.unwrap_or(usual.auto_restart),
        backoff_ms: stated.backoff.map_or(usual.backoff_ms, Duration::as_millis),
    }
}

impl Plan {
    pub fn compile(manifest: &Manifest) -> Plan {
        let template = manifest.prompt_template();
        Plan {
            version: PLAN_VERSION,
            concurrency: manifest.concurrency(),
            limits: manifest.limits(),
            comms: manifest.comms(),
            tools: tools_of(manifest),
            mcp: manifest.mcp_servers(),
            labels: manifest.metadata.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            model: manifest.model().to_string(),
            prompt: Prompt {
                template: template.to_string(),
                instruction: manifest.instruction().to_string(),
                tells_error: template::check(template).is_ok_and(|used| used.previous_error),
            },
            validators: manifest.validators().to_vec(),
            sandbox: Sandbox::of(manifest),
            schedule: manifest.spec.schedule.as_ref().map(Schedule::of),
            retention: manifest.retention(),
            secrets: manifest.wanted_secrets(),
            triggers: manifest.triggers(),
            persona: manifest.spec.persona,
            release: manifest.metadata.version.clone(),
            dependencies: manifest.spec.dependencies.iter().map(Dependency::of).collect(),
            provides: manifest.spec.provides.clone(),
            supervision: supervised(manifest),
        }
    }

    pub fn kind(&self) -> AgentKind {
        self.sandbox.runtime.as_ref().and_then(|runtime| runtime.kind).unwrap_or(AgentKind::Llm)
    }

    /// The program that the agent is; empty where it is none.
    pub fn command(&self) -> &[String] {
        self.sandbox.runtime.as_ref().and_then(|runtime| runtime.command.as_deref()).unwrap_or_default()
    }

    /// In which its program asks before it acts.
    pub fn mode(&self) -> Option<&str> {
        self.sandbox.runtime.as_ref().and_then(|runtime| runtime.mode.as_deref())
    }

    /// Canonical JSON (RFC 8785), as it is bound.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json_canonicalizer::to_vec(self).expect("invariant: a plan has text keys and finite numbers only")
    }

    /// # Errors
    /// Bytes of a version that this program does not know, or that are no plan.
    pub fn read(bytes: &[u8]) -> Result<Plan, String> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let unreadable = |error: serde_json::Error| format!("a stored plan cannot be read: {error}");
        let Version { version } = serde_json::from_slice(bytes).map_err(unreadable)?;
        if !(PLAN_VERSION_MIN..=PLAN_VERSION).contains(&version) {
            let known = format!("this program knows {PLAN_VERSION_MIN} to {PLAN_VERSION}");
            return Err(format!("a stored plan has version {version}; {known}"));
        }
        serde_json::from_slice(bytes).map_err(unreadable)
    }
}

/// What it may use: as stated; running its own program is granted by stating it.
fn tools(manifest: &Manifest) -> Vec<String> {
    match manifest.kind() {
        AgentKind::Command => vec!["process.run".to_owned()],
        AgentKind::Llm | AgentKind::Hooks | AgentKind::Acp => manifest.tools(),
    }
}

fn unbounded() -> u32 {
    u32::MAX
}

fn manual() -> Vec<Trigger> {
    vec![Trigger::Manual]
}

impl Dependency {
    pub fn of(stated: &crate::manifest::Dependency) -> Dependency {
        let (name, version) = (stated.name.clone(), stated.version.clone());
        Dependency { name, version, kind: stated.kind, required: stated.required.unwrap_or(true) }
    }
}

impl WantedSecret {
    pub(crate) fn of(stated: &crate::manifest::Secret) -> WantedSecret {
        let (name, capability) = (stated.name.clone(), stated.capability.to_string());
        WantedSecret { name, capability, host: stated.host.to_ascii_lowercase() }
    }

    /// What an MCP server behind an address wants of the vault.
    pub(crate) fn of_server(server: &McpServer) -> Option<WantedSecret> {
        let (login, McpAt::Url(url)) = (server.login.as_ref()?, &server.at) else { return None };
        let url = Url::parse(url).ok()?;
        let host = url.authority();
        Some(WantedSecret { name: login.secret.clone(), capability: secret::of_server(&server.name), host })
    }
}

impl Schedule {
    fn of(stated: &crate::manifest::Schedule) -> Schedule {
        Schedule {
            cron: stated.cron.clone(),
            timezone: stated.timezone.clone().unwrap_or_else(|| "UTC".to_owned()),
            jitter_ms: stated.jitter.map_or(0, |jitter| jitter.as_millis()),
            overlap: stated.overlap.unwrap_or(Overlap::Skip),
            missed: stated.missed.unwrap_or(Missed::RunOnce),
        }
    }

    /// # Errors
    /// An expression or a zone that this program does not know any more.
    pub fn timetable(&self) -> Result<Timetable, Fault> {
        Timetable::of(&self.cron, &self.timezone)
    }
}

/// What the manifest states; and where each execution has a work folder of its own, that, unless a stated volume is one already.
fn volumes(manifest: &Manifest) -> Vec<Volume> {
    let mut all: Vec<Volume> = manifest.spec.volumes.iter().map(Volume::of).collect();
    if manifest.workspace() == Sharing::PerExecution && !all.iter().any(|volume| volume.mount_point == WORKSPACE) {
        all.push(Volume {
            name: OWN_WORK_FOLDER.to_owned(),
            mount_point: WORKSPACE.to_owned(),
            read_only: false,
            size_bytes: None,
            life: Life::Ephemeral { ttl_hours: OWN_WORK_FOLDER_HOURS },
        });
    }
    all
}

impl Sandbox {
    fn of(manifest: &Manifest) -> Sandbox {
        let (bounds, views) = (manifest.bounds(), manifest.views());
        let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_string()).collect();
        let security = manifest.spec.security.as_ref();
        Sandbox {
            memory_bytes: bounds.memory_bytes,
            cpu_millicores: bounds.cpu_millicores,
            pids: bounds.pids,
            output_bytes: bounds.output_bytes,
            disk_bytes: bounds.disk_bytes,
            files: bounds.files,
            read: owned(&views.read),
            write: owned(&views.write),
            temp: views.temp,
            volumes: volumes(manifest),
            network: Network::of(manifest),
            require: security.map(|security| security.require.clone()).unwrap_or_default(),
            runtime: manifest.spec.runtime.clone(),
        }
    }
}

impl Volume {
    fn of(stated: &crate::manifest::Volume) -> Volume {
        Volume {
            name: stated.name.clone(),
            mount_point: stated.mount_point.clone(),
            read_only: stated.access_mode == Some(AccessMode::ReadOnly),
            size_bytes: stated.size_limit_mb.map(|limit| u64::from(limit) << 20),
            life: match stated.storage_class {
                Some(StorageClass::Persistent) => Life::Persistent,
                Some(StorageClass::Ephemeral) | None => {
                    Life::Ephemeral { ttl_hours: stated.ttl_hours.unwrap_or(TTL_HOURS) }
                }
            },
        }
    }
}

impl Network {
    fn of(manifest: &Manifest) -> Network {
        let stated = manifest.spec.security.as_ref().and_then(|security| security.network.as_ref());
        let Some(stated) = stated else { return Network::none() };
        Network {
            mode: stated.mode,
            allow: stated.allowlist.clone(),
            block: stated.blocklist.clone(),
            connections_max: stated.max_connections.unwrap_or(CONNECTIONS_MAX),
            bandwidth: stated.bandwidth.map(|bandwidth| bandwidth.get()),
        }
    }

    /// Nothing is reached.
    pub fn none() -> Network {
        let (allow, block) = (Vec::new(), Vec::new());
        Network { mode: NetworkMode::None, allow, block, connections_max: CONNECTIONS_MAX, bandwidth: None }
    }
}
