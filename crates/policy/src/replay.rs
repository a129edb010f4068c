//! What a candidate policy would change of what was judged before. Pure: whoever reads the ledger brings the calls.
use crate::layer::Layer;
use crate::policy::Policy;
use crate::request::{KnownEntities, Question, actor_word};
use crate::schema::action;
use crate::uses::Uses;
use crate::weigh;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, mpsc};
use tenure_core::actor::Actor;
use tenure_core::capability::Attributes;
use tenure_core::id::{AgentId, CallId};
use tenure_core::judge::{Ask, Circumstances, Digest, Judgement, UNKNOWN_CAPABILITY, Verdict};

/// Calls whose judgement is kept, so that the same call is judged once.
const REMEMBERED_MAX: usize = 65_536;
/// Kinds of difference that are told apart; what is beyond is counted.
const DIFFERENCES_MAX: usize = 1_000;
const EXAMPLES_MAX: usize = 3;
const THREADS_MAX: usize = 4;
/// Calls that a thread takes at a time, and how many such batches wait for it.
const BATCH: usize = 256;
const BATCHES_AHEAD: usize = 4;

/// A call as its record has it.
#[derive(Debug, Clone)]
pub struct RecordedCall {
    pub call: CallId,
    pub agent: AgentId,
    pub revision: u32,
    pub actor: Actor,
    pub capability: String,
    pub tools: Arc<[String]>,
    pub context: Circumstances,
    /// None where its payload is erased.
    pub attributes: Option<Attributes>,
    /// What it was judged to be.
    pub verdict: Verdict,
    pub fate: Fate,
    /// It names a secret that nobody has bound for it: it stays blocked, whatever rules say.
    pub unbound: bool,
}

impl RecordedCall {
    /// As a policy is asked about it; none where what was judged is erased.
    pub fn ask(&self, policy: Digest) -> Option<Ask<'_>> {
        Some(Ask {
            actor: self.actor,
            agent: self.agent,
            revision: self.revision,
            capability: &self.capability,
            attributes: self.attributes.as_ref()?,
            tools: &self.tools,
            context: &self.context,
            policy: Some(policy),
        })
    }
}

/// What became of a recorded call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Made,
    /// By a policy.
    Blocked,
    /// By a person.
    Rejected,
    /// It waits, or nobody answered, or it came to its turn no more.
    Open,
}

/// What a candidate is compared with.
#[derive(Debug, Clone, Copy)]
pub enum Against<'a> {
    /// The verdicts in the records.
    Records,
    Policy(&'a Policy),
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    pub judged: u64,
    pub unchanged: u64,
    pub changed: u64,
    /// Calls whose payload is erased.
    pub unjudgeable: u64,
    /// Calls that the candidate's rules would let be made, and that stay blocked for want of a secret bound for them.
    pub unbound: u64,
    /// The most frequent first.
    pub differences: Vec<Difference>,
    /// Changed calls of kinds that are not listed.
    pub more: u64,
}

/// Calls of one agent and capability that are judged otherwise by the same rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub agent: String,
    pub capability: String,
    pub before: Verdict,
    pub after: Verdict,
    /// The first rule that makes the new verdict.
    pub rule: String,
    pub count: u64,
    pub examples: Vec<CallId>,
}

/// All that a judgement depends on: of the circumstances, what some rule looks at.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    revision: u32,
    actor: &'static str,
    capability: String,
    tools: Arc<[String]>,
    context: Circumstances,
    attributes: Attributes,
}

#[derive(Clone)]
struct Outcome {
    before: Option<Verdict>,
    after: Verdict,
    rule: Arc<str>,
}

type Group = (String, String, Verdict, Verdict, Arc<str>);

/// One thread's part of the calls.
struct Replay<'a> {
    old: Against<'a>,
    new: &'a Policy,
    remembered: HashMap<Key, Outcome>,
    entities: KnownEntities,
    /// Layers of which both policies have the same rules under the same numbers.
    shared: Arc<HashSet<Layer>>,
    nobody: Arc<str>,
    /// By agent and capability, what the rules look at.
    looked_at: HashMap<String, HashMap<String, Uses>>,
    groups: BTreeMap<Group, (u64, Vec<CallId>)>,
    summary: Summary,
}

/// Judges each recorded call anew, on as many threads as there are processors, up to a few. Ids come in the order of time.
pub fn compare(old: Against<'_>, new: &Policy, calls: impl Iterator<Item = RecordedCall>) -> Summary {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let shared = Arc::new(shared(old, new));
    let parts = if threads == 1 {
        let mut part = Replay::new(old, new, shared);
        calls.for_each(|call| part.take(call));
        vec![part]
    } else {
        side_by_side((old, new, &shared), calls, threads)
    };
    together(parts)
}

/// What a layer says is asked once where both have it so.
fn shared(old: Against<'_>, new: &Policy) -> HashSet<Layer> {
    let Against::Policy(old) = old else { return HashSet::new() };
    let of = |policy: &Policy| {
        let mut layers: BTreeMap<Layer, Vec<(usize, String)>> = BTreeMap::new();
        for (number, rule) in policy.rules.iter().enumerate() {
            let said = format!("{:?} {}", rule.said.verdict, rule.normal_form());
            layers.entry(rule.layer.clone()).or_default().push((number, said));
        }
        layers
    };
    let (old, mut new) = (of(old), of(new));
    old.into_iter().filter_map(|(layer, rules)| (new.remove(&layer)? == rules).then_some(layer)).collect()
}

fn side_by_side<'a>(
    (old, new, shared): (Against<'a>, &'a Policy, &Arc<HashSet<Layer>>),
    mut calls: impl Iterator<Item = RecordedCall>,
    threads: usize,
) -> Vec<Replay<'a>> {
    std::thread::scope(|scope| {
        let mut parts = Vec::with_capacity(threads);
        let mut batches = Vec::with_capacity(threads);
        for _ in 0..threads {
            let (batch, taken) = mpsc::sync_channel::<Vec<RecordedCall>>(BATCHES_AHEAD);
            batches.push(batch);
            let shared = Arc::clone(shared);
            parts.push(scope.spawn(move || {
                let mut part = Replay::new(old, new, shared);
                taken.into_iter().flatten().for_each(|call| part.take(call));
                part
            }));
        }
        for batch in batches.iter().cycle() {
            let some: Vec<RecordedCall> = calls.by_ref().take(BATCH).collect();
            if some.is_empty() || batch.send(some).is_err() {
                break;
            }
        }
        drop(batches);
        parts.into_iter().map(|part| part.join().expect("invariant: judging does not panic")).collect()
    })
}

fn together(parts: Vec<Replay<'_>>) -> Summary {
    let (mut summary, mut groups) = (Summary::default(), BTreeMap::<Group, (u64, Vec<CallId>)>::new());
    for part in parts {
        summary.judged += part.summary.judged;
        summary.unchanged += part.summary.unchanged;
        summary.changed += part.summary.changed;
        summary.unjudgeable += part.summary.unjudgeable;
        summary.unbound += part.summary.unbound;
        summary.more += part.summary.more;
        for (group, (count, examples)) in part.groups {
            if groups.len() >= DIFFERENCES_MAX && !groups.contains_key(&group) {
                summary.more += count;
                continue;
            }
            let known = groups.entry(group).or_default();
            known.0 += count;
            known.1.extend(examples);
            known.1.sort_unstable();
            known.1.truncate(EXAMPLES_MAX);
        }
    }
    summary.differences = listed(groups);
    summary
}

impl<'a> Replay<'a> {
    fn new(old: Against<'a>, new: &'a Policy, shared: Arc<HashSet<Layer>>) -> Replay<'a> {
        Replay {
            old,
            new,
            remembered: HashMap::new(),
            entities: KnownEntities::default(),
            shared,
            nobody: "".into(),
            looked_at: HashMap::new(),
            groups: BTreeMap::new(),
            summary: Summary::default(),
        }
    }

    fn take(&mut self, call: RecordedCall) {
        let RecordedCall {
            call: id,
            agent,
            revision,
            actor,
            capability,
            tools,
            mut context,
            attributes,
            verdict,
            fate: _,
            unbound,
        } = call;
        let Some(mut attributes) = attributes else {
            self.summary.unjudgeable += 1;
            return;
        };
        self.summary.judged += 1;
        let uses = self.uses(&context.agent_name, &capability);
        uses.narrow(&mut context);
        uses.narrow_arguments(&mut attributes);
        let key = Key { revision, actor: actor_word(actor), capability, tools, context, attributes };
        if let Some(known) = self.remembered.get(&key).cloned() {
            return self.count((id, unbound), known.before.unwrap_or(verdict), &known, &key);
        }
        let outcome = self.judge(&key, agent, actor, uses);
        self.count((id, unbound), outcome.before.unwrap_or(verdict), &outcome, &key);
        if self.remembered.len() >= REMEMBERED_MAX {
            self.remembered.clear();
        }
        self.remembered.insert(key, outcome);
    }

    /// What the rules of either policy look at for such a call.
    fn uses(&mut self, agent: &str, capability: &str) -> Uses {
        let known = self.looked_at.get(agent).and_then(|capabilities| capabilities.get(capability));
        if let Some(known) = known {
            return *known;
        }
        let old = match self.old {
            Against::Records => Uses::NONE,
            Against::Policy(old) => old.uses(agent, capability),
        };
        let uses = old.and(self.new.uses(agent, capability));
        if self.looked_at.len() >= REMEMBERED_MAX {
            self.looked_at.clear();
        }
        self.looked_at.entry(agent.to_string()).or_default().insert(capability.to_string(), uses);
        uses
    }

    /// Cedar's question is made once for both policies.
    fn judge(&mut self, key: &Key, agent: AgentId, actor: Actor, uses: Uses) -> Outcome {
        let ask = Ask {
            actor,
            agent,
            revision: key.revision,
            capability: &key.capability,
            attributes: &key.attributes,
            tools: &key.tools,
            context: &key.context,
            policy: Some(self.new.digest()),
        };
        let Some(action) = action(ask.capability) else {
            let before = match self.old {
                Against::Records => None,
                Against::Policy(_) => Some(Verdict::Blocked),
            };
            return Outcome { before, after: Verdict::Blocked, rule: UNKNOWN_CAPABILITY.into() };
        };
        let mut question = Question::new(ask, &action, uses).among(&mut self.entities);
        let (before, mut said) = match self.old {
            Against::Records => (None, Vec::new()),
            Against::Policy(old) => {
                let said = old.matches(&ask, &action, &mut question, &[]);
                (Some(weigh::verdict(&old.rules, &ask, &said)), said)
            }
        };
        said.retain(|(layer, _)| self.shared.contains(*layer));
        let matches = self.new.matches(&ask, &action, &mut question, &said);
        let after = weigh::verdict(&self.new.rules, &ask, &matches);
        if before == Some(after) {
            return Outcome { before, after, rule: Arc::clone(&self.nobody) };
        }
        let Judgement { verdict, rules, .. } = weigh::weigh(&self.new.rules, &ask, &matches);
        Outcome { before, after: verdict, rule: rules.first().map_or("", String::as_str).into() }
    }

    fn count(&mut self, (id, unbound): (CallId, bool), before: Verdict, outcome: &Outcome, key: &Key) {
        if unbound && outcome.after != Verdict::Blocked {
            self.summary.unbound += 1;
        }
        if unbound || before == outcome.after {
            self.summary.unchanged += 1;
            return;
        }
        self.summary.changed += 1;
        let (agent, capability) = (key.context.agent_name.clone(), key.capability.clone());
        let group = (agent, capability, before, outcome.after, Arc::clone(&outcome.rule));
        if self.groups.len() >= DIFFERENCES_MAX && !self.groups.contains_key(&group) {
            self.summary.more += 1;
            return;
        }
        let (count, examples) = self.groups.entry(group).or_default();
        *count += 1;
        if examples.len() < EXAMPLES_MAX {
            examples.push(id);
        }
    }
}

fn listed(groups: BTreeMap<Group, (u64, Vec<CallId>)>) -> Vec<Difference> {
    let mut listed: Vec<Difference> = groups
        .into_iter()
        .map(|((agent, capability, before, after, rule), (count, examples))| Difference {
            agent,
            capability,
            before,
            after,
            rule: rule.to_string(),
            count,
            examples,
        })
        .collect();
    listed.sort_by_key(|one| std::cmp::Reverse(one.count));
    listed
}
