//! The catalogue: every capability once, with its schemas, effects and idempotence. A file a group.
//! Rows here are read when a call is proposed; what a decision took from them is written in its event.
mod filesystem;
mod process;
mod network;
pub mod path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effects {
    None,
    Reversible,
    Irreversible,
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

    /// The bounded part of the arguments that a judge and a watcher see.
    pub fn attributes(&self, arguments: &Value) -> Attributes {
        (self.attributes)(arguments)
    }
}

/// What judges and watchers see of a call's arguments; each text is at most 256 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attributes {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The host that the network is used with, and its port where one is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// The groups in the order in which lists show them.
pub fn catalogue() -> impl Iterator<Item = &'static Capability> {
    filesystem::GROUP.iter().chain(process::GROUP).chain(network::GROUP)
}

pub fn find(name: &str) -> Option<&'static Capability> {
    catalogue().find(|capability| capability.name == name)
}

/// Does a pattern of a `tools` list (a name, `group.*` or `*`) name this capability?
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(head) => name.starts_with(head),
        None => pattern == name,
    }
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

fn clipped(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).map(clip)
}
