//! The Cedar schema, generated from the catalogue of capabilities: a rule that names what no capability has is refused when it
//! is loaded. Tools of MCP servers stand in no catalogue: an action is made for each that a rule names.
use crate::mcp_names::McpNames;
use crate::vocabulary::{ACTION, AGENT, ARGV_MAX, Attribute, LABEL, PROJECT, groups};
use cedar_policy::Schema;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use tenure_core::capability::hook::Hook;
use tenure_core::capability::mcp::{self, Method};
use tenure_core::capability::{ArgumentKind, Attributes, Capability, Effects, catalogue, terms};

/// An action, and what its calls are judged by.
#[derive(Debug, Clone)]
pub(crate) struct Action {
    pub(crate) name: String,
    /// Groups by pattern and by effects.
    pub(crate) groups: Vec<String>,
    attributes: Value,
}

pub(crate) static ACTIONS: LazyLock<BTreeMap<&'static str, Action>> = LazyLock::new(|| {
    let action = |capability: &'static Capability| {
        let mut groups = groups(capability.name);
        groups.push(effects_group(capability.effects));
        let attributes = context(&judged(capability), input(capability));
        Action { name: capability.name.to_string(), groups, attributes }
    };
    let asked = Hook::all().map(|hook| (hook.capability(), hook_action(hook)));
    catalogue().map(|capability| (capability.name, action(capability))).chain(asked).collect()
});

/// What the program of a code agent is asked: judged by who is asked and when, and by nothing of what is said.
fn hook_action(hook: Hook) -> Action {
    let name = hook.capability();
    let mut groups = groups(name);
    groups.push(effects_group(hook.terms().effects));
    Action {
        name: name.to_string(),
        groups,
        attributes: context(&Attributes::default(), json!({"type": "Record", "attributes": {}})),
    }
}

/// The action of a capability; none of what is none.
pub(crate) fn action(capability: &str) -> Option<Cow<'static, Action>> {
    let built = ACTIONS.get(capability).map(Cow::Borrowed);
    built.or_else(|| mcp_action(capability, &BTreeSet::new()).map(Cow::Owned))
}

/// `arguments`: those that rules name. Each is a text: what is no text is its JSON.
fn mcp_action(name: &str, arguments: &BTreeSet<String>) -> Option<Action> {
    let method = mcp::Name::parse(name)?.method;
    let mut groups = groups(name);
    groups.push(effects_group(terms(name)?.effects));
    let key = matches!(method, Method::ReadResource | Method::GetPrompt).then(String::new);
    let had = Attributes { key, bytes: Some(0), ..Attributes::default() };
    let text = |name: &String| (name.clone(), json!({"type": "String", "required": false}));
    let input: Map<String, Value> = arguments.iter().map(text).collect();
    let attributes = context(&had, json!({"type": "Record", "attributes": input}));
    Some(Action { name: name.to_string(), groups, attributes })
}

/// The schema with an action for each tool, and each group of tools, that these rules name.
pub(crate) fn schema_with(named: &McpNames) -> Option<Schema> {
    let mut actions: BTreeMap<String, Action> = BTreeMap::new();
    for name in named.actions.iter().chain([&ANY_TOOL.to_string()]) {
        actions.extend(mcp_action(name, &named.arguments).map(|action| (name.clone(), action)));
    }
    Schema::from_json_value(json_of(ACTIONS.values().chain(actions.values()))).ok()
}

/// Stands for any tool of any server, so that `mcp.*` has a member.
pub(crate) const ANY_TOOL: &str = "mcp.server.tool";

pub(crate) static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    Schema::from_json_value(schema_json()).expect("invariant: the schema made of the catalogue is one of Cedar's")
});

/// The schema in Cedar's JSON form, for editors and for people.
pub fn schema_json() -> Value {
    json_of(ACTIONS.values().chain(mcp_action(ANY_TOOL, &BTreeSet::new()).iter()))
}

fn json_of<'a>(all: impl Iterator<Item = &'a Action> + Clone) -> Value {
    let long = json!({"type": "Long"});
    let text = json!({"type": "String"});
    let agent = json!({
        "memberOfTypes": [LABEL],
        "shape": {"type": "Record", "attributes": {"name": text, "revision": long}}
    });
    let mut actions = Map::new();
    let grouped: BTreeSet<&String> = all.clone().flat_map(|action| &action.groups).collect();
    for group in grouped {
        actions.insert(group.clone(), json!({}));
    }
    for action in all {
        let groups: Vec<Value> = action.groups.iter().map(|group| json!({"id": group})).collect();
        let applies = json!({"principalTypes": [AGENT], "resourceTypes": [PROJECT], "context": action.attributes});
        actions.insert(action.name.clone(), json!({"memberOf": groups, "appliesTo": applies}));
    }
    json!({"": {"entityTypes": {AGENT: agent, LABEL: {}, PROJECT: {}}, "actions": actions}})
}

/// Names of all actions and groups, as a rule writes them.
pub(crate) fn action_names() -> impl Iterator<Item = String> {
    let groups: BTreeSet<&String> = ACTIONS.values().flat_map(|action| &action.groups).collect();
    let groups: Vec<String> = groups.into_iter().cloned().collect();
    let mcp = ["mcp.*", ANY_TOOL].map(str::to_string);
    let names = ACTIONS.keys().map(|name| (*name).to_string()).chain(groups).chain(mcp);
    names.map(|name| format!("{ACTION}::\"{name}\""))
}

fn effects_group(effects: Effects) -> String {
    format!("effects:{}", <&str>::from(effects))
}

fn context(had: &Attributes, input: Value) -> Value {
    let mut attributes = Map::new();
    let mut add = |attribute: Attribute, kind: Value, required: bool| {
        let mut kind = kind;
        kind["required"] = required.into();
        attributes.insert(attribute.as_str().to_string(), kind);
    };
    let (long, text) = (json!({"type": "Long"}), json!({"type": "String"}));
    for (attribute, kind, has) in [
        (Attribute::Path, &text, had.path.is_some()),
        (Attribute::Host, &text, had.host.is_some()),
        (Attribute::Port, &long, had.port.is_some()),
        (Attribute::Key, &text, had.key.is_some()),
        (Attribute::Bytes, &long, had.bytes.is_some()),
    ] {
        if has {
            add(attribute, kind.clone(), false);
        }
    }
    for (attribute, kind, required) in [
        (Attribute::Hour, &long, true),
        (Attribute::Minute, &long, true),
        (Attribute::Weekday, &long, true),
        (Attribute::Caller, &text, true),
        (Attribute::Trigger, &text, false),
        (Attribute::Actor, &text, true),
        (Attribute::Level, &text, false),
        (Attribute::CallsMinute, &long, true),
        (Attribute::CallsHour, &long, true),
        (Attribute::CallsDay, &long, true),
        (Attribute::SpentDay, &long, true),
        (Attribute::SpentMonth, &long, true),
    ] {
        add(attribute, kind.clone(), required);
    }
    if had.argv.is_some() {
        add(Attribute::Program, text.clone(), true);
        add(Attribute::Command, text.clone(), true);
        add(Attribute::Words, json!({"type": "Set", "element": text}), true);
        add(Attribute::Argc, long.clone(), true);
    }
    add(Attribute::Input, input, true);
    if had.argv.is_some() {
        for number in 0..ARGV_MAX {
            attributes.insert(format!("argv{number}"), json!({"type": "String", "required": false}));
        }
    }
    json!({"type": "Record", "attributes": attributes})
}

fn input(capability: &Capability) -> Value {
    let attributes = capability.judged_arguments().iter().map(|argument| {
        let mut kind = match argument.kind {
            ArgumentKind::Flag => json!({"type": "Boolean"}),
            ArgumentKind::Number => json!({"type": "Long"}),
            ArgumentKind::Text => json!({"type": "String"}),
            ArgumentKind::Texts => json!({"type": "Set", "element": {"type": "String"}}),
        };
        kind["required"] = argument.required.into();
        (argument.name.clone(), kind)
    });
    json!({"type": "Record", "attributes": attributes.collect::<Map<String, Value>>()})
}

/// What a judge can ever see of a capability: what it sees of a call that gives every argument.
fn judged(capability: &Capability) -> Attributes {
    let schema = capability.input();
    let properties = schema.get("properties").and_then(Value::as_object);
    let arguments = properties.into_iter().flatten().map(|(name, property)| (name.clone(), sample(name, property)));
    capability.attributes(&Value::Object(arguments.collect()))
}

fn sample(name: &str, property: &Value) -> Value {
    let kind = property.get("type").and_then(Value::as_str);
    match (name, kind) {
        ("url", _) => "https://a.example/".into(),
        (_, Some("integer")) => 1.into(),
        (_, Some("boolean")) => true.into(),
        (_, Some("array")) => json!([]),
        (_, Some("object")) => json!({}),
        (_, Some(_) | None) => "a".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(capability: &str) -> Vec<String> {
        let context = &ACTIONS[capability].attributes["attributes"];
        let usual = ["hour", "minute", "weekday", "caller", "trigger", "actor", "level", "input"];
        let own = context.as_object().unwrap().keys();
        let own = own.filter(|name| !usual.contains(&name.as_str()) && !name.starts_with("calls_"));
        own.filter(|name| !name.starts_with("spent_") && !name.starts_with("argv")).cloned().collect()
    }

    #[test]
    fn each_action_has_the_attributes_that_its_calls_can_have() {
        for (capability, expected) in [
            ("filesystem.read", &["path"][..]),
            ("filesystem.write", &["path", "bytes"]),
            ("network.http_request", &["host", "port", "bytes"]),
            ("network.credentialed_request", &["host", "port", "key", "bytes"]),
            ("network.download", &["path", "host", "port"]),
            ("network.dns_lookup", &["host"]),
            ("process.run", &["path", "program", "command", "words", "argc"]),
            ("state.shared.set", &["key", "bytes"]),
            ("comms.send", &["key", "bytes"]),
            ("agent.execute", &["key", "bytes"]),
            ("system.time", &[]),
        ] {
            assert_eq!(attributes(capability), expected, "{capability}");
        }
    }

    #[test]
    fn the_schema_is_one_of_cedars_and_knows_every_capability() {
        let actions: Vec<String> = SCHEMA.actions().map(ToString::to_string).collect();
        for capability in catalogue() {
            assert!(actions.contains(&format!("Action::\"{}\"", capability.name)), "{}", capability.name);
        }
    }
}
