//! The catalogue: every capability once, with its schemas, effects and idempotence. A file a group; those that touch only
//! our own rows are performed there. Rows here are read when a call is proposed; what a decision took from them is written
//! in its event.
mod argument;
mod agent;
mod filesystem;
mod process;
mod network;
pub mod path;
mod state;
mod comms;
mod scheduler;
mod alerts;
mod secrets;
pub mod permission;
mod system;
pub mod mcp;
pub mod hook;

pub use argument::{Argument, ArgumentKind, JudgedArgument};

use crate::bound::{Bound, Payload};
use crate::call::{Caller, HolderKind, Outcome};
use crate::draft::Draft;
use crate::facts::Unread;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Of what a judge sees of one call, as JSON.
pub const ATTRIBUTES_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Effects {
    None,
    Reversible,
    Irreversible,
}

/// Where a call is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    Sandbox,
    /// In our own rows, inside the commit that judges it.
    Rows,
}

/// What of a capability the machinery of its calls goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    pub effects: Effects,
    pub idempotent: bool,
    pub place: Place,
}

/// How a capability is done on our own rows.
#[derive(Debug)]
enum Perform {
    From(fn(&mut Draft<'_>, Caller, &Value) -> Result<Performed, Unread>),
    /// It binds a value, which may be large, so that whoever commits writes it before the decision.
    Keeping {
        value: fn(&Value) -> Vec<u8>,
        perform: fn(&mut Draft<'_>, Caller, &Value, Payload) -> Result<Performed, Unread>,
    },
}

/// What a capability on our own rows gives.
#[derive(Debug)]
pub struct Performed {
    pub outcome: Outcome,
    pub result: Output,
}

#[derive(Debug)]
pub enum Output {
    Made(Value),
    /// JSON that holds what others sent, to the byte.
    Text(String),
    /// A stored value, by its own hash; `detail` is what it is said with.
    Stored {
        value: Bound,
        detail: Value,
    },
}

impl Performed {
    pub fn done(result: Value) -> Performed {
        Performed { outcome: Outcome::Done { exit_code: None }, result: Output::Made(result) }
    }

    pub fn failed(code: &str, sentence: impl Into<String>) -> Performed {
        let (code, error) = (code.to_string(), sentence.into());
        Performed { outcome: Outcome::Failed { code }, result: Output::Made(json!({ "error": error })) }
    }
}

#[derive(Debug)]
pub struct Capability {
    pub name: &'static str,
    pub version: u32,
    /// One short sentence for a model's prompt: each token of it is paid at every turn.
    pub brief: &'static str,
    pub use_when: &'static str,
    pub avoid_when: &'static str,
    pub effects: Effects,
    pub idempotent: bool,
    /// The arguments that a small model is offered: each one more costs it tokens and care.
    usual: &'static [&'static str],
    input: fn() -> Value,
    output: fn() -> Value,
    attributes: fn(&Value) -> Attributes,
    /// None is done in a sandbox.
    perform: Option<Perform>,
}

impl Capability {
    /// JSON Schema (2020-12) of the arguments; unknown ones are refused by it.
    pub fn input(&self) -> Value {
        (self.input)()
    }

    /// The same, with only the usual arguments.
    pub fn usual_input(&self) -> Value {
        let mut schema = self.input();
        if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            properties.retain(|name, _| self.usual.contains(&name.as_str()));
        }
        schema
    }

    pub fn output(&self) -> Value {
        (self.output)()
    }

    /// All that whoever calls it must know.
    pub fn described(&self) -> Value {
        json!({
            "name": self.name,
            "version": self.version,
            "brief": self.brief,
            "use_when": self.use_when,
            "avoid_when": self.avoid_when,
            "effects": <&str>::from(self.effects),
            "idempotent": self.idempotent,
            "input": self.input(),
            "output": self.output(),
        })
    }

    /// What a judge sees of the arguments, exact.
    pub fn attributes(&self, arguments: &Value) -> Attributes {
        Attributes { input: argument::judged(self, arguments), ..(self.attributes)(arguments) }
    }

    /// The arguments that a judge sees as they were given, by name.
    pub fn judged_arguments(&self) -> &'static [JudgedArgument] {
        argument::of(self.name)
    }

    pub fn place(&self) -> Place {
        if self.perform.is_some() { Place::Rows } else { Place::Sandbox }
    }

    /// The bytes that a call with these arguments binds beside its result; none where it binds none.
    pub fn value(&self, arguments: &Value) -> Option<Vec<u8>> {
        match &self.perform {
            Some(Perform::Keeping { value, .. }) => Some(value(arguments)),
            Some(Perform::From(_)) | None => None,
        }
    }

    /// Why no holder of this kind can ever make such a call: a stable code, and a sentence. The one place that says it: what is
    /// offered and what is done are both asked of it.
    pub fn barred(&self, holder: HolderKind) -> Option<(&'static str, &'static str)> {
        match holder {
            HolderKind::Execution => None,
            HolderKind::Session => (self.name == agent::EXECUTE).then_some(agent::SESSION_STARTS_NONE),
        }
    }

    /// `brought`: what [`Capability::value`] gave, if whoever commits asked.
    pub(crate) fn perform(
        &self,
        draft: &mut Draft<'_>,
        caller: Caller,
        arguments: &Value,
        brought: Option<Payload>,
    ) -> Result<Performed, Unread> {
        if let Some((code, sentence)) = self.barred(caller.holder.kind()) {
            return Ok(Performed::failed(code, sentence));
        }
        match &self.perform {
            Some(Perform::From(perform)) => perform(draft, caller, arguments),
            Some(Perform::Keeping { value, perform }) => {
                let bytes = value(arguments);
                let payload = brought.filter(|brought| *brought.bytes() == bytes);
                let payload = payload.unwrap_or_else(|| Payload::new(draft.mint.salt(), bytes));
                perform(draft, caller, arguments, payload)
            }
            None => Ok(Performed::failed("no_rows", "it is done in a sandbox")),
        }
    }
}

/// What a judge sees of a call's arguments: canonical and never cut. A field that a capability does not have is absent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attributes {
    /// Absolute, inside the sandbox, without `.`, `..` and doubled slashes: the very path that will be opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The program and its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argv: Option<Vec<String>>,
    /// In lower case and ASCII, without a dot at its end; an address in its shortest form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Of a stored value; of a message or a start, whom it is for: an agent, `label=value` or `#channel`; of a schedule its
    /// expression or name; of an alert its severity or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Of what is written or sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Arguments as they were given, without bulk and without what the fields above hold in the form that is judged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub input: BTreeMap<String, Argument>,
}

/// What people see of a call's arguments; each text is at most 256 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Shown {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The host that the network is used with, and its port where one is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

impl Shown {
    /// Paths as they are below the work folder, hosts without the usual ports.
    pub fn of(seen: &Attributes) -> Shown {
        let path = seen.path.as_deref().map(|path| match path.strip_prefix(path::WORKSPACE) {
            Some("") => ".",
            Some(below) => below.strip_prefix('/').unwrap_or(path),
            None => path,
        });
        let command = seen.argv.as_ref().map(|argv| {
            let mut line = String::new();
            for word in argv {
                line.push_str(if line.is_empty() { "" } else { " " });
                line.push_str(word);
                if line.len() > 1024 {
                    break;
                }
            }
            clip(&line)
        });
        let host = seen.host.as_ref().map(|host| match seen.port {
            None | Some(80 | 443) => clip(host),
            Some(port) => clip(&format!("{host}:{port}")),
        });
        let (path, key) = (path.map(clip), seen.key.as_deref().map(clip));
        Shown { path, command, host, key, bytes: seen.bytes }
    }
}

/// The groups in the order in which lists show them.
pub fn catalogue() -> impl Iterator<Item = &'static Capability> {
    [
        filesystem::GROUP,
        process::GROUP,
        network::GROUP,
        state::GROUP,
        comms::GROUP,
        scheduler::GROUP,
        alerts::GROUP,
        secrets::GROUP,
        agent::GROUP,
        permission::GROUP,
        system::GROUP,
    ]
    .into_iter()
    .flatten()
}

/// What a `tools` list lets a holder of this kind call.
pub fn offered(tools: &[String], holder: HolderKind) -> impl Iterator<Item = &'static Capability> {
    let named = catalogue().filter(move |known| tools.iter().any(|pattern| matches(pattern, known.name)));
    named.filter(move |known| known.barred(holder).is_none())
}

pub fn find(name: &str) -> Option<&'static Capability> {
    catalogue().find(|capability| capability.name == name)
}

/// The terms of a capability of the catalogue, or of one that an MCP server brings; none of what is neither.
pub fn terms(name: &str) -> Option<Terms> {
    let known = find(name);
    let built = known.map(|known| Terms { effects: known.effects, idempotent: known.idempotent, place: known.place() });
    let brought = || mcp::Name::parse(name).map(|name| name.method.terms());
    built.or_else(brought).or_else(|| hook::Hook::of(name).map(hook::Hook::terms))
}

/// What a judge sees of a call's arguments; none of a capability that is not known.
pub fn attributes(name: &str, arguments: &Value) -> Option<Attributes> {
    let built = find(name).map(|known| known.attributes(arguments));
    built.or_else(|| mcp::Name::parse(name).map(|name| mcp::attributes(name.method, arguments)))
}

/// Does a pattern of a `tools` list (a name, `group.*` or `*`) name this capability? What an MCP server brings is named by that
/// server's entry alone, so that an entry can leave tools out.
pub fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with(mcp::PREFIX) && !pattern.starts_with(mcp::PREFIX) {
        return false;
    }
    match pattern.strip_suffix('*') {
        Some(head) => name.starts_with(head),
        None => pattern == name,
    }
}

/// At most so many bytes, in whole letters; nothing shows that it is cut.
pub(crate) fn cut(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

/// At most 256 bytes, printable; a cut shows as `…`.
pub fn clip(text: &str) -> String {
    const LIMIT: usize = 250;
    let end =
        text.char_indices().map(|(place, letter)| place + letter.len_utf8()).take_while(|end| *end <= LIMIT).last();
    let mut clipped: String =
        text[..end.unwrap_or(0)].chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if clipped.len() < text.len() {
        clipped.push('…');
    }
    clipped
}

/// The path that an argument names for a judge and for the sandbox.
fn judged_path(arguments: &Value, name: &str) -> Option<String> {
    path::judged(arguments.get(name)?.as_str()?, path::WORKSPACE)
}

/// The schema of arguments: an object of these properties and no others.
fn arguments(required: &[&str], properties: Value) -> Value {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}
