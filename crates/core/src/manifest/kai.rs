//! The kAI dialect: a JSON manifest of another shape, read by its own fields, so that every problem names the field that
//! the file has, and then made into the canonical form. Must never grant what the file claims for itself: a permission
//! becomes a capability that policies still judge, or a wish that grants nothing.

mod shape;

use std::collections::BTreeMap;

pub(super) use shape::KaiManifest;
use shape::{FileAccess, KaiMemory, KaiMetadata, NetworkAccess, Permission, SERVICES};

use super::canonical::{
    Action, AgentKind, ApiVersion, Filesystem, Kind, Manifest, Memory, Metadata, Network, NetworkMode, Runtime,
    Security, Spec, Tool, Wish,
};
use super::document::{Key, Node, Value, located};
use super::fields::{Place, Problems, read_section};
use super::quantity::{Bytes, Duration};
use super::tools::ToolPattern;
use super::values::LABELS_MAX;
use crate::fault::{Code, Fault};

/// Fields by which a file without an `apiVersion` is known to be of this dialect.
const MARKS: [&str; 4] = ["entry", "persona", "networkAccess", "capabilities"];
/// Annotations that keep what the canonical form has no field for.
const PREFIX: &str = "kai/";
/// A tag as a label's key.
const TAG: &str = "tag/";
/// Fields of the author's own begin so, and are kept as annotations.
const OWN: &str = "x-";
const OWN_BYTES_MAX: usize = 4096;

pub(super) fn is_kai(root: &Node) -> bool {
    MARKS.iter().any(|word| root.get(word).is_some())
}

pub(super) fn read(mut root: Node, problems: &mut Problems) -> Option<Manifest> {
    let own = own_fields(&mut root, problems);
    let before = problems.found.len();
    let read: Option<KaiManifest> = read_section(&Place { node: &root, path: String::new() }, problems);
    let mut manifest = translated(read?, problems, before);
    manifest.metadata.annotations.extend(own);
    Some(manifest)
}

/// Takes the author's own fields out, as texts of JSON.
fn own_fields(root: &mut Node, problems: &mut Problems) -> BTreeMap<String, String> {
    let Value::Map(entries) = &mut root.value else { return BTreeMap::new() };
    let (own, known): (Vec<_>, Vec<_>) =
        std::mem::take(entries).into_iter().partition(|(key, _)| key.word.starts_with(OWN));
    *entries = known;
    let mut kept = BTreeMap::new();
    for (Key { word, at }, node) in own {
        let text = super::values::json(&node).map(|value| value.to_string());
        match text {
            Ok(text) if text.len() <= OWN_BYTES_MAX && word.len() <= 59 && kept.len() < LABELS_MAX / 2 => {
                kept.insert(format!("{PREFIX}{word}"), text);
            }
            Ok(_) => {
                let reason =
                    format!("fields of one's own have names of at most 59 and values of {OWN_BYTES_MAX} bytes");
                problems.add(located(Fault::new(Code::TooLong, reason), &word, at));
            }
            Err(fault) => problems.add(located(fault, &word, at)),
        }
    }
    kept
}

/// `before`: problems there were before the file was read. Notes are for what is accepted.
fn translated(read: KaiManifest, problems: &mut Problems, before: usize) -> Manifest {
    let noted = problems.found.len() == before;
    let command = vec![shape::interpreter(&read.entry).unwrap_or_default().to_owned(), read.entry];
    let (tools, wishes) = asked(read.security.permissions, problems, noted);
    let metadata = metadata(read.id, read.name, read.version, read.security.crypto.as_str(), read.metadata);
    Manifest {
        api_version: ApiVersion::V1,
        kind: Kind::Agent,
        metadata,
        spec: Spec {
            persona: Some(read.persona),
            provides: read.capabilities,
            wishes,
            runtime: Some(Runtime { kind: Some(AgentKind::Hooks), command: Some(command), ..Runtime::default() }),
            tools: Some(tools),
            security: Some(security(read.security.network_access, read.security.file_access, problems, noted)),
            memory: Some(memory(read.memory)),
            dependencies: read.dependencies.into_iter().map(shape::KaiDependency::canonical).collect(),
            ..Spec::default()
        },
    }
}

fn metadata(
    name: super::AgentName,
    display: String,
    version: semver::Version,
    crypto: &str,
    told: KaiMetadata,
) -> Metadata {
    let kept = [
        ("name", Some(display)),
        ("author", Some(told.author)),
        ("license", Some(told.license)),
        ("documentation", told.documentation),
        ("created", Some(told.created)),
        ("updated", Some(told.updated)),
        ("crypto", Some(crypto.to_owned())),
    ];
    let annotations = kept.into_iter().filter_map(|(word, text)| text.map(|text| (format!("{PREFIX}{word}"), text)));
    Metadata {
        name,
        version: Some(version),
        description: Some(told.description),
        labels: told.tags.into_iter().map(|tag| (format!("{TAG}{tag}"), "true".to_owned())).collect(),
        annotations: annotations.collect(),
    }
}

/// What a permission of the whole of a resource asks for, by our names.
fn capabilities(resource: &str, action: Action) -> &'static [&'static str] {
    match (resource, action) {
        ("file", Action::Read) => &["filesystem.read", "filesystem.list", "filesystem.stat"],
        ("file", Action::Write) => &["filesystem.write", "filesystem.append", "filesystem.edit"],
        ("file", Action::Delete) => &["filesystem.delete", "filesystem.restore"],
        ("file", Action::Execute) => &["process.run"],
        ("network", Action::Read) => &["network.http_request", "network.dns_lookup"],
        ("network", Action::Write) => &["network.http_request"],
        ("memory", Action::Read) => &["state.persistent.get", "state.persistent.list", "state.persistent.query"],
        ("memory", Action::Write) => &["state.persistent.set"],
        ("memory", Action::Delete) => &["state.persistent.delete"],
        _ => &[],
    }
}

/// What it may use as far as policies let it, and what it only wishes for. A permission with a scope is a wish as a whole:
/// the list of capabilities has none, and without it more would be asked for than the file does.
fn asked(permissions: Vec<Permission>, problems: &mut Problems, noted: bool) -> (Vec<Tool>, Vec<Wish>) {
    let (mut tools, mut wishes) = (Vec::<&str>::new(), Vec::new());
    for (index, Permission { resource, actions, scope }) in permissions.into_iter().enumerate() {
        let of = |action: &Action| if scope.is_some() { &[] } else { capabilities(&resource, *action) };
        let (granted, left): (Vec<Action>, Vec<Action>) =
            actions.into_iter().partition(|action| !of(action).is_empty());
        for name in granted.iter().flat_map(of).filter(|name| !name.is_empty()) {
            if !tools.contains(name) {
                tools.push(name);
            }
        }
        if left.is_empty() {
            continue;
        }
        if noted {
            let words: Vec<&str> = left.iter().map(|action| action.as_str()).collect();
            let text = format!(
                "`{resource}` ({}) is a wish: no capability is called so, and it grants nothing",
                words.join(", ")
            );
            problems.note_at(&format!("security.permissions[{index}]"), text);
        }
        wishes.push(Wish { resource, actions: left, scope });
    }
    let pattern = |name: &&str| ToolPattern::parse(name).map(Tool::Capability);
    let tools: Result<Vec<Tool>, Fault> = tools.iter().map(pattern).collect();
    (tools.expect("invariant: the table above names capabilities that there are"), wishes)
}

fn security(network: NetworkAccess, files: FileAccess, problems: &mut Problems, noted: bool) -> Security {
    if noted && network.allow_outbound && network.allowed_domains.is_none() {
        problems.note_at(
            "security.networkAccess",
            "no `allowedDomains` are named: every public address may be reached, but those blocked",
        );
    }
    Security { network: Some(self::network(network)), filesystem: Some(filesystem(files)), ..Security::default() }
}

fn network(access: NetworkAccess) -> Network {
    let mode = match (access.allow_outbound, &access.allowed_domains) {
        (false, _) => NetworkMode::None,
        (true, Some(_)) => NetworkMode::Allow,
        (true, None) => NetworkMode::Deny,
    };
    Network {
        mode,
        allowlist: access.allowed_domains.unwrap_or_default(),
        blocklist: access.blocked_domains.unwrap_or_default(),
        max_connections: access.max_connections,
        bandwidth: None,
    }
}

pub(super) fn is_temporary(path: &str) -> bool {
    shape::beneath(path, "/tmp")
}

/// What lies in /tmp is the agent's own and is emptied; the work folder is there unless a part of it is named.
fn filesystem(access: FileAccess) -> Filesystem {
    const WORKSPACE: &str = "/workspace";
    let mut paths: Vec<String> = access.allowed_paths.into_iter().filter(|path| !is_temporary(path)).collect();
    if !paths.iter().any(|path| shape::beneath(path, WORKSPACE)) {
        paths.insert(0, WORKSPACE.to_owned());
    }
    let write = if access.read_only { Vec::new() } else { paths.clone() };
    Filesystem { read: Some(paths), write: Some(write), temp: Some(access.temp_file_access) }
}

fn memory(stated: KaiMemory) -> Memory {
    Memory {
        kind: Some(stated.kind),
        backend: Some(stated.backend),
        ttl: stated.ttl.map(|seconds| Duration::from_secs(seconds.into())),
        max_size: stated.max_size.map(|size| Bytes::new(u64::from(size) << 20)),
        persistent: Some(stated.persistent),
        shared_access: stated.shared_access,
    }
}

/// Whether an agent of this persona may be depended on as a service.
pub(crate) fn is_service(persona: Option<super::Persona>) -> bool {
    persona.is_some_and(|persona| SERVICES.contains(&persona))
}
