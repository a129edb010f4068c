//! What is wrong with a text that a person wrote, a manifest or its template: where, why, and what would be right. Must
//! never quote more than a short piece of it.

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// The most problems that one answer lists; the rest are only counted.
pub const PROBLEMS_MAX: usize = 64;

/// The kind of a problem, stable across releases, for programs to act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Code {
    Syntax,
    TooLarge,
    TooDeep,
    TooMany,
    TooLong,
    DuplicateKey,
    UnknownField,
    MissingField,
    WrongType,
    UnknownWord,
    WrongUnit,
    OutOfRange,
    BadFormat,
    Contradiction,
    TemplateSyntax,
    UnknownVariable,
    UnknownCapability,
    UnknownDialect,
    Unenforced,
}

impl Code {
    /// The word that stands for this code in JSON and in tables.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// One thing that is wrong. `path` is written as in `spec.execution.validation[0].pattern`; it is empty for the whole
/// document. `line` and `column` count from 1 and are known for YAML only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub code: Code,
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}", self.path)?;
        }
        if let (Some(line), Some(column)) = (self.line, self.column) {
            let open = if self.path.is_empty() { "" } else { " " };
            write!(f, "{open}(line {line}, column {column})")?;
        }
        if !self.path.is_empty() || self.line.is_some() {
            write!(f, ": ")?;
        }
        write!(f, "{}", self.reason)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// What is wrong with one value, before it is known where the value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub code: Code,
    pub reason: String,
    pub hint: Option<String>,
}

impl Fault {
    pub fn new(code: Code, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), hint: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A problem about a place that no line is known for.
    pub fn at(self, path: impl Into<String>) -> Problem {
        Problem { code: self.code, path: path.into(), line: None, column: None, reason: self.reason, hint: self.hint }
    }
}

/// The word of `words` that is nearest to `given`, if one is near enough to be meant.
pub fn nearest<'a>(given: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Comparing is quadratic in the length; no valid word is longer than this.
    if given.len() > 64 {
        return None;
    }
    let given = given.to_ascii_lowercase();
    let allowed = (given.len() / 3).clamp(1, 4);
    words
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&given, &word.to_ascii_lowercase()), word))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// At most 60 characters of what was given, for a message.
pub(crate) fn excerpt(given: &str) -> String {
    const SHOWN: usize = 60;
    let clean: String = given.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if given.chars().count() > SHOWN { format!("`{clean}…`") } else { format!("`{clean}`") }
}
