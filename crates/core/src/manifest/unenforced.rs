//! What a manifest states and nothing enforces in this release: a deploy refuses it, so that no stated rule is ever
//! taken and then ignored. A default that cannot be enforced is not listed. Each release takes lines out of here.

use super::canonical::{Isolation, Manifest, Network, NetworkMode, Resources, Runtime, Security, Spec, Tool};
use super::problem::{Code, Fault, Problem, nearest};
use super::validator::Validator;

/// What the host that agents will run on can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// The version of its `python3`, as in `3.11.7`.
    pub python: Option<String>,
    /// Whether the share of the processors, the memory and the number of processes can be bounded there.
    pub cpu: bool,
    pub memory: bool,
    pub pids: bool,
}

impl Manifest {
    /// Every stated field that nothing enforces, with its path, the reason and the way out.
    pub fn unenforced(&self, host: &Host) -> Vec<Problem> {
        let mut list = List::default();
        let Spec {
            persona: _,
            task: _,
            runtime,
            execution: _,
            tools,
            security,
            volumes,
            schedule,
            triggers,
            limits,
            secrets,
            memory,
            supervision,
            dependencies,
        } = &self.spec;
        if let Some(stated) = runtime {
            runtime_of(stated, host, &mut list);
        }
        validators(self.validators(), &mut list);
        for (index, tool) in tools.iter().flatten().enumerate() {
            tool_of(tool, &format!("spec.tools[{index}]"), &mut list);
        }
        if let Some(stated) = security {
            security_of(stated, host, &mut list);
        }
        for (index, volume) in volumes.iter().enumerate() {
            let reason = format!("the volume `{}` would not be mounted", volume.name);
            list.add(&format!("spec.volumes[{index}]"), reason, "leave it out: /workspace is kept for each agent");
        }
        list.when(schedule.is_some(), "spec.schedule", "no schedule is kept yet", "start it by `tenure execute`");
        list.when(!triggers.is_empty(), "spec.triggers", "nothing wakes an agent yet", "start it by `tenure execute`");
        if let Some(limits) = limits {
            let way = "leave it out, and bound spec.limits.tokens and tool_calls";
            list.when(limits.money.is_some(), "spec.limits.money", "no cost is counted against it yet", way);
            let comms = "agents cannot send messages yet";
            list.when(limits.messages_per_minute.is_some(), "spec.limits.messages_per_minute", comms, LEAVE);
            list.when(limits.hop_limit.is_some(), "spec.limits.hop_limit", comms, LEAVE);
        }
        for (index, secret) in secrets.iter().enumerate() {
            let reason = format!("the secret `{}` cannot be kept or used yet", secret.name);
            list.add(&format!("spec.secrets[{index}]"), reason, LEAVE);
        }
        list.when(memory.is_some(), "spec.memory", "agents have no memory but their work folder yet", LEAVE);
        list.when(
            supervision.is_some(),
            "spec.supervision",
            "only agents that are programs are supervised, later",
            LEAVE,
        );
        for (index, dependency) in dependencies.iter().enumerate() {
            let reason = format!("the dependency `{}` would not be looked for", dependency.name);
            list.add(&format!("spec.dependencies[{index}]"), reason, LEAVE);
        }
        list.problems
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

fn runtime_of(runtime: &Runtime, host: &Host, list: &mut List) {
    let native = "leave it out, or use `isolation: inherit` with the host's own programs";
    list.when(runtime.image.is_some(), "spec.runtime.image", "no container images are run yet", native);
    match runtime.isolation {
        None | Some(Isolation::Inherit | Isolation::Native) => {}
        Some(other @ (Isolation::Docker | Isolation::Wasm)) => {
            let reason = format!("nothing is run by {} yet", other.word());
            list.add("spec.runtime.isolation", reason, "use `isolation: inherit`: the native sandbox");
        }
    }
    let command = "agents that are programs of their own are not started yet";
    list.when(runtime.command.is_some(), "spec.runtime.command", command, "use task.instruction");
    let Some(language) = runtime.language.as_deref() else { return };
    if language != "python" {
        let reason = format!("the language `{language}` is not provided");
        let way_out = match nearest(language, ["python"]) {
            Some(word) => format!("did you mean `{word}`?"),
            None => "leave it out: what the host has in /usr can be run in any case".to_owned(),
        };
        list.add("spec.runtime.language", reason, way_out);
        return;
    }
    match (&host.python, &runtime.version) {
        (None, _) => {
            list.add("spec.runtime.language", "this host has no python3", "install it, or leave the field out")
        }
        (Some(_), None) => {}
        (Some(has), Some(wanted)) => {
            let fits = wanted.split('.').zip(has.split('.')).all(|(wanted, has)| wanted == has)
                && wanted.split('.').count() <= has.split('.').count();
            if !fits {
                let short: Vec<&str> = has.split('.').take(2).collect();
                let way_out = format!("write `version: \"{}\"`, or leave it out", short.join("."));
                list.add("spec.runtime.version", format!("this host has Python {has}, not {wanted}"), way_out);
            }
        }
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
                    format!("no judge is asked yet, so the validator `{}` would decide nothing", validator.word());
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
        Tool::Mcp(server) => {
            let reason = format!("the MCP server `{}` cannot be reached yet", server.name);
            list.add(path, reason, LEAVE);
        }
    }
}

fn security_of(security: &Security, host: &Host, list: &mut List) {
    if let Some(network) = &security.network {
        network_of(network, list);
    }
    if let Some(filesystem) = &security.filesystem {
        let lists = [("read", &filesystem.read), ("write", &filesystem.write)];
        for (name, paths) in lists {
            for (index, path) in paths.iter().flatten().enumerate() {
                if path != "/workspace" && !path.starts_with("/workspace/") {
                    let reason = format!("{path} is outside the work folder, and nothing is mounted there yet");
                    let way_out = "name /workspace or what is below it";
                    list.add(&format!("spec.security.filesystem.{name}[{index}]"), reason, way_out);
                }
            }
        }
    }
    if let Some(resources) = &security.resources {
        resources_of(resources, host, list);
    }
}

fn network_of(network: &Network, list: &mut List) {
    let home = "spec.security.network";
    let none = "use `mode: none`: the agent's programs reach nothing";
    match network.mode {
        NetworkMode::None => {}
        NetworkMode::Allow => {
            let path = if network.allowlist.is_empty() { "mode" } else { "allowlist" };
            list.add(&format!("{home}.{path}"), "no network is let through yet, allowlist or not", none);
        }
        NetworkMode::Deny => {
            let path = if network.blocklist.is_empty() { "mode" } else { "blocklist" };
            list.add(&format!("{home}.{path}"), "no network is let through yet, blocklist or not", none);
        }
    }
    let nothing = "no connection is made yet that this could bound";
    list.when(network.max_connections.is_some(), &format!("{home}.max_connections"), nothing, LEAVE);
    list.when(network.bandwidth.is_some(), &format!("{home}.bandwidth"), nothing, LEAVE);
}

fn resources_of(resources: &Resources, host: &Host, list: &mut List) {
    let home = "spec.security.resources";
    let lacks = "this host cannot bound it";
    let way_out = "leave it out, or give the daemon cgroups; `tenure sandbox check` tells more";
    list.when(resources.cpu.is_some() && !host.cpu, &format!("{home}.cpu"), lacks, way_out);
    list.when(resources.memory.is_some() && !host.memory, &format!("{home}.memory"), lacks, way_out);
    list.when(resources.pids.is_some() && !host.pids, &format!("{home}.pids"), lacks, way_out);
    let quota = "work folders have no quota yet";
    list.when(resources.disk.is_some(), &format!("{home}.disk"), quota, LEAVE);
    list.when(resources.files.is_some(), &format!("{home}.files"), quota, LEAVE);
}
