//! The policy of a project: which set of rules judges its calls, each applied one with its number. Must never read what it says:
//! whoever applies it has compiled it, and a judge knows it by its digest.
use super::{Event, Project, Refusal};
use crate::bound::{Hash, Payload};
use crate::capability::cut;
use crate::draft::{Draft, Stop, refuse};
use crate::id::ProjectId;
use crate::judge::Digest;
use crate::row::Row;
use crate::time::{Stamp, Time};
use serde::{Deserialize, Serialize};

/// Of its rules and their files, as canonical JSON.
pub const BUNDLE_BYTES_MAX: usize = 1 << 20;
/// Of what a person says when applying one.
pub const NOTE_BYTES_MAX: usize = 512;

/// The one that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// From 1.
    pub number: u32,
    pub digest: Digest,
    /// What waited for people when it was applied has been judged by it.
    #[serde(default)]
    pub rejudged: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Apply {
    pub digest: Digest,
    pub bundle: Payload,
    /// The number that must hold now, 0 for none.
    pub expected: Option<u32>,
    /// It is this one again.
    pub repeats: Option<u32>,
    pub note: Option<String>,
}

/// One that was applied, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRow {
    pub number: u32,
    pub digest: Hash,
    pub bundle: Hash,
    pub by: String,
    pub note: Option<String>,
    pub repeats: Option<u32>,
    pub at: Time,
}

pub(super) fn apply(id: ProjectId, draft: &mut Draft<'_>, apply: Apply) -> Result<(), Stop> {
    let no = |refusal| Err(refuse::<Project>(refusal));
    let known = draft.get::<Project>(id)?.and_then(|project| project.policy);
    let number = known.map_or(0, |known| known.number);
    if apply.expected.is_some_and(|expected| expected != number) {
        return no(Refusal::PolicyMoved { number });
    }
    if known.is_some_and(|known| known.digest == apply.digest) {
        return no(Refusal::PolicyUnchanged { number });
    }
    if apply.bundle.bytes().len() > BUNDLE_BYTES_MAX {
        return no(Refusal::PolicyTooLarge {});
    }
    let (by, bundle) = (draft.actor, draft.bind(apply.bundle));
    let note = apply.note.map(|text| cut(text, NOTE_BYTES_MAX));
    let number = number.saturating_add(1);
    let (digest, repeats) = (apply.digest, apply.repeats);
    Ok(draft.emit::<Project>(id, Event::PolicyApplied { number, digest, bundle, by, repeats, note })?)
}

pub(super) fn finish_rejudging(id: ProjectId, draft: &mut Draft<'_>, number: u32) -> Result<(), Stop> {
    let applied = draft.get::<Project>(id)?.and_then(|project| project.policy);
    if applied.is_none_or(|applied| applied.rejudged || applied.number != number) {
        return Err(refuse::<Project>(Refusal::PolicyRejudged {}));
    }
    Ok(draft.emit::<Project>(id, Event::PolicyRejudged { number })?)
}

pub(super) fn row(event: &Event, stamp: Stamp) -> Option<Row> {
    let Event::PolicyApplied { number, digest, bundle, by, repeats, note } = event else { return None };
    Some(Row::Policy(PolicyRow {
        number: *number,
        digest: digest.0,
        bundle: bundle.hash,
        by: by.to_string(),
        note: note.clone(),
        repeats: *repeats,
        at: stamp.at,
    }))
}
