//! The policies that calls are judged by, by their digests: the project's fold says which holds, this says what it says. A call is
//! never judged by another policy than the one that it names.
use crate::builtin::default_bundle;
use crate::policy::Policy;
use std::sync::{Arc, PoisonError, RwLock};
use tenure_core::judge::{Ask, Digest, Judge, Judgement, Wants};

/// Compiled policies held at a time. The newest are kept: those before are compiled again where they are wanted.
const HELD_MAX: usize = 16;
const NOT_LOADED: &str = "floor:policy_not_loaded";

#[derive(Debug)]
pub struct Policies {
    builtin: Arc<Policy>,
    /// In the order in which they came; swapped whole, so that nobody waits for a compilation.
    held: RwLock<Arc<Vec<Arc<Policy>>>>,
}

impl Default for Policies {
    fn default() -> Policies {
        Policies::new()
    }
}

impl Policies {
    /// With the built-in policy alone.
    pub fn new() -> Policies {
        let builtin = Policy::compile(&default_bundle()).expect("invariant: the built-in policy compiles");
        Policies { builtin: Arc::new(builtin), held: RwLock::default() }
    }

    /// Takes a policy in. The one that came first is dropped where there are too many.
    pub fn insert(&self, policy: Arc<Policy>) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let others = held.iter().filter(|other| other.digest() != policy.digest()).cloned();
        let mut policies: Vec<Arc<Policy>> = others.chain([Arc::clone(&policy)]).collect();
        let surplus = policies.len().saturating_sub(HELD_MAX);
        policies.drain(..surplus);
        *held = Arc::new(policies);
    }

    /// Forgets a policy that came to nothing.
    pub fn remove(&self, digest: Digest) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        *held = Arc::new(held.iter().filter(|policy| policy.digest() != digest).cloned().collect());
    }

    /// The policy of this digest, or the built-in one; none where it is not held.
    pub fn policy(&self, digest: Option<Digest>) -> Option<Arc<Policy>> {
        let Some(digest) = digest else { return Some(Arc::clone(&self.builtin)) };
        let held = Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner));
        let found = held.iter().rev().find(|policy| policy.digest() == digest).cloned();
        found.or_else(|| (self.builtin.digest() == digest).then(|| Arc::clone(&self.builtin)))
    }
}

impl Judge for Policies {
    fn judge(&self, ask: &Ask<'_>) -> Judgement {
        match self.policy(ask.policy) {
            Some(policy) => policy.judge(ask),
            None => Judgement { policy: ask.policy, ..Judgement::blocked(NOT_LOADED) },
        }
    }

    fn wants(&self, policy: Option<Digest>, agent: &str, capability: &str) -> Wants {
        self.policy(policy).map_or_else(Wants::default, |policy| policy.wants(agent, capability))
    }
}
