//! What providers write in other forms than they promise: numbers as floats or text, text in parts, errors that are none.

use serde_json::Value;

/// Reads JSON, also where a server has cut a letter in two: half of a surrogate pair becomes the sign for no letter.
pub(super) fn json(text: &str) -> Result<Value, serde_json::Error> {
    let read = serde_json::from_str(text);
    match read {
        Err(_) if text.contains("\\u") => serde_json::from_str(&whole_letters(text)),
        read => read,
    }
}

fn whole_letters(text: &str) -> String {
    let (mut whole, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        whole.push_str(before);
        let low = |escape: &str| unit(escape).is_some_and(|unit| (0xdc00..0xe000).contains(&unit));
        let (shown, length) = match unit(escape) {
            Some(0xd800..0xdc00) if escape.get(6..).is_some_and(low) => (&escape[..12], 12),
            Some(0xd800..0xe000) => ("\\ufffd", 6),
            // The letter behind a backslash may be one itself.
            Some(_) | None => {
                let length = 1 + escape.chars().nth(1).map_or(0, char::len_utf8);
                (&escape[..length], length)
            }
        };
        whole.push_str(shown);
        rest = &escape[length..];
    }
    whole + rest
}

/// The unit of UTF-16 that an escape at the beginning stands for.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

/// The largest count that is taken at its word.
const COUNT_MAX: u64 = 1 << 40;

/// A count, whole or as a float or text; nothing where it is none or negative.
pub(super) fn count(value: &Value) -> Option<u64> {
    let counted = match value {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().and_then(whole))?,
        Value::String(text) => text.trim().parse().ok().or_else(|| text.trim().parse().ok().and_then(whole))?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    Some(counted.min(COUNT_MAX))
}

fn whole(float: f64) -> Option<u64> {
    // `as` saturates.
    (float.is_finite() && float >= 0.0).then_some(float as u64)
}

/// A place that a provider numbers. It is a name of something, never a size.
pub(super) fn place(value: Option<&Value>) -> Option<u64> {
    match value? {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().and_then(whole)),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A text that says something.
pub(super) fn word<'v>(value: &'v Value, field: &str) -> Option<&'v str> {
    value.get(field).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// The error that a body tells of; an `error` that says nothing is none.
pub(super) fn error_in(value: &Value) -> Option<&Value> {
    if let Some(error) = value.get("error").filter(|error| says_something(error)) {
        return Some(error);
    }
    let named = |field: &str| word(value, field).is_some_and(|text| text.eq_ignore_ascii_case("error"));
    (named("object") || named("type") || named("status") && value.get("message").is_some()).then_some(value)
}

fn says_something(error: &Value) -> bool {
    match error {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.trim().is_empty(),
        Value::Object(fields) => fields.values().any(says_something),
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Array(items) => !items.is_empty(),
        Value::Bool(true) => true,
    }
}

/// The text of a content that is text, a part, or a list of parts. `kinds` are the types of parts that count.
pub(super) fn texts<'v>(content: &'v Value, kinds: &[&str], each: &mut dyn FnMut(&'v str)) {
    match content {
        Value::String(text) => each(text),
        Value::Array(parts) => parts.iter().for_each(|part| texts(part, kinds, each)),
        Value::Object(part) => {
            let counts = part.get("type").and_then(Value::as_str).is_none_or(|kind| kinds.contains(&kind));
            if let (true, Some(Value::String(text))) = (counts, part.get("text")) {
                each(text);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn half_a_letter_is_the_sign_for_none_and_spoils_nothing_beside_it() {
        for (text, wanted) in [
            (r#"["a\ud83d"]"#, "a\u{fffd}"),
            (r#"["\udc4d b"]"#, "\u{fffd} b"),
            (r#"["\ud83d\ud83d\udc4d"]"#, "\u{fffd}\u{1f44d}"),
            (r#"["\\ud83d\ud83dé"]"#, "\\ud83d\u{fffd}é"),
            (r#"["\ud83d\u0041"]"#, "\u{fffd}A"),
        ] {
            assert_eq!(json(text).ok(), Some(json!([wanted])), "{text}");
        }
        for broken in [r#"["\ud83"]"#, r#"["\u"#, r#"["\"#, r#"["\ud83d"#] {
            assert!(json(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_count_is_taken_in_every_form_and_never_beyond_its_bound() {
        for (form, wanted) in [
            (json!(7), Some(7)),
            (json!(7.0), Some(7)),
            (json!("7"), Some(7)),
            (json!("7.9"), Some(7)),
            (json!(1e300), Some(COUNT_MAX)),
            (json!(u64::MAX), Some(COUNT_MAX)),
            (json!(-1), None),
            (json!(null), None),
            (json!({}), None),
        ] {
            assert_eq!(count(&form), wanted, "{form}");
        }
    }

    #[test]
    fn an_error_that_says_nothing_is_none() {
        for nothing in
            [json!({"error": null}), json!({"error": ""}), json!({"error": {}}), json!({"error": {"code": 0}})]
        {
            assert_eq!(error_in(&nothing), None, "{nothing}");
        }
        for told in
            [json!({"error": "no"}), json!({"error": {"message": "no"}}), json!({"object": "error", "message": "no"})]
        {
            assert!(error_in(&told).is_some(), "{told}");
        }
    }
}
