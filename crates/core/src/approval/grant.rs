//! Grants: calls of a pattern need no further approval, for a time, for so many calls, or in one execution. Must never cover more
//! than was shown when it was given.
use crate::actor::Actor;
use crate::agent::Agent;
use crate::call::{Caller, Open};
use crate::capability::Attributes;
use crate::draft::Draft;
use crate::facts::Unread;
use crate::id::{ExecutionId, GrantId};
use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// Of one agent at a time.
pub const GRANTS_MAX: usize = 32;
/// Words of a command that a pattern keeps: the program, and what it is told to do.
const WORDS: usize = 2;

/// How long one holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum Scope {
    Until { at: Time },
    Calls { left: u32 },
    Execution { id: ExecutionId },
}

/// Which calls: those of one capability whose every named part is the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern {
    pub capability: String,
    /// A folder: files in it and below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// The first words of a command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub argv: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub id: GrantId,
    pub pattern: Pattern,
    pub scope: Scope,
    pub by: Actor,
}

impl Pattern {
    /// The calls that are like this one.
    pub fn of(capability: &str, attributes: &Attributes) -> Pattern {
        let folder = attributes.path.as_deref().map(|path| match path.rsplit_once('/') {
            Some(("", _)) | None => "/".to_string(),
            Some((folder, _)) => folder.to_string(),
        });
        let argv = attributes.argv.as_deref().unwrap_or_default();
        // A flag says how, not what: what comes after it may be anything.
        let words = argv.iter().enumerate().take_while(|(place, word)| *place == 0 || !word.starts_with('-'));
        Pattern {
            capability: capability.to_string(),
            folder,
            argv: words.take(WORDS).map(|(_, word)| word.clone()).collect(),
            host: attributes.host.clone(),
            port: attributes.port,
            key: attributes.key.clone(),
        }
    }

    /// What the pattern does not name must be absent from the call.
    pub fn fits(&self, capability: &str, attributes: &Attributes) -> bool {
        let in_folder = match (&self.folder, &attributes.path) {
            (Some(folder), Some(path)) if folder == "/" => path.starts_with('/'),
            (Some(folder), Some(path)) => {
                path.strip_prefix(folder.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let argv = attributes.argv.as_deref().unwrap_or_default();
        self.capability == capability
            && in_folder
            && (argv.is_empty() == self.argv.is_empty() && argv.starts_with(&self.argv))
            && self.host == attributes.host
            && self.port == attributes.port
            && self.key == attributes.key
    }

    /// The rule that would let them pass unasked, to be put into the policy of the system.
    pub fn to_rule(&self, agent: &str) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let mut when: Vec<String> = Vec::new();
        if let Some(folder) = &self.folder {
            let below = quoted(&format!("{}/*", folder.trim_end_matches('/')));
            when.push(format!("context.path like {below}"));
        }
        for (place, word) in self.argv.iter().enumerate() {
            when.push(format!("context.argv{place} == {}", quoted(word)));
        }
        when.extend(self.host.as_deref().map(|host| format!("context.host == {}", quoted(host))));
        when.extend(self.port.map(|port| format!("context.port == {port}")));
        when.extend(self.key.as_deref().map(|key| format!("context.key == {}", quoted(key))));
        let mut rule = format!(
            "@verdict(\"autonomous\")\npermit(principal == Agent::{}, action == Action::{}, resource)",
            quoted(agent),
            quoted(&self.capability)
        );
        if !when.is_empty() {
            let _ = write!(rule, "\nwhen {{ {} }}", when.join(" && "));
        }
        rule.push_str(";\n");
        rule
    }
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
