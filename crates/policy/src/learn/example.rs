//! Examples of a rule, made of what a judge saw of a call: arguments that give the same view again. Where none do, there is no
//! example, and no rule without one is proposed.
use serde_json::{Map, Value, json};
use tenure_core::approval::{Pattern, cedar_text};
use tenure_core::capability::{self, Argument, Attributes};

/// Arguments that name whom or what a `key` stands for, in the order in which capabilities have them.
const KEYS: [&str; 8] = ["key", "prefix", "to", "channel", "agent", "name", "severity", "id"];
/// Of one argument in an example.
const TEXT_BYTES_MAX: usize = 1_024;

/// A call that the pattern fits.
pub(super) fn inside(pattern: &Pattern, attributes: &Attributes) -> Option<String> {
    let arguments = arguments(&pattern.capability, attributes)?;
    fits(pattern, &arguments).then(|| written(&pattern.capability, &arguments)).flatten()
}

/// A call of the same capability that none of the patterns fits; of another capability where they fit every one.
pub(super) fn outside(patterns: &[&Pattern], attributes: &Attributes) -> Option<String> {
    let capability = patterns.first()?.capability.clone();
    let other = others(attributes).into_iter().find_map(|other| {
        let arguments = arguments(&capability, &other)?;
        let outside = patterns.iter().all(|pattern| !fits(pattern, &arguments));
        outside.then(|| written(&capability, &arguments)).flatten()
    });
    other.or_else(|| {
        let other = if capability == "system.time" { "agent.whoami" } else { "system.time" };
        patterns.iter().all(|pattern| is_whole(pattern)).then(|| written(other, &Map::new())).flatten()
    })
}

/// It asks nothing of a call but its capability.
pub(super) fn is_whole(pattern: &Pattern) -> bool {
    pattern.to_conditions().is_empty()
}

fn fits(pattern: &Pattern, arguments: &Map<String, Value>) -> bool {
    let Some(known) = capability::find(&pattern.capability) else { return false };
    let mut seen = known.attributes(&Value::Object(arguments.clone()));
    // The pattern is asked of what it names alone.
    seen.input.retain(|name, _| name == "url" || pattern.input.contains_key(name));
    pattern.fits(&pattern.capability, &seen)
}

/// The same in all but one thing that patterns name.
fn others(attributes: &Attributes) -> Vec<Attributes> {
    let mut others = Vec::new();
    if attributes.host.is_some() {
        let mut other = attributes.clone();
        other.host = Some("other.example".to_string());
        other.input.insert("url".to_string(), Argument::Text("https://other.example/".to_string()));
        others.push(other);
    }
    if attributes.argv.is_some() {
        others.push(Attributes { argv: Some(vec!["another-program".to_string()]), ..attributes.clone() });
    }
    if attributes.path.is_some() {
        others.push(Attributes { path: Some("/workspace/elsewhere/other/file".to_string()), ..attributes.clone() });
    }
    if let Some(key) = &attributes.key {
        let mut other = attributes.clone();
        let elsewhere = format!("{key}-other");
        for value in other.input.values_mut() {
            if matches!(value, Argument::Text(text) if text == key) {
                *value = Argument::Text(elsewhere.clone());
            }
        }
        other.key = Some(elsewhere);
        others.push(other);
    }
    others
}

/// Arguments of which a judge sees this; bulk is empty.
fn arguments(capability: &str, attributes: &Attributes) -> Option<Map<String, Value>> {
    let schema = capability::find(capability)?.input();
    let known = schema.get("properties")?.as_object()?;
    let mut given = Map::new();
    for (name, value) in &attributes.input {
        let value = match value {
            Argument::Flag(flag) => json!(flag),
            Argument::Number(number) => json!(number),
            Argument::Text(text) => json!(text),
            Argument::Texts(texts) => json!(texts),
        };
        given.insert(name.clone(), value);
    }
    let mut first = |names: &[&str], value: Value| {
        if let Some(name) = names.iter().find(|name| known.contains_key(**name)) {
            given.entry((*name).to_string()).or_insert(value);
        }
    };
    if let Some(path) = &attributes.path {
        first(&["path", "cwd", "trashed_as"], json!(path));
    }
    if let Some(argv) = &attributes.argv {
        first(&["command"], json!(argv.first()?));
        if argv.len() > 1 {
            first(&["args"], json!(argv[1..]));
        }
    }
    if let Some(host) = &attributes.host {
        first(&["host", "name"], json!(host));
    }
    if let Some(port) = attributes.port {
        first(&["port"], json!(port));
    }
    if let Some(key) = &attributes.key {
        first(&KEYS, json!(key.strip_prefix('#').filter(|_| known.contains_key("channel")).unwrap_or(key)));
    }
    Some(given)
}

/// As an annotation holds it.
fn written(capability: &str, arguments: &Map<String, Value>) -> Option<String> {
    let mut fields = vec![format!("capability = {}", toml_text(capability))];
    if !arguments.is_empty() {
        fields.push(format!("input = {}", toml(&Value::Object(arguments.clone()))?));
    }
    Some(cedar_text(&format!("{{{}}}", fields.join(", "))))
}

/// None of what no example needs: null, fractions and long texts.
fn toml(value: &Value) -> Option<String> {
    match value {
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => number.as_i64().map(|number| number.to_string()),
        Value::String(text) => (text.len() <= TEXT_BYTES_MAX).then(|| toml_text(text)),
        Value::Array(values) => {
            let values: Option<Vec<String>> = values.iter().map(toml).collect();
            Some(format!("[{}]", values?.join(", ")))
        }
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| Some(format!("{name} = {}", toml(value)?)));
            let fields: Option<Vec<String>> = fields.collect();
            Some(format!("{{{}}}", fields?.join(", ")))
        }
        Value::Null => None,
    }
}

/// Without quotes that Cedar would want escaped, where it can be.
fn toml_text(text: &str) -> String {
    if text.contains('\'') || text.chars().any(char::is_control) {
        return serde_json::to_string(text).expect("invariant: a text is JSON");
    }
    format!("'{text}'")
}
