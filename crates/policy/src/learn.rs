//! What recorded calls teach: rules that a person may want, made of what was blocked for want of a rule, of what people allowed
//! again and again, and of what an agent really does. Pure: whoever reads the ledger brings the calls. Must never apply a
//! thing, propose what does not load, or open more than was seen: hosts are exact, paths go by their folder, commands by their
//! program and first words.
mod example;
mod group;
mod page;
mod propose;

use crate::bundle::Bundle;
use crate::diff::unified;
use crate::layer::Layer;
use crate::policy::Policy;
use crate::replay::RecordedCall;
use group::Groups;
use serde::Serialize;
use tenure_core::id::CallId;

/// Rules that one proposal holds.
pub const PROPOSALS_MAX: usize = 64;
/// The document that new rules go into, in each layer.
pub const LEARNED: &str = "learned.cedar";

/// Why a rule is proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ground {
    /// No rule permitted it: from now on it asks a person.
    Denied,
    /// People allowed it again and again, and never refused: from now on they are told.
    Allowed,
    /// It is all that the agent did: what is new asks a person.
    Made,
}

impl Ground {
    pub fn as_str(self) -> &'static str {
        match self {
            Ground::Denied => "denied",
            Ground::Allowed => "allowed",
            Ground::Made => "made",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proposal {
    pub layer: Layer,
    pub document: String,
    pub id: String,
    pub ground: Ground,
    /// In plain words, with what it would do.
    pub about: String,
    pub count: u64,
    pub examples: Vec<CallId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned {
    /// All documents as they would be; the bundle itself where nothing is proposed.
    pub candidate: Bundle,
    pub proposals: Vec<Proposal>,
    /// What no rule is proposed for, and why.
    pub notes: Vec<String>,
    /// Against the documents that hold, as `policy show --out` writes them.
    pub diff: String,
    /// Calls that were looked at.
    pub seen: u64,
    /// Calls of which nothing can be said: what was judged of them is erased.
    pub unjudgeable: u64,
}

/// `holds`: `bundle`, compiled.
pub fn learn(holds: &Policy, bundle: &Bundle, calls: impl Iterator<Item = RecordedCall>) -> Learned {
    let mut groups = Groups::default();
    calls.for_each(|call| groups.take(holds, call));
    let (seen, unjudgeable) = (groups.seen, groups.unjudgeable);
    let (candidate, proposals, notes) = propose::from(holds, bundle, groups);
    let diff = unified(bundle, &candidate);
    Learned { candidate, proposals, notes, diff, seen, unjudgeable }
}
