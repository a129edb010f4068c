//! Approvals: a call that a person must allow waits in what holds it, outlives every process and costs no worker; it is then done
//! at most once, with the very arguments that were allowed. The state is the call's own; a row lists it. Grants are an agent's:
//! they satisfy the demand for an approval and never change a verdict.
//!
//! ```text
//! held ──enough people──> approved ──judged again──> called
//!   │                         ├─ the rules have changed ──> held anew, under another id
//!   ├─ rejected, or its time is over ──> blocked        (cancelled with whatever holds the call)
//!   └─ other rules are applied ──> judged again: released, held anew, or blocked
//! ```
//! Must never let a call begin that is not judged at that moment.
mod grant;

pub(crate) use grant::found;
pub use grant::{GRANTS_MAX, Grant, PathPattern, Pattern, Scope, cedar_text};

use crate::actor::Actor;
use crate::bound::{Bound, Hash};
use crate::call::{self, Blocked, Caller, Holder, Lease, May, Open, Recalled};
use crate::capability::Shown;
use crate::draft::Draft;
use crate::facts::Unread;
use crate::id::{AgentId, ApprovalId, CallId};
use crate::item::{Item, ItemChange, ItemKind};
use crate::judge::{Judgement, Verdict};
use crate::owed::{Obligation, Owed};
use crate::row::Row;
use crate::time::{Due, Stamp, Time};
use serde::{Deserialize, Serialize};

/// Milliseconds after which a call that nobody has allowed is refused.
pub const WAITS_MS: u64 = 24 * 3_600_000;
/// Of what a person says when deciding.
pub const NOTE_BYTES_MAX: usize = 1024;

/// The words of an approval's state.
pub const PENDING: &str = "pending";
pub const APPROVED: &str = "approved";
pub const REJECTED: &str = "rejected";
pub const EXPIRED: &str = "expired";

/// The words of a grant's state; one whose time is over says so by its `due`.
pub const ACTIVE: &str = "active";
pub const USED_UP: &str = "used_up";
pub const REVOKED: &str = "revoked";
pub const CANCELLED: &str = "cancelled";

/// What a call waits for, or was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub id: ApprovalId,
    /// Of the rules that ask; once others do, or in other words, it is asked for anew.
    pub basis: Hash,
    pub expires: Time,
    /// Different people who must allow it.
    pub people: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<Actor>,
}

/// A call was judged, and a person must allow it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub call: CallId,
    pub capability: String,
    pub approval: ApprovalId,
    pub arguments: Hash,
    /// Of what the judge saw.
    pub attributes: Hash,
    #[serde(flatten)]
    pub shown: Shown,
    pub judgement: Judgement,
    pub expires: Time,
    pub people: u32,
}

impl Held {
    pub(crate) fn binds(&self, each: &mut dyn FnMut(&Hash)) {
        each(&self.arguments);
        each(&self.attributes);
    }
}

/// A person allows a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    pub call: CallId,
    pub approval: ApprovalId,
    pub by: Actor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Nobody else is waited for.
    pub complete: bool,
    /// Other arguments, where the person changed them; whoever allowed the former has not allowed these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited: Option<Edited>,
}

/// The rules ask for nobody's word any more: the call is as it was before it waited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    pub call: CallId,
    pub approval: ApprovalId,
}

/// What other rules say of a call that waits, or is in flight.
#[derive(Debug)]
pub(crate) enum Rejudged {
    Same,
    Released(Released),
    Held(Box<Held>),
    Blocked(Blocked),
    Recalled(Recalled),
}

/// # Errors
/// `Unread`.
pub(crate) fn rejudge(draft: &mut Draft<'_>, caller: Caller, call: &Open) -> Result<Rejudged, Unread> {
    if let Some(Lease { lease, .. }) = call.lease().filter(|_| !call.recalled) {
        let judged = call::judge(draft, caller, call)?;
        return Ok(match judged.may {
            May::Begin { .. } | May::Wait => Rejudged::Same,
            May::Never => Rejudged::Recalled(Recalled {
                call: call.id,
                capability: call.capability.clone(),
                lease,
                judgement: judged.judgement,
            }),
        });
    }
    let Some(approval) = call.waits_for() else { return Ok(Rejudged::Same) };
    let judged = call::judge(draft, caller, call)?;
    Ok(match judged.may {
        // It covers one call, and takes no other's place in the queue.
        May::Begin { grant: Some(_) } => Rejudged::Same,
        May::Begin { grant: None } => Rejudged::Released(Released { call: call.id, approval: approval.id }),
        May::Never => Rejudged::Blocked(Blocked::Policy { judgement: judged.judgement }),
        May::Wait if approval.answers(&judged.judgement) => Rejudged::Same,
        May::Wait => Rejudged::Held(Box::new(Held::of(draft, call, judged.judgement, judged.shown))),
    })
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edited {
    pub arguments: Bound,
    pub attributes: Bound,
    #[serde(flatten)]
    pub shown: Shown,
}

/// What lists and decisions need of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    pub holder: Holder,
    pub call: CallId,
    pub capability: String,
    #[serde(flatten)]
    pub shown: Shown,
    pub rules: Vec<String>,
    pub people: u32,
}

impl Held {
    /// Of a call whose judge wants a person to allow it.
    pub(crate) fn of(draft: &mut Draft<'_>, call: &Open, judgement: Judgement, shown: Shown) -> Held {
        Held {
            call: call.id,
            capability: call.capability.clone(),
            approval: ApprovalId::mint(&mut draft.mint),
            arguments: call.arguments.hash,
            attributes: call.attributes.hash,
            shown,
            people: judgement.people(),
            judgement,
            expires: draft.wall.plus_ms(WAITS_MS),
        }
    }

    pub(crate) fn approval(&self) -> Approval {
        let (id, basis) = (self.approval, basis(&self.judgement));
        Approval { id, basis, expires: self.expires, people: self.people, by: Vec::new() }
    }
}

impl Approval {
    /// The very rules that asked for it ask still, in the same words.
    pub(crate) fn answers(&self, judgement: &Judgement) -> bool {
        judgement.verdict == Verdict::ApprovalRequired
            && self.basis == basis(judgement)
            && self.people == judgement.people()
    }
}

/// The text of the rules, where the judge knows it; else their names in that policy.
fn basis(judgement: &Judgement) -> Hash {
    judgement.basis.unwrap_or_else(|| {
        let policy = judgement.policy.map(|policy| policy.to_string()).unwrap_or_default();
        Hash::of(format!("{policy}\n{}", judgement.rules.join("\n")).as_bytes())
    })
}

/// When the first of these calls has waited too long.
pub(crate) fn owed<'c>(calls: impl IntoIterator<Item = &'c Open>) -> Option<Owed> {
    let due = calls.into_iter().filter_map(|call| Some(call.waits_for()?.expires)).min()?;
    Some(Owed { obligation: Obligation::ExpireApprovals, due: Due::Wall(due) })
}

/// Those of these calls that have waited too long.
pub(crate) fn overdue<'c>(calls: impl IntoIterator<Item = &'c Open>, wall: Time) -> Vec<(Open, Blocked)> {
    let late = |call: &&Open| call.waits_for().is_some_and(|approval| approval.expires <= wall);
    let late = calls.into_iter().filter(late);
    late.filter_map(|call| Some((call.clone(), Blocked::Unapproved { approval: call.waits_for()?.id }))).collect()
}

/// A call with what holds it, before the event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'c> {
    pub agent: AgentId,
    pub holder: Holder,
    pub call: &'c Open,
}

/// One that asked before, by other rules, is over.
pub(crate) fn held_rows(asked: Option<Asked<'_>>, held: &Held, stamp: Stamp) -> Vec<Row> {
    let Some(Asked { agent, holder, call }) = asked else { return Vec::new() };
    let data = Listed {
        holder,
        call: held.call,
        capability: held.capability.clone(),
        shown: held.shown.clone(),
        rules: held.judgement.rules.clone(),
        people: held.people,
    };
    let item = Row::Item(Box::new(Item {
        kind: ItemKind::Approval,
        agent,
        key: held.approval.to_string(),
        state: PENDING.to_string(),
        data: serde_json::to_string(&data).expect("invariant: it is JSON"),
        text: None,
        detail: None,
        due: Some(held.expires),
        at: stamp.at,
        changed_at: stamp.at,
    }));
    let over = call.waits_for().map(|before| {
        let detail = Some("the rules have changed since: it is asked for anew".to_string());
        changed(agent, before.id, ItemChange { state: CANCELLED, detail, due: None }, stamp)
    });
    over.into_iter().chain([item, call::held_row(held, stamp)]).collect()
}

pub(crate) fn allowed_rows(asked: Option<Asked<'_>>, allowed: &Allowed, stamp: Stamp) -> Vec<Row> {
    let Some(Asked { agent, call, .. }) = asked else { return Vec::new() };
    let note = allowed.note.as_deref().map(|note| format!(": {note}")).unwrap_or_default();
    let edited = if allowed.edited.is_some() { ", with other arguments" } else { "" };
    let detail = Some(format!("by {}{edited}{note}", allowed.by));
    let (state, due) = match (allowed.complete, call.waits_for()) {
        (true, _) | (false, None) => (APPROVED, None),
        (false, Some(approval)) => (PENDING, Some(approval.expires)),
    };
    let change = changed(agent, allowed.approval, ItemChange { state, detail, due }, stamp);
    call::allowed_rows(allowed, stamp).into_iter().chain([change]).collect()
}

pub(crate) fn released_rows(asked: Option<Asked<'_>>, released: &Released, stamp: Stamp) -> Vec<Row> {
    let Some(Asked { agent, .. }) = asked else { return Vec::new() };
    let detail = Some("the rules ask for it no more".to_string());
    let change = changed(agent, released.approval, ItemChange { state: CANCELLED, detail, due: None }, stamp);
    vec![change, call::released_row(released, stamp)]
}

/// What becomes of the approval of a call that is blocked: it was answered so, or there is nothing left to answer.
pub(crate) fn blocked_row(asked: Option<Asked<'_>>, blocked: &Blocked, stamp: Stamp) -> Option<Row> {
    let Asked { agent, call, .. } = asked?;
    let (state, detail) = match blocked {
        Blocked::Rejected { by, reason, .. } => {
            let reason = reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
            (REJECTED, format!("by {by}{reason}"))
        }
        Blocked::Unapproved { .. } => (EXPIRED, "nobody allowed it in time".to_string()),
        Blocked::Policy { .. }
        | Blocked::Misfit { .. }
        | Blocked::Withdrawn
        | Blocked::Expired
        | Blocked::Cancelled => (CANCELLED, blocked.to_string()),
    };
    // What people have answered stays so, whatever becomes of the call.
    let approval = call.waits_for()?.id;
    Some(changed(agent, approval, ItemChange { state, detail: Some(detail), due: None }, stamp))
}

fn changed(agent: AgentId, approval: ApprovalId, change: ItemChange, stamp: Stamp) -> Row {
    Row::ItemChanged { kind: ItemKind::Approval, agent, key: approval.to_string(), change, at: stamp.at }
}
