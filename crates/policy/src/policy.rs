//! A policy, compiled: all layers of a bundle above the floor, indexed. Deterministic: the same call in the same circumstances
//! is always judged the same.
use crate::builtin;
use crate::bundle::Bundle;
use crate::fault::Fault;
use crate::index::{Bucket, Index};
use crate::layer::{Layer, opener_of};
use crate::load::load;
use crate::projection::Reads;
use crate::request::Question;
use crate::rule::Rule;
use crate::schema::{Action, action};
use crate::uses::Uses;
use crate::weigh::{Match, weigh};
use cedar_policy::{AuthorizationError, Authorizer, Entities, PolicyId, Request};
use std::collections::HashMap;
use tenure_core::judge::{Ask, Digest, Judgement, UNKNOWN_CAPABILITY, Wants};

#[derive(Debug)]
pub struct Policy {
    digest: Digest,
    pub(crate) rules: Vec<Rule>,
    /// Floor, system and project, in this order.
    common: [(Layer, Index); 3],
    agents: HashMap<String, (Layer, Index)>,
    sessions: HashMap<String, (Layer, Index)>,
    authorizer: Authorizer,
}

impl Policy {
    /// # Errors
    /// All that is wrong with the bundle, up to a limit.
    pub fn compile(bundle: &Bundle) -> Result<Policy, Vec<Fault>> {
        let rules = load(&builtin::floor(), bundle)?;
        let mut policy = Policy {
            digest: bundle.digest(),
            rules: Vec::new(),
            common: [Layer::Floor, Layer::System, Layer::Project].map(|layer| (layer, Index::default())),
            agents: HashMap::new(),
            sessions: HashMap::new(),
            authorizer: Authorizer::new(),
        };
        for (number, rule) in (0..).zip(&rules) {
            policy.index(&rule.layer).add(number, rule);
        }
        policy.rules = rules;
        Ok(policy)
    }

    fn index(&mut self, layer: &Layer) -> &mut Index {
        let own = || (layer.clone(), Index::default());
        match layer {
            Layer::Floor => &mut self.common[0].1,
            Layer::System => &mut self.common[1].1,
            Layer::Project => &mut self.common[2].1,
            Layer::Agent(name) => &mut self.agents.entry(name.clone()).or_insert_with(own).1,
            Layer::Session(opener) => &mut self.sessions.entry(opener.clone()).or_insert_with(own).1,
        }
    }

    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Rules of all layers, the floor's included.
    pub fn rules_count(&self) -> usize {
        self.rules.len()
    }

    pub fn judge(&self, ask: &Ask<'_>) -> Judgement {
        let Some(action) = action(ask.capability) else {
            return Judgement { policy: ask.policy, ..Judgement::blocked(UNKNOWN_CAPABILITY) };
        };
        let uses = self.uses_of(ask, &action);
        self.judge_by(ask, &action, &mut Question::new(*ask, &action, uses))
    }

    /// `question`: of the same call, made with all that this policy looks at.
    pub(crate) fn judge_by(&self, ask: &Ask<'_>, action: &Action, question: &mut Question<'_>) -> Judgement {
        weigh(&self.rules, ask, &self.matches(ask, action, question, &[]))
    }

    /// What the rules that may match this very call look at.
    pub(crate) fn uses_of(&self, ask: &Ask<'_>, action: &Action) -> Uses {
        let mut buckets = Vec::new();
        self.layers(ask).for_each(|(_, index)| index.candidates(ask, action, &mut buckets));
        buckets.iter().fold(Uses::NONE, |uses, bucket| uses.and(bucket.uses))
    }

    /// What must be read before a call is judged.
    pub fn wants(&self, agent: &str, capability: &str) -> Wants {
        let uses = self.uses(agent, capability);
        Wants { counters: uses.counters(), money: uses.money() }
    }

    /// What the rules look at that may match a call of this capability by this agent.
    pub(crate) fn uses(&self, agent: &str, capability: &str) -> Uses {
        self.layers_of(agent).fold(Uses::NONE, |uses, (_, index)| uses.and(index.uses(agent, capability)))
    }

    /// What those rules read.
    pub(crate) fn read_by(&self, agent: &str, capability: &str, reads: &mut Reads) {
        for (_, index) in self.layers_of(agent) {
            index.each_asked(agent, capability, &mut |bucket| {
                bucket.asked.policies().for_each(|policy| reads.add(policy.to_json().ok().as_ref()));
            });
        }
    }

    /// Those that may cover a call of this agent's.
    fn layers_of(&self, agent: &str) -> impl Iterator<Item = &(Layer, Index)> {
        self.common.iter().chain(self.agents.get(agent)).chain(self.sessions.values())
    }

    /// The layers that cover a call, the widest first.
    pub(crate) fn layers(&self, ask: &Ask<'_>) -> impl Iterator<Item = &(Layer, Index)> {
        let session = opener_of(ask).and_then(|opener| self.sessions.get(opener));
        self.common.iter().chain(self.agents.get(&ask.context.agent_name)).chain(session)
    }

    /// The rules of each layer that covers the call. `known`: what layers say that another policy has just so, with the same
    /// numbers; they are not asked again.
    pub(crate) fn matches(
        &self,
        ask: &Ask<'_>,
        action: &Action,
        question: &mut Question<'_>,
        known: &[(&Layer, Vec<Match>)],
    ) -> Vec<(&Layer, Vec<Match>)> {
        let mut found = Vec::with_capacity(5);
        let mut buckets = Vec::new();
        for (layer, index) in self.layers(ask) {
            if let Some((_, matches)) = known.iter().find(|(of, _)| *of == layer) {
                found.push((layer, matches.clone()));
                continue;
            }
            buckets.clear();
            index.candidates(ask, action, &mut buckets);
            let plain = buckets.iter().flat_map(|bucket: &&Bucket| &bucket.plain);
            let mut matches: Vec<Match> = plain.map(|rule| Match { rule: *rule, erred: false }).collect();
            for bucket in buckets.iter().filter(|bucket| !bucket.asked.is_empty()) {
                let (request, entities) = question.made();
                self.ask_cedar(request, entities, bucket, &mut matches);
            }
            matches.sort_unstable();
            matches.dedup();
            found.push((layer, matches));
        }
        found
    }

    /// Cedar names the permits only where no forbid matches: then the forbids are the verdict, and the permits say nothing more.
    fn ask_cedar(&self, request: &Request, entities: &Entities, bucket: &Bucket, matches: &mut Vec<Match>) {
        let answer = self.authorizer.is_authorized(request, &bucket.asked, entities);
        let told = answer.diagnostics();
        matches.extend(told.reason().map(|id| Match { rule: number(id), erred: false }));
        matches.extend(told.errors().map(|error| Match { rule: number(erred(error)), erred: true }));
    }
}

pub(crate) fn erred(error: &AuthorizationError) -> &PolicyId {
    match error {
        AuthorizationError::PolicyEvaluationError(error) => error.policy_id(),
    }
}

fn number(id: &PolicyId) -> u32 {
    let id: &str = id.as_ref();
    id.parse().expect("invariant: a loaded rule's id is its number")
}
