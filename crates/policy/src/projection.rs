//! What of a call's values decides how rules judge it: of a path that is only held against `like "/x*"`, whether it matches. Calls
//! whose projections are equal are judged equally, so that each projection is judged once. It is read from the rules' own text.
//! It may keep too much, never too little: what is used in a form that is not known here is kept whole.
//!
//! ```text
//! context.path like "/x*"      one bit            context.hour < 12, 12 == context.hour     below, at or above 12
//! context.key == "a"           which of them      context.words.contains("-l")              one bit
//! context has trigger          whether it is      all else                                  the value
//! ```
use crate::request::{context_number, context_text, context_texts};
use crate::vocabulary::{ARGV_MAX, Attribute};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use tenure_core::capability::Argument;
use tenure_core::judge::Ask;

/// `path`, `argv3`; `input`, or `input` and the name of an argument.
type Name = Vec<String>;

/// What rules ask of one value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Asked {
    whole: bool,
    /// Texts that it is compared with, or that a set is asked for.
    texts: BTreeSet<String>,
    /// Numbers that it is compared with.
    numbers: BTreeSet<i64>,
    patterns: BTreeSet<Vec<String>>,
}

/// What rules read, gathered from their JSON form.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reads {
    asked: BTreeMap<Name, Asked>,
    /// Of the context as one.
    all: bool,
}

impl Reads {
    /// Takes in a rule in Cedar's JSON form; none: it has none.
    pub(crate) fn add(&mut self, policy: Option<&Value>) {
        match policy {
            Some(policy) => self.expression(policy.get("conditions").unwrap_or(policy)),
            None => self.all = true,
        }
    }

    fn of(&mut self, name: Name) -> &mut Asked {
        self.asked.entry(name).or_default()
    }

    fn whole(&mut self, name: Name) {
        self.of(name).whole = true;
    }

    fn expression(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(operator, operands)| self.operation(operator, operands)),
            Value::Array(values) => values.iter().for_each(|inner| self.expression(inner)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn operation(&mut self, operator: &str, operands: &Value) {
        if operator == "Var" {
            self.all |= operands == "context";
            return;
        }
        if operator == "Value" {
            return;
        }
        let (left, right) = (operands.get("left"), operands.get("right"));
        let known = match (operator, left, right) {
            ("==" | "!=" | "<" | "<=" | ">" | ">=", Some(left), Some(right)) => {
                self.compared(left, right) || self.compared(right, left)
            }
            ("contains", Some(left), Some(right)) => self.contains(left, right) || self.is_among(left, right),
            ("containsAny" | "containsAll", Some(left), Some(right)) => self.contains_some(left, right),
            ("like", Some(left), _) => self.like(left, operands.get("pattern")),
            ("has", Some(left), _) => self.has(left, operands.get("attr")),
            (".", ..) => match name_of(operands) {
                Some(name) => {
                    self.whole(name);
                    true
                }
                None => false,
            },
            _ => false,
        };
        if !known {
            self.expression(operands);
        }
    }

    fn compared(&mut self, value: &Value, with: &Value) -> bool {
        let (Some(name), Some(literal)) = (name(value), with.get("Value")) else { return false };
        let asked = self.of(name);
        match literal {
            Value::String(text) => {
                asked.texts.insert(text.clone());
            }
            Value::Number(number) => match number.as_i64() {
                Some(number) => {
                    asked.numbers.insert(number);
                }
                None => asked.whole = true,
            },
            // A flag is kept as it is.
            Value::Bool(_) => {}
            Value::Null | Value::Array(_) | Value::Object(_) => asked.whole = true,
        }
        true
    }

    fn contains(&mut self, set: &Value, element: &Value) -> bool {
        let (Some(name), Some(literal)) = (name(set), element.get("Value")) else { return false };
        match literal.as_str() {
            Some(text) => drop(self.of(name).texts.insert(text.to_string())),
            None => self.whole(name),
        }
        true
    }

    /// `["a", "b"].contains(context.key)`
    fn is_among(&mut self, set: &Value, element: &Value) -> bool {
        let (Some(name), Some(texts)) = (name(element), texts_of(set)) else { return false };
        self.of(name).texts.extend(texts);
        true
    }

    fn contains_some(&mut self, set: &Value, of: &Value) -> bool {
        let (Some(name), Some(texts)) = (name(set), texts_of(of)) else { return false };
        self.of(name).texts.extend(texts);
        true
    }

    fn like(&mut self, value: &Value, pattern: Option<&Value>) -> bool {
        let Some(name) = name(value) else { return false };
        match pattern.and_then(parts) {
            Some(parts) => drop(self.of(name).patterns.insert(parts)),
            None => self.whole(name),
        }
        true
    }

    fn has(&mut self, value: &Value, attr: Option<&Value>) -> bool {
        let attrs: Option<Vec<String>> = match attr {
            Some(Value::String(one)) => Some(vec![one.clone()]),
            Some(Value::Array(way)) => way.iter().map(|one| one.as_str().map(str::to_string)).collect(),
            _ => None,
        };
        let start = if is_context(value) { Some(Vec::new()) } else { name(value) };
        let (Some(mut named), Some(attrs)) = (start, attrs) else { return false };
        named.extend(attrs);
        if is_name(&named) {
            self.of(named);
        } else {
            // Deeper than values go: whether that errs, the value says.
            named.truncate(1);
            self.whole(named);
        }
        true
    }
}

fn is_context(value: &Value) -> bool {
    value.get("Var").is_some_and(|var| var == "context")
}

fn is_name(name: &[String]) -> bool {
    name.len() == 1 || (name.len() == 2 && name[0] == Attribute::Input.as_str())
}

/// `context.x`, or `context.input.x`.
fn name(value: &Value) -> Option<Name> {
    name_of(value.get(".")?)
}

fn name_of(operands: &Value) -> Option<Name> {
    let (left, attr) = (operands.get("left")?, operands.get("attr")?.as_str()?);
    let mut named = if is_context(left) { Vec::new() } else { name_of(left.get(".")?)? };
    named.push(attr.to_string());
    is_name(&named).then_some(named)
}

fn texts_of(set: &Value) -> Option<Vec<String>> {
    let texts = |values: &Vec<Value>| {
        values.iter().map(|one| one.get("Value").unwrap_or(one).as_str().map(str::to_string)).collect::<Option<_>>()
    };
    texts(set.get("Set").or_else(|| set.get("Value"))?.as_array()?)
}

/// The texts between the wildcards of a pattern.
fn parts(pattern: &Value) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    for element in pattern.as_array()? {
        match (element.as_str(), element.get("Literal").and_then(Value::as_str)) {
            (Some("Wildcard"), _) => parts.push(String::new()),
            (_, Some(literal)) => parts.last_mut()?.push_str(literal),
            _ => return None,
        }
    }
    Some(parts)
}

/// Each text stands in its place: the first begins it, the last ends it, those between come in order.
fn matches(parts: &[String], text: &str) -> bool {
    let [first, between @ .., last] = parts else { return parts.first().is_some_and(|only| only == text) };
    let Some(rest) = text.strip_prefix(first.as_str()) else { return false };
    let Some(mut rest) = rest.strip_suffix(last.as_str()) else { return false };
    between.iter().all(|part| match rest.find(part.as_str()) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// Where a value of the context comes from.
#[derive(Debug)]
enum Source {
    Attribute(Attribute),
    Argv(usize),
    Input,
    Argument(String),
    /// There is none of this name.
    Nowhere,
}

/// One value and what rules ask of it, in the form in which it is quickest to ask.
#[derive(Debug)]
struct Field {
    source: Source,
    whole: bool,
    texts: Vec<String>,
    numbers: Vec<i64>,
    patterns: Vec<Vec<String>>,
}

#[derive(Debug)]
pub(crate) struct Projection {
    fields: Vec<Field>,
}

/// A value as a rule meets it.
enum Met<'a> {
    Nothing,
    Flag(bool),
    Number(i64),
    Text(std::borrow::Cow<'a, str>),
    Texts(&'a [String]),
    Arguments(&'a BTreeMap<String, Argument>),
}

impl Projection {
    pub(crate) fn new(reads: Reads) -> Projection {
        let mut asked = reads.asked;
        if reads.all {
            let names = Attribute::ALL.into_iter().filter(|attribute| *attribute != Attribute::Argv);
            for attribute in names {
                asked.entry(vec![attribute.as_str().to_string()]).or_default().whole = true;
            }
        }
        let fields = asked.into_iter().map(|(name, asked)| Field {
            source: source(&name),
            whole: asked.whole,
            texts: asked.texts.into_iter().collect(),
            numbers: asked.numbers.into_iter().collect(),
            patterns: asked.patterns.into_iter().collect(),
        });
        Projection { fields: fields.collect() }
    }

    /// Appends it in a form that is read in one way only: equal bytes are equal projections.
    pub(crate) fn write(&self, ask: &Ask<'_>, out: &mut Vec<u8>) {
        for field in &self.fields {
            field.write(&field.source.met(ask), out);
        }
    }
}

fn source(name: &[String]) -> Source {
    match name {
        [only] if only == Attribute::Input.as_str() => Source::Input,
        [only] => match Attribute::named(only) {
            // Another spelling of a number is no name of a word.
            Some(Attribute::Argv) => {
                let place = (0..ARGV_MAX).find(|place| *only == format!("argv{place}"));
                place.map_or(Source::Nowhere, Source::Argv)
            }
            Some(attribute) => Source::Attribute(attribute),
            None => Source::Nowhere,
        },
        [_, argument] => Source::Argument(argument.clone()),
        _ => Source::Nowhere,
    }
}

impl Source {
    fn met<'a>(&self, ask: &Ask<'a>) -> Met<'a> {
        match self {
            Source::Attribute(attribute) => {
                if let Some(text) = context_text(ask, *attribute) {
                    return Met::Text(text);
                }
                let texts = context_texts(ask, *attribute).map(Met::Texts);
                texts.or_else(|| context_number(ask, *attribute).map(Met::Number)).unwrap_or(Met::Nothing)
            }
            Source::Argv(place) => {
                let word = ask.attributes.argv.as_ref().and_then(|argv| argv.get(*place));
                word.map_or(Met::Nothing, |word| Met::Text(word.as_str().into()))
            }
            Source::Input => Met::Arguments(&ask.attributes.input),
            Source::Argument(name) => match ask.attributes.input.get(name) {
                None => Met::Nothing,
                Some(Argument::Flag(flag)) => Met::Flag(*flag),
                Some(Argument::Number(number)) => Met::Number(*number),
                Some(Argument::Text(text)) => Met::Text(text.as_str().into()),
                Some(Argument::Texts(texts)) => Met::Texts(texts),
            },
            Source::Nowhere => Met::Nothing,
        }
    }
}

impl Field {
    fn write(&self, met: &Met<'_>, out: &mut Vec<u8>) {
        match met {
            Met::Nothing => out.push(0),
            Met::Flag(flag) => out.push(1 + u8::from(*flag)),
            Met::Number(number) => {
                out.push(3);
                if self.whole {
                    out.extend_from_slice(&number.to_be_bytes());
                }
                let (place, is_at) = match self.numbers.binary_search(number) {
                    Ok(place) => (place, 1),
                    Err(place) => (place, 0),
                };
                out.extend_from_slice(&(place as u64 * 2 + is_at).to_be_bytes());
            }
            Met::Text(text) => {
                out.push(4);
                if self.whole {
                    write_text(text, out);
                    return;
                }
                let place = self.texts.binary_search_by(|known| known.as_str().cmp(text));
                out.extend_from_slice(&place.map_or(0, |place| place as u64 + 1).to_be_bytes());
                write_bits(self.patterns.iter().map(|parts| matches(parts, text)), out);
            }
            Met::Texts(texts) => {
                out.push(5);
                if self.whole {
                    write_texts(texts, out);
                    return;
                }
                write_bits(self.texts.iter().map(|known| texts.contains(known)), out);
            }
            Met::Arguments(arguments) => {
                out.push(6);
                if self.whole {
                    write_arguments(arguments, out);
                }
            }
        }
    }
}

fn write_bits(bits: impl Iterator<Item = bool>, out: &mut Vec<u8>) {
    let (mut byte, mut count) = (0u8, 0);
    for bit in bits {
        byte = byte << 1 | u8::from(bit);
        count += 1;
        if count % 8 == 0 {
            out.push(byte);
            byte = 0;
        }
    }
    if count % 8 > 0 {
        out.push(byte);
    }
}

pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u64).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn write_texts(texts: &[String], out: &mut Vec<u8>) {
    out.extend_from_slice(&(texts.len() as u64).to_be_bytes());
    texts.iter().for_each(|text| write_text(text, out));
}

fn write_arguments(arguments: &BTreeMap<String, Argument>, out: &mut Vec<u8>) {
    out.extend_from_slice(&(arguments.len() as u64).to_be_bytes());
    for (name, argument) in arguments {
        write_text(name, out);
        match argument {
            Argument::Flag(flag) => out.push(1 + u8::from(*flag)),
            Argument::Number(number) => {
                out.push(3);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Argument::Text(text) => {
                out.push(4);
                write_text(text, out);
            }
            Argument::Texts(texts) => {
                out.push(5);
                write_texts(texts, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(condition: &str) -> Reads {
        let text = format!("permit(principal, action, resource) when {{ {condition} }};");
        let mut reads = Reads::default();
        reads.add(Some(&cedar_policy::Policy::parse(None, text).unwrap().to_json().unwrap()));
        reads
    }

    #[test]
    fn what_is_only_held_against_something_is_not_kept_and_all_else_is() {
        for held in [
            "context has path && context.path like \"/a*b\"",
            "context.key == \"a\" || \"b\" != context.key",
            "context.hour < 12 && 3 <= context.minute",
            "[\"a\", \"b\"].contains(context.host) && context.words.containsAny([\"x\"])",
            "context has input.url && context.input.url like \"*a*\" && context.input.recursive == true",
            "if context.bytes > 3 then context.program == \"ls\" else false",
        ] {
            let found = reads(held);
            assert!(!found.all && found.asked.values().all(|asked| !asked.whole), "{held}: {found:?}");
            assert!(!found.asked.is_empty());
        }
        for kept in [
            "context.key == context.path",
            "context.calls_day + 1 > 3",
            "context.input == {}",
            "[context.key].contains(\"a\")",
            "context.input.recursive",
            "context.words.containsAll(context.words)",
            "context.words == [\"a\"]",
        ] {
            let found = reads(kept);
            assert!(found.asked.values().any(|asked| asked.whole), "{kept}: {found:?}");
        }
        assert!(reads("context == {}").all && reads("[context].contains(context)").all);
    }

    #[test]
    fn a_pattern_matches_what_cedar_says_that_it_matches() {
        let texts = ["", "a", "ab", "aab", "aba", "abab", "a*b", "aXbXb", "bb", "äb", "a\nb"];
        for pattern in ["*", "a*", "*b", "a*b", "*a*b*", "a\\*b", "", "ab", "a**b", "*b*b", "aba*ba", "ä*", "a*a"] {
            let found = reads(&format!("context.path like \"{pattern}\""));
            let parts = found.asked.values().flat_map(|asked| &asked.patterns).next().unwrap();
            for text in texts {
                let escaped = text.replace('\n', "\\n");
                let policy =
                    format!("permit(principal, action, resource) when {{ \"{escaped}\" like \"{pattern}\" }};");
                let set: cedar_policy::PolicySet = policy.parse().unwrap();
                let uid = |text: &str| text.parse::<cedar_policy::EntityUid>().unwrap();
                let request = cedar_policy::Request::new(
                    uid("A::\"a\""),
                    uid("B::\"b\""),
                    uid("C::\"c\""),
                    cedar_policy::Context::empty(),
                    None,
                );
                let answer = cedar_policy::Authorizer::new().is_authorized(
                    &request.unwrap(),
                    &set,
                    &cedar_policy::Entities::empty(),
                );
                let allowed = answer.decision() == cedar_policy::Decision::Allow;
                assert_eq!(matches(parts, text), allowed, "`{text}` like `{pattern}`");
            }
        }
    }
}
