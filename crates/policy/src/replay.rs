//! What a candidate policy would change of what was judged before. Pure: whoever reads the ledger brings the calls.
use crate::layer::Layer;
use crate::policy::Policy;
use crate::projection::{Projection, Reads, write_text, write_texts};
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
/// Agents of which is kept what rules look at.
const AGENTS_MAX: usize = 4_096;
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

#[derive(Clone)]
struct Outcome {
    before: Option<Verdict>,
    after: Verdict,
    rule: Arc<str>,
}

/// What the rules of either policy look at for such a call.
struct LookedAt {
    uses: Uses,
    projection: Projection,
}

type Group = (String, String, Verdict, Verdict, Arc<str>);

/// One thread's part of the calls.
struct Replay<'a> {
    old: Against<'a>,
    new: &'a Policy,
    /// By all that a judgement depends on.
    remembered: HashMap<Box<[u8]>, Outcome>,
    /// Of the call that is looked at.
    key: Vec<u8>,
    entities: KnownEntities,
    /// Layers of which both policies have the same rules under the same numbers.
    shared: Arc<HashSet<Layer>>,
    nobody: Arc<str>,
    /// By agent and capability, what the rules look at.
    looked_at: HashMap<String, HashMap<String, Arc<LookedAt>>>,
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
            key: Vec::new(),
            entities: KnownEntities::default(),
            shared,
            nobody: "".into(),
            looked_at: HashMap::new(),
            groups: BTreeMap::new(),
            summary: Summary::default(),
        }
    }

    fn take(&mut self, call: RecordedCall) {
        let Some(ask) = call.ask(self.new.digest()) else {
            self.summary.unjudgeable += 1;
            return;
        };
        self.summary.judged += 1;
        let looked_at = self.looked_at(&call.context.agent_name, &call.capability);
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        write_key(&ask, &looked_at.projection, &mut key);
        let outcome = match self.remembered.get(key.as_slice()) {
            Some(known) => known.clone(),
            None => {
                let outcome = self.judge(ask, looked_at.uses);
                if self.remembered.len() >= REMEMBERED_MAX {
                    self.remembered.clear();
                }
                self.remembered.insert(key.as_slice().into(), outcome.clone());
                outcome
            }
        };
        self.key = key;
        self.count(&call, outcome.before.unwrap_or(call.verdict), &outcome);
    }

    fn looked_at(&mut self, agent: &str, capability: &str) -> Arc<LookedAt> {
        let known = self.looked_at.get(agent).and_then(|capabilities| capabilities.get(capability));
        if let Some(known) = known {
            return Arc::clone(known);
        }
        let (mut uses, mut reads) = (self.new.uses(agent, capability), Reads::default());
        self.new.read_by(agent, capability, &mut reads);
        if let Against::Policy(old) = self.old {
            uses = uses.and(old.uses(agent, capability));
            old.read_by(agent, capability, &mut reads);
        }
        let made = Arc::new(LookedAt { uses, projection: Projection::new(reads) });
        if self.looked_at.len() >= AGENTS_MAX {
            self.looked_at.clear();
        }
        self.looked_at.entry(agent.to_string()).or_default().insert(capability.to_string(), Arc::clone(&made));
        made
    }

    /// Cedar's question is made once for both policies.
    fn judge(&mut self, ask: Ask<'_>, uses: Uses) -> Outcome {
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

    fn count(&mut self, call: &RecordedCall, before: Verdict, outcome: &Outcome) {
        if call.unbound && outcome.after != Verdict::Blocked {
            self.summary.unbound += 1;
        }
        if call.unbound || before == outcome.after {
            self.summary.unchanged += 1;
            return;
        }
        self.summary.changed += 1;
        let (agent, capability) = (call.context.agent_name.clone(), call.capability.clone());
        let group = (agent, capability, before, outcome.after, Arc::clone(&outcome.rule));
        if self.groups.len() >= DIFFERENCES_MAX && !self.groups.contains_key(&group) {
            self.summary.more += 1;
            return;
        }
        let (count, examples) = self.groups.entry(group).or_default();
        *count += 1;
        if examples.len() < EXAMPLES_MAX {
            examples.push(call.call);
        }
    }
}

/// All that a judgement depends on, in a form that is read in one way only: who asks and by which list, what the layers and scopes
/// of rules go by, and of all values what rules ask of them.
fn write_key(ask: &Ask<'_>, projection: &Projection, key: &mut Vec<u8>) {
    let context = ask.context;
    write_text(&context.agent_name, key);
    write_text(ask.capability, key);
    key.extend_from_slice(&ask.revision.to_be_bytes());
    write_text(actor_word(ask.actor), key);
    write_text(context.caller.into(), key);
    write_text(context.opener.as_deref().unwrap_or_default(), key);
    write_texts(ask.tools, key);
    key.extend_from_slice(&(context.labels.len() as u64).to_be_bytes());
    for (name, value) in &context.labels {
        write_text(name, key);
        write_text(value, key);
    }
    projection.write(ask, key);
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
