//! What is typed where JSON is wanted. One rule for all verbs: JSON as written, and a text where it does not begin as JSON.
use std::path::Path;

use serde_json::value::RawValue;

use super::contents;
use crate::failure::{Exit, Failure};

/// JSON as written; what does not begin as JSON is a string, and `text` makes it one whatever it looks like. `@FILE` and
/// `-` are read. `what`: the noun of it, for errors; `max`: how many bytes of JSON are taken.
pub fn json(typed: &str, text: bool, what: &str, max: usize) -> Result<Box<RawValue>, Failure> {
    let content = match typed.strip_prefix('@') {
        Some(file) => read(Path::new(file), max)?,
        None if typed == "-" => read(Path::new("-"), max)?,
        None => typed.to_string(),
    };
    let trimmed = content.trim();
    let quoted = || serde_json::value::to_raw_value(&content).expect("invariant: a string is JSON");
    let value = match RawValue::from_string(trimmed.to_string()) {
        _ if text => quoted(),
        _ if trimmed.is_empty() => {
            return Err(Failure::new(Exit::Refused, format!("the {what} is empty"))
                .next(format!("leave the {what} out where there is none, or say --text if nothing is meant")));
        }
        Ok(value) => value,
        Err(error) if trimmed.starts_with(['{', '[', '"']) => {
            return Err(Failure::new(Exit::Refused, format!("the {what} begins as JSON and is none"))
                .why(error.to_string())
                .next("mend the JSON, or say --text if it is text"));
        }
        Err(_) => quoted(),
    };
    let size = value.get().len();
    if size > max {
        return Err(Failure::new(
            Exit::Refused,
            format!("the {what} has {size} bytes as JSON; at most {max} are taken"),
        )
        .next("keep large data in files of the agent's work folder"));
    }
    Ok(value)
}

fn read(path: &Path, max: usize) -> Result<String, Failure> {
    String::from_utf8(contents(path, max)?)
        .map_err(|_| Failure::new(Exit::Refused, format!("{} is not UTF-8", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1000;

    #[test]
    fn what_does_not_begin_as_json_is_a_string() {
        let of = |typed: &str| json(typed, false, "input", MAX).unwrap().get().to_string();
        assert_eq!(of(r#"{"task": "x",  "n": 1.50}"#), r#"{"task": "x",  "n": 1.50}"#);
        assert_eq!(of("reverse \"it\""), r#""reverse \"it\"""#);
        assert_eq!((of("12"), of("-5 is cold")), ("12".to_string(), r#""-5 is cold""#.to_string()));
        assert_eq!(json("@/nowhere/at/all", false, "input", MAX).unwrap_err().exit, Exit::NotFound);
    }

    #[test]
    fn what_is_empty_or_broken_is_refused_unless_it_is_said_to_be_text() {
        for typed in ["", "  \n", r#"{"task": "#, "[1, 2", "\"open", "[x] first, do this"] {
            assert_eq!(json(typed, false, "input", MAX).unwrap_err().exit, Exit::Refused, "{typed:?}");
            let text: String = serde_json::from_str(json(typed, true, "input", MAX).unwrap().get()).unwrap();
            assert_eq!(text, typed);
        }
        let most = "x".repeat(MAX - 2);
        assert!(json(&most, false, "input", MAX).is_ok(), "with its quotes it is just as long as is taken");
        assert_eq!(json(&(most + "x"), false, "input", MAX).unwrap_err().exit, Exit::Refused);
    }
}
