//! Recorded calls, gathered by agent and pattern under what became of them. Bounded: what comes beyond is counted.
use super::Ground;
use crate::policy::Policy;
use crate::replay::{Fate, RecordedCall};
use std::collections::BTreeMap;
use tenure_core::actor::Actor;
use tenure_core::approval::Pattern;
use tenure_core::capability::{Argument, Attributes};
use tenure_core::id::CallId;
use tenure_core::judge::{DEFAULT_DENY, Verdict};

const GROUPS_MAX: usize = 4_096;
const NOTES_MAX: usize = 256;
const EXAMPLES_MAX: usize = 3;
/// What the layer says where no rule of it permits a call.
const SYSTEM_DENIES: &str = "system:default_deny";

/// Calls of one agent that are alike.
pub(super) struct Group {
    pub(super) pattern: Pattern,
    /// The first of them.
    pub(super) first: RecordedCall,
    pub(super) count: u64,
    pub(super) examples: Vec<CallId>,
    /// A person refused one like it.
    pub(super) refused: bool,
}

impl Group {
    pub(super) fn attributes(&self) -> &Attributes {
        self.first.attributes.as_ref().expect("invariant: what is erased is in no group")
    }

    pub(super) fn agent(&self) -> &str {
        &self.first.context.agent_name
    }
}

/// Of an agent's: capability and pattern.
type Key = (String, String, String);

#[derive(Default)]
pub(super) struct Groups {
    pub(super) of: BTreeMap<Ground, BTreeMap<Key, Group>>,
    /// Why calls teach nothing, and how many.
    pub(super) notes: BTreeMap<String, u64>,
    pub(super) seen: u64,
    pub(super) unjudgeable: u64,
}

impl Groups {
    pub(super) fn take(&mut self, holds: &Policy, call: RecordedCall) {
        let Some(ask) = call.ask(holds.digest()) else {
            self.unjudgeable += 1;
            return;
        };
        // Checks of the manifest's own are no wish of an agent's.
        if call.actor == Actor::Validator {
            return;
        }
        self.seen += 1;
        let judgement = holds.judge(&ask);
        let agent = &call.context.agent_name;
        if call.unbound {
            let why = format!(
                "{} of {agent} names a secret that is not bound to it for this host: no rule changes that, `tenure secret bind` does",
                call.capability
            );
            return self.note(why);
        }
        match (judgement.verdict, call.fate) {
            (Verdict::Autonomous | Verdict::Notify, Fate::Made) => self.add(Ground::Made, call),
            (Verdict::ApprovalRequired, Fate::Made | Fate::Rejected) => self.add(Ground::Allowed, call),
            (Verdict::Blocked, Fate::Blocked) if judgement.rules == [SYSTEM_DENIES] => self.add(Ground::Denied, call),
            (Verdict::Blocked, Fate::Blocked) if judgement.rules.iter().any(|rule| rule == DEFAULT_DENY) => {
                let why = format!("`spec.tools` of {agent} does not list {}: no rule changes that", call.capability);
                self.note(why);
            }
            (Verdict::Blocked, Fate::Blocked) => {
                let rules = judgement.rules.join(", ");
                self.note(format!("{} of {agent} is forbidden by {rules}: whoever wrote it meant it", call.capability));
            }
            (Verdict::Autonomous | Verdict::Notify, Fate::Blocked) => {
                self.note(format!("{} of {agent} was blocked then and would not be now", call.capability));
            }
            (
                Verdict::Autonomous | Verdict::Notify | Verdict::ApprovalRequired | Verdict::Blocked,
                Fate::Made | Fate::Blocked | Fate::Rejected | Fate::Open,
            ) => {}
        }
    }

    fn add(&mut self, ground: Ground, call: RecordedCall) {
        let Some(attributes) = &call.attributes else { return };
        let pattern = pattern(ground, &call.capability, attributes);
        let key = (call.context.agent_name.clone(), call.capability.clone(), pattern.to_conditions().join(" && "));
        let groups = self.of.entry(ground).or_default();
        if groups.len() >= GROUPS_MAX && !groups.contains_key(&key) {
            return self.note(format!("more than {GROUPS_MAX} kinds of calls: name an agent or a later time"));
        }
        let (id, refused) = (call.call, call.fate == Fate::Rejected);
        let group = groups.entry(key).or_insert_with(|| Group {
            pattern,
            first: call,
            count: 0,
            examples: Vec::new(),
            refused: false,
        });
        group.count += 1;
        group.refused |= refused;
        if group.examples.len() < EXAMPLES_MAX {
            group.examples.push(id);
        }
    }

    fn note(&mut self, why: String) {
        if self.notes.len() < NOTES_MAX || self.notes.contains_key(&why) {
            *self.notes.entry(why).or_default() += 1;
        }
    }
}

/// What people allowed stays as a card shows it. Of the rest an argument of the call's own counts only where it says what a
/// request does.
fn pattern(ground: Ground, capability: &str, attributes: &Attributes) -> Pattern {
    let mut pattern = Pattern::of(capability, attributes);
    match ground {
        Ground::Allowed => {}
        Ground::Denied | Ground::Made => {
            pattern.input.retain(|name, value| name == "method" && matches!(value, Argument::Text(_)));
        }
    }
    pattern
}
