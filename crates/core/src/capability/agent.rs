//! What an agent may ask of itself.
use super::{Attributes, Capability, Effects, Perform, Performed, arguments};
use crate::agent::Agent;
use crate::briefing;
use crate::call::{Caller, Holder};
use crate::draft::Draft;
use crate::facts::Unread;
use serde_json::{Value, json};

pub(super) const GROUP: &[Capability] = &[
    Capability {
        name: "agent.whoami",
        version: 1,
        brief: "Tell who you are: name, revision, limits.",
        use_when: "Your own name, id or limits are asked for.",
        avoid_when: "What you may call is asked for: agent.capabilities.",
        effects: Effects::None,
        idempotent: true,
        usual: &[],
        input: || arguments(&[], json!({})),
        output: || json!({"type": "object", "properties": {"agent": {"type": "string"}, "name": {"type": "string"}, "revision": {"type": "integer"}, "execution": {"type": "string"}, "session": {"type": "string"}, "model": {"type": "string"}, "limits": {"type": "object"}}}),
        attributes: |_| Attributes::default(),
        perform: Some(Perform::From(whoami)),
    },
    Capability {
        name: "agent.capabilities",
        version: 1,
        brief: "List what you may call; with a name, how to call it.",
        use_when: "It is not clear which capability fits.",
        avoid_when: "The capability is known: call it.",
        effects: Effects::None,
        idempotent: true,
        usual: &["name"],
        input: || arguments(&[], json!({"name": {"type": "string", "minLength": 1, "maxLength": 128}})),
        output: || json!({"type": "object", "properties": {"capabilities": {"type": "array"}}}),
        attributes: |_| Attributes::default(),
        perform: Some(Perform::From(capabilities)),
    },
    Capability {
        name: "agent.briefing",
        version: 1,
        brief: "Tell what happened since your last execution ended.",
        use_when: "You begin, and should know what you missed.",
        avoid_when: "The messages themselves are wanted: comms.receive.",
        effects: Effects::None,
        idempotent: true,
        usual: &[],
        input: || arguments(&[], json!({})),
        output: || json!({"type": "object", "properties": {"since": {"type": "string"}, "messages": {"type": "object"}, "system": {"type": "object"}, "failures": {"type": "object"}}}),
        attributes: |_| Attributes::default(),
        perform: Some(Perform::From(briefing)),
    },
];

fn briefing(draft: &mut Draft<'_>, caller: Caller, _: &Value) -> Result<Performed, Unread> {
    Ok(match briefing::of(draft, caller.agent, None)? {
        Some(briefing) => {
            Performed::done(serde_json::to_value(briefing).expect("invariant: a briefing is JSON with text keys"))
        }
        None => Performed::failed("not_found", "there is no such agent"),
    })
}

fn whoami(draft: &mut Draft<'_>, caller: Caller, _: &Value) -> Result<Performed, Unread> {
    let plan = draft.plan(caller.agent, caller.revision)?;
    let name = draft.get::<Agent>(caller.agent)?.map(|agent| agent.name.clone());
    let mut told = json!({
        "agent": caller.agent,
        "name": name,
        "revision": caller.revision,
        "model": plan.as_ref().map(|plan| plan.model.clone()),
        "limits": plan.map(|plan| plan.limits),
    });
    match caller.holder {
        Holder::Execution(id) => told["execution"] = json!(id),
        Holder::Session(id) => told["session"] = json!(id),
    }
    Ok(Performed::done(told))
}

fn capabilities(draft: &mut Draft<'_>, caller: Caller, arguments: &Value) -> Result<Performed, Unread> {
    let plan = draft.plan(caller.agent, caller.revision)?;
    let tools = plan.as_ref().map_or(&[][..], |plan| &plan.tools);
    let wanted = arguments.get("name").and_then(Value::as_str);
    let listed: Vec<Value> = super::offered(tools, caller.holder.session().is_none())
        .filter(|known| wanted.is_none_or(|wanted| wanted == known.name))
        .map(|known| match wanted {
            None => json!({"name": known.name, "brief": known.brief}),
            Some(_) => known.described(),
        })
        .collect();
    Ok(match (wanted, listed.is_empty()) {
        (Some(wanted), true) => {
            Performed::failed("not_found", format!("you may call nothing named `{}`", super::clip(wanted)))
        }
        (Some(_) | None, _) => Performed::done(json!({ "capabilities": listed })),
    })
}
