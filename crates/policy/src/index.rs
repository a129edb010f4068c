//! The rules of one layer by whom and what they are about, so that a judgement asks Cedar of few. What lies under a key may
//! match; what lies under none of a call's keys cannot.
use crate::request::labels;
use crate::rule::{Rule, What, Who};
use crate::schema::{ACTIONS, Action};
use crate::uses::Uses;
use cedar_policy::PolicySet;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;
use tenure_core::judge::Ask;

/// A key of [`What`], small: 0 for any, then two for each action and group.
type Code = u16;

static CODES: LazyLock<BTreeMap<String, Code>> = LazyLock::new(|| {
    let names: BTreeSet<String> =
        ACTIONS.iter().flat_map(|(name, action)| action.groups.iter().cloned().chain([(*name).to_string()])).collect();
    names.into_iter().zip((1..).step_by(2)).collect()
});

/// The codes under which rules about an action lie.
static LOOKED_UP: LazyLock<HashMap<&'static str, Vec<Code>>> = LazyLock::new(|| {
    let codes = |name: &'static str, action: &Action| {
        let own = [What::Any, What::Is(name.to_string()), What::In(name.to_string())];
        let groups = action.groups.iter().map(|group| What::In(group.clone()));
        own.into_iter().chain(groups).map(|what| code(&what)).collect()
    };
    ACTIONS.iter().map(|(name, action)| (*name, codes(name, action))).collect()
});

/// What the schema does not know is looked at for every action.
fn code(what: &What) -> Code {
    match what {
        What::Any => 0,
        What::Is(name) => CODES.get(name).copied().unwrap_or(0),
        What::In(name) => CODES.get(name).map_or(0, |code| code + 1),
    }
}

/// Rules under one key.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    /// Those that match whatever is looked up here.
    pub(crate) plain: Vec<u32>,
    /// Those that Cedar is asked of.
    pub(crate) asked: PolicySet,
    pub(crate) uses: Uses,
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    any: HashMap<Code, Bucket>,
    agents: HashMap<String, HashMap<Code, Bucket>>,
    labels: HashMap<String, HashMap<Code, Bucket>>,
}

impl Index {
    pub(crate) fn add(&mut self, number: u32, rule: &Rule) {
        let buckets = match &rule.scope.who {
            Who::Any => &mut self.any,
            Who::Agent(name) => self.agents.entry(name.clone()).or_default(),
            Who::Label(label) => self.labels.entry(label.clone()).or_default(),
        };
        let codes: BTreeSet<Code> = rule.scope.what.iter().map(code).collect();
        for code in codes {
            let bucket = buckets.entry(code).or_default();
            if rule.is_plain() {
                bucket.plain.push(number);
            } else {
                bucket.asked.add(rule.policy.clone()).expect("invariant: each rule has a number of its own");
                bucket.uses = bucket.uses.and(rule.uses);
            }
        }
    }

    /// The rules that may match a call.
    pub(crate) fn candidates<'i>(&'i self, ask: &Ask<'_>, action: &Action, found: &mut Vec<&'i Bucket>) {
        let Some(codes) = LOOKED_UP.get(action.capability.name) else { return };
        let mut take = |buckets: &'i HashMap<Code, Bucket>| {
            found.extend(codes.iter().filter_map(|code| buckets.get(code)));
        };
        take(&self.any);
        if let Some(buckets) = self.agents.get(&ask.context.agent_name) {
            take(buckets);
        }
        if !self.labels.is_empty() {
            labels(ask.context).filter_map(|label| self.labels.get(&label)).for_each(take);
        }
    }

    /// What rules look at that may match any call of this capability by this agent, whatever its labels.
    pub(crate) fn uses(&self, agent: &str, capability: &str) -> Uses {
        let Some(codes) = LOOKED_UP.get(capability) else { return Uses::NONE };
        let own = self.agents.get(agent);
        let all = std::iter::once(&self.any).chain(own).chain(self.labels.values());
        let buckets = all.flat_map(|buckets| codes.iter().filter_map(|code| buckets.get(code)));
        buckets.fold(Uses::NONE, |uses, bucket| uses.and(bucket.uses))
    }
}
