//! Text to a tree that knows where each value stands. YAML and JSON, both bounded in size, depth, nodes and aliases
//! before anything looks at the meaning. Must never guess a type: what a plain YAML word or number means is kept as
//! written, so that `version: 3.10` stays "3.10".

mod unreadable;

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy, Spanned, Tagged};

use crate::fault::{Code, Fault, PROBLEMS_MAX, Problem, excerpt};
pub(super) use unreadable::indented_by;
use unreadable::{too_deep, without_place};

/// A manifest's text is at most this long.
pub const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Maps and lists nest at most this deep.
pub const DEPTH_MAX: usize = 32;
const NODES_MAX: usize = 20_000;
const ALIASES_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) at: Option<Mark>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) line: u32,
    pub(super) column: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    /// `plain` is the word as written, in YAML only.
    Bool {
        value: bool,
        plain: Option<String>,
    },
    /// `digits` is the number as written in YAML, or as JSON prints it.
    Number {
        digits: String,
        plain: bool,
    },
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    pub(super) word: String,
    pub(super) at: Option<Mark>,
}

impl Value {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool { .. } => "true or false",
            Self::Number { .. } => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }

    pub(super) fn items(&self) -> Option<&[Node]> {
        if let Self::List(items) = self { Some(items) } else { None }
    }

    pub(super) fn entries(&self) -> Option<&[(Key, Node)]> {
        if let Self::Map(entries) = self { Some(entries) } else { None }
    }
}

impl Node {
    pub(super) fn text(word: &str, at: Option<Mark>) -> Self {
        Self { value: Value::Text(word.to_owned()), at }
    }

    /// The first value under `word`, if this is a mapping that has it.
    pub(super) fn get(&self, word: &str) -> Option<&Node> {
        self.value.entries()?.iter().find(|(key, _)| key.word == word).map(|(_, node)| node)
    }

    pub(super) fn get_mut(&mut self, word: &str) -> Option<&mut Node> {
        let Value::Map(entries) = &mut self.value else { return None };
        entries.iter_mut().find(|(key, _)| key.word == word).map(|(_, node)| node)
    }
}

/// Reads the text; problems are returned beside the tree where the tree can still be looked at.
pub(super) fn read(text: &str) -> (Option<Node>, Vec<Problem>) {
    if text.len() > TEXT_BYTES_MAX {
        let reason = format!("the manifest has {} bytes; at most {TEXT_BYTES_MAX} are read", text.len());
        let hint = "keep long texts and data in files of the agent's workspace";
        return (None, vec![Fault::new(Code::TooLarge, reason).hint(hint).at("")]);
    }
    let start = text.trim_start_matches('\u{feff}').trim_start();
    let (node, mut problems) = if start.starts_with('{') { read_json(start) } else { read_yaml(text) };
    let Some(node) = node else { return (None, problems) };
    if depth(&node) > DEPTH_MAX {
        return (None, vec![too_deep().at("")]);
    }
    let before = problems.len();
    duplicates(&node, &mut String::new(), &mut problems);
    // The tree names every repeated key by its path; the parser's own finding is needed only where the tree has none.
    if problems.len() > before {
        problems.drain(..before);
    }
    (Some(node), problems)
}

fn read_json(text: &str) -> (Option<Node>, Vec<Problem>) {
    match serde_json::from_str::<JsonNode>(text) {
        Ok(raw) => (Some(raw.unlocated()), Vec::new()),
        Err(error) => {
            // serde_json's own limit of 128 is reported as an error of syntax.
            let fault = if error.to_string().starts_with("recursion limit") {
                too_deep()
            } else {
                Fault::new(Code::Syntax, format!("this is not JSON: {}", without_place(&error.to_string())))
                    .hint("text that starts with `{` is read as JSON")
            };
            let mark = Mark { line: clip(error.line() as u64), column: clip(error.column() as u64) };
            (None, vec![located(fault, "", Some(mark))])
        }
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a foreign enum that grows: what is not known is reported in its own words"
)]
fn read_yaml(text: &str) -> (Option<Node>, Vec<Problem>) {
    let text = without_empty_document(text);
    let read = |duplicates| serde_saphyr::from_str_with_options::<YamlNode>(text, options(duplicates));
    let error = match read(DuplicateKeyPolicy::Error) {
        Ok(raw) => {
            let mut tagged = Vec::new();
            return (Some(raw.located(text, &mut String::new(), &mut tagged)), tagged);
        }
        Err(error) => error,
    };
    let mark = error.location().map(|place| Mark { line: clip(place.line()), column: clip(place.column()) });
    let fault = match error.without_snippet() {
        serde_saphyr::Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().map_or_else(|| "a key".to_owned(), excerpt);
            let fault = Fault::new(Code::DuplicateKey, format!("{key} is given twice")).hint("keep one of them");
            let mut problems = vec![located(fault, "", mark)];
            let raw = read(DuplicateKeyPolicy::LastWins).ok();
            return (raw.map(|raw| raw.located(text, &mut String::new(), &mut problems)), problems);
        }
        serde_saphyr::Error::MergeKeyNotAllowed { .. } => unreadable::merge_key(),
        serde_saphyr::Error::UnsupportedTag { tag, .. } => {
            unreadable::tag(tag).unwrap_or_else(|| Fault::new(Code::Syntax, "the tag does not fit the value"))
        }
        other => unreadable::fault(&other.to_string(), text, mark),
    };
    (None, vec![located(fault, "", mark)])
}

/// The text without a `---` at its end that begins nothing: tools that join documents leave one.
fn without_empty_document(text: &str) -> &str {
    let mut end = text.len();
    for line in text.split_inclusive('\n').rev() {
        end -= line.len();
        let line = line.trim();
        let marker = line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(" #"));
        if marker {
            let says = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
            let before = &text[..end];
            return if before.lines().any(|line| says(line) && line.trim_end() != "---") { before } else { text };
        }
        if !line.is_empty() && !line.starts_with('#') {
            return text;
        }
    }
    text
}

fn options(duplicate_keys: DuplicateKeyPolicy) -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_buffered_comment_events: NODES_MAX,
            flow_nesting_limit: DEPTH_MAX + 1,
            max_events: 2 * NODES_MAX,
            max_aliases: ALIASES_MAX,
            max_anchors: ALIASES_MAX,
            max_recorded_anchor_events: NODES_MAX,
            max_recorded_anchor_bytes: TEXT_BYTES_MAX,
            max_depth: DEPTH_MAX + 1,
            max_inclusion_depth: 0,
            max_documents: 1,
            max_nodes: NODES_MAX,
            max_total_scalar_bytes: 2 * TEXT_BYTES_MAX,
            max_total_comment_bytes: TEXT_BYTES_MAX,
        },
        duplicate_keys: duplicate_keys,
        merge_keys: MergeKeyPolicy::Error,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: NODES_MAX },
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

fn clip(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

pub(super) fn located(fault: Fault, path: &str, at: Option<Mark>) -> Problem {
    let mut problem = fault.at(path);
    problem.line = at.map(|mark| mark.line);
    problem.column = at.map(|mark| mark.column);
    problem
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|(_, node)| depth(node)).max().unwrap_or(0),
        Value::Null | Value::Bool { .. } | Value::Number { .. } | Value::Text(_) => 0,
    }
}

fn duplicates(node: &Node, path: &mut String, problems: &mut Vec<Problem>) {
    let length = path.len();
    match &node.value {
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                duplicates(item, path, problems);
                path.truncate(length);
            }
        }
        Value::Map(entries) => {
            let mut seen = std::collections::BTreeSet::new();
            for (key, value) in entries {
                path.push_str(if length == 0 { "" } else { "." });
                path.push_str(&key.word);
                if !seen.insert(key.word.as_str()) && problems.len() < PROBLEMS_MAX {
                    let fault = Fault::new(Code::DuplicateKey, "this is given twice").hint("keep one of them");
                    problems.push(located(fault, path, key.at));
                }
                duplicates(value, path, problems);
                path.truncate(length);
            }
        }
        Value::Null | Value::Bool { .. } | Value::Number { .. } | Value::Text(_) => {}
    }
}

/// A value as a deserializer hands it over; `K` and `N` are its keys and inner values.
enum Raw<K, N> {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<N>),
    Map(Vec<(K, N)>),
}

/// YAML, with the place of each text and the tag that was written before it.
struct YamlNode(Tagged<Spanned<Raw<Spanned<String>, YamlNode>>>);

/// JSON, whose parser reports no places.
struct JsonNode(Raw<String, JsonNode>);

impl YamlNode {
    /// `path` is where it stands; a tag that would be dropped is a problem there.
    fn located(self, source: &str, path: &mut String, problems: &mut Vec<Problem>) -> Node {
        let Tagged(Spanned { value, referenced, defined }, tag) = self.0;
        let at = mark(referenced.line(), referenced.column());
        if let Some(fault) = tag.as_deref().and_then(unreadable::tag)
            && problems.len() < PROBLEMS_MAX
        {
            problems.push(located(fault, path, at));
        }
        let span = defined.span();
        let written = span.byte_offset().zip(span.byte_len()).and_then(|(start, length)| {
            let start = usize::try_from(start).ok()?;
            let end = start.checked_add(usize::try_from(length).ok()?)?;
            Some(source.get(start..end)?.trim().to_owned())
        });
        let length = path.len();
        let mut below = |step: &str, node: Self| {
            path.push_str(step);
            let node = node.located(source, path, problems);
            path.truncate(length);
            node
        };
        let value = match value {
            Raw::List(items) => {
                let item = |(index, node)| below(&format!("[{index}]"), node);
                Value::List(items.into_iter().enumerate().map(item).collect())
            }
            Raw::Map(entries) => {
                let dot = if length == 0 { "" } else { "." };
                let entry = |(key, node): (Spanned<String>, Self)| {
                    let at = mark(key.referenced.line(), key.referenced.column());
                    let node = below(&format!("{dot}{}", key.value), node);
                    (Key { word: key.value, at }, node)
                };
                Value::Map(entries.into_iter().map(entry).collect())
            }
            scalar @ (Raw::Null | Raw::Bool(_) | Raw::Number(_) | Raw::Text(_)) => scalar.scalar(written),
        };
        Node { value, at }
    }
}

impl JsonNode {
    fn unlocated(self) -> Node {
        let value = match self.0 {
            Raw::List(items) => Value::List(items.into_iter().map(Self::unlocated).collect()),
            Raw::Map(entries) => {
                let entry = |(word, node): (String, Self)| (Key { word, at: None }, node.unlocated());
                Value::Map(entries.into_iter().map(entry).collect())
            }
            scalar @ (Raw::Null | Raw::Bool(_) | Raw::Number(_) | Raw::Text(_)) => scalar.scalar(None),
        };
        Node { value, at: None }
    }
}

impl<K, N> Raw<K, N> {
    /// A value without values inside; `written` is how YAML has it.
    fn scalar(self, written: Option<String>) -> Value {
        match self {
            Self::Bool(value) => Value::Bool { value, plain: written },
            Self::Number(number) => Value::Number { plain: written.is_some(), digits: written.unwrap_or(number) },
            Self::Text(text) => Value::Text(text),
            Self::Null | Self::List(_) | Self::Map(_) => Value::Null,
        }
    }
}

fn mark(line: u64, column: u64) -> Option<Mark> {
    (line > 0).then(|| Mark { line: clip(line), column: clip(column) })
}

impl<'de> Deserialize<'de> for YamlNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Tagged::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for JsonNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Raw::deserialize(deserializer).map(Self)
    }
}

impl<'de, K: Deserialize<'de>, N: Deserialize<'de>> Deserialize<'de> for Raw<K, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor(PhantomData))
    }
}

struct RawVisitor<K, N>(PhantomData<(K, N)>);

impl<'de, K: Deserialize<'de>, N: Deserialize<'de>> Visitor<'de> for RawVisitor<K, N> {
    type Value = Raw<K, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Raw<K, N>, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Raw<K, N>, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Raw<K, N>, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Raw<K, N>, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Raw<K, N>, E> {
        let number = serde_json::Number::from_f64(value).ok_or_else(|| E::custom("a number must be finite"))?;
        Ok(Raw::Number(number.to_string()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Raw<K, N>, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Raw<K, N>, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw<K, N>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            bounded(list.len())?;
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw<K, N>, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            bounded(map.len())?;
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}

fn bounded<E: de::Error>(length: usize) -> Result<(), E> {
    if length < NODES_MAX { Ok(()) } else { Err(E::custom(format!("more than {NODES_MAX} values in one place"))) }
}
