//! What a lease begins and ends, for every holder of calls: a proposed call is judged and called under a fresh lease, or blocked;
//! a leased one gets its one end, by its worker's report or by the proof that its jail is dead.
use super::{Blocked, Called, Caller, EndCall, Ended, Fence, Lease, May, Open, Outcome, Proposed, judge};
use crate::approval::Held;
use crate::capability;
use crate::draft::Draft;
use crate::facts::Unread;
use crate::id::{ConnectionId, LeaseId};
use crate::owed::{Obligation, Owed};
use crate::time::Due;

/// More milliseconds than a report may say that a call took: what is beyond could not be recorded.
const TOOK_MS_MAX: u64 = 1 << 40;

/// What became of a proposed call.
#[derive(Debug)]
pub(crate) enum Begun {
    Called(Called),
    Held(Held),
    Blocked(Blocked),
}

/// Judges a proposed call now, and calls it under a fresh lease of this fence if it may be made. `check`: what it is, where no
/// proposal was recorded before.
///
/// # Errors
/// `Unread`.
pub(crate) fn begin(
    draft: &mut Draft<'_>,
    caller: Caller,
    call: &Open,
    fence: Fence,
    check: Option<Proposed>,
) -> Result<Begun, Unread> {
    let judged = judge(draft, caller, call)?;
    match judged.may {
        May::Never => Ok(Begun::Blocked(Blocked::Policy { judgement: judged.judgement })),
        May::Wait => Ok(Begun::Held(Held::of(draft, call, judged.judgement, judged.shown))),
        May::Begin { .. } => {
            let lease = Lease { lease: LeaseId::mint(&mut draft.mint), fence };
            Ok(Begun::Called(call.called(draft, caller, judged, Some(lease), check)?))
        }
    }
}

/// Those under a lease.
pub(crate) fn leased<'c>(calls: impl IntoIterator<Item = &'c Open>) -> Vec<Open> {
    calls.into_iter().filter(|call| call.lease().is_some()).cloned().collect()
}

impl Open {
    /// Its end as its worker reports it; none where the report is of another lease than the present one.
    pub(crate) fn end(&self, end: EndCall, closing: bool, draft: &mut Draft<'_>) -> Option<Ended> {
        if self.lease() != Some(end.lease) {
            return None;
        }
        let outcome = self.reported(end.outcome, end.attributes.is_some(), closing);
        let attributes = end.attributes.filter(|_| outcome.is_again()).map(|attributes| draft.bind(attributes));
        let result = end.result.map(|result| draft.bind(result));
        Some(Ended {
            call: end.call,
            lease: Some(end.lease.lease),
            outcome,
            result,
            detail: None,
            attributes,
            took_ms: end.took_ms.min(TOOK_MS_MAX),
            level: end.level.map(|level| capability::clip(&level)),
        })
    }

    /// Its end without a report; none where it has no lease.
    pub(crate) fn end_unfinished(&self, outcome: Outcome) -> Option<Ended> {
        let held = self.lease()?;
        Some(Ended {
            call: self.id,
            lease: Some(held.lease),
            outcome,
            result: None,
            detail: None,
            attributes: None,
            took_ms: 0,
            level: None,
        })
    }

    /// Under a lease it is to be ended, where rules that hold since forbid it.
    pub(crate) fn recall(&self, connection: ConnectionId) -> Option<Owed> {
        let (call, lease) = (self.id, self.lease().filter(|_| self.recalled)?.lease);
        Some(Owed { obligation: Obligation::Cancel { call, lease, connection }, due: Due::AT_ONCE })
    }

    /// Under a lease it is to be sent over the connection of that lease.
    pub(crate) fn dispatch(&self, connection: ConnectionId) -> Option<Owed> {
        let (call, lease) = (self.id, self.lease()?.lease);
        Some(Owed { obligation: Obligation::Dispatch { call, lease, connection }, due: Due::AT_ONCE })
    }
}
