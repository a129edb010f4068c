//! The leases that a connection has seen, so that none is performed twice. Must never: forget one that is in hand.
use super::Key;
use crate::perform::error;
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use tenure_core::id::{AgentId, CallId, LeaseId};
use tenure_wire::frame::CallOutcome;
use tokio_util::sync::CancellationToken;

/// Ended leases that are remembered.
const ENDED_MAX: usize = 4096;
/// Bytes of results that are kept to be answered again.
const RESULT_BYTES_MAX: usize = 32 << 20;

/// What is known of a lease.
#[derive(Debug)]
pub(super) enum LeaseState<'a> {
    Never,
    InHand,
    /// Without an outcome: its jail ended first.
    Ended(Option<&'a CallOutcome>),
}

/// Whose call it is.
#[derive(Debug)]
struct Lease {
    agent: AgentId,
    key: Key,
    call: CallId,
    cancel: CancellationToken,
}

#[derive(Debug, Default)]
pub(super) struct Leases {
    in_hand: HashMap<LeaseId, Lease>,
    ended: HashMap<LeaseId, Option<Box<CallOutcome>>>,
    /// Oldest first, each with the bytes of its result.
    order: VecDeque<(LeaseId, usize)>,
    /// How many of `order` have lost their results.
    bare: usize,
    bytes: usize,
}

impl Leases {
    pub(super) fn seen(&self, lease: LeaseId) -> LeaseState<'_> {
        match (self.in_hand.contains_key(&lease), self.ended.get(&lease)) {
            (true, _) => LeaseState::InHand,
            (false, Some(outcome)) => LeaseState::Ended(outcome.as_deref()),
            (false, None) => LeaseState::Never,
        }
    }

    pub(super) fn in_hand(&self) -> usize {
        self.in_hand.len()
    }

    /// Of all jails of one agent.
    pub(super) fn in_hand_of(&self, agent: AgentId) -> usize {
        self.in_hand.values().filter(|lease| lease.agent == agent).count()
    }

    /// What tells whoever does it that it was taken back.
    pub(super) fn take(&mut self, lease: LeaseId, agent: AgentId, key: Key, call: CallId) -> CancellationToken {
        let cancel = CancellationToken::new();
        self.in_hand.insert(lease, Lease { agent, key, call, cancel: cancel.clone() });
        cancel
    }

    /// Nothing of one that is not in hand: it has ended, or comes no more.
    pub(super) fn cancel(&self, lease: LeaseId) {
        if let Some(held) = self.in_hand.get(&lease) {
            held.cancel.cancel();
        }
    }

    /// True if the lease was in hand: only then may its outcome be sent.
    pub(super) fn end(&mut self, lease: LeaseId, outcome: Option<Box<CallOutcome>>) -> bool {
        if self.in_hand.remove(&lease).is_none() {
            return false;
        }
        let bytes = outcome.as_ref().map_or(0, |outcome| weight(&outcome.result));
        self.ended.insert(lease, outcome);
        self.order.push_back((lease, bytes));
        self.bytes += bytes;
        self.shrink();
        true
    }

    /// The leases in hand of one jail.
    pub(super) fn of(&self, key: Key) -> Vec<(LeaseId, CallId)> {
        self.in_hand.iter().filter(|(_, lease)| lease.key == key).map(|(id, lease)| (*id, lease.call)).collect()
    }

    fn shrink(&mut self) {
        while self.bytes > RESULT_BYTES_MAX && self.bare < self.order.len() {
            let (lease, bytes) = &mut self.order[self.bare];
            if let Some(Some(outcome)) = self.ended.get_mut(lease) {
                outcome.result = error("the call ended, and its result was sent; the worker keeps it no longer");
            }
            self.bytes -= std::mem::take(bytes);
            self.bare += 1;
        }
        while self.order.len() > ENDED_MAX {
            if let Some((lease, bytes)) = self.order.pop_front() {
                self.ended.remove(&lease);
                self.bytes -= bytes;
                self.bare = self.bare.saturating_sub(1);
            }
        }
    }
}

/// Roughly the bytes that a result takes in memory. Results are of our own making: a few levels deep.
fn weight(value: &Value) -> usize {
    const EACH: usize = 32;
    EACH + match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + weight(value)).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tenure_core::call::{Fence, Holder, Outcome};
    use tenure_core::id::{ExecutionId, Mint};
    use tenure_core::time::Time;

    fn outcome(mint: &mut Mint, result: Value) -> Box<CallOutcome> {
        Box::new(CallOutcome {
            lease: LeaseId::mint(mint),
            fence: Fence(1),
            call: CallId::mint(mint),
            holder: Holder::Execution(ExecutionId::mint(mint)),
            outcome: Outcome::Done { exit_code: None },
            result,
            took_ms: 1,
            level: None,
        })
    }

    #[test]
    fn an_ended_lease_is_known_by_its_outcome_until_results_weigh_too_much() {
        let mut mint = Mint::new(Time::from_millis(1), 1);
        let (mut leases, mut all) = (Leases::default(), Vec::new());
        for _ in 0..40 {
            let outcome = outcome(&mut mint, json!("x".repeat(1 << 20)));
            let key = Key { holder: outcome.holder, iteration: 1 };
            leases.take(outcome.lease, AgentId::mint(&mut mint), key, outcome.call);
            all.push(outcome.lease);
            assert!(leases.end(outcome.lease, Some(outcome)));
        }
        assert!(leases.bytes <= RESULT_BYTES_MAX && leases.in_hand() == 0);
        let LeaseState::Ended(Some(first)) = leases.seen(all[0]) else { panic!("forgotten") };
        assert!(first.result["error"].is_string());
        let LeaseState::Ended(Some(last)) = leases.seen(all[39]) else { panic!("forgotten") };
        assert_eq!(last.result.as_str().map(str::len), Some(1 << 20));
    }

    #[test]
    fn a_lease_that_is_not_in_hand_cannot_end() {
        let mut mint = Mint::new(Time::from_millis(1), 1);
        let outcome = outcome(&mut mint, json!(null));
        let mut leases = Leases::default();
        assert!(!leases.end(outcome.lease, Some(outcome.clone())));
        assert!(matches!(leases.seen(outcome.lease), LeaseState::Never));
    }
}
