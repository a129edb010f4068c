//! The arguments of a model's calls against what their capability wants.

use serde_json::{Number, Value};
use std::collections::HashMap;
use std::sync::LazyLock;
use tenure_core::capability::{self, Capability};

const SCHEMA_ERRORS_MAX: usize = 4;
/// Floats beyond this are not sure to be the number that was meant.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
/// Levels of a schema that are looked into.
const DEPTH_MAX: u32 = 8;

static SCHEMAS: LazyLock<HashMap<&'static str, jsonschema::Validator>> = LazyLock::new(|| {
    let compiled = |capability: &'static Capability| {
        let schema =
            jsonschema::validator_for(&capability.input()).expect("invariant: the catalogue's schemas are valid");
        (capability.name, schema)
    };
    capability::catalogue().map(compiled).collect()
});

/// Why arguments do not fit their capability's schema, in words that a model can act on.
pub(super) fn misfit(capability: &str, arguments: &Value) -> Option<String> {
    let schema = SCHEMAS.get(capability)?;
    let errors: Vec<String> = schema
        .iter_errors(arguments)
        .take(SCHEMA_ERRORS_MAX)
        .map(|error| match error.instance_path().to_string() {
            path if path.is_empty() => error.to_string(),
            path => format!("{path}: {error}"),
        })
        .collect();
    if errors.is_empty() { None } else { Some(errors.join("; ")) }
}

/// Some models write whole numbers as floats: where an integer is wanted, 10.0 is 10.
pub(super) fn make_whole(capability: &Capability, arguments: &mut Value) {
    make_whole_by(&capability.input(), arguments, DEPTH_MAX);
}

fn make_whole_by(schema: &Value, value: &mut Value, depth: u32) {
    if depth == 0 {
        return;
    }
    match value {
        Value::Number(number) if wants_integer(schema) => {
            if let Some(whole) = number.as_f64().filter(|_| number.is_f64()).and_then(whole) {
                *number = whole;
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                if let Some(schema) = schema.get("properties").and_then(|properties| properties.get(name)) {
                    make_whole_by(schema, value, depth - 1);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                items.iter_mut().for_each(|item| make_whole_by(schema, item, depth - 1));
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Number(_) => {}
    }
}

fn wants_integer(schema: &Value) -> bool {
    match schema.get("type") {
        Some(Value::String(kind)) => kind == "integer",
        Some(Value::Array(kinds)) => {
            kinds.iter().any(|kind| kind == "integer") && !kinds.iter().any(|kind| kind == "number")
        }
        _ => false,
    }
}

fn whole(float: f64) -> Option<Number> {
    // The bound makes the cast exact.
    (float.fract() == 0.0 && float.abs() < WHOLE_MAX).then(|| Number::from(float as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arguments_that_are_unknown_missing_or_of_another_type_are_told_by_name() {
        assert_eq!(misfit("filesystem.read", &json!({"path": "a"})), None);
        let wrong = misfit("filesystem.write", &json!({"path": 3, "contents": "x"})).unwrap();
        for word in ["content", "contents", "/path"] {
            assert!(wrong.contains(word), "{wrong} lacks {word}");
        }
    }

    #[test]
    fn a_whole_float_is_an_integer_where_one_is_wanted_and_nowhere_else() {
        let read = capability::find("filesystem.read").unwrap();
        let mut arguments = json!({"path": "a", "max_bytes": 100.0});
        make_whole(read, &mut arguments);
        assert_eq!(arguments, json!({"path": "a", "max_bytes": 100}));
        for kept in [json!({"path": "a", "max_bytes": 1.5}), json!({"path": "a", "max_bytes": 1e300})] {
            let mut arguments = kept.clone();
            make_whole(read, &mut arguments);
            assert_eq!(arguments, kept);
        }
        let set = capability::find("state.persistent.set").unwrap();
        let mut stored = json!({"key": "k", "value": 1.0});
        make_whole(set, &mut stored);
        assert_eq!(
            stored.to_string(),
            json!({"key": "k", "value": 1.0}).to_string(),
            "a stored value is the model's own"
        );
    }
}
