//! The bytes that an ended execution or session bound are erased, a page at a time: what it was told, said, asked for and was
//! answered. Values that it read out of state are not its own, and stay. Its records hold the hashes of what is gone for ever.
use crate::aggregate::{Event, Stream};
use crate::bound::{Bound, Hash};
use crate::draft::Draft;
use crate::facts::Unread;
use crate::time::Time;
use serde::{Deserialize, Serialize};

/// Records that one page looks at.
const RECORDS: u32 = 64;
/// Payloads after which a page ends, with what its last record bound.
const PAYLOADS: usize = 256;

/// Characters of a person's reason.
pub const REASON_MAX: usize = 512;

/// What became of the payloads of what has ended.
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

    /// After a page of them went.
    pub(crate) fn after(through: u64, more: bool, at: Time) -> Payloads {
        if more { Payloads::Erasing { through } } else { Payloads::Erased { at } }
    }
}

pub(crate) fn is_reason(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= REASON_MAX
}

/// What goes at once.
pub(crate) struct Page {
    pub payloads: Vec<Hash>,
    /// The last record of the stream that was looked at.
    pub through: u64,
    pub more: bool,
}

/// The payloads that came with the records of a stream after the `after`th.
pub(crate) fn page(
    draft: &mut Draft<'_>,
    stream: Stream,
    after: u64,
    brings: impl Fn(&Event, &mut dyn FnMut(&Bound)),
) -> Result<Page, Unread> {
    let records = draft.events_after(stream, after, RECORDS)?;
    let is_whole = records.len() < RECORDS as usize;
    let (mut payloads, mut through, mut is_cut) = (Vec::new(), after, false);
    for (n, event) in records {
        if payloads.len() >= PAYLOADS {
            is_cut = true;
            break;
        }
        through = n;
        brings(&event, &mut |bound| payloads.push(bound.hash));
    }
    Ok(Page { payloads, through, more: is_cut || !is_whole })
}

/// One payload among those that a record brought.
pub(crate) enum Found {
    Here,
    Erased,
    /// The record did not bring it.
    None,
}

/// Looks for a payload that the `n`th record of a stream brought.
pub(crate) fn find(
    draft: &mut Draft<'_>,
    (stream, n): (Stream, u64),
    payload: &Hash,
    brings: impl Fn(&Event, &mut dyn FnMut(&Bound)),
) -> Result<Found, Unread> {
    let records = draft.events_after(stream, n.saturating_sub(1), 1)?;
    let mut is_its = false;
    for (_, event) in records.iter().filter(|(place, _)| *place == n) {
        brings(event, &mut |bound| is_its |= bound.hash == *payload);
    }
    Ok(match is_its {
        false => Found::None,
        true if draft.body(payload)?.is_none() => Found::Erased,
        true => Found::Here,
    })
}
