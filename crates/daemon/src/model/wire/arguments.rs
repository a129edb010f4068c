//! The arguments of a call, as a model wrote them: an object, or why they are none, in words that the model can act on.

use serde_json::{Map, Value};

/// Letters of unreadable arguments that are shown to the model, on each side of the place.
const AROUND_CHARS: usize = 30;
/// How often JSON may stand as a text within JSON.
const WRAPPINGS_MAX: u32 = 3;

/// # Errors
/// Why these are no arguments.
pub fn read(text: &str) -> Result<Value, String> {
    let mut text = text.trim().to_owned();
    for _ in 0..=WRAPPINGS_MAX {
        if text.is_empty() {
            return Ok(Value::Object(Map::new()));
        }
        match one(&text)? {
            arguments @ Value::Object(_) => return Ok(arguments),
            Value::Null => return Ok(Value::Object(Map::new())),
            Value::String(inner) if inner.trim_start().starts_with(['{', '"']) || inner.trim().is_empty() => {
                text = inner.trim().to_owned();
            }
            Value::String(_) => return Err("its arguments are a JSON string, not an object".to_owned()),
            Value::Array(_) => return Err("its arguments are a JSON array, not an object".to_owned()),
            Value::Number(_) => return Err("its arguments are a number, not an object".to_owned()),
            Value::Bool(_) => return Err("its arguments are true or false, not an object".to_owned()),
        }
    }
    Err("its arguments are JSON within strings of JSON; write one object".to_owned())
}

/// The one value that a text holds. Some servers put an empty object before the arguments, or send them twice.
fn one(text: &str) -> Result<Value, String> {
    let mut found: Option<Value> = None;
    for next in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        match (next, &found) {
            (Ok(value), None) => found = Some(value),
            (Ok(value), Some(before)) if *before == value || before.as_object().is_some_and(Map::is_empty) => {
                found = Some(value);
            }
            (Ok(_), Some(_)) => return Err("its arguments are several JSON values, not one object".to_owned()),
            (Err(error), _) => return Err(unreadable(text, &error)),
        }
    }
    found.ok_or_else(|| "its arguments are no JSON".to_owned())
}

fn unreadable(text: &str, error: &serde_json::Error) -> String {
    let line_begin: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let mut place = (line_begin + error.column()).min(text.len());
    while !text.is_char_boundary(place) {
        place -= 1;
    }
    let before: Vec<char> = text[..place].chars().rev().take(AROUND_CHARS).collect();
    let around: String = before.into_iter().rev().chain(text[place..].chars().take(AROUND_CHARS)).collect();
    format!("its arguments are no JSON object: {error}, near `{}`; write them again", around.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_can_only_be_meant_one_way_is_taken() {
        for (text, wanted) in [
            (r#"{"path": "a"}"#, json!({"path": "a"})),
            ("", json!({})),
            (" \n", json!({})),
            ("null", json!({})),
            ("\"\"", json!({})),
            (r#""{\"path\": \"a\"}""#, json!({"path": "a"})),
            (r#""\"{}\"""#, json!({})),
            (r#"{}{"path": "a"}"#, json!({"path": "a"})),
            (r#"{"path": "a"}{"path": "a"}"#, json!({"path": "a"})),
        ] {
            assert_eq!(read(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_no_object_says_why_and_where() {
        for text in [
            "[1]",
            "7",
            "true",
            r#""text""#,
            "{\"a\": 1",
            "{\"a\": 1,}",
            "{\"a\": \"x\ny\"}",
            "{\"a\": \"\\ud83d\"}",
            "no",
        ] {
            let why = read(text).unwrap_err();
            assert!(why.starts_with("its arguments are") && why.len() < 250, "{why}");
        }
        assert!(read(r#"{"a": 1}{"a": 2}"#).unwrap_err().contains("several"));
        assert!(read(r#"{"path": "a", "content": "he said "x""}"#).unwrap_err().contains("he said"));
        assert!(read(&"[".repeat(10_000)).unwrap_err().contains("recursion"));
    }
}
