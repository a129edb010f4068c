//! The manifest: an agent's job description, read from YAML or JSON of any dialect into one canonical form. Must never
//! accept what it then ignores: what is not understood is a [`Problem`] of [`Manifest::parse`], and what is understood
//! but enforced by nothing is one of [`Manifest::unenforced`].

use std::sync::LazyLock;

mod canonical;
mod section;
mod validator;
mod check;
mod fields;
mod values;
mod formats;
mod quantity;
mod tools;
mod document;
mod aegis;
mod kai;
mod defaults;
pub mod changes;
mod host;
mod unenforced;

pub use crate::fault::{Code, Fault, PROBLEMS_MAX, Problem, nearest};
pub use canonical::{
    AccessMode, Action, AgentKind, ApiVersion, Dependency, DependencyType, Execution, Filesystem, Guard, Isolation,
    Kind, LimitsSpec, Manifest, McpServer, Memory, MemoryBackend, MemoryType, Metadata, Missed, Mode, Network,
    NetworkMode, Overlap, Persona, Resources, Runtime, Schedule, Secret, Security, Sharing, Spec, StorageClass,
    Supervision, Task, Tool, Trigger, Volume, Wish,
};
pub use defaults::{Bounds, Views};
pub use document::{DEPTH_MAX, TEXT_BYTES_MAX};
pub use fields::Note;
pub use formats::{AgentName, INSTRUCTION_BYTES_MAX, NAME_CHARS_MAX};
pub use host::{Backend, Engine, Host, HostMount, Quota, Toolchain};
pub(crate) use kai::is_service;
pub use quantity::{Bytes, Duration, Millicores, Money, Score};
pub use tools::{READ_ONLY, TOOL_BYTES_MAX, TOOLS_MAX, ToolPattern};
pub use validator::{
    Judge, REGEX_BYTES_MAX, REGEX_COMPILED_BYTES_MAX, Strategy, Target, VALIDATORS_MAX, Validator,
    compile as compile_regex,
};
pub use values::LABELS_MAX;

use document::{Node, Value, located};
use fields::{Place, Problems};
use values::{text, wrong_type};

use crate::fault::excerpt;

/// The `apiVersion` of the canonical form.
pub const API_VERSION: &str = "tenure.dev/v1";

impl Manifest {
    /// Reads a manifest, YAML or JSON, in the canonical, the AEGIS or the kAI dialect.
    ///
    /// # Errors
    /// All that is wrong with its form, in the order of the file, at most [`PROBLEMS_MAX`].
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        Self::parse_noting(text).map(|(manifest, _)| manifest)
    }

    /// As [`Manifest::parse`], with what is accepted and is not quite as its author may think.
    ///
    /// # Errors
    /// The same.
    pub fn parse_noting(text: &str) -> Result<(Self, Vec<Note>), Vec<Problem>> {
        let (root, found) = document::read(text);
        let mut problems = Problems { found, notes: Vec::new() };
        let manifest = root.and_then(|root| {
            if root.get("apiVersion").is_none() && kai::is_kai(&root) {
                return kai::read(root, &mut problems);
            }
            let root = to_canonical(root, &mut problems)?;
            fields::read_section(&Place { node: &root, path: String::new() }, &mut problems)
        });
        problems.found.sort_by_key(|problem| problem.line.zip(problem.column));
        match manifest {
            Some(manifest) if problems.found.is_empty() => Ok((manifest, problems.notes)),
            Some(_) | None => Err(problems.found),
        }
    }

    /// As [`Manifest::parse`], for bytes that may not even be text.
    pub fn parse_bytes(bytes: &[u8]) -> Result<Self, Vec<Problem>> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let reason = format!("the byte at offset {} is not UTF-8", error.valid_up_to());
            vec![Fault::new(Code::Syntax, reason).hint("save the file as UTF-8").at("")]
        })?;
        Self::parse(text)
    }

    /// The canonical form as YAML. Parsed again it gives an equal manifest.
    pub fn canonical_yaml(&self) -> String {
        serde_saphyr::to_string(self).expect("invariant: a manifest has text keys and finite numbers only")
    }

    /// The canonical form as canonical JSON (RFC 8785): equal manifests have equal bytes, and only those. This is what
    /// a revision's digest is taken of.
    pub fn canonical_json(&self) -> Vec<u8> {
        serde_json_canonicalizer::to_vec(self).expect("invariant: a manifest has text keys and finite numbers only")
    }
}

/// The JSON Schema (2020-12) of the canonical form.
pub fn schema() -> &'static serde_json::Value {
    static SCHEMA: LazyLock<serde_json::Value> = LazyLock::new(|| {
        let mut schema = schemars::schema_for!(Manifest);
        schema.insert("title".to_owned(), "Tenure agent manifest".into());
        schema.to_value()
    });
    &SCHEMA
}

/// Finds the dialect and translates it; every later step knows the canonical one only.
fn to_canonical(root: Node, problems: &mut Problems) -> Option<Node> {
    let place = Place { node: &root, path: String::new() };
    let Value::Map(_) = &root.value else {
        let fault = wrong_type(&root, "a mapping with apiVersion, kind, metadata and spec");
        place.refuse(fault, problems);
        return None;
    };
    let Some(version) = root.get("apiVersion") else {
        problems.add(located(missing(&root, "apiVersion", API_VERSION), "apiVersion", root.at));
        return None;
    };
    let place = Place { node: version, path: "apiVersion".to_owned() };
    let version = place.read(problems, text)?;
    let dialects = [API_VERSION, aegis::API_VERSION];
    if !dialects.contains(&version.as_str()) {
        let hint = match nearest(&version, dialects) {
            Some(word) => format!("did you mean `{word}`?"),
            None => format!("{} are known", dialects.join(" and ")),
        };
        let reason = format!("manifests of {} are not known", excerpt(&version));
        place.refuse(Fault::new(Code::UnknownDialect, reason).hint(hint), problems);
        return None;
    }
    check_kind(&root, version == aegis::API_VERSION, problems)?;
    Some(if version == aegis::API_VERSION { aegis::to_canonical(root) } else { root })
}

/// A field without which nothing else is looked at, with what stands there in its place.
fn missing(root: &Node, word: &str, value: &str) -> Fault {
    let keys = root.value.entries().unwrap_or_default().iter().map(|(key, _)| key.word.as_str());
    let hint = match nearest(word, keys) {
        Some(near) => format!("{} stands there, and it is spelled `{word}`: write `{word}: {value}`", excerpt(near)),
        None => format!("write `{word}: {value}`"),
    };
    Fault::new(Code::MissingField, "this field is required").hint(hint)
}

fn check_kind(root: &Node, aegis: bool, problems: &mut Problems) -> Option<()> {
    let Some(node) = root.get("kind") else {
        problems.add(located(missing(root, "kind", "Agent"), "kind", root.at));
        return None;
    };
    let place = Place { node, path: "kind".to_owned() };
    let kind = place.read(problems, text)?;
    if kind == "Agent" {
        return Some(());
    }
    let fault = match kind.as_str() {
        "NodeConfig" | "AegisConfig" if aegis => {
            Fault::new(Code::UnknownDialect, "this is the configuration of an AEGIS node, not an agent")
                .hint("tenure's own is tenure.toml; deploy the agent's manifest")
        }
        "Workflow" | "WorkflowManifest" if aegis => {
            Fault::new(Code::UnknownDialect, "this is an AEGIS workflow, not an agent")
                .hint("deploy its agents one by one")
        }
        other => {
            let fault = Fault::new(Code::UnknownWord, format!("a manifest of kind {} is not known", excerpt(other)));
            fault.hint("write `kind: Agent`")
        }
    };
    place.refuse(fault, problems);
    None
}
