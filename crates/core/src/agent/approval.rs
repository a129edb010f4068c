//! What people decide about an agent's calls: they allow one, as it is or with other arguments, or not, and let others like it
//! pass unasked for a while. Each decision is one commit with what follows of it. Must never begin a call itself: what holds the
//! call judges it again.
use super::{Agent, Event, Refusal};
use crate::actor::Actor;
use crate::approval::{
    ACTIVE, Allowed, Edited, GRANTS_MAX, Grant, Listed, NOTE_BYTES_MAX, PENDING, Pattern, REVOKED, Scope, USED_UP,
};
use crate::call::{Blocked, Holder, Open, Proposal};
use crate::capability::{Shown, clip, cut};
use crate::draft::{Draft, Stop, refuse};
use crate::execution::{self, Execution};
use crate::facts::Unread;
use crate::id::{AgentId, ApprovalId, CallId, ExecutionId, GrantId};
use crate::item::{Item, ItemChange, ItemKind};
use crate::row::Row;
use crate::session::{self, Session};
use crate::time::Stamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approve {
    pub approval: ApprovalId,
    pub note: Option<String>,
    /// Other arguments than those that were asked about.
    pub edited: Option<Proposal>,
    /// Calls like this one need nobody's word for so long.
    pub grant: Option<Scope>,
}

fn no(refusal: Refusal) -> Stop {
    refuse::<Agent>(refusal)
}

fn over(state: &str) -> Stop {
    no(Refusal::ApprovalOver { state: state.to_string() })
}

/// A call that people are asked about, and have not answered.
fn asked(id: AgentId, draft: &mut Draft<'_>, approval: ApprovalId) -> Result<(Holder, Open), Stop> {
    match draft.actor {
        Actor::Owner { .. } | Actor::Key(_) => {}
        Actor::Link(of) if of == approval => {}
        Actor::Link(_) | Actor::Agent(_) | Actor::Worker(_) | Actor::Daemon | Actor::Validator => {
            return Err(no(Refusal::ApprovalNotAPerson {}));
        }
    }
    let item = draft.item(ItemKind::Approval, id, &approval.to_string())?;
    let Some(item) = item else { return Err(no(Refusal::ApprovalUnknown {})) };
    if item.state != PENDING {
        return Err(over(&item.state));
    }
    let Ok(listed) = item.parse_data::<Listed>() else { return Err(no(Refusal::ApprovalUnknown {})) };
    let call = open_call(draft, listed.holder, listed.call)?;
    let waits = call.as_ref().and_then(Open::waits_for).filter(|waits| waits.id == approval);
    match waits {
        Some(waits) if waits.expires > draft.wall => {}
        Some(_) => return Err(over(crate::approval::EXPIRED)),
        None => return Err(over(crate::approval::CANCELLED)),
    }
    Ok((listed.holder, call.expect("invariant: it waits")))
}

fn open_call(draft: &mut Draft<'_>, holder: Holder, call: CallId) -> Result<Option<Open>, Unread> {
    Ok(match holder {
        Holder::Execution(id) => draft.get::<Execution>(id)?.and_then(|execution| execution.call(call)).cloned(),
        Holder::Session(id) => draft.get::<Session>(id)?.and_then(|session| session.call(call)).cloned(),
    })
}

pub(super) fn approve(id: AgentId, draft: &mut Draft<'_>, approve: Approve) -> Result<(), Stop> {
    let (holder, call) = asked(id, draft, approve.approval)?;
    let by = draft.actor;
    let waits = call.waits_for().expect("invariant: it waits");
    // Who holds a link may hold a key too: where several must allow it, that would be one person twice.
    if matches!(by, Actor::Link(_)) && (waits.people > 1 || approve.grant.is_some() || approve.edited.is_some()) {
        return Err(no(Refusal::ApprovalNotAPerson {}));
    }
    let before = waits.by.len();
    if waits.by.contains(&by) {
        return Err(no(Refusal::ApprovalSamePerson {}));
    }
    let complete = before + 1 >= waits.people as usize;
    let edited = approve.edited.map(|edited| edit(draft, &call, edited)).transpose()?;
    if let Some(scope) = approve.grant.filter(|_| complete) {
        let attributes = edited.as_ref().map_or(call.attributes, |edited| edited.attributes);
        let attributes = draft.attributes(&attributes)?.unwrap_or_default();
        let pattern = Pattern::of(&call.capability, &attributes);
        if !pattern.is_short() {
            return Err(no(Refusal::GrantWrong {}));
        }
        let grant = Grant { id: GrantId::mint(&mut draft.mint), pattern, scope: scoped(draft, scope, holder)?, by };
        let wall = draft.wall;
        let agent = super::known(id, draft)?;
        if agent.grants.iter().filter(|grant| !grant.is_over(wall)).count() >= GRANTS_MAX {
            return Err(no(Refusal::GrantsFull {}));
        }
        draft.emit::<Agent>(id, Event::GrantGiven { grant, approval: approve.approval })?;
    }
    let note = approve.note.map(|text| cut(text, NOTE_BYTES_MAX));
    let allowed = Allowed { call: call.id, approval: approve.approval, by, note, complete, edited };
    match holder {
        Holder::Execution(id) => execution::allow(id, draft, allowed),
        Holder::Session(id) => session::allow(id, draft, allowed),
    }
}

fn edit(draft: &mut Draft<'_>, call: &Open, edited: Proposal) -> Result<Edited, Stop> {
    // Whoever looks at the card next would allow what they have not seen.
    if call.waits_for().is_some_and(|waits| waits.people > 1) {
        let sentence = "several people must allow it, as it was asked for: reject it and say what should be asked";
        return Err(no(Refusal::ApprovalMisfit { sentence: sentence.to_string() }));
    }
    if let Some(sentence) = edited.misfit {
        return Err(no(Refusal::ApprovalMisfit { sentence: clip(&sentence) }));
    }
    if edited.capability != call.capability {
        let sentence = format!("the call is of {}", call.capability);
        return Err(no(Refusal::ApprovalMisfit { sentence }));
    }
    let seen = serde_json::from_slice(edited.attributes.bytes()).unwrap_or_default();
    let (arguments, attributes) = (draft.bind(edited.arguments), draft.bind(edited.attributes));
    Ok(Edited { arguments, attributes, shown: Shown::of(&seen) })
}

fn scoped(draft: &Draft<'_>, scope: Scope, holder: Holder) -> Result<Scope, Stop> {
    match (scope, holder.execution()) {
        (Scope::Until { at }, _) if at > draft.wall => Ok(scope),
        (Scope::Calls { left }, _) if left > 0 => Ok(scope),
        (Scope::Execution { .. }, Some(id)) => Ok(Scope::Execution { id }),
        (Scope::Until { .. } | Scope::Calls { .. } | Scope::Execution { .. }, _) => Err(no(Refusal::GrantWrong {})),
    }
}

pub(super) fn reject(
    id: AgentId,
    draft: &mut Draft<'_>,
    approval: ApprovalId,
    reason: Option<String>,
) -> Result<(), Stop> {
    let (holder, call) = asked(id, draft, approval)?;
    let blocked = Blocked::Rejected { approval, by: draft.actor, reason: reason.map(|text| cut(text, NOTE_BYTES_MAX)) };
    match holder {
        Holder::Execution(id) => execution::reject(id, draft, &call, blocked),
        Holder::Session(id) => session::reject(id, draft, &call, blocked),
    }
}

pub(super) fn revoke(id: AgentId, draft: &mut Draft<'_>, grant: GrantId) -> Result<(), Stop> {
    let (by, wall) = (draft.actor, draft.wall);
    let known = super::known(id, draft)?.grants.iter().any(|held| held.id == grant && !held.is_over(wall));
    if !known {
        return Err(no(Refusal::GrantUnknown {}));
    }
    Ok(draft.emit::<Agent>(id, Event::GrantRevoked { grant, by })?)
}

pub(super) fn apply(agent: &mut Agent, event: &Event, stamp: Stamp) {
    match event {
        Event::GrantGiven { grant, .. } => {
            agent.grants.retain(|held| !held.is_over(stamp.at));
            agent.grants.push(grant.clone());
        }
        Event::GrantUsed { grant, .. } => {
            if let Some(held) = agent.grants.iter_mut().find(|held| held.id == *grant)
                && let Scope::Calls { left } = &mut held.scope
            {
                *left = left.saturating_sub(1);
            }
            agent.grants.retain(|held| held.scope != Scope::Calls { left: 0 });
        }
        Event::GrantRevoked { grant, .. } => agent.grants.retain(|held| held.id != *grant),
        Event::Archived { .. }
        | life_events!()
        | planned_events!()
        | alert_events!()
        | state_events!()
        | message_events!() => {}
    }
}

pub(super) fn rows(id: AgentId, before: Option<&Agent>, event: &Event, stamp: Stamp) -> Vec<Row> {
    let changed = |grant: GrantId, state, detail| {
        let change = ItemChange { state, detail: Some(detail), due: None };
        vec![Row::ItemChanged { kind: ItemKind::Grant, agent: id, key: grant.to_string(), change, at: stamp.at }]
    };
    match event {
        Event::GrantGiven { grant, .. } => vec![Row::Item(Box::new(given(id, grant, stamp)))],
        Event::GrantUsed { grant, call } => {
            let held = before.and_then(|agent| agent.grants.iter().find(|held| held.id == *grant));
            match held.map(|held| held.scope) {
                Some(Scope::Calls { left: 0 | 1 }) => changed(*grant, USED_UP, format!("the last for {call}")),
                Some(Scope::Calls { left }) => changed(*grant, ACTIVE, format!("{} left, after {call}", left - 1)),
                Some(Scope::Until { .. } | Scope::Execution { .. }) | None => Vec::new(),
            }
        }
        Event::GrantRevoked { grant, by } => changed(*grant, REVOKED, format!("by {by}")),
        Event::Archived { .. }
        | life_events!()
        | planned_events!()
        | alert_events!()
        | state_events!()
        | message_events!() => Vec::new(),
    }
}

/// Grants for an execution end with it.
pub(super) fn over_with(id: AgentId, before: Option<&Agent>, execution: ExecutionId, stamp: Stamp) -> Vec<Row> {
    let of_it = |grant: &&Grant| grant.scope == Scope::Execution { id: execution };
    let grants = before.into_iter().flat_map(|agent| agent.grants.iter()).filter(of_it);
    let over = |grant: &Grant| {
        let detail = Some(format!("{execution} has ended"));
        let change = ItemChange { state: crate::approval::EXPIRED, detail, due: None };
        Row::ItemChanged { kind: ItemKind::Grant, agent: id, key: grant.id.to_string(), change, at: stamp.at }
    };
    grants.map(over).collect()
}

fn given(id: AgentId, grant: &Grant, stamp: Stamp) -> Item {
    let due = match grant.scope {
        Scope::Until { at } => Some(at),
        Scope::Calls { .. } | Scope::Execution { .. } => None,
    };
    Item {
        kind: ItemKind::Grant,
        agent: id,
        key: grant.id.to_string(),
        state: ACTIVE.to_string(),
        data: serde_json::to_string(grant).expect("invariant: it is JSON"),
        text: None,
        detail: None,
        due,
        at: stamp.at,
        changed_at: stamp.at,
    }
}
