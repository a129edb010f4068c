//! Reads the fields of a mapping by name, collects every problem with its path, and at the end refuses what no
//! declaration has. Must never take a value silently: each is read, or named in a problem.

use super::document::{Key, Node, Value, indented_by, located};
use super::section::Section;
use super::values::wrong_type;
use crate::fault::{Code, Fault, PROBLEMS_MAX, Problem, excerpt, nearest};

/// All that was found wrong so far, at most [`PROBLEMS_MAX`].
#[derive(Debug, Default)]
pub(super) struct Problems {
    pub(super) found: Vec<Problem>,
    /// What is taken and is not quite as its author may think.
    pub(super) notes: Vec<Note>,
}

impl Problems {
    pub(super) fn add(&mut self, problem: Problem) {
        if self.found.len() < PROBLEMS_MAX {
            self.found.push(problem);
        }
    }

    pub(super) fn note(&mut self, place: &Place<'_>, text: impl Into<String>) {
        self.note_at(&place.path, text);
    }

    pub(super) fn note_at(&mut self, path: &str, text: impl Into<String>) {
        if self.notes.len() < PROBLEMS_MAX {
            self.notes.push(Note { path: path.to_owned(), text: text.into() });
        }
    }
}

/// Something about a manifest that is accepted and that whoever deploys it should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Of the field, as in `memory.backend`.
    pub path: String,
    pub text: String,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.text)
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

    /// What the place holds, if `value` finds in it the kind of value that is `wanted`.
    pub(super) fn holds<T>(&self, problems: &mut Problems, wanted: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.refuse(wrong_type(self.node, wanted), problems);
        }
        value
    }
}

/// How a value is read: what stands after `=` in a section's declaration. A reader of one value,
/// `Fn(&Node) -> Result<T, Fault>`, is a rule too.
pub(super) struct Rule<T>(Box<Read<T>>);

type Read<T> = dyn Fn(&Place<'_>, &mut Problems) -> Option<T>;

impl<T> Rule<T> {
    pub(super) fn new(read: impl Fn(&Place<'_>, &mut Problems) -> Option<T> + 'static) -> Self {
        Self(Box::new(read))
    }

    pub(super) fn read(&self, place: &Place<'_>, problems: &mut Problems) -> Option<T> {
        (self.0)(place, problems)
    }
}

impl<T, F: Fn(&Node) -> Result<T, Fault> + 'static> From<F> for Rule<T> {
    fn from(read: F) -> Self {
        Self::new(move |place, problems| place.read(problems, &read))
    }
}

/// A mapping whose fields are declared.
pub(super) fn section<T: Section>() -> Rule<T> {
    Rule::new(read_section)
}

pub(super) fn read_section<T: Section>(place: &Place<'_>, problems: &mut Problems) -> Option<T> {
    let entries = place.holds(problems, "a mapping", place.node.value.entries())?;
    T::read(Fields { entries, path: place.path.clone(), node: place.node, known: Vec::new(), problems })
}

/// A list of at most `max` entries.
pub(super) fn list<T: 'static>(max: usize, item: impl Into<Rule<T>>) -> Rule<Vec<T>> {
    let item = item.into();
    let read = move |place: &Place<'_>, problems: &mut Problems| {
        let items = place.holds(problems, "a list", place.node.value.items()).unwrap_or_default();
        if items.len() > max {
            let reason = format!("{} entries; at most {max} are allowed", items.len());
            place.refuse(Fault::new(Code::TooMany, reason), problems);
        }
        let entry = |(index, node)| Place { node, path: format!("{}[{index}]", place.path) };
        let entries = items.iter().take(max).enumerate().map(entry);
        Some(entries.filter_map(|entry| item.read(&entry, problems)).collect())
    };
    Rule::new(read)
}

/// An open mapping. [`Fields::close`] must be called, or unknown fields would pass.
pub(super) struct Fields<'a, 'p> {
    entries: &'a [(Key, Node)],
    path: String,
    node: &'a Node,
    known: Vec<&'static str>,
    problems: &'p mut Problems,
}
impl<'a> Fields<'a, '_> {
    fn place(&mut self, name: &'static str) -> Option<Place<'a>> {
        self.known.push(name);
        let (_, node) = self.entries.iter().find(|(key, _)| key.word == name)?;
        let place = Place { node, path: self.path_of(name) };
        if node.value == Value::Null {
            let fault = Fault::new(Code::WrongType, "there is no value here").hint("give one or leave the line out");
            place.refuse(fault, self.problems);
            return None;
        }
        Some(place)
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    pub(super) fn get<T>(&mut self, name: &'static str, rule: impl Into<Rule<T>>) -> Option<T> {
        let place = self.place(name)?;
        rule.into().read(&place, self.problems)
    }

    pub(super) fn need<T>(&mut self, name: &'static str, rule: impl Into<Rule<T>>) -> Option<T> {
        if !self.has(name) {
            let fault = Fault::new(Code::MissingField, "this field is required");
            self.problems.add(located(fault, &self.path_of(name), self.node.at));
        }
        self.get(name, rule)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, _)| key.word == name)
    }

    /// A problem with a field of this mapping, whether it is there or not.
    pub(super) fn refuse(&mut self, name: &str, fault: Fault) {
        let at = self.entries.iter().find(|(key, _)| key.word == name).map_or(self.node.at, |(_, node)| node.at);
        self.problems.add(located(fault, &self.path_of(name), at));
    }

    /// Refuses every field that was not read.
    pub(super) fn close(self) {
        let unknown = self.entries.iter().filter(|(key, _)| !self.known.contains(&key.word.as_str()));
        for (key, _) in unknown.take(PROBLEMS_MAX) {
            let reason = match self.path.as_str() {
                "" => format!("a manifest has no field {}", excerpt(&key.word)),
                path => format!("{path} has no field {}", excerpt(&key.word)),
            };
            if let Some(fault) = indented_by(&key.word) {
                self.problems.add(located(fault, &self.path_of(key.word.trim()), key.at));
                continue;
            }
            let hint = match nearest(&key.word, self.known.iter().copied()) {
                Some(word) => format!("did you mean `{word}`?"),
                None => format!("its fields are {}", self.known.join(", ")),
            };
            let fault = Fault::new(Code::UnknownField, reason).hint(hint);
            self.problems.add(located(fault, &self.path_of(&key.word), key.at));
        }
    }
}
