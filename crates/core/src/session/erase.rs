//! Erasing what an ended session bound, once none of its calls is open.
use super::decide::{known_session, no};
use super::{Event, Refusal, Session, rows};
use crate::aggregate::{self, Member};
use crate::draft::{Draft, Stop};
use crate::id::SessionId;
use crate::retention::Why;
use crate::retention::erasing::{self, Page, Payloads};

/// A person asks for it.
pub(super) fn asked(id: SessionId, draft: &mut Draft<'_>, reason: String) -> Result<(), Stop> {
    if !erasing::is_reason(&reason) {
        return Err(no(Refusal::ReasonWrong {}));
    }
    erase(id, draft, Why::Asked { reason }).map(|_| ())
}

/// Erases the first page, and says how many payloads that were; the rest is owed.
pub(crate) fn erase(id: SessionId, draft: &mut Draft<'_>, why: Why) -> Result<usize, Stop> {
    match known_session(id, draft)?.settled() {
        Some(Payloads::Present { .. }) => page(id, draft, 0, Some(why)),
        Some(Payloads::Erasing { .. } | Payloads::Erased { .. }) => Err(no(Refusal::Erased {})),
        None => Err(no(Refusal::NotEnded {})),
    }
}

pub(super) fn go_on(id: SessionId, draft: &mut Draft<'_>) -> Result<(), Stop> {
    match known_session(id, draft)?.settled() {
        Some(Payloads::Erasing { through }) => page(id, draft, through, None).map(|_| ()),
        Some(Payloads::Present { .. } | Payloads::Erased { .. }) | None => Err(no(Refusal::Stale {})),
    }
}

fn page(id: SessionId, draft: &mut Draft<'_>, after: u64, why: Option<Why>) -> Result<usize, Stop> {
    let page = erasing::page(draft, Session::stream(id), after, |event, each| {
        if let aggregate::Event::Session(event) = event {
            rows::brings(event, each);
        }
    })?;
    let Page { payloads, through, more } = page;
    let count = payloads.len();
    draft.emit::<Session>(id, Event::Erased { why, payloads, through, more })?;
    Ok(count)
}
