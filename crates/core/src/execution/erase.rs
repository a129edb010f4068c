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

/// What became of the payloads of an ended execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "are", rename_all = "snake_case")]
pub enum Payloads {
    /// None where it ended before its size was counted.
    Present {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<u64>,
    },
    /// Those that its records up to the `through`th bound are gone.
    Erasing {
        through: u64,
    },
    Erased {
        at: Time,
    },
}

impl Payloads {
    /// What retention counts.
    pub fn bytes(self) -> Option<u64> {
        match self {
            Payloads::Present { bytes } => bytes,
            Payloads::Erasing { .. } | Payloads::Erased { .. } => None,
        }
    }

    /// None until the last is gone.
    pub fn erased_at(self) -> Option<Time> {
        match self {
            Payloads::Present { .. } | Payloads::Erasing { .. } => None,
            Payloads::Erased { at } => Some(at),
        }
    }
}

/// Erases the first page within another decision, and says how many payloads that were; the rest is owed.
pub(crate) fn erase(id: ExecutionId, draft: &mut Draft<'_>, why: Why) -> Result<usize, Stop> {
    draft.get::<Execution>(id)?;
    begin(&mut Decider { id, draft }, why)
}

/// A person asks for it.
pub(super) fn asked(it: &mut Decider<'_, '_>, reason: String) -> Result<(), Stop> {
    if reason.trim().is_empty() || reason.chars().count() > REASON_MAX {
        return Err(no(Refusal::ReasonWrong {}));
    }
    begin(it, Why::Asked { reason }).map(|_| ())
}

fn begin(it: &mut Decider<'_, '_>, why: Why) -> Result<usize, Stop> {
    match it.execution()?.phase {
        Phase::Ended { payloads: Payloads::Present { .. }, .. } => page(it, 0, Some(why)),
        Phase::Ended { payloads: Payloads::Erasing { .. } | Payloads::Erased { .. }, .. } => {
            Err(no(Refusal::Erased {}))
        }
        Phase::Queued { .. } | Phase::Running(_) => Err(no(Refusal::NotEnded {})),
    }
}

pub(super) fn go_on(it: &mut Decider<'_, '_>) -> Result<(), Stop> {
    match it.execution()?.phase {
        Phase::Ended { payloads: Payloads::Erasing { through }, .. } => page(it, through, None).map(|_| ()),
        Phase::Ended { .. } | Phase::Queued { .. } | Phase::Running(_) => Err(no(Refusal::Stale {})),
    }
}

fn page(it: &mut Decider<'_, '_>, after: u64, why: Option<Why>) -> Result<usize, Stop> {
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
    let count = payloads.len();
    it.emit(Event::Erased { why, payloads, through, more: is_cut || !is_whole })?;
    Ok(count)
}

pub(super) fn apply(execution: &mut Execution, through: u64, more: bool, at: Time) {
    if let Phase::Ended { payloads, .. } = &mut execution.phase {
        *payloads = if more { Payloads::Erasing { through } } else { Payloads::Erased { at } };
    }
}
