//! What a manifest states and nothing enforces in this release: a deploy refuses it, so that no stated rule is ever
//! taken and then ignored. A default that cannot be enforced is not listed. Each release takes lines out of here.

use super::Note;
use super::canonical::{
    AccessMode, AgentKind, DependencyType, Guard, Manifest, NetworkMode, Resources, Runtime, Secret, Security, Spec,
    Tool, Volume,
};
use super::host::{Backend, Engine, Host, HostMount, Quota};
use super::validator::Validator;
use crate::capability::mcp;
use crate::fault::{Code, Fault, Problem};
use crate::network::url::Url;
use crate::secret::{USED_BY, is_private};

impl Manifest {
    /// Every stated field that nothing enforces, with its path, the reason and the way out.
    pub fn unenforced(&self, host: &Host) -> Vec<Problem> {
        let mut list = List::default();
        let Spec {
            persona: _,
            provides: _,
            wishes: _,
            task: _,
            runtime,
            execution: _,
            tools,
            security,
            volumes,
            schedule: _,
            triggers: _,
            limits: _,
            retention: _,
            secrets,
            memory,
            supervision,
            dependencies,
        } = &self.spec;
        if let Some(stated) = runtime {
            runtime_of(stated, tools.is_some(), &mut list);
        }
        let backend = self.backend(host).map_err(|problem| list.problems.push(problem)).ok();
        validators(self.validators(), &mut list);
        for (index, tool) in tools.iter().flatten().enumerate() {
            tool_of(tool, &format!("spec.tools[{index}]"), &mut list);
        }
        servers(tools.as_deref().unwrap_or_default(), security.as_ref(), &mut list);
        if let Some(stated) = security {
            security_of(stated, volumes, host, backend.as_ref(), &mut list);
        }
        for (index, volume) in volumes.iter().enumerate() {
            volume_of(volume, &volumes[..index], &format!("spec.volumes[{index}]"), host, &mut list);
        }
        sizes(security.as_ref(), volumes, &mut list);
        let unused = |secret: &Secret| !USED_BY.iter().any(|uses| secret.capability.as_str() == *uses);
        for (index, secret) in secrets.iter().enumerate().filter(|(_, secret)| unused(secret)) {
            let reason = format!("`{}` uses no secret", secret.capability);
            let way_out = format!("name what does: {}", USED_BY.join(", "));
            list.add(&format!("spec.secrets[{index}].capability"), reason, way_out);
        }
        let hooks = self.kind() == AgentKind::Hooks;
        list.when(
            memory.is_some() && !hooks,
            "spec.memory",
            "this kind of agent has no memory but its work folder",
            LEAVE,
        );
        let reason = "only a program that is kept running (`kind: hooks` or `acp`) is started again";
        list.when(supervision.is_some() && !self.kind().is_hosted(), "spec.supervision", reason, LEAVE);
        let modules = dependencies.iter().enumerate();
        for (index, dependency) in modules.filter(|(_, one)| one.kind == DependencyType::Module && !hooks) {
            let reason = format!("the module `{}` would not be looked for", dependency.name);
            list.add(&format!("spec.dependencies[{index}]"), reason, LEAVE);
        }
        list.problems
    }
}

impl Manifest {
    /// What is taken and left to the program.
    pub fn left_to_its_start(&self) -> Vec<Note> {
        if self.kind() != AgentKind::Hooks {
            return Vec::new();
        }
        let note = |path: String, text: String| Note { path, text };
        let modules = self.spec.dependencies.iter().enumerate();
        let modules = modules.filter(|(_, one)| one.kind == DependencyType::Module).map(|(index, one)| {
            let range = one.version.as_ref().map(|range| format!(" {range}")).unwrap_or_default();
            let text = format!(
                "the module `{}`{range} lies beside the program where that wants it: nothing looks for it",
                one.name
            );
            note(format!("spec.dependencies[{index}]"), text)
        });
        modules.collect()
    }
}

const LEAVE: &str = "leave it out";

#[derive(Default)]
struct List {
    problems: Vec<Problem>,
}

impl List {
    fn add(&mut self, path: &str, reason: impl Into<String>, way_out: impl Into<String>) {
        self.problems.push(Fault::new(Code::Unenforced, reason).hint(way_out).at(path));
    }

    fn when(&mut self, stated: bool, path: &str, reason: &str, way_out: &str) {
        if stated {
            self.add(path, reason, way_out);
        }
    }
}

fn runtime_of(runtime: &Runtime, has_tools: bool, list: &mut List) {
    let kind = runtime.kind.unwrap_or(AgentKind::Llm);
    match kind {
        AgentKind::Llm | AgentKind::Hooks | AgentKind::Acp => {}
        AgentKind::Command => {
            let reason = "a program of kind `command` has no way to ask for capabilities yet";
            list.when(has_tools, "spec.tools", reason, LEAVE);
        }
    }
}

/// Folders beneath which something may be mounted, besides the work folder.
const MOUNT_ROOTS: [&str; 4] = ["/data", "/mnt", "/opt", "/srv"];

fn beneath(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn volume_of(volume: &Volume, before: &[Volume], path: &str, host: &Host, list: &mut List) {
    let place = &volume.mount_point;
    let known = MOUNT_ROOTS.iter().any(|root| beneath(place, root)) || beneath(place, "/workspace");
    if !known || beneath(place, "/workspace/.trash") {
        let reason = format!("nothing can be mounted at {place}");
        list.add(
            &format!("{path}.mount_point"),
            reason,
            "use /workspace, /data, /mnt, /opt or /srv, or a folder in one",
        );
    }
    if before.iter().any(|other| other.mount_point == *place) {
        let reason = format!("another volume is mounted at {place} already");
        list.add(&format!("{path}.mount_point"), reason, "mount each at a place of its own");
    }
    if before.iter().any(|other| other.name == volume.name) {
        let reason = format!("another volume is called `{}` already", volume.name);
        list.add(&format!("{path}.name"), reason, "give each a name of its own");
    }
    if volume.size_limit_mb.is_some() && host.quota == Quota::None {
        list.add(&format!("{path}.size_limit_mb"), "this host cannot bound it", LEAVE);
    }
}

/// What the file system keeps it keeps of a user, not of a folder.
fn sizes(security: Option<&Security>, volumes: &[Volume], list: &mut List) {
    if !security.is_some_and(|security| security.require.contains(&Guard::HardQuota)) {
        return;
    }
    let sized = |volume: &Volume| volume.size_limit_mb.is_some() && volume.mount_point != "/workspace";
    for (index, _) in volumes.iter().enumerate().filter(|(_, volume)| sized(volume)) {
        let reason = "`hard-quota` is required, and no file system keeps a single volume to its size";
        list.add(&format!("spec.volumes[{index}].size_limit_mb"), reason, "leave one of the two out");
    }
}

fn validators(validators: &[Validator], list: &mut List) {
    for (index, validator) in validators.iter().enumerate() {
        match validator {
            Validator::ExitCode { .. }
            | Validator::JsonSchema { .. }
            | Validator::Regex { .. }
            | Validator::Command { .. } => {}
            Validator::Semantic { .. } | Validator::MultiJudge { .. } => {
                let reason =
                    format!("no judge is asked yet, so the validator `{}` would decide nothing", validator.as_str());
                let way_out = "use exit_code, json_schema, regex or command";
                list.add(&format!("spec.execution.validation[{index}]"), reason, way_out);
            }
        }
    }
}

fn tool_of(tool: &Tool, path: &str, list: &mut List) {
    match tool {
        Tool::Capability(pattern) if pattern.is_built() => {}
        Tool::Capability(pattern) => {
            let way_out = format!("leave it out; this release has {}", super::tools::built());
            list.add(path, format!("`{pattern}` is not built yet"), way_out);
        }
        Tool::Mcp(_) => {}
    }
}

/// MCP servers that could not be told apart, are too many, or could never be reached.
fn servers(tools: &[Tool], security: Option<&Security>, list: &mut List) {
    let networked = security
        .and_then(|security| security.network.as_ref())
        .is_some_and(|network| network.mode != NetworkMode::None);
    let mut names = Vec::new();
    for (index, tool) in tools.iter().enumerate() {
        let Tool::Mcp(server) = tool else { continue };
        let path = format!("spec.tools[{index}]");
        if names.contains(&&server.name) {
            let reason = format!("another MCP server is called `{}` already", server.name);
            list.add(&format!("{path}.name"), reason, "give each a name of its own");
        }
        names.push(&server.name);
        if names.len() == mcp::SERVERS_MAX + 1 {
            let reason = format!("an agent has at most {} MCP servers", mcp::SERVERS_MAX);
            list.add(&path, reason, "leave some out");
        }
        let Some(url) = &server.url else { continue };
        let read = match Url::parse(url) {
            Ok(read) => read,
            Err(why) => {
                list.add(&format!("{path}.url"), why.to_string(), "write as in `https://mcp.example.com/mcp`");
                continue;
            }
        };
        if !networked {
            let reason = "the agent has no network, so the MCP server would never be reached";
            list.add(&format!("{path}.url"), reason, "list its host in security.network, with mode `allow`");
        }
        if server.secret.is_some() && !is_private(&read) {
            let reason = "a secret goes over TLS alone, or to this very host";
            list.add(&format!("{path}.secret"), reason, "write https:// in the url, or run the server on 127.0.0.1");
        }
    }
}

fn security_of(security: &Security, volumes: &[Volume], host: &Host, backend: Option<&Backend>, list: &mut List) {
    if let (Some(Backend::Container { .. }), Engine::Present { name, .. }) = (backend, &host.engine)
        && let Some(write) = security.filesystem.as_ref().and_then(|filesystem| filesystem.write.as_ref())
        && name == "podman"
        && !write.iter().any(|path| path == "/workspace")
    {
        // Its API makes a missing folder as root while it looks for it, which an agent could aim elsewhere by a link.
        let reason = "podman cannot show parts of the work folder safely";
        let way_out = "list /workspace under write, use Docker, or `isolation: native`";
        list.add("spec.security.filesystem.write", reason, way_out);
    }
    if let Some(filesystem) = &security.filesystem {
        for (name, paths, write) in [("read", &filesystem.read, false), ("write", &filesystem.write, true)] {
            for (index, path) in paths.iter().flatten().enumerate() {
                let at = format!("spec.security.filesystem.{name}[{index}]");
                match volumes.iter().find(|volume| beneath(path, &volume.mount_point)) {
                    Some(volume) if write && volume.access_mode == Some(AccessMode::ReadOnly) => {
                        let reason = format!("{path} is in the volume `{}`, which is read-only", volume.name);
                        list.add(&at, reason, "list it under read, or let the volume be read-write");
                    }
                    Some(_) => {}
                    None if beneath(path, "/workspace") => {}
                    None if volumes.iter().any(|volume| beneath(&volume.mount_point, path)) => {
                        let reason = format!("{path} is the host's, and a volume would be mounted in it");
                        list.add(&at, reason, "mount the volume elsewhere, or leave the path out");
                    }
                    None => host_path(path, write, host, &at, list),
                }
            }
        }
    }
    if let Some(resources) = &security.resources {
        resources_of(resources, host, backend, list);
    }
    let guards = match (backend, &host.engine) {
        (Some(Backend::Container { .. }), Engine::Present { guards, .. }) => guards,
        (Some(Backend::Container { .. } | Backend::Native) | None, _) => &host.guards,
    };
    for (index, guard) in security.require.iter().enumerate().filter(|(_, guard)| !guards.contains(guard)) {
        let has: Vec<&str> = guards.iter().map(|guard: &Guard| guard.as_str()).collect();
        let has = if has.is_empty() { "none of them".to_owned() } else { has.join(", ") };
        let reason = format!("this host does not give `{}`; it gives {has}", guard.as_str());
        list.add(&format!("spec.security.require[{index}]"), reason, "`tenure sandbox check` says what it would take");
    }
}

/// A path of the host's: only where the operator let agents see it, and at the same place inside.
fn host_path(path: &str, write: bool, host: &Host, at: &str, list: &mut List) {
    let allowed: Vec<&HostMount> = host.mounts.iter().filter(|mount| mount.holds(path)).collect();
    if !MOUNT_ROOTS.iter().any(|root| beneath(path, root)) {
        let reason = format!("{path} is the host's, and only what lies in /data, /mnt, /opt or /srv can be shown");
        list.add(at, reason, "name /workspace or what is below it, or let the operator bind the folder beneath /srv");
    } else if allowed.is_empty() {
        let reason = format!("{path} is the host's, and the operator has not allowed it");
        list.add(at, reason, format!("let the operator start the daemon with `--allow-mount {path}`, or leave it out"));
    } else if write && allowed.iter().all(|mount| mount.read_only) {
        let reason = format!("the operator allowed {path} for reading alone");
        list.add(at, reason, format!("list it under read, or let the operator use `--allow-mount {path}:rw`"));
    }
}

fn resources_of(resources: &Resources, host: &Host, backend: Option<&Backend>, list: &mut List) {
    let home = "spec.security.resources";
    let lacks = "this host cannot bound it";
    let way_out = "leave it out, or give the daemon cgroups; `tenure sandbox check` tells more";
    // What an engine does not hold for a container as a whole, an rlimit holds for each process but for the processor.
    let cpu = match (backend, &host.engine) {
        (Some(Backend::Container { .. }), Engine::Present { guards, .. }) => guards.contains(&Guard::CpuGroup),
        (Some(Backend::Container { .. } | Backend::Native) | None, _) => host.cpu,
    };
    let engine = matches!(backend, Some(Backend::Container { .. }));
    list.when(resources.cpu.is_some() && !cpu, &format!("{home}.cpu"), lacks, way_out);
    list.when(resources.memory.is_some() && !host.memory && !engine, &format!("{home}.memory"), lacks, way_out);
    list.when(resources.pids.is_some() && !host.pids && !engine, &format!("{home}.pids"), lacks, way_out);
    let quota = host.quota == Quota::None;
    list.when(resources.disk.is_some() && quota, &format!("{home}.disk"), lacks, LEAVE);
    list.when(resources.files.is_some() && quota, &format!("{home}.files"), lacks, LEAVE);
}
