//! Who may read and write shared keys: a rule a prefix, made by people. Where none fits, every agent of the project may;
//! else the one with the longest prefix says. People are held by their role, not by these.
use crate::actor::Actor;
use crate::id::AgentId;
use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Rules of one project.
pub const ACLS_MAX: i64 = 256;
/// Agents that one rule names for one right.
pub(crate) const AGENTS_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    Everyone,
    /// None but these; no agent at all where it is empty.
    Agents(BTreeSet<AgentId>),
}

impl Access {
    fn has(&self, agent: AgentId) -> bool {
        match self {
            Access::Everyone => true,
            Access::Agents(agents) => agents.contains(&agent),
        }
    }

    pub(crate) fn fits(&self) -> bool {
        match self {
            Access::Everyone => true,
            Access::Agents(agents) => agents.len() <= AGENTS_MAX,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acl {
    /// What a key begins with; the empty one is every key's.
    pub prefix: String,
    pub read: Access,
    pub write: Access,
}

/// A rule as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclRow {
    pub prefix: String,
    pub read: Access,
    pub write: Access,
    pub by: Actor,
    pub at: Time,
}

/// The rule that a key falls under.
pub fn acl_of<'a>(acls: &'a [Acl], key: &str) -> Option<&'a Acl> {
    acls.iter().filter(|acl| key.starts_with(&acl.prefix)).max_by_key(|acl| acl.prefix.len())
}

pub fn may_read(acls: &[Acl], agent: AgentId, key: &str) -> bool {
    acl_of(acls, key).is_none_or(|acl| acl.read.has(agent))
}

pub fn may_write(acls: &[Acl], agent: AgentId, key: &str) -> bool {
    acl_of(acls, key).is_none_or(|acl| acl.write.has(agent))
}
