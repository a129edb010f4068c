//! Reads the fields of a mapping by name, collects every problem with its path, and at the end refuses what nobody
//! asked for. Must never take a value silently: each is read, or named in a problem.

use std::collections::BTreeMap;

use super::document::{Key, Node, Value, located};
use super::problem::{Code, Fault, PROBLEMS_MAX, Problem, excerpt, nearest};

/// All that was found wrong so far, at most [`PROBLEMS_MAX`].
#[derive(Debug, Default)]
pub(super) struct Problems {
    pub(super) found: Vec<Problem>,
}

impl Problems {
    pub(super) fn add(&mut self, problem: Problem) {
        if self.found.len() < PROBLEMS_MAX {
            self.found.push(problem);
        }
    }
}

/// A value with its path.
pub(super) struct Place<'a> {
    pub(super) node: &'a Node,
    pub(super) path: String,
}

impl<'a> Place<'a> {
    pub(super) fn refuse(&self, fault: Fault, problems: &mut Problems) {
        problems.add(located(fault, &self.path, self.node.at));
    }

    /// Reads one value; a fault becomes a problem at this place.
    pub(super) fn read<T>(&self, problems: &mut Problems, read: impl FnOnce(&Node) -> Result<T, Fault>) -> Option<T> {
        read(self.node).map_err(|fault| self.refuse(fault, problems)).ok()
    }

    pub(super) fn fields<'p>(&self, problems: &'p mut Problems) -> Option<Fields<'a, 'p>> {
        match &self.node.value {
            Value::Map(entries) => {
                Some(Fields { entries, path: self.path.clone(), node: self.node, asked: Vec::new(), problems })
            }
            Value::Null | Value::Bool { .. } | Value::Number { .. } | Value::Text(_) | Value::List(_) => {
                self.refuse(wrong_type(self.node, "a mapping"), problems);
                None
            }
        }
    }

    pub(super) fn items(&self, max: usize, problems: &mut Problems) -> Vec<Place<'a>> {
        let Value::List(items) = &self.node.value else {
            self.refuse(wrong_type(self.node, "a list"), problems);
            return Vec::new();
        };
        if items.len() > max {
            let reason = format!("{} entries; at most {max} are allowed", items.len());
            self.refuse(Fault::new(Code::TooMany, reason), problems);
        }
        let place = |(index, node)| Place { node, path: format!("{}[{index}]", self.path) };
        items.iter().take(max).enumerate().map(place).collect()
    }
}

/// An open mapping. [`Fields::close`] must be called, or unknown fields would pass.
pub(super) struct Fields<'a, 'p> {
    entries: &'a [(Key, Node)],
    path: String,
    node: &'a Node,
    asked: Vec<&'static str>,
    pub(super) problems: &'p mut Problems,
}

impl<'a> Fields<'a, '_> {
    pub(super) fn place(&mut self, name: &'static str) -> Option<Place<'a>> {
        self.asked.push(name);
        let (_, node) = self.entries.iter().find(|(key, _)| key.word == name)?;
        let place = Place { node, path: self.path_of(name) };
        if node.value == Value::Null {
            let fault = Fault::new(Code::WrongType, "there is no value here").hint("give one or leave the line out");
            place.refuse(fault, self.problems);
            return None;
        }
        Some(place)
    }

    pub(super) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    pub(super) fn get<T>(&mut self, name: &'static str, read: impl FnOnce(&Node) -> Result<T, Fault>) -> Option<T> {
        let place = self.place(name)?;
        place.read(self.problems, read)
    }

    pub(super) fn need<T>(&mut self, name: &'static str, read: impl FnOnce(&Node) -> Result<T, Fault>) -> Option<T> {
        if !self.has(name) {
            self.asked.push(name);
            self.missing(name);
            return None;
        }
        self.get(name, read)
    }

    pub(super) fn missing(&mut self, name: &str) {
        let fault = Fault::new(Code::MissingField, "this field is required");
        self.problems.add(located(fault, &self.path_of(name), self.node.at));
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, _)| key.word == name)
    }

    pub(super) fn list<T>(
        &mut self,
        name: &'static str,
        max: usize,
        read: impl Fn(&Node) -> Result<T, Fault>,
    ) -> Option<Vec<T>> {
        let place = self.place(name)?;
        let items = place.items(max, self.problems);
        Some(items.iter().filter_map(|item| item.read(self.problems, &read)).collect())
    }

    /// A list whose entries are mappings, or several shapes.
    pub(super) fn places<T>(
        &mut self,
        name: &'static str,
        max: usize,
        read: impl Fn(&Place<'a>, &mut Problems) -> Option<T>,
    ) -> Option<Vec<T>> {
        let place = self.place(name)?;
        let items = place.items(max, self.problems);
        Some(items.iter().filter_map(|item| read(item, self.problems)).collect())
    }

    pub(super) fn section<T>(&mut self, name: &'static str, read: impl FnOnce(Fields<'a, '_>) -> T) -> Option<T> {
        let place = self.place(name)?;
        place.fields(self.problems).map(read)
    }

    /// A problem with a field of this mapping, whether it is there or not.
    pub(super) fn refuse(&mut self, name: &str, fault: Fault) {
        let at = self.entries.iter().find(|(key, _)| key.word == name).map_or(self.node.at, |(_, node)| node.at);
        self.problems.add(located(fault, &self.path_of(name), at));
    }

    /// Refuses every field that was not asked for.
    pub(super) fn close(self) {
        let unknown = self.entries.iter().filter(|(key, _)| !self.asked.contains(&key.word.as_str()));
        for (key, _) in unknown.take(PROBLEMS_MAX) {
            let reason = match self.path.as_str() {
                "" => format!("a manifest has no field {}", excerpt(&key.word)),
                path => format!("{path} has no field {}", excerpt(&key.word)),
            };
            let hint = match nearest(&key.word, self.asked.iter().copied()) {
                Some(word) => format!("did you mean `{word}`?"),
                None => format!("its fields are {}", self.asked.join(", ")),
            };
            let fault = Fault::new(Code::UnknownField, reason).hint(hint);
            self.problems.add(located(fault, &self.path_of(&key.word), key.at));
        }
    }
}

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
pub(super) fn whole(range: std::ops::RangeInclusive<i64>) -> impl Fn(&Node) -> Result<i64, Fault> {
    move |node| {
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
        match digits.parse::<i64>() {
            Ok(number) if range.contains(&number) => Ok(number),
            Ok(_) | Err(_) => {
                let reason = format!("{} is out of range", excerpt(digits));
                Err(Fault::new(Code::OutOfRange, reason).hint(format!(
                    "from {} to {} is allowed",
                    range.start(),
                    range.end()
                )))
            }
        }
    }
}

pub(super) fn count(range: std::ops::RangeInclusive<u32>) -> impl Fn(&Node) -> Result<u32, Fault> {
    let whole = whole(i64::from(*range.start())..=i64::from(*range.end()));
    move |node| whole(node).map(|number| u32::try_from(number).expect("invariant: the range is within u32"))
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
