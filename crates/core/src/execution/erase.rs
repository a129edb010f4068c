//! The bytes that an ended execution bound are erased, a page at a time: what it was told, said, asked for and was answered. Values
//! that it read out of state are not its own, and stay. Its records hold the hashes of what is gone for ever.
use super::decide::{Decider, no};
use super::{Event, Execution, Phase, Refusal, rows};
use crate::aggregate::{self, Member};
use crate::draft::{Draft, Stop};
use crate::id::ExecutionId;
use crate::retention::Why;
use crate::time::Time;
use serde::{Deserialize, Serialize};

/// Records that one page looks at.
const RECORDS: u32 = 64;
/// Payloads after which a page ends, with what its last record bound.
const PAYLOADS: usize = 256;

/// Characters of a person's reason.
pub const REASON_MAX: usize = 512;

/// What became of what an ended execution bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Remains {
    /// All is kept; none where it ended before its size was counted.
    Kept {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<u64>,
    },
    /// What its records up to the `through`th bound is gone.
    Going {
        since: Time,
        through: u64,
    },
    Gone {
        since: Time,
    },
}

impl Remains {
    /// What retention counts.
    pub fn kept(self) -> Option<u64> {
        match self {
            Remains::Kept { bytes } => bytes,
            Remains::Going { .. } | Remains::Gone { .. } => None,
        }
    }

    pub fn erased_at(self) -> Option<Time> {
        match self {
            Remains::Kept { .. } => None,
            Remains::Going { since, .. } | Remains::Gone { since } => Some(since),
        }
    }
}

/// Erases the first page within another decision; the rest is owed.
pub(crate) fn erase(id: ExecutionId, draft: &mut Draft<'_>, why: Why) -> Result<(), Stop> {
    draft.get::<Execution>(id)?;
    begin(&mut Decider { id, draft }, why)
}

/// A person asks for it.
pub(super) fn asked(it: &mut Decider<'_, '_>, reason: String) -> Result<(), Stop> {
    if reason.trim().is_empty() || reason.chars().count() > REASON_MAX {
        return Err(no(Refusal::ReasonWrong {}));
    }
    begin(it, Why::Asked { reason })
}

fn begin(it: &mut Decider<'_, '_>, why: Why) -> Result<(), Stop> {
    match it.execution()?.phase {
        Phase::Ended { remains: Remains::Kept { .. }, .. } => page(it, 0, Some(why)),
        Phase::Ended { remains: Remains::Going { .. } | Remains::Gone { .. }, .. } => Err(no(Refusal::Erased {})),
        Phase::Queued { .. } | Phase::Running(_) => Err(no(Refusal::NotEnded {})),
    }
}

pub(super) fn go_on(it: &mut Decider<'_, '_>) -> Result<(), Stop> {
    match it.execution()?.phase {
        Phase::Ended { remains: Remains::Going { through, .. }, .. } => page(it, through, None),
        Phase::Ended { .. } | Phase::Queued { .. } | Phase::Running(_) => Err(no(Refusal::Stale {})),
    }
}

fn page(it: &mut Decider<'_, '_>, after: u64, why: Option<Why>) -> Result<(), Stop> {
    let records = it.draft.events_after(Execution::stream(it.id), after, RECORDS)?;
    let is_whole = records.len() < RECORDS as usize;
    let (mut payloads, mut through, mut is_cut) = (Vec::new(), after, false);
    for (n, event) in records {
        if payloads.len() >= PAYLOADS {
            is_cut = true;
            break;
        }
        through = n;
        if let aggregate::Event::Execution(event) = event {
            rows::brings(&event, &mut |bound| payloads.push(bound.hash));
        }
    }
    it.emit(Event::Erased { why, payloads, through, more: is_cut || !is_whole })
}

pub(super) fn apply(execution: &mut Execution, through: u64, more: bool, at: Time) {
    let Phase::Ended { remains, .. } = &mut execution.phase else { return };
    let since = remains.erased_at().unwrap_or(at);
    *remains = if more { Remains::Going { since, through } } else { Remains::Gone { since } };
}
