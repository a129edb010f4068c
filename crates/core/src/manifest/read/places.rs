//! The sections about what an agent may reach and keep: security, volumes, secrets, memory, supervision, dependencies.

use super::super::canonical::{
    AccessMode, Dependency, DependencyType, Filesystem, Guard, Memory, MemoryBackend, MemoryType, Network, NetworkMode,
    Resources, Secret, Security, StorageClass, Supervision, Volume,
};
use super::super::fields::{Fields, Place, Problems, boolean, count, text};
use super::super::problem::{Code, Fault};
use super::super::quantity::{Bytes, Duration, Millicores};
use super::super::tools::ToolPattern;
use super::super::words::{host, name, one_of, path, version_range};
use super::{DAY, LIST_MAX, MONTH, SECOND, hosts};

const BYTE: Bytes = Bytes::new(1);
const KIB: Bytes = Bytes::new(1 << 10);
const GIB: Bytes = Bytes::new(1 << 30);
const TIB_16: Bytes = Bytes::new(16 << 40);

pub(super) fn security(mut fields: Fields<'_, '_>) -> Security {
    let network = fields.section("network", network).flatten();
    let filesystem = fields.section("filesystem", filesystem);
    let resources = fields.section("resources", resources);
    let require = fields.list("require", 16, one_of(Guard::WORDS)).unwrap_or_default();
    fields.close();
    Security { network, filesystem, resources, require }
}

fn network(mut fields: Fields<'_, '_>) -> Option<Network> {
    let mode = fields.need("mode", one_of(NetworkMode::WORDS));
    let allowlist = hosts(&mut fields, "allowlist");
    let blocklist = hosts(&mut fields, "blocklist");
    let max_connections = fields.get("max_connections", count(1..=65_535));
    let bandwidth = fields.get("bandwidth", Bytes::between(KIB, TIB_16));
    if let Some(mode) = mode {
        let stray = |mode: NetworkMode, list: &str, home: &str| {
            Fault::new(Code::Contradiction, format!("mode {} has no {list}", mode.word()))
                .hint(format!("the {list} belongs to mode {home}"))
        };
        // In mode deny the allowlist names the private addresses that are meant; the blocklist wins in every mode.
        if mode == NetworkMode::None && !allowlist.is_empty() {
            fields.refuse("allowlist", stray(mode, "allowlist", "allow"));
        }
        if mode == NetworkMode::None && !blocklist.is_empty() {
            fields.refuse("blocklist", stray(mode, "blocklist", "deny"));
        }
        if mode == NetworkMode::Allow && allowlist.is_empty() && !fields.has("allowlist") {
            let fault =
                Fault::new(Code::MissingField, "mode allow reaches only what an allowlist names, and none is given");
            fields.refuse("mode", fault.hint("add an allowlist, or use mode none"));
        }
    }
    fields.close();
    Some(Network { mode: mode?, allowlist, blocklist, max_connections, bandwidth })
}

fn filesystem(mut fields: Fields<'_, '_>) -> Filesystem {
    let read = fields.list("read", LIST_MAX, path);
    let write = fields.list("write", LIST_MAX, path);
    let temp = fields.get("temp", boolean);
    fields.close();
    Filesystem { read, write, temp }
}

fn resources(mut fields: Fields<'_, '_>) -> Resources {
    let resources = Resources {
        cpu: fields.get("cpu", Millicores::read),
        memory: fields.get("memory", Bytes::between(Bytes::mebi(16), TIB_16)),
        disk: fields.get("disk", Bytes::between(Bytes::mebi(1), TIB_16)),
        pids: fields.get("pids", count(1..=1_000_000)),
        files: fields.get("files", count(1..=100_000_000)),
        output: fields.get("output", Bytes::between(KIB, GIB)),
        timeout: fields.get("timeout", Duration::between(SECOND, MONTH)),
    };
    fields.close();
    resources
}

pub(super) fn volume(place: &Place<'_>, problems: &mut Problems) -> Option<Volume> {
    let mut fields = place.fields(problems)?;
    let name = fields.need("name", name);
    let mount_point = fields.need("mount_point", path);
    let storage_class = fields.get("storage_class", one_of(StorageClass::WORDS));
    let access_mode = fields.get("access_mode", one_of(AccessMode::WORDS));
    let size_limit_mb = fields.get("size_limit_mb", count(1..=16_777_216));
    let ttl_hours = fields.get("ttl_hours", count(1..=87_600));
    if storage_class == Some(StorageClass::Persistent) && ttl_hours.is_some() {
        let fault = Fault::new(Code::Contradiction, "a persistent volume has no time to live");
        fields.refuse("ttl_hours", fault.hint("leave ttl_hours out, or use storage_class ephemeral"));
    }
    fields.close();
    Some(Volume { name: name?, mount_point: mount_point?, storage_class, access_mode, size_limit_mb, ttl_hours })
}

pub(super) fn secret(place: &Place<'_>, problems: &mut Problems) -> Option<Secret> {
    let mut fields = place.fields(problems)?;
    let name = fields.need("name", name);
    let capability = fields.need("capability", |node| ToolPattern::parse(&text(node)?));
    let host = fields.need("host", host);
    fields.close();
    Some(Secret { name: name?, capability: capability?, host: host? })
}

pub(super) fn memory(mut fields: Fields<'_, '_>) -> Memory {
    let kind = fields.get("type", one_of(MemoryType::WORDS));
    // `indexeddb` is another word for the embedded store.
    let backend = fields.get("backend", |node| match text(node)?.as_str() {
        "indexeddb" => Ok(MemoryBackend::Sqlite),
        _ => one_of(MemoryBackend::WORDS)(node),
    });
    let ttl = fields.get("ttl", Duration::between(SECOND, Duration::from_secs(3650 * 86_400)));
    let max_size = fields.get("maxSize", Bytes::between(BYTE, TIB_16));
    let persistent = fields.get("persistent", boolean);
    let shared_access = fields.get("sharedAccess", boolean);
    let effective = kind.unwrap_or(MemoryType::Persistent);
    let contradiction = |reason: String, hint: &str| Fault::new(Code::Contradiction, reason).hint(hint);
    if let Some(persistent) = persistent.filter(|persistent| *persistent == (effective == MemoryType::Volatile)) {
        let stated = if kind.is_some() { "" } else { ", which is the default," };
        let reason = format!("type {}{stated} and `persistent: {persistent}` contradict each other", effective.word());
        let fault = contradiction(reason, "leave `persistent` out: the type says it");
        fields.refuse("persistent", fault);
    }
    if backend == Some(MemoryBackend::Memory) && effective != MemoryType::Volatile {
        let reason = format!("backend memory keeps nothing over a restart, and type {} asks for it", effective.word());
        let fault = contradiction(reason, "use type volatile, or another backend");
        fields.refuse("backend", fault);
    }
    fields.close();
    Memory { kind, backend, ttl, max_size, persistent, shared_access }
}

pub(super) fn supervision(mut fields: Fields<'_, '_>) -> Supervision {
    let supervision = Supervision {
        max_crashes: fields.get("maxCrashes", count(0..=1000)),
        window: fields.get("window", Duration::between(SECOND, MONTH)),
        auto_restart: fields.get("autoRestart", boolean),
        backoff: fields.get("backoff", Duration::between(Duration::from_millis(1), DAY)),
    };
    if supervision.auto_restart == Some(false) && supervision.backoff.is_some() {
        let fault = Fault::new(Code::Contradiction, "a wait before restarts is given, and autoRestart is false");
        fields.refuse("backoff", fault);
    }
    fields.close();
    supervision
}

pub(super) fn dependency(place: &Place<'_>, problems: &mut Problems) -> Option<Dependency> {
    let mut fields = place.fields(problems)?;
    let name = fields.need("name", super::text_of(128));
    let version = fields.get("version", version_range);
    let kind = fields.need("type", one_of(DependencyType::WORDS));
    let required = fields.get("required", boolean);
    fields.close();
    Some(Dependency { name: name?, version, kind: kind?, required })
}
