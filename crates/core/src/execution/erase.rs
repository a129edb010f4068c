//! Erasing what an ended execution bound. A value that it read out of state is not its own.
use super::decide::{Decider, no};
use super::{Event, Execution, Phase, Refusal, rows};
use crate::aggregate::{self, Member};
use crate::bound::{Bound, Hash};
use crate::draft::{Draft, Stop};
use crate::id::ExecutionId;
use crate::retention::Why;
use crate::retention::erasing::{self, Found, Page, Payloads};
use crate::time::Time;

/// Erases the first page within another decision, and says how many payloads that were; the rest is owed.
pub(crate) fn erase(id: ExecutionId, draft: &mut Draft<'_>, why: Why) -> Result<usize, Stop> {
    draft.get::<Execution>(id)?;
    begin(&mut Decider { id, draft }, why)
}

/// A person asks for it.
pub(super) fn asked(it: &mut Decider<'_, '_>, reason: String) -> Result<(), Stop> {
    if !erasing::is_reason(&reason) {
        return Err(no(Refusal::ReasonWrong {}));
    }
    begin(it, Why::Asked { reason }).map(|_| ())
}

/// A person asks for one payload to go, which the `n`th record brought.
pub(super) fn one(it: &mut Decider<'_, '_>, payload: Hash, n: u64, reason: String) -> Result<(), Stop> {
    if !erasing::is_reason(&reason) {
        return Err(no(Refusal::ReasonWrong {}));
    }
    match it.execution()?.phase {
        Phase::Ended { payloads: Payloads::Present { .. }, .. } => {}
        Phase::Ended { .. } => return Err(no(Refusal::Erased {})),
        Phase::Queued { .. } | Phase::Running(_) => return Err(no(Refusal::NotEnded {})),
    }
    let stream = Execution::stream(it.id);
    match erasing::find(it.draft, (stream, n), &payload, own_of)? {
        Found::Here => it.emit(Event::PayloadErased { payload, reason }),
        Found::Erased => Err(no(Refusal::Erased {})),
        Found::None => Err(no(Refusal::PayloadUnknown {})),
    }
}

fn own_of(event: &aggregate::Event, each: &mut dyn FnMut(&Bound)) {
    if let aggregate::Event::Execution(event) = event {
        rows::brings(event, each);
    }
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
    let page = erasing::page(it.draft, Execution::stream(it.id), after, own_of)?;
    let Page { payloads, through, more } = page;
    let count = payloads.len();
    it.emit(Event::Erased { why, payloads, through, more })?;
    Ok(count)
}

pub(super) fn apply(execution: &mut Execution, through: u64, more: bool, at: Time) {
    if let Phase::Ended { payloads, .. } = &mut execution.phase {
        *payloads = Payloads::after(through, more, at);
    }
}
