//! Erasing what an ended session bound, once none of its calls is open.
use super::decide::{known_session, no};
use super::{Event, Refusal, Session, rows};
use crate::aggregate::{self, Member};
use crate::bound::{Bound, Hash};
use crate::draft::{Draft, Stop};
use crate::id::SessionId;
use crate::retention::Why;
use crate::retention::erasing::{self, Found, Page, Payloads};

/// A person asks for it.
pub(super) fn asked(id: SessionId, draft: &mut Draft<'_>, reason: String) -> Result<(), Stop> {
    if !erasing::is_reason(&reason) {
        return Err(no(Refusal::ReasonWrong {}));
    }
    erase(id, draft, Why::Asked { reason }).map(|_| ())
}

/// A person asks for one payload to go, which the `n`th record brought.
pub(super) fn one(id: SessionId, draft: &mut Draft<'_>, payload: Hash, n: u64, reason: String) -> Result<(), Stop> {
    if !erasing::is_reason(&reason) {
        return Err(no(Refusal::ReasonWrong {}));
    }
    match known_session(id, draft)?.settled() {
        Some(Payloads::Present { .. }) => {}
        Some(Payloads::Erasing { .. } | Payloads::Erased { .. }) => return Err(no(Refusal::Erased {})),
        None => return Err(no(Refusal::NotEnded {})),
    }
    match erasing::find(draft, (Session::stream(id), n), &payload, own_of)? {
        Found::Here => Ok(draft.emit::<Session>(id, Event::PayloadErased { payload, reason })?),
        Found::Erased => Err(no(Refusal::Erased {})),
        Found::None => Err(no(Refusal::PayloadUnknown {})),
    }
}

fn own_of(event: &aggregate::Event, each: &mut dyn FnMut(&Bound)) {
    if let aggregate::Event::Session(event) = event {
        rows::brings(event, each);
    }
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
    let page = erasing::page(draft, Session::stream(id), after, own_of)?;
    let Page { payloads, through, more } = page;
    let count = payloads.len();
    draft.emit::<Session>(id, Event::Erased { why, payloads, through, more })?;
    Ok(count)
}
