//! The fields of a kAI manifest, and what must hold of and between them.

use jiff::Timestamp;

use crate::fault::{Code, Fault, excerpt, nearest};
use crate::manifest::AgentName;
use crate::manifest::canonical::{
    ACTIONS_MAX, Action, Dependency, DependencyType, LIST_MAX, MemoryBackend, MemoryType, PROVIDES_MAX, Persona,
    memory_backend,
};
use crate::manifest::check;
use crate::manifest::document::Node;
use crate::manifest::fields::{Fields, list, section};
use crate::manifest::formats::{agent_name, host, name, path, provided, url, version, version_range};
use crate::manifest::section::{section, words};
use crate::manifest::values::{boolean, text, text_of, word};

/// Personas that are depended on as a `service`: background services.
pub(super) const SERVICES: [Persona; 1] = [Persona::Utility];

/// What runs a program, by the end of its name. A TypeScript program is run by a Node that strips types.
const INTERPRETERS: [(&str, &str); 7] = [
    ("ts", "node"),
    ("mts", "node"),
    ("js", "node"),
    ("mjs", "node"),
    ("cjs", "node"),
    ("py", "python3"),
    ("sh", "sh"),
];

section!(
    struct KaiManifest {
        id: AgentName = agent_name,
        name: String = text_of(256),
        #[schemars(with = "String")]
        version: semver::Version = version,
        entry: String = entry,
        persona: Persona = word,
        capabilities: Vec<String> = list(PROVIDES_MAX, provided),
        memory: KaiMemory = section(),
        security: KaiSecurity = section(),
        dependencies: Vec<KaiDependency> = list(LIST_MAX, section()),
        metadata: KaiMetadata = section(),
    } then provided_once(capabilities), not_itself(id, dependencies)
);

section!(
    struct KaiMemory {
        kind("type"): MemoryType = word,
        backend: MemoryBackend = memory_backend(),
        /// Seconds.
        ttl?: u32 [1..=315_360_000],
        /// MB.
        max_size("maxSize")?: u32 [1..=16_777_216],
        persistent: bool = boolean,
        shared_access("sharedAccess")?: bool = boolean,
    } then check::memory_fits_type(kind, backend, persistent)
);

words!(Crypto { Ed25519 = "ed25519", Secp256k1 = "secp256k1", None = "none" });

section!(
    struct KaiSecurity {
        sandbox: bool = boolean,
        permissions: Vec<Permission> = list(LIST_MAX, section()),
        crypto: Crypto = word,
        network_access("networkAccess"): NetworkAccess = section(),
        file_access("fileAccess"): FileAccess = section(),
    } then
        sandboxed(sandbox),
        signed(crypto),
        permitted_by_files(permissions, file_access),
        permitted_by_network(permissions, network_access)
);

section!(
    struct Permission {
        resource: String = name,
        actions: Vec<Action> = list(ACTIONS_MAX, word),
        scope?: String = text_of(256),
    } then some_action(actions)
);

section!(
    struct NetworkAccess {
        allow_outbound("allowOutbound"): bool = boolean,
        allowed_domains("allowedDomains")?: Vec<String> = list(256, host),
        blocked_domains("blockedDomains")?: Vec<String> = list(256, host),
        max_connections("maxConnections")?: u32 [1..=65_535],
    } then domains_fit(allow_outbound, allowed_domains, blocked_domains)
);

section!(
    struct FileAccess {
        allowed_paths("allowedPaths"): Vec<String> = list(LIST_MAX, path),
        read_only("readOnly"): bool = boolean,
        temp_file_access("tempFileAccess"): bool = boolean,
    } then paths_fit(allowed_paths, read_only, temp_file_access)
);

section!(
    struct KaiDependency {
        name: String = text_of(128),
        #[schemars(with = "String")]
        version: semver::VersionReq = version_range,
        kind("type"): DependencyType = word,
        required: bool = boolean,
    }
);

impl KaiDependency {
    pub(super) fn canonical(self) -> Dependency {
        let KaiDependency { name, version, kind, required } = self;
        Dependency { name, version: Some(version), kind, required: Some(required) }
    }
}

section!(
    struct KaiMetadata {
        author: String = text_of(256),
        description: String = text_of(4096),
        license: String = license,
        documentation?: String = url,
        tags: Vec<String> = list(32, tag),
        created: String = instant,
        updated: String = instant,
    } then tagged_once(tags), updated_after(created, updated)
);

pub(super) fn beneath(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What runs a program of this name.
pub(super) fn interpreter(entry: &str) -> Option<&'static str> {
    let (_, end) = entry.rsplit_once('.')?;
    INTERPRETERS.iter().find(|(known, _)| *known == end).map(|(_, program)| *program)
}

/// A file of the agent's own folder, by a path within it.
fn entry(node: &Node) -> Result<String, Fault> {
    let given = text_of(512)(node)?;
    let bad = |why: &str| Fault::new(Code::BadFormat, format!("{} {why}", excerpt(&given)));
    let inner = given.strip_prefix("./").unwrap_or(&given);
    if inner.starts_with('/') || inner.chars().any(char::is_control) {
        return Err(bad("is not a path within the agent's folder").hint("write it as in `main.ts` or `src/main.py`"));
    }
    if inner.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(bad("has an empty part, `.` or `..`").hint("write it as in `main.ts` or `src/main.py`"));
    }
    if inner.starts_with('-') {
        return Err(bad("begins like an option").hint("call the file `main.ts`, for instance"));
    }
    if interpreter(inner).is_none() {
        let ends = INTERPRETERS.map(|(end, _)| end);
        let fault = bad("does not say by its end what runs it");
        let end = inner.rsplit_once('.').map(|(_, end)| end).unwrap_or_default();
        return Err(match nearest(end, ends) {
            Some(near) => fault.hint(format!("did you mean `.{near}`?")),
            None => fault.hint(format!("one of .{} is run; others go by `kind: command`", ends.join(", ."))),
        });
    }
    Ok(inner.to_owned())
}

/// The form of an SPDX expression: ids joined by AND, OR and WITH, with brackets.
fn license(node: &Node) -> Result<String, Fault> {
    let given = text_of(256)(node)?;
    let spaced = given.replace('(', " ( ").replace(')', " ) ");
    let (mut open, mut wants_id, mut sound) = (0_i32, true, true);
    for token in spaced.split_whitespace() {
        let joins = matches!(token, "AND" | "OR" | "WITH");
        match token {
            "(" if wants_id => open += 1,
            ")" if !wants_id && open > 0 => open -= 1,
            _ if joins && !wants_id => wants_id = true,
            _ if !joins && wants_id && token.chars().all(|c| c.is_ascii_alphanumeric() || ".-+:".contains(c)) => {
                wants_id = false;
            }
            _ => sound = false,
        }
    }
    if sound && !wants_id && open == 0 {
        return Ok(given);
    }
    let fault = Fault::new(Code::BadFormat, format!("{} is not an SPDX expression", excerpt(&given)));
    Err(fault.hint("write it as in `MIT` or `MIT OR Apache-2.0`"))
}

/// It becomes a label's key.
fn tag(node: &Node) -> Result<String, Fault> {
    let given = text(node)?;
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !given.is_empty() && given.len() <= 59 && given.chars().all(inner) {
        return Ok(given);
    }
    let fault = Fault::new(Code::BadFormat, format!("{} is not a tag", excerpt(&given)));
    Err(fault.hint("a tag becomes a label: 1 to 59 letters, digits, dots, hyphens and underscores"))
}

fn instant(node: &Node) -> Result<String, Fault> {
    let given = text(node)?;
    match given.parse::<Timestamp>() {
        Ok(_) => Ok(given),
        Err(_) => Err(Fault::new(Code::BadFormat, format!("{} is not a time as RFC 3339 writes it", excerpt(&given)))
            .hint("write it as in 2024-01-15T10:00:00Z")),
    }
}

fn contradiction(reason: impl Into<String>, hint: &str) -> Fault {
    Fault::new(Code::Contradiction, reason).hint(hint)
}

fn provided_once(manifest: &mut Fields<'_, '_>, capabilities: &mut Option<Vec<String>>) {
    check::each_once(manifest, "capabilities", capabilities.as_deref().unwrap_or_default());
}

fn tagged_once(metadata: &mut Fields<'_, '_>, tags: &mut Option<Vec<String>>) {
    check::each_once(metadata, "tags", tags.as_deref().unwrap_or_default());
}

/// A circle of one, and each name once.
fn not_itself(
    manifest: &mut Fields<'_, '_>,
    id: &mut Option<AgentName>,
    dependencies: &mut Option<Vec<KaiDependency>>,
) {
    let others = || dependencies.iter().flatten();
    if let Some(id) = id
        && others().any(|one| one.kind != DependencyType::Module && one.name.eq_ignore_ascii_case(id.as_str()))
    {
        let hint = "leave itself out of the list";
        manifest.refuse("dependencies", contradiction(format!("{} depends on itself", excerpt(id.as_str())), hint));
    }
    let mut canonical = Some(others().cloned().map(KaiDependency::canonical).collect());
    check::dependencies_once(manifest, &mut canonical);
}

fn sandboxed(security: &mut Fields<'_, '_>, sandbox: &mut Option<bool>) {
    if *sandbox == Some(false) {
        let reason = "an agent cannot let itself out of its sandbox";
        security.refuse("sandbox", contradiction(reason, "write `true`; what it needs beyond it, the operator allows"));
    }
}

fn signed(security: &mut Fields<'_, '_>, crypto: &mut Option<Crypto>) {
    let (reason, hint) = match crypto {
        Some(Crypto::Ed25519) | None => return,
        Some(Crypto::Secp256k1) => ("nothing here signs with secp256k1", "write `ed25519`"),
        Some(Crypto::None) => ("an agent cannot ask that nothing is signed", "write `ed25519`"),
    };
    security.refuse("crypto", Fault::new(Code::Unenforced, reason).hint(hint));
}

fn some_action(permission: &mut Fields<'_, '_>, actions: &mut Option<Vec<Action>>) {
    let Some(actions) = actions else { return };
    if actions.is_empty() {
        let fault = Fault::new(Code::MissingField, "a permission without an action asks for nothing");
        permission.refuse("actions", fault.hint("name one of read, write, execute, delete, or leave it out"));
    }
    if let Some((_, action)) = actions.iter().enumerate().find(|(index, action)| actions[..*index].contains(action)) {
        permission
            .refuse("actions", contradiction(format!("`{}` stands there twice", action.as_str()), "write it once"));
    }
}

fn asks(permissions: &Option<Vec<Permission>>, resource: &str, wanted: &[Action]) -> bool {
    let of = |permission: &&Permission| permission.resource == resource;
    permissions.iter().flatten().filter(of).flat_map(|permission| &permission.actions).any(|one| wanted.contains(one))
}

fn permitted_by_files(
    security: &mut Fields<'_, '_>,
    permissions: &mut Option<Vec<Permission>>,
    files: &mut Option<FileAccess>,
) {
    let changes = asks(permissions, "file", &[Action::Write, Action::Delete]);
    if changes && files.as_ref().is_some_and(|files| files.read_only) {
        let reason = "it asks to change files, and fileAccess says readOnly";
        security.refuse("permissions", contradiction(reason, "leave one of the two out"));
    }
}

fn permitted_by_network(
    security: &mut Fields<'_, '_>,
    permissions: &mut Option<Vec<Permission>>,
    network: &mut Option<NetworkAccess>,
) {
    let any = [Action::Read, Action::Write, Action::Execute, Action::Delete];
    if asks(permissions, "network", &any) && network.as_ref().is_some_and(|network| !network.allow_outbound) {
        let reason = "it asks for the network, and networkAccess allows none";
        security.refuse("permissions", contradiction(reason, "allow what it needs in networkAccess, or ask for none"));
    }
}

fn domains_fit(
    network: &mut Fields<'_, '_>,
    outbound: &mut Option<bool>,
    allowed: &mut Option<Vec<String>>,
    blocked: &mut Option<Vec<String>>,
) {
    if *outbound == Some(false) {
        for name in ["allowedDomains", "blockedDomains", "maxConnections"] {
            if network.has(name) {
                let reason = format!("`allowOutbound: false` reaches nothing, and {name} is given");
                network.refuse(name, contradiction(reason, "leave it out, or allow outbound traffic"));
            }
        }
        return;
    }
    let Some(allowed) = allowed else { return };
    if allowed.is_empty() && *outbound == Some(true) {
        let reason = "outbound traffic is allowed, and to no domain";
        network.refuse("allowedDomains", contradiction(reason, "name the domains, or write `allowOutbound: false`"));
    }
    let both = |domain: &&String| blocked.iter().flatten().any(|other| other.eq_ignore_ascii_case(domain));
    if let Some(domain) = allowed.iter().find(both) {
        let reason = format!("{} is both allowed and blocked", excerpt(domain));
        network.refuse("blockedDomains", contradiction(reason, "keep it in one of the two lists"));
    }
}

fn paths_fit(
    files: &mut Fields<'_, '_>,
    paths: &mut Option<Vec<String>>,
    read_only: &mut Option<bool>,
    temporary: &mut Option<bool>,
) {
    check::each_once(files, "allowedPaths", paths.as_deref().unwrap_or_default());
    let in_tmp = |path: &&String| super::is_temporary(path);
    let Some(path) = paths.iter().flatten().find(in_tmp) else { return };
    if *temporary == Some(false) {
        let reason = format!("{} lies in /tmp, and tempFileAccess is false", excerpt(path));
        files.refuse("tempFileAccess", contradiction(reason, "write `true`, or name a folder in /workspace"));
    } else if *read_only == Some(true) {
        let reason = format!("{} begins empty, and readOnly lets nothing be put there", excerpt(path));
        files.refuse("readOnly", contradiction(reason, "write `false`, or name a folder in /workspace"));
    }
}

fn updated_after(metadata: &mut Fields<'_, '_>, created: &mut Option<String>, updated: &mut Option<String>) {
    let read = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<Timestamp>().ok());
    if let (Some(from), Some(to)) = (read(created), read(updated))
        && to < from
    {
        metadata.refuse("updated", contradiction("it was updated before it was created", "mend one of the two times"));
    }
}
