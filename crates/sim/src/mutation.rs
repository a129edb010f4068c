//! Ways to break what the invariants promise, to show that the simulation finds each. None is on unless a test asks for it.
use std::sync::Arc;
use tenure_core::agent;
use tenure_core::aggregate::Event;
use tenure_core::bound::Payload;
use tenure_core::comms::Audience;
use tenure_core::draft::Decision;
use tenure_core::execution;
use tenure_core::facts::Counter;
use tenure_core::row::Row;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// The model is asked before its call is committed.
    AskBeforeCommit,
    /// A leased call is sent to its worker also where its commit failed.
    SendUncommitted,
    /// A worker performs a lease again that it is sent again.
    PerformAgain,
    /// A connection is lapsed while its process still works.
    LapseEarly,
    /// A row of the owed index is not written.
    DropOwed,
    /// The end of a call is recorded twice.
    EndTwice,
    /// The end of a model call is not recorded.
    DropEnd,
    /// A list row is not written.
    DropRow,
    /// A slot that is taken is not counted.
    DropCount,
    /// A payload's bytes change on their way to be stored.
    ChangePayload,
    /// A commit that fails leaves its folds.
    HalfCommit,
    /// Closing iterations are never released.
    ForgetRelease,
    /// Limits of the plan do not hold.
    NoLimits,
    /// A key that was used before starts another execution.
    ForgetKey,
    /// A message is sent, and never comes.
    LoseMessage,
    /// Messages are taken in another order than they came in.
    SwapMessages,
    /// A value's version is one more than its next one.
    SkipVersion,
}

impl Mutation {
    /// The decision as it is stored under this mutation; none where it is stored as it is.
    pub fn of(self, decision: &Decision) -> Option<Arc<Decision>> {
        let mut changed = Decision {
            events: decision.events.clone(),
            payloads: decision.payloads.clone(),
            rows: decision.rows.clone(),
            folds: decision.folds.clone(),
            owes: decision.owes.clone(),
            owes_no_more: decision.owes_no_more.clone(),
        };
        let events = &mut changed.events;
        match self {
            Mutation::DropOwed => {
                changed.owes.pop()?;
            }
            Mutation::EndTwice => {
                let ended = |event: &Event| matches!(event, Event::Execution(execution::Event::CallEnded(_)));
                let place = events.iter().position(|(_, event)| ended(event))?;
                events.insert(place, events[place].clone());
            }
            Mutation::DropEnd => {
                let failed = |event: &Event| matches!(event, Event::Execution(execution::Event::ModelFailed { .. }));
                events.remove(events.iter().position(|(_, event)| failed(event))?);
            }
            Mutation::DropRow => {
                let place = changed.rows.iter().position(|row| matches!(row, Row::Execution(_)))?;
                changed.rows.remove(place);
            }
            Mutation::DropCount => {
                let taken = |row: &Row| matches!(row, Row::Counted { counter: Counter::Bound, by: 1.., .. });
                let place = changed.rows.iter().position(taken)?;
                changed.rows.remove(place);
            }
            Mutation::ForgetKey => {
                let held = |row: &Row| {
                    matches!(row, Row::Held { namespace: tenure_core::facts::Namespace::IdempotencyKey, .. })
                };
                let place = changed.rows.iter().position(held)?;
                changed.rows.remove(place);
            }
            Mutation::LoseMessage => {
                let queued = |event: &Event| matches!(event, Event::Agent(agent::Event::MessageQueued { .. }));
                let sent = |event: &Event| {
                    matches!(event, Event::Agent(agent::Event::MessageSent { to: Audience::Agent { .. }, .. }))
                };
                events.iter().find(|(_, event)| sent(event))?;
                events.remove(events.iter().position(|(_, event)| queued(event))?);
            }
            Mutation::SwapMessages => {
                let taken = events.iter_mut().find_map(|(_, event)| match event {
                    Event::Agent(agent::Event::MessagesReceived { messages, .. }) => Some(messages),
                    _ => None,
                });
                taken.filter(|messages| messages.len() > 1)?.reverse();
            }
            Mutation::SkipVersion => {
                let set = events.iter_mut().find_map(|(_, event)| match event {
                    Event::Agent(agent::Event::StateSet(set)) => Some(set),
                    _ => None,
                });
                set?.version += 1;
            }
            Mutation::ChangePayload
            | Mutation::AskBeforeCommit
            | Mutation::SendUncommitted
            | Mutation::PerformAgain
            | Mutation::LapseEarly
            | Mutation::HalfCommit
            | Mutation::ForgetRelease
            | Mutation::NoLimits => return None,
        }
        Some(Arc::new(changed))
    }

    /// The payload as it is stored.
    pub fn stored(mutation: Option<Mutation>, payload: &Payload) -> Payload {
        match mutation {
            Some(Mutation::ChangePayload) => Payload::new(*payload.salt(), [payload.bytes(), b" "].concat()),
            Some(_) | None => payload.clone(),
        }
    }
}
