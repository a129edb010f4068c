//! The rules of one layer by whom and what they are about, so that a judgement asks Cedar of few. What lies under a key may
//! match; what lies under none of a call's keys cannot.
use crate::request::labels;
use crate::rule::{Rule, What, Who};
use crate::schema::{ACTIONS, ANY_TOOL, Action, action};
use crate::uses::Uses;
use cedar_policy::PolicySet;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;
use tenure_core::judge::Ask;

/// A key of [`What`], small: 0 for any, then two for each action and group.
type Code = u16;

static CODES: LazyLock<BTreeMap<String, Code>> = LazyLock::new(|| {
    let mcp = action(ANY_TOOL);
    let all = ACTIONS.values().chain(mcp.as_deref());
    let names: BTreeSet<String> =
        all.flat_map(|action| action.groups.iter().cloned().chain([action.name.clone()])).collect();
    names.into_iter().zip((1..).step_by(2)).collect()
});

/// The codes under which rules about an action lie.
static LOOKED_UP: LazyLock<HashMap<&'static str, Vec<Code>>> =
    LazyLock::new(|| ACTIONS.iter().map(|(name, action)| (*name, codes(action).collect())).collect());

fn codes(action: &Action) -> impl Iterator<Item = Code> {
    let own = [What::Any, What::Is(action.name.clone()), What::In(action.name.clone())];
    let groups = action.groups.iter().map(|group| What::In(group.clone()));
    own.into_iter().chain(groups).map(|what| code(&what))
}

/// Those of an action that is in no catalogue are made when they are wanted.
fn looked_up(action: &Action) -> Cow<'static, [Code]> {
    match LOOKED_UP.get(action.name.as_str()) {
        Some(codes) => Cow::Borrowed(codes),
        None => {
            let codes: BTreeSet<Code> = codes(action).collect();
            Cow::Owned(codes.into_iter().collect())
        }
    }
}

/// Whether a rule about it is looked at for nothing else.
fn is_coded(what: &What) -> bool {
    match what {
        What::Any => true,
        What::Is(name) | What::In(name) => CODES.contains_key(name),
    }
}

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
        let is_plain = rule.is_plain() && rule.scope.what.iter().all(is_coded);
        for code in codes {
            let bucket = buckets.entry(code).or_default();
            if is_plain {
                bucket.plain.push(number);
            } else {
                bucket.asked.add(rule.policy.clone()).expect("invariant: each rule has a number of its own");
                bucket.uses = bucket.uses.and(rule.uses);
            }
        }
    }

    /// The rules that may match a call.
    pub(crate) fn candidates<'i>(&'i self, ask: &Ask<'_>, action: &Action, found: &mut Vec<&'i Bucket>) {
        let codes = looked_up(action);
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
        let mut uses = Uses::NONE;
        self.each_asked(agent, capability, &mut |bucket| uses = uses.and(bucket.uses));
        uses
    }

    /// The rules of which Cedar may be asked for such a call.
    pub(crate) fn each_asked(&self, agent: &str, capability: &str, each: &mut dyn FnMut(&Bucket)) {
        let Some(action) = action(capability) else { return };
        let codes = looked_up(&action);
        let own = self.agents.get(agent);
        let all = std::iter::once(&self.any).chain(own).chain(self.labels.values());
        all.flat_map(|buckets| codes.iter().filter_map(|code| buckets.get(code))).for_each(each);
    }
}
