//! The arguments of a call that a judge sees as they were given: what is short and plain by the capability's own schema.
//! Bulk is never among them, nor what is judged in a form of its own: a rule on its spelling would be evaded by another one.
use super::{Capability, catalogue};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Texts that may be longer are bulk: `bytes` tells how much there is.
const TEXT_BYTES_MAX: u64 = 8 * 1024;
/// What canonical JSON holds exactly; a larger number is judged as this one.
const NUMBER_MAX: i64 = (1 << 53) - 1;

/// One argument, exact.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Argument {
    Flag(bool),
    Number(i64),
    Text(String),
    Texts(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgumentKind {
    Flag,
    Number,
    Text,
    Texts,
}

/// An argument that a judge may see, as the schema of its capability has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedArgument {
    pub name: String,
    pub kind: ArgumentKind,
    pub required: bool,
}

static CATALOGUE: LazyLock<BTreeMap<&'static str, Vec<JudgedArgument>>> =
    LazyLock::new(|| catalogue().map(|known| (known.name, from_schema(known))).collect());

pub(super) fn of(capability: &str) -> &'static [JudgedArgument] {
    CATALOGUE.get(capability).map_or(&[], Vec::as_slice)
}

/// What does not fit its kind is left out: the schema refuses such a call before it is judged.
pub(super) fn judged(capability: &Capability, arguments: &Value) -> BTreeMap<String, Argument> {
    let seen = of(capability.name).iter().filter_map(|argument| {
        let value = read(argument.kind, arguments.get(&argument.name)?)?;
        Some((argument.name.clone(), value))
    });
    seen.collect()
}

fn read(kind: ArgumentKind, value: &Value) -> Option<Argument> {
    match kind {
        ArgumentKind::Flag => value.as_bool().map(Argument::Flag),
        ArgumentKind::Number => whole(value).map(Argument::Number),
        ArgumentKind::Text => value.as_str().map(|text| Argument::Text(text.to_string())),
        ArgumentKind::Texts => {
            let texts = value.as_array()?.iter().map(|text| text.as_str().map(str::to_string));
            texts.collect::<Option<Vec<String>>>().map(Argument::Texts)
        }
    }
}

/// The schema's `integer` lets 3.0 and 2^64 pass: they are judged as 3 and as the largest number.
fn whole(value: &Value) -> Option<i64> {
    let number = value.as_i64().or_else(|| value.as_u64().map(|_| i64::MAX)).or_else(|| {
        let float = value.as_f64().filter(|float| float.fract() == 0.0)?;
        // A cast of a float ends at the type's bounds.
        Some(float as i64)
    })?;
    Some(number.clamp(-NUMBER_MAX, NUMBER_MAX))
}

fn from_schema(capability: &Capability) -> Vec<JudgedArgument> {
    let schema = capability.input();
    let required = |name: &str| {
        let names = schema.get("required").and_then(Value::as_array);
        names.is_some_and(|names| names.iter().any(|required| required == name))
    };
    let properties = schema.get("properties").and_then(Value::as_object);
    let seen = properties.into_iter().flatten().filter_map(|(name, property)| {
        let kind = kind(property).filter(|_| !has_a_form_of_its_own(capability.name, name))?;
        Some(JudgedArgument { name: name.clone(), kind, required: required(name) })
    });
    seen.collect()
}

/// None of bulk, and of what is neither plain nor a list of plain texts.
fn kind(property: &Value) -> Option<ArgumentKind> {
    let short =
        |schema: &Value| schema.get("maxLength").and_then(Value::as_u64).is_none_or(|max| max <= TEXT_BYTES_MAX);
    let words = |property: &Value| {
        property.get("enum").and_then(Value::as_array).is_some_and(|words| words.iter().all(Value::is_string))
    };
    match property.get("type").and_then(Value::as_str) {
        Some("boolean") => Some(ArgumentKind::Flag),
        Some("integer") => Some(ArgumentKind::Number),
        Some("string") => short(property).then_some(ArgumentKind::Text),
        Some("array") => {
            let items = property.get("items")?;
            (items.get("type")? == "string" && short(items)).then_some(ArgumentKind::Texts)
        }
        Some(_) => None,
        None => words(property).then_some(ArgumentKind::Text),
    }
}

/// Judged as `path`, `host`, `port`, `argv` or by its size alone, and so never by its spelling.
fn has_a_form_of_its_own(capability: &str, argument: &str) -> bool {
    match capability {
        "network.dns_lookup" => argument == "name",
        "network.port_check" => matches!(argument, "host" | "port"),
        "process.run" => matches!(argument, "command" | "args" | "cwd"),
        _ => matches!(argument, "path" | "message"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::find;
    use super::*;
    use serde_json::json;

    fn seen(capability: &str, arguments: Value) -> BTreeMap<String, Argument> {
        find(capability).unwrap().attributes(&arguments).input
    }

    #[test]
    fn bulk_and_what_has_a_judged_form_of_its_own_are_never_seen_as_given() {
        for (capability, arguments) in [
            ("filesystem.write", json!({"path": "a", "content": "x"})),
            ("filesystem.edit", json!({"path": "a", "find": "x", "replace": "y"})),
            ("process.run", json!({"command": "ls", "args": ["-l"], "stdin": "x", "cwd": "b", "env": {"A": "b"}})),
            ("network.port_check", json!({"host": "A.example", "port": 80})),
            ("network.dns_lookup", json!({"name": "A.example"})),
            ("agent.execute", json!({"input": "x"})),
            ("comms.send", json!({"message": "x"})),
            ("state.persistent.set", json!({"value": "x"})),
        ] {
            assert_eq!(seen(capability, arguments), BTreeMap::new(), "{capability}");
        }
    }

    #[test]
    fn no_capability_shows_a_judge_a_path_as_spelled_or_what_is_written_or_said() {
        for capability in catalogue() {
            let names = capability.judged_arguments().iter().map(|argument| argument.name.as_str());
            let hidden = ["path", "cwd", "message", "content", "body", "stdin"];
            assert!(names.into_iter().all(|name| !hidden.contains(&name)), "{}", capability.name);
        }
    }

    #[test]
    fn plain_arguments_are_seen_exactly() {
        let request = seen("network.http_request", json!({"url": "https://A.example/b", "method": "PUT", "body": "x"}));
        let text = |text: &str| Argument::Text(text.into());
        assert_eq!(
            request,
            [("url", text("https://A.example/b")), ("method", text("PUT"))]
                .map(|(name, value)| (name.to_string(), value))
                .into()
        );
        let run = seen("process.run", json!({"command": "ls", "pty": true, "timeout_ms": 3000.0}));
        assert_eq!(
            run,
            [("pty", Argument::Flag(true)), ("timeout_ms", Argument::Number(3000))]
                .map(|(name, value)| (name.to_string(), value))
                .into()
        );
    }

    #[test]
    fn a_number_beyond_what_a_record_holds_is_judged_as_the_largest() {
        for large in [json!(u64::MAX), json!(1e300), json!(i64::MAX)] {
            assert_eq!(whole(&large), Some(NUMBER_MAX));
        }
        assert_eq!(whole(&json!(0.5)), None);
    }

    #[test]
    fn attributes_of_before_arguments_were_seen_read_and_write_the_same() {
        let old = r#"{"bytes":3,"path":"/workspace/a"}"#;
        let read: super::super::Attributes = serde_json::from_str(old).unwrap();
        assert_eq!(crate::call::attributes_json(&read).unwrap(), old.as_bytes());
    }
}
