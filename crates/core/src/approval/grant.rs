//! Grants: calls of a pattern need no further approval, for a time, for so many calls, or in one execution. Must never cover more
//! than was shown when it was given.
use crate::actor::Actor;
use crate::agent::Agent;
use crate::call::{Caller, Open};
use crate::capability::{Argument, Attributes};
use crate::draft::Draft;
use crate::facts::Unread;
use crate::id::{ExecutionId, GrantId};
use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Of one agent at a time.
pub const GRANTS_MAX: usize = 32;
/// Words of a command that a pattern keeps: the program, and what it is told to do.
const WORDS: usize = 2;
/// Words that rules can name.
const ARGV_NAMED: usize = 16;
/// Of one pattern as JSON.
const PATTERN_BYTES_MAX: usize = 1024;

/// How long one holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum Scope {
    Until { at: Time },
    Calls { left: u32 },
    Execution { id: ExecutionId },
}

/// Which calls: those of one capability in which all that is named here is the same, and nothing else of its kind is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern {
    pub capability: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathPattern>,
    /// The first words of a command; all of them where the second is a flag, after which anything may come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub argv: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole_argv: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Other arguments as they were given; but an address goes by its host.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub input: BTreeMap<String, Argument>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathPattern {
    /// What lies below this folder; it is not meant itself.
    Below(String),
    Only(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub id: GrantId,
    pub pattern: Pattern,
    pub scope: Scope,
    pub by: Actor,
}

impl PathPattern {
    fn of(capability: &str, path: &str) -> PathPattern {
        let names_a_file = matches!(
            capability,
            "filesystem.read" | "filesystem.write" | "filesystem.append" | "filesystem.edit" | "filesystem.delete"
        );
        match path.rsplit_once('/') {
            Some((folder, _)) if names_a_file && !folder.is_empty() => PathPattern::Below(folder.to_string()),
            Some(_) | None => PathPattern::Only(path.to_string()),
        }
    }

    fn fits(&self, path: &str) -> bool {
        match self {
            PathPattern::Only(only) => path == only,
            PathPattern::Below(folder) => {
                let rest = path.strip_prefix(folder.as_str()).and_then(|rest| rest.strip_prefix('/'));
                rest.is_some_and(|rest| !rest.is_empty())
            }
        }
    }
}

fn other_input(attributes: &Attributes) -> BTreeMap<String, Argument> {
    let mut input = attributes.input.clone();
    if attributes.host.is_some() {
        input.remove("url");
    }
    input
}

impl Pattern {
    /// The calls that are like this one.
    pub fn of(capability: &str, attributes: &Attributes) -> Pattern {
        let argv = attributes.argv.as_deref().unwrap_or_default();
        let whole_argv = argv.get(1).is_some_and(|word| word.starts_with('-'));
        Pattern {
            capability: capability.to_string(),
            path: attributes.path.as_deref().map(|path| PathPattern::of(capability, path)),
            argv: argv.iter().take(if whole_argv { usize::MAX } else { WORDS }).cloned().collect(),
            whole_argv,
            host: attributes.host.clone(),
            port: attributes.port,
            key: attributes.key.clone(),
            input: other_input(attributes),
        }
    }

    /// A record, the agent's fold and lists hold it whole.
    pub fn is_short(&self) -> bool {
        serde_json::to_vec(self).is_ok_and(|json| json.len() <= PATTERN_BYTES_MAX)
    }

    pub fn fits(&self, capability: &str, attributes: &Attributes) -> bool {
        let path = match (&self.path, &attributes.path) {
            (Some(pattern), Some(path)) => pattern.fits(path),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let argv = attributes.argv.as_deref().unwrap_or_default();
        let words = if self.whole_argv { argv == self.argv } else { argv.starts_with(&self.argv) };
        self.capability == capability
            && path
            && words
            && argv.is_empty() == self.argv.is_empty()
            && self.host == attributes.host
            && self.port == attributes.port
            && self.key == attributes.key
            && self.input == other_input(attributes)
    }

    /// The same as an exception to the rule that asks, in Cedar, for people to read and to put behind it.
    pub fn to_exception(&self, agent: &str) -> String {
        let mut when = vec![
            format!("principal == Agent::{}", cedar_text(agent)),
            format!("action == Action::{}", cedar_text(&self.capability)),
        ];
        when.extend(self.to_conditions());
        format!("unless {{\n  {}\n}}\n", when.join(" &&\n  "))
    }

    /// What it asks of a call of its capability, in Cedar; all of these hold of a call that it fits.
    pub fn to_conditions(&self) -> Vec<String> {
        let mut when = Vec::new();
        match &self.path {
            Some(PathPattern::Only(path)) => when.push(has("path", &format!("context.path == {}", cedar_text(path)))),
            Some(PathPattern::Below(folder)) => {
                let quoted = cedar_text(folder);
                let inner = quoted.strip_suffix('"').unwrap_or(&quoted);
                let below = format!("{}/*\"", inner.replace('*', "\\*"));
                when.push(has("path", &format!("context.path like {below}")));
            }
            None => {}
        }
        for (place, word) in self.argv.iter().enumerate().take(ARGV_NAMED) {
            when.push(has(&format!("argv{place}"), &format!("context.argv{place} == {}", cedar_text(word))));
        }
        if self.whole_argv {
            when.push(format!("context.argc == {}", self.argv.len()));
        }
        when.extend(self.host.as_deref().map(|host| has("host", &format!("context.host == {}", cedar_text(host)))));
        when.extend(self.port.map(|port| has("port", &format!("context.port == {port}"))));
        when.extend(self.key.as_deref().map(|key| has("key", &format!("context.key == {}", cedar_text(key)))));
        for (name, value) in &self.input {
            // Names may be an agent's own words.
            let name = cedar_text(name);
            let is = match value {
                Argument::Flag(flag) => format!("context.input[{name}] == {flag}"),
                Argument::Number(number) => format!("context.input[{name}] == {number}"),
                Argument::Text(text) => format!("context.input[{name}] == {}", cedar_text(text)),
                Argument::Texts(texts) => {
                    let texts: Vec<String> = texts.iter().map(|text| cedar_text(text)).collect();
                    format!("context.input[{name}] == [{}]", texts.join(", "))
                }
            };
            when.push(format!("context.input has {name} && {is}"));
        }
        when
    }
}

fn has(attribute: &str, what: &str) -> String {
    format!("context has {attribute} && {what}")
}

/// A text as Cedar writes it.
pub fn cedar_text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => quoted.push_str(&format!("\\u{{{:x}}}", u32::from(letter))),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

impl Grant {
    /// It covers nothing any more.
    pub fn is_over(&self, wall: Time) -> bool {
        match self.scope {
            Scope::Until { at } => at <= wall,
            Scope::Calls { left } => left == 0,
            Scope::Execution { .. } => false,
        }
    }
}

/// The first of its agent that this call fits.
///
/// # Errors
/// `Unread`.
pub(crate) fn found(
    draft: &mut Draft<'_>,
    caller: Caller,
    call: &Open,
    attributes: &Attributes,
) -> Result<Option<GrantId>, Unread> {
    let wall = draft.wall;
    let Some(agent) = draft.get::<Agent>(caller.agent)? else { return Ok(None) };
    let fits = |grant: &&Grant| {
        let here = match grant.scope {
            Scope::Execution { id } => caller.holder.execution() == Some(id),
            Scope::Until { .. } | Scope::Calls { .. } => true,
        };
        here && !grant.is_over(wall) && grant.pattern.fits(&call.capability, attributes)
    };
    Ok(agent.grants.iter().find(fits).map(|grant| grant.id))
}
