//! The reference: every layer's whole set given to Cedar, with the whole context, checked against the schema; no index, no
//! shortcut, and none of the crate's own requests.
use crate::world::{Call, Written};
use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision, Effect, Entities, EntityUid, PolicyId, PolicySet, Request,
    Schema,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use tenure_core::actor::Actor;
use tenure_core::capability;
use tenure_core::judge::Verdict;
use tenure_policy::{Asked, Layer, floor, schema_json};

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::from_json_value(schema_json()).expect("a schema"));

/// Every layer's rules as one set each, of which plain Cedar is asked.
pub struct Plain(BTreeMap<Layer, PolicySet>);

impl Plain {
    pub fn of(rules: &[Written]) -> Plain {
        let mut texts: BTreeMap<Layer, String> =
            BTreeMap::from([(Layer::Floor, floor().text), (Layer::System, String::new())]);
        for rule in rules {
            texts.entry(rule.layer.clone()).or_default().push_str(&rule.text());
        }
        let parsed = |text: String| text.parse().expect("the rules are Cedar's");
        Plain(texts.into_iter().map(|(layer, text)| (layer, parsed(text))).collect())
    }

    pub fn verdict(&self, call: &Call) -> Verdict {
        let asked = call.asked();
        let listed = asked.tools.iter().any(|pattern| capability::matches(pattern, &asked.capability));
        let tools = if listed || asked.actor == Actor::Validator { Verdict::Autonomous } else { Verdict::Blocked };
        let (request, entities) = (request(&asked, &SCHEMA), entities(&asked, &SCHEMA));
        let covering = self.0.iter().filter(|(layer, _)| layer.covers(&asked.ask(None)));
        let layers = covering.filter_map(|(layer, set)| layer_verdict(layer, set, &asked, (&request, &entities)));
        layers.chain([tools]).max().expect("the manifest says something")
    }
}

fn layer_verdict(
    layer: &Layer,
    set: &PolicySet,
    asked: &Asked,
    (request, entities): (&Request, &Entities),
) -> Option<Verdict> {
    let answer = Authorizer::new().is_authorized(request, set, entities);
    let effect = |id: &PolicyId| set.policy(id).expect("it is of the set").effect();
    let errors: Vec<&PolicyId> = answer
        .diagnostics()
        .errors()
        .map(|error| match error {
            AuthorizationError::PolicyEvaluationError(error) => error.policy_id(),
        })
        .collect();
    let reasons: Vec<&PolicyId> = answer.diagnostics().reason().collect();
    let forbidden = reasons.iter().chain(&errors).any(|id| effect(id) == Effect::Forbid);
    if forbidden {
        return Some(Verdict::Blocked);
    }
    if asked.actor == Actor::Validator {
        return None;
    }
    if matches!(layer, Layer::Floor | Layer::System) && answer.decision() == Decision::Deny {
        return Some(Verdict::Blocked);
    }
    let verdict = |id: &PolicyId| match set.annotation(id, "verdict") {
        Some("notify") => Verdict::Notify,
        Some("approval_required") => Verdict::ApprovalRequired,
        Some(_) | None => Verdict::Autonomous,
    };
    reasons.into_iter().chain(errors).map(verdict).max()
}

fn uid(kind: &str, name: &str) -> EntityUid {
    format!("{kind}::{}", json!(name)).parse().expect("an entity")
}

fn entities(asked: &Asked, schema: &Schema) -> Entities {
    let parents: Vec<Value> = asked
        .context
        .labels
        .iter()
        .map(|(key, value)| json!({"type": "Label", "id": format!("{key}={value}")}))
        .collect();
    let agent = json!({
        "uid": {"type": "Agent", "id": asked.context.agent_name},
        "attrs": {"name": asked.context.agent_name, "revision": asked.revision},
        "parents": parents,
    });
    Entities::from_json_value(json!([agent]), Some(schema)).expect("the entities fit the schema")
}

fn request(asked: &Asked, schema: &Schema) -> Request {
    let action = uid("Action", &asked.capability);
    let context =
        Context::from_json_value(context(asked), Some((schema, &action))).expect("the context fits the schema");
    let (principal, resource) = (uid("Agent", &asked.context.agent_name), uid("Project", "default"));
    Request::new(principal, action, resource, context, Some(schema)).expect("the request fits the schema")
}

fn context(asked: &Asked) -> Value {
    let (seen, around) = (&asked.attributes, &asked.context);
    let hours = around.at.millis() / 3_600_000;
    let mut context = json!({
        "input": seen.input,
        "hour": hours % 24,
        "minute": 0,
        // 1970-01-01 was a Thursday, the 2nd a Friday.
        "weekday": 4 + hours / 24,
        "caller": <&str>::from(around.caller),
        "actor": if asked.actor == Actor::Validator { "validator" } else { "agent" },
        "calls_minute": around.counters.calls_minute,
        "calls_hour": around.counters.calls_hour,
        "calls_day": around.counters.calls_day,
        "spent_day_micro_usd": around.counters.spent_day_micro_usd,
        "spent_month_micro_usd": around.counters.spent_month_micro_usd,
    });
    for (name, value) in [
        ("path", json!(seen.path)),
        ("host", json!(seen.host)),
        ("port", json!(seen.port)),
        ("key", json!(seen.key)),
        ("bytes", json!(seen.bytes)),
        ("trigger", json!(around.trigger)),
        ("level", json!(around.level)),
    ] {
        if !value.is_null() {
            context[name] = value;
        }
    }
    if let Some(argv) = &seen.argv {
        context["program"] = json!(argv[0]);
        context["command"] = json!(argv.join(" "));
        context["words"] = json!(argv);
        context["argc"] = json!(argv.len());
        for (number, word) in argv.iter().enumerate().take(16) {
            context[format!("argv{number}")] = json!(word);
        }
    }
    context
}
