//! Why a call is judged as it is: every layer's opinion with every rule that matched. It asks Cedar of each rule alone and takes no
//! index, so that it is a second opinion on the judgement as well.
use crate::layer::Layer;
use crate::policy::Policy;
use crate::request::{actor_word, entities, request};
use crate::rule::Rule;
use crate::schema::{Action, action};
use crate::uses::Uses;
use crate::weigh::{Match, layer_verdict, weigh};
use cedar_policy::{Authorizer, Effect, Entities, PolicySet, Request};
use serde::Serialize;
use serde_json::{Value, json};
use tenure_core::judge::{Ask, Judgement, UNKNOWN_CAPABILITY, Verdict};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    pub judgement: Judgement,
    /// Those that cover the call, the widest first.
    pub layers: Vec<LayerView>,
    /// What rules see of it.
    pub facts: Value,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerView {
    pub layer: Layer,
    /// None where the layer has no opinion.
    pub verdict: Option<Verdict>,
    /// Those that matched or erred, in the order of their files.
    pub rules: Vec<RuleView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleView {
    pub file: String,
    pub line: u32,
    pub id: Option<String>,
    /// A forbid; else a permit.
    pub forbids: bool,
    pub verdict: Verdict,
    pub reason: Option<String>,
    pub approvers: Option<u32>,
    /// Why it could not be evaluated.
    pub error: Option<String>,
}

impl Policy {
    pub fn explain(&self, ask: &Ask<'_>) -> Explanation {
        let Some(action) = action(ask.capability) else {
            let judgement = Judgement { policy: ask.policy, ..Judgement::blocked(UNKNOWN_CAPABILITY) };
            return Explanation { judgement, layers: Vec::new(), facts: facts(ask, None) };
        };
        let (request, entities) = (request(ask, &action, Uses::ALL), entities(ask, &action));
        let authorizer = Authorizer::new();
        let covering: Vec<&Layer> = self.layers(ask).map(|(layer, _)| layer).collect();
        let (mut matches, mut views) = (Vec::new(), Vec::new());
        for layer in covering {
            let (mut found, mut rules) = (Vec::new(), Vec::new());
            for (number, rule) in (0..).zip(&self.rules).filter(|(_, rule)| rule.layer == *layer) {
                let answer = alone(&authorizer, rule, &request, &entities);
                if answer == Answer::No {
                    continue;
                }
                let error = if let Answer::Erred(error) = answer { Some(error) } else { None };
                found.push(Match { rule: number, erred: error.is_some() });
                rules.push(view(rule, error));
            }
            let verdict = layer_verdict(&self.rules, ask, layer, &found);
            views.push(LayerView { layer: layer.clone(), verdict, rules });
            matches.push((layer, found));
        }
        Explanation { judgement: weigh(&self.rules, ask, &matches), layers: views, facts: facts(ask, Some(&action)) }
    }
}

fn facts(ask: &Ask<'_>, action: Option<&Action>) -> Value {
    json!({
        "actor": actor_word(ask.actor),
        "revision": ask.revision,
        "capability": ask.capability,
        "groups": action.map(|action| &action.groups),
        "tools": ask.tools,
        "arguments": ask.attributes,
        "circumstances": ask.context,
    })
}

fn view(rule: &Rule, error: Option<String>) -> RuleView {
    RuleView {
        file: rule.file.to_string(),
        line: rule.line,
        id: rule.said.id.clone(),
        forbids: rule.effect() == Effect::Forbid,
        verdict: rule.verdict(),
        reason: rule.said.reason.clone(),
        approvers: rule.said.approvers,
        error,
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Yes,
    No,
    Erred(String),
}

pub(crate) fn alone(authorizer: &Authorizer, rule: &Rule, request: &Request, entities: &Entities) -> Answer {
    let set = PolicySet::from_policies([rule.policy.clone()]).expect("invariant: one rule has one number");
    let answer = authorizer.is_authorized(request, &set, entities);
    let mut errors = answer.diagnostics().errors();
    match (errors.next(), answer.diagnostics().reason().next()) {
        (Some(error), _) => Answer::Erred(error.to_string()),
        (None, Some(_)) => Answer::Yes,
        (None, None) => Answer::No,
    }
}

/// Whether a rule speaks of a call, whatever it then says.
pub(crate) fn covers(rule: &Rule, ask: &Ask<'_>) -> bool {
    let Some(action) = action(ask.capability) else { return false };
    let (request, entities) = (request(ask, &action, Uses::ALL), entities(ask, &action));
    rule.layer.covers(ask) && alone(&Authorizer::new(), rule, &request, &entities) == Answer::Yes
}
