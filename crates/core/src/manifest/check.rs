//! What must hold between the fields of a section. Each check is named where its section is declared, and runs whatever
//! else is wrong there, so that one answer lists as much as can be known.

use std::fmt::Display;

use super::canonical::{
    AgentKind, Dependency, DependencyType, Execution, LimitsSpec, MemoryBackend, MemoryType, Mode, NetworkMode,
    Security, Sharing, StorageClass, Trigger,
};
use super::fields::Fields;
use super::quantity::Duration;
use crate::fault::{Code, Fault, excerpt};
use crate::template;

fn contradiction(reason: impl Into<String>) -> Fault {
    Fault::new(Code::Contradiction, reason)
}

/// Four limits have their home elsewhere: stated in `limits` they move there, and stated in both places with different
/// values they are refused.
pub(super) fn homes_of_limits(
    spec: &mut Fields<'_, '_>,
    limits: &mut Option<LimitsSpec>,
    execution: &mut Option<Execution>,
    security: &mut Option<Security>,
) {
    let Some(stated) = limits else { return };
    if stated.max_iterations.is_some() || stated.max_turns.is_some() || stated.iteration_timeout.is_some() {
        let home = execution.get_or_insert_default();
        move_home(spec, "execution.max_iterations", &mut home.max_iterations, &mut stated.max_iterations);
        move_home(spec, "execution.max_turns", &mut home.max_turns, &mut stated.max_turns);
        move_home(spec, "execution.iteration_timeout", &mut home.iteration_timeout, &mut stated.iteration_timeout);
    }
    if stated.timeout.is_some() {
        let home = security.get_or_insert_default().resources.get_or_insert_default();
        move_home(spec, "security.resources.timeout", &mut home.timeout, &mut stated.timeout);
    }
    if *stated == LimitsSpec::default() {
        *limits = None;
    }
}

/// Who is a program has one, and who is instructions has none.
pub(super) fn command_fits_kind(
    runtime: &mut Fields<'_, '_>,
    kind: &mut Option<AgentKind>,
    command: &mut Option<Vec<String>>,
) {
    match (kind.unwrap_or(AgentKind::Llm), command.is_some()) {
        (AgentKind::Llm, true) => {
            let fault = contradiction("`command` is for agents that are programs, and `kind: llm` is none");
            runtime.refuse("command", fault.hint("add `kind: command`, or leave the command out"));
        }
        (AgentKind::Command | AgentKind::Acp | AgentKind::Hooks, false) => {
            let fault = Fault::new(Code::MissingField, "an agent that is a program needs its `command`");
            runtime.refuse("kind", fault.hint("write `command: [program, argument]`"));
        }
        (AgentKind::Llm, false) | (AgentKind::Command | AgentKind::Acp | AgentKind::Hooks, true) => {}
    }
}

/// Only who speaks the Agent Client Protocol has modes.
pub(super) fn mode_fits_kind(runtime: &mut Fields<'_, '_>, kind: &mut Option<AgentKind>, mode: &mut Option<String>) {
    if mode.is_some() && *kind != Some(AgentKind::Acp) {
        let fault = contradiction("`mode` is for agents of kind `acp`");
        runtime.refuse("mode", fault.hint("add `kind: acp`, or leave the mode out"));
    }
}

fn move_home<T: PartialEq + Display>(
    spec: &mut Fields<'_, '_>,
    home_path: &str,
    home: &mut Option<T>,
    stated: &mut Option<T>,
) {
    let Some(stated) = stated.take() else { return };
    let word = home_path.rsplit('.').next().unwrap_or(home_path);
    match home {
        None => *home = Some(stated),
        Some(other) if *other == stated => {}
        Some(other) => {
            let reason = format!("spec.limits.{word} says {stated}, and spec.{home_path} says {other}");
            let hint = format!("keep spec.{home_path} alone");
            spec.refuse("limits", contradiction(reason).hint(hint));
        }
    }
}

pub(super) fn trigger_has_schedule(spec: &mut Fields<'_, '_>, triggers: &mut Option<Vec<Trigger>>) {
    if triggers.iter().flatten().any(|trigger| *trigger == Trigger::Schedule) && !spec.has("schedule") {
        let fault = contradiction("the trigger `schedule` is given without a schedule");
        spec.refuse("triggers", fault.hint("add spec.schedule with its cron"));
    }
}

pub(super) fn one_shot(spec: &mut Fields<'_, '_>, execution: &mut Option<Execution>) {
    let one_shot = execution.as_ref().filter(|execution| execution.mode == Some(Mode::OneShot));
    if one_shot.and_then(|execution| execution.max_iterations).is_some_and(|iterations| iterations > 1) {
        let fault = contradiction("a one-shot agent has one iteration, and max_iterations asks for more");
        spec.refuse("execution", fault.hint("use mode iterative, or bound the turns by max_turns"));
    }
}

pub(super) fn concurrent_have_a_workspace(
    execution: &mut Fields<'_, '_>,
    concurrency: &mut Option<u32>,
    workspace: &mut Option<Sharing>,
) {
    if concurrency.is_some_and(|count| count > 1) && workspace.is_none() {
        let reason = "executions that run at the same time need to be told whether they share the work folder";
        let fault = Fault::new(Code::MissingField, reason);
        let hint = "add `workspace: shared`, where each sees what the others write, or `workspace: per-execution`";
        execution.refuse("concurrency", fault.hint(hint));
    }
}

pub(super) fn version_has_language(runtime: &mut Fields<'_, '_>, version: &mut Option<String>) {
    if version.is_some() && !runtime.has("language") {
        let fault = Fault::new(Code::MissingField, "a version is given without the language that it is of");
        runtime.refuse("version", fault.hint("add `language: python`"));
    }
}

pub(super) fn instruction_is_used(
    task: &mut Fields<'_, '_>,
    instruction: &mut Option<String>,
    prompt_template: &mut Option<String>,
) {
    let unused = |template: &String| template::check(template).is_ok_and(|used| !used.instruction);
    if instruction.is_some() && prompt_template.as_ref().is_some_and(unused) {
        let fault = contradiction("the template does not use the instruction, which is given");
        let hint = "put {{instruction}} where it belongs, or leave the instruction out";
        task.refuse("prompt_template", fault.hint(hint));
    }
}

/// A program has no login: nothing that is inside its sandbox may hold a secret.
pub(super) fn command_or_url(server: &mut Fields<'_, '_>, secret: &mut Option<String>, user: &mut Option<String>) {
    if server.has("command") == server.has("url") {
        server.refuse("name", contradiction("an MCP server has either a command or a url"));
    }
    if server.has("command") && secret.is_some() {
        let fault =
            contradiction("a program in the agent's sandbox is given no secret: whatever runs there could read it");
        let way_out = "run the server outside the sandbox and name it by its url, which is asked with the secret";
        server.refuse("secret", fault.hint(way_out));
    }
    if user.is_some() && secret.is_none() {
        server.refuse("user", contradiction("a user without a secret has no password").hint("name the secret"));
    }
}

/// In mode deny the allowlist names the private addresses that are meant; the blocklist wins in every mode.
pub(super) fn lists_fit_mode(
    network: &mut Fields<'_, '_>,
    mode: &mut Option<NetworkMode>,
    allowlist: &mut Option<Vec<String>>,
    blocklist: &mut Option<Vec<String>>,
) {
    match mode {
        Some(NetworkMode::None) => {
            for (name, list, home) in [("allowlist", allowlist, "allow"), ("blocklist", blocklist, "deny")] {
                if list.iter().flatten().next().is_some() {
                    let fault = contradiction(format!("mode none has no {name}"));
                    network.refuse(name, fault.hint(format!("the {name} belongs to mode {home}")));
                }
            }
        }
        Some(NetworkMode::Allow) if !network.has("allowlist") => {
            let fault =
                Fault::new(Code::MissingField, "mode allow reaches only what an allowlist names, and none is given");
            network.refuse("mode", fault.hint("add an allowlist, or use mode none"));
        }
        Some(NetworkMode::Allow | NetworkMode::Deny) | None => {}
    }
}

pub(super) fn persistent_has_no_ttl(
    volume: &mut Fields<'_, '_>,
    storage_class: &mut Option<StorageClass>,
    ttl_hours: &mut Option<u32>,
) {
    if *storage_class == Some(StorageClass::Persistent) && ttl_hours.is_some() {
        let fault = contradiction("a persistent volume has no time to live");
        volume.refuse("ttl_hours", fault.hint("leave ttl_hours out, or use storage_class ephemeral"));
    }
}

pub(super) fn memory_fits_type(
    memory: &mut Fields<'_, '_>,
    kind: &mut Option<MemoryType>,
    backend: &mut Option<MemoryBackend>,
    persistent: &mut Option<bool>,
) {
    let effective = kind.unwrap_or(MemoryType::Persistent);
    if let Some(persistent) = persistent.filter(|persistent| *persistent == (effective == MemoryType::Volatile)) {
        let stated = if kind.is_some() { "" } else { ", which is the default," };
        let reason =
            format!("type {}{stated} and `persistent: {persistent}` contradict each other", effective.as_str());
        let fault = contradiction(reason);
        memory.refuse("persistent", fault.hint("leave `persistent` out: the type says it"));
    }
    if *backend == Some(MemoryBackend::Memory) && effective != MemoryType::Volatile {
        let reason =
            format!("backend memory keeps nothing over a restart, and type {} asks for it", effective.as_str());
        let fault = contradiction(reason);
        memory.refuse("backend", fault.hint("use type volatile, or another backend"));
    }
}

pub(super) fn backoff_has_restarts(
    supervision: &mut Fields<'_, '_>,
    auto_restart: &mut Option<bool>,
    backoff: &mut Option<Duration>,
) {
    if *auto_restart == Some(false) && backoff.is_some() {
        let fault = contradiction("a wait before restarts is given, and autoRestart is false");
        supervision.refuse("backoff", fault);
    }
}

pub(super) fn provided_once(spec: &mut Fields<'_, '_>, provides: &mut Option<Vec<String>>) {
    each_once(spec, "provides", provides.as_deref().unwrap_or_default());
}

/// Refuses a list of words that has one twice.
pub(super) fn each_once(fields: &mut Fields<'_, '_>, name: &str, words: &[String]) {
    if let Some((_, word)) = words.iter().enumerate().find(|(index, word)| words[..*index].contains(word)) {
        let fault = Fault::new(Code::Contradiction, format!("{} stands there twice", excerpt(word)));
        fields.refuse(name, fault.hint("write it once"));
    }
}

/// One dependency a type and name: agents and services are both found by an agent's name.
pub(super) fn dependencies_once(spec: &mut Fields<'_, '_>, dependencies: &mut Option<Vec<Dependency>>) {
    let all = dependencies.as_deref().unwrap_or_default();
    let named: Vec<(bool, String)> = all
        .iter()
        .map(|dependency| (dependency.kind == DependencyType::Module, dependency.name.to_ascii_lowercase()))
        .collect();
    if let Some((_, (_, name))) = named.iter().enumerate().find(|(index, name)| named[..*index].contains(name)) {
        let fault = Fault::new(Code::Contradiction, format!("{} is depended on twice", excerpt(name)));
        spec.refuse("dependencies", fault.hint("name it once, with one range of versions"));
    }
}
