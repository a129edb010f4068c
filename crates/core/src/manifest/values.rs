//! The rules for values of one kind: text, numbers, words, pairs, free-form JSON. Must never convert a value that was
//! written as another kind.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::str::FromStr;

use strum::VariantNames;

use super::document::{Node, Value, located};
use super::fields::{Place, Problems, Rule};
use crate::fault::{Code, Fault, excerpt, nearest};

/// The most labels, and annotations, of an agent.
pub const LABELS_MAX: usize = 64;

pub(super) fn wrong_type(node: &Node, wanted: &str) -> Fault {
    Fault::new(Code::WrongType, format!("{wanted} is wanted here, not {}", node.value.kind()))
}

/// Text; in YAML also a plain number or word, taken as it is written.
pub(super) fn text(node: &Node) -> Result<String, Fault> {
    match &node.value {
        Value::Text(text) => Ok(text.clone()),
        Value::Number { digits, plain: true } => Ok(digits.clone()),
        Value::Bool { plain: Some(word), .. } => Ok(word.clone()),
        Value::Number { .. } | Value::Bool { .. } => Err(wrong_type(node, "text").hint("put it in quotes")),
        Value::Null | Value::List(_) | Value::Map(_) => Err(wrong_type(node, "text")),
    }
}

/// Text of at most `max` bytes that says something.
pub(super) fn text_of(max: usize) -> impl Fn(&Node) -> Result<String, Fault> {
    move |node| {
        let text = text(node)?;
        if text.len() > max {
            return Err(Fault::new(Code::TooLong, format!("{} bytes; at most {max} are allowed", text.len())));
        }
        if text.contains('\0') {
            return Err(Fault::new(Code::BadFormat, "a NUL character cannot be passed on"));
        }
        if text.trim().is_empty() {
            return Err(Fault::new(Code::BadFormat, "this text is empty").hint("give one or leave the line out"));
        }
        Ok(text)
    }
}

pub(super) fn boolean(node: &Node) -> Result<bool, Fault> {
    match &node.value {
        Value::Bool { value, .. } => Ok(*value),
        Value::Text(word) if matches!(word.to_ascii_lowercase().as_str(), "yes" | "on" | "y") => {
            Err(wrong_type(node, "true or false").hint("write `true`"))
        }
        Value::Text(word) if matches!(word.to_ascii_lowercase().as_str(), "no" | "off" | "n") => {
            Err(wrong_type(node, "true or false").hint("write `false`"))
        }
        Value::Null | Value::Number { .. } | Value::Text(_) | Value::List(_) | Value::Map(_) => {
            Err(wrong_type(node, "true or false"))
        }
    }
}

/// A whole number within `range`.
pub(super) fn whole<N: TryFrom<i64>>(range: RangeInclusive<i64>) -> impl Fn(&Node) -> Result<N, Fault> {
    let narrow = |number| N::try_from(number).ok().expect("invariant: the range is within the type");
    move |node| number(node, &range).map(narrow)
}

pub(super) fn number(node: &Node, range: &RangeInclusive<i64>) -> Result<i64, Fault> {
    let digits = match &node.value {
        Value::Number { digits, .. } => digits,
        Value::Text(text) if text.parse::<i64>().is_ok() => {
            return Err(wrong_type(node, "a whole number").hint(format!("write {text} without quotes")));
        }
        Value::Null | Value::Bool { .. } | Value::Text(_) | Value::List(_) | Value::Map(_) => {
            return Err(wrong_type(node, "a whole number"));
        }
    };
    let plain = digits.strip_prefix('-').unwrap_or(digits);
    let canonical = plain == "0" || !plain.starts_with('0');
    if !canonical || !plain.bytes().all(|byte| byte.is_ascii_digit()) {
        let reason = format!("{} is not a whole number in plain digits", excerpt(digits));
        return Err(Fault::new(Code::WrongType, reason).hint("write it as in 1000"));
    }
    digits.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
        let hint = format!("from {} to {} is allowed", range.start(), range.end());
        Fault::new(Code::OutOfRange, format!("{} is out of range", excerpt(digits))).hint(hint)
    })
}

/// One of an enum's words.
pub(super) fn word<T: FromStr + VariantNames>(node: &Node) -> Result<T, Fault> {
    let given = text(node)?;
    given.parse().map_err(|_| unknown_word(&format!("{} is not known here", excerpt(&given)), &given, T::VARIANTS))
}

pub(super) fn unknown_word(reason: &str, given: &str, words: &[&str]) -> Fault {
    let hint = match nearest(given, words.iter().copied()) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("one of {} is wanted", words.join(", ")),
    };
    Fault::new(Code::UnknownWord, reason).hint(hint)
}

/// A mapping of the user's own keys to texts of at most `value_max` bytes.
pub(super) fn pairs(value_max: usize) -> Rule<BTreeMap<String, String>> {
    let read = move |place: &Place<'_>, problems: &mut Problems| {
        let entries = place.holds(problems, "a mapping of names to texts", place.node.value.entries())?;
        if entries.len() > LABELS_MAX {
            let name = place.path.rsplit('.').next().unwrap_or_default();
            let reason = format!("{} {name}; at most {LABELS_MAX} are allowed", entries.len());
            place.refuse(Fault::new(Code::TooMany, reason), problems);
        }
        let mut pairs = BTreeMap::new();
        for (key, node) in entries.iter().take(LABELS_MAX) {
            let entry = Place { node, path: format!("{}.{}", place.path, key.word) };
            if let Err(fault) = check_key(&key.word) {
                problems.add(located(fault, &entry.path, key.at));
            }
            let value = entry.read(problems, |node| pair_value(node, value_max));
            pairs.insert(key.word.clone(), value.unwrap_or_default());
        }
        Some(pairs)
    };
    Rule::new(read)
}

fn check_key(key: &str) -> Result<(), Fault> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    if key.len() <= 63 && key.starts_with(|c: char| c.is_ascii_alphanumeric()) && key.chars().all(inner) {
        return Ok(());
    }
    let fault = Fault::new(Code::BadFormat, format!("{} cannot be a key here", excerpt(key)));
    Err(fault.hint("a key starts with a letter or digit and has at most 63 letters, digits, . _ - and /"))
}

fn pair_value(node: &Node, max: usize) -> Result<String, Fault> {
    let value = text(node)?;
    if value.len() > max {
        return Err(Fault::new(Code::TooLong, format!("{} bytes; at most {max} are allowed", value.len())));
    }
    if value.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err(Fault::new(Code::BadFormat, "a control character is not allowed here"));
    }
    Ok(value)
}

/// A number of JSON, for free-form JSON values.
pub(super) fn json(node: &Node) -> Result<serde_json::Value, Fault> {
    Ok(match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Bool { value, .. } => serde_json::Value::Bool(*value),
        Value::Text(text) => serde_json::Value::String(text.clone()),
        Value::Number { digits, .. } => serde_json::Value::Number(json_number(digits)?),
        Value::List(items) => serde_json::Value::Array(items.iter().map(json).collect::<Result<_, _>>()?),
        Value::Map(entries) => {
            // In the order of their names: serde_json's own hangs on how other crates had it built.
            let members = entries.iter().map(|(key, value)| Ok((key.word.clone(), json(value)?)));
            let sorted: BTreeMap<String, serde_json::Value> = members.collect::<Result<_, Fault>>()?;
            serde_json::Value::Object(sorted.into_iter().collect())
        }
    })
}

fn json_number(digits: &str) -> Result<serde_json::Number, Fault> {
    let bad = |why: &str| Fault::new(Code::BadFormat, format!("{} {why}", excerpt(digits)));
    let number: serde_json::Number = serde_json::from_str(digits)
        .map_err(|_| bad("is not a number as JSON writes it").hint("put words in quotes"))?;
    const EXACT: i64 = (1 << 53) - 1;
    let exact = match (number.as_i64(), number.as_u64()) {
        (Some(whole), _) => (-EXACT..=EXACT).contains(&whole),
        (None, Some(_)) => false,
        (None, None) => number.as_f64().is_some_and(|real| real.fract() != 0.0 || real.abs() <= EXACT as f64),
    };
    if !exact {
        return Err(bad("is too large to be kept exactly").hint("whole numbers go up to 9007199254740991"));
    }
    Ok(number)
}
