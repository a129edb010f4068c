//! Puts calls together from the fragments in which providers stream them.
//!
//! A fragment belongs to a call by its index, else by its id, else it goes on with the last one. Providers leave each of
//! these out, repeat it, or give all calls the same: what then tells a new call from more of an old one is whether it
//! brings a name, and whether the old one's arguments are whole. An index is a key, however large; never a size.

use super::WireError;
use super::arguments;
use crate::model::CALLS_MAX;
use serde_json::Value;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of an id or a name; longer ones are cut, and a cut name is none that is on offer.
const WORD_BYTES_MAX: usize = 256;

/// Bytes that one answer's arguments are looked at for being whole while they come: a provider that makes us look at
/// each of its fragments costs no more.
const LOOKED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A piece of a call.
#[derive(Debug, Default)]
pub(super) struct Fragment<'v> {
    pub(super) index: Option<u64>,
    pub(super) id: &'v str,
    pub(super) name: &'v str,
    pub(super) arguments: Option<&'v Value>,
}

#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Building {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

impl Building {
    fn is_phantom(&self) -> bool {
        self.name.is_empty() && self.arguments.trim().is_empty()
    }
}

pub(super) struct CallTable {
    calls: Vec<Building>,
    by_index: BTreeMap<u64, usize>,
    /// Indexes of calls beyond the bound: their fragments go nowhere.
    beyond: BTreeSet<u64>,
    dropped: u32,
    offered: BTreeSet<String>,
    /// Bytes that may still be read to find out whether arguments are whole.
    looks_left: Cell<usize>,
}

/// Where a fragment goes.
enum Target {
    Old(usize),
    New,
    Nowhere,
}

impl CallTable {
    pub(super) fn new(offered: BTreeSet<String>) -> CallTable {
        CallTable {
            calls: Vec::new(),
            by_index: BTreeMap::new(),
            beyond: BTreeSet::new(),
            dropped: 0,
            offered,
            looks_left: Cell::new(LOOKED_BYTES_MAX),
        }
    }

    /// Its arguments can be read, so that nothing of them is missing.
    fn is_whole(&self, call: &Building) -> bool {
        let text = call.arguments.trim();
        let Some(left) = self.looks_left.get().checked_sub(text.len()) else { return false };
        if !text.ends_with(['}', '"']) {
            return false;
        }
        self.looks_left.set(left);
        arguments::read(text).is_ok()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Bytes of a fragment that are kept.
    pub(super) fn bytes_of(fragment: &Fragment<'_>) -> usize {
        let arguments = fragment.arguments.map_or(0, |arguments| match arguments {
            Value::String(text) => text.len(),
            other => super::reply::bytes(other),
        });
        fragment.id.len().min(WORD_BYTES_MAX) + fragment.name.len().min(WORD_BYTES_MAX) + arguments
    }

    pub(super) fn take(&mut self, fragment: &Fragment<'_>) {
        let target = match self.target(fragment) {
            Target::Old(place) => place,
            Target::Nowhere => return,
            Target::New => {
                if self.calls.len() >= CALLS_MAX {
                    self.dropped = self.dropped.saturating_add(1);
                    if let (Some(index), true) = (fragment.index, self.beyond.len() < CALLS_MAX) {
                        self.beyond.insert(index);
                    }
                    return;
                }
                self.calls.push(Building::default());
                self.calls.len() - 1
            }
        };
        if let Some(index) = fragment.index {
            self.by_index.insert(index, target);
        }
        let offered = &self.offered;
        let call = &mut self.calls[target];
        if call.id.is_empty() {
            call.id = clipped(fragment.id);
        }
        add_name(call, fragment.name, offered);
        match fragment.arguments {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => call.arguments.push_str(text),
            // Whole, so it is instead of what came before.
            Some(whole) => call.arguments = whole.to_string(),
        }
    }

    /// The whole arguments of a call, told at its end.
    pub(super) fn complete(&mut self, fragment: &Fragment<'_>) {
        let by_index = fragment.index.and_then(|index| self.by_index.get(&index).copied());
        let known = by_index.or_else(|| self.calls.iter().rposition(|call| self.is_repeated(call, fragment)));
        match known {
            None => self.take(fragment),
            Some(place) => {
                let offered = &self.offered;
                let call = &mut self.calls[place];
                if call.id.is_empty() {
                    call.id = clipped(fragment.id);
                }
                add_name(call, fragment.name, offered);
                match fragment.arguments {
                    Some(Value::String(text)) if !text.is_empty() => call.arguments.clone_from(text),
                    Some(whole @ Value::Object(_)) => call.arguments = whole.to_string(),
                    Some(Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_))
                    | None => {}
                }
            }
        }
    }

    fn target(&self, fragment: &Fragment<'_>) -> Target {
        if fragment.index.is_some_and(|index| self.beyond.contains(&index)) {
            return Target::Nowhere;
        }
        match fragment.index {
            Some(index) => match self.by_index.get(&index) {
                Some(&place) => self.same_place(place, fragment),
                None => self.new_index(fragment),
            },
            None => self.without_index(fragment),
        }
    }

    /// The index was seen before: more of that call, or one of several calls that all have the same index.
    fn same_place(&self, place: usize, fragment: &Fragment<'_>) -> Target {
        let call = &self.calls[place];
        let other_id = !fragment.id.is_empty() && !call.id.is_empty() && fragment.id != call.id;
        if other_id {
            if let Some(known) = self.by_id(fragment.id) {
                return Target::Old(known);
            }
            // Without a name it is a server that makes up an id for each fragment.
            return if !fragment.name.is_empty() || self.is_whole(call) { Target::New } else { Target::Old(place) };
        }
        self.by_name(place, fragment)
    }

    fn new_index(&self, fragment: &Fragment<'_>) -> Target {
        match self.by_id(fragment.id) {
            // One call whose index wanders; with a name it is another call with the same id.
            Some(known) if fragment.name.is_empty() => Target::Old(known),
            Some(_) | None => Target::New,
        }
    }

    fn without_index(&self, fragment: &Fragment<'_>) -> Target {
        if let Some(known) = self.by_id(fragment.id) {
            return self.by_name(known, fragment);
        }
        let Some(last) = self.calls.len().checked_sub(1) else { return Target::New };
        let call = &self.calls[last];
        match (fragment.id.is_empty(), fragment.name.is_empty()) {
            (true, _) => self.by_name(last, fragment),
            (false, true) if call.id.is_empty() || !self.is_whole(call) && !call.arguments.is_empty() => {
                Target::Old(last)
            }
            (false, _) => Target::New,
        }
    }

    /// The call at `place`, unless the fragment begins another one by a name of its own.
    fn by_name(&self, place: usize, fragment: &Fragment<'_>) -> Target {
        let call = &self.calls[place];
        if fragment.name.is_empty() || call.name.is_empty() {
            return Target::Old(place);
        }
        let both_known = self.offered.contains(&call.name) && self.offered.contains(fragment.name);
        let other_name = both_known && call.name != fragment.name;
        let repeats = call.name == fragment.name && !self.is_whole(call);
        let begins_another = other_name || (self.is_whole(call) && !repeats && fragment.arguments.is_some_and(is_more));
        if begins_another { Target::New } else { Target::Old(place) }
    }

    /// Whether a call that is told whole under another index is this one once more, and not another with its id.
    fn is_repeated(&self, call: &Building, whole: &Fragment<'_>) -> bool {
        let same_name = call.name == whole.name || call.name.is_empty() || whole.name.is_empty();
        let same_arguments = || match whole.arguments {
            Some(Value::String(text)) => *text == call.arguments,
            Some(value) => arguments::read(&call.arguments).is_ok_and(|read| read == *value),
            None => true,
        };
        !whole.id.is_empty() && call.id == whole.id && same_name && (!self.is_whole(call) || same_arguments())
    }

    fn by_id(&self, id: &str) -> Option<usize> {
        if id.is_empty() { None } else { self.calls.iter().rposition(|call| call.id == id) }
    }

    /// The calls in the order in which they began, and how many there were beyond the bound. What has neither a name nor
    /// arguments never was a call.
    pub(super) fn into_calls(self) -> (Vec<Building>, u32) {
        (self.calls.into_iter().filter(|call| !call.is_phantom()).collect(), self.dropped)
    }
}

fn is_more(arguments: &Value) -> bool {
    match arguments {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => true,
    }
}

/// A name comes at once, again with each fragment, or in parts.
fn add_name(call: &mut Building, name: &str, offered: &BTreeSet<String>) {
    if name.is_empty() || call.name == name || (offered.contains(&call.name) && call.name.starts_with(name)) {
        return;
    }
    let replaces = name.starts_with(&call.name) || offered.contains(name);
    let joined = if replaces { name.to_owned() } else { format!("{}{}", call.name, clipped(name)) };
    call.name = clipped(&joined);
}

fn clipped(word: &str) -> String {
    let mut end = word.len().min(WORD_BYTES_MAX);
    while !word.is_char_boundary(end) {
        end -= 1;
    }
    word[..end].to_owned()
}

/// So that a fragment's size counts against the answer before it is kept.
pub(super) fn take(gathered: &mut super::reply::Gathered, fragment: &Fragment<'_>) -> Result<(), WireError> {
    gathered.spend(CallTable::bytes_of(fragment))?;
    gathered.calls.take(fragment);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    type Row = (Option<u64>, &'static str, &'static str, Value);

    fn put_together(rows: &[Row]) -> Vec<(String, String, String)> {
        let offered = ["read", "write", "list"].map(str::to_owned).into();
        let mut table = CallTable::new(offered);
        for (index, id, name, arguments) in rows {
            table.take(&Fragment { index: *index, id, name, arguments: Some(arguments) });
        }
        table.into_calls().0.into_iter().map(|call| (call.id, call.name, call.arguments)).collect()
    }

    #[test]
    fn fragments_come_together_however_they_are_numbered() {
        let whole = |text: &str| json!(text);
        let one = || vec![("a".to_owned(), "read".to_owned(), r#"{"path":"x"}"#.to_owned())];
        let both = || {
            let mut both = one();
            both.push(("b".to_owned(), "write".to_owned(), r#"{"path":"y"}"#.to_owned()));
            both
        };
        let (x, y) = (r#"{"path":"x"}"#, r#"{"path":"y"}"#);
        let table: Vec<(&str, Vec<Row>, Vec<_>)> = vec![
            ("no index", vec![(None, "a", "read", whole(x))], one()),
            ("huge index", vec![(Some(u64::MAX), "a", "read", whole(x))], one()),
            ("first index 1", vec![(Some(1), "a", "read", whole(x)), (Some(2), "b", "write", whole(y))], both()),
            ("all index 0", vec![(Some(0), "a", "read", whole(x)), (Some(0), "b", "write", whole(y))], both()),
            ("no index, two", vec![(None, "a", "read", whole(x)), (None, "b", "write", whole(y))], both()),
            (
                "in turns",
                vec![
                    (Some(0), "a", "read", whole("{\"path\"")),
                    (Some(1), "b", "write", whole("{\"path\"")),
                    (Some(0), "", "", whole(":\"x\"}")),
                    (Some(1), "", "", whole(":\"y\"}")),
                ],
                both(),
            ),
            (
                "no index, in pieces",
                vec![(None, "a", "read", whole("{\"path\"")), (None, "", "", whole(":\"x\"}"))],
                one(),
            ),
            (
                "an id of its own for each piece",
                vec![(Some(0), "a", "read", whole("{\"path\"")), (Some(0), "zz", "", whole(":\"x\"}"))],
                one(),
            ),
            (
                "index and name with each piece",
                vec![(Some(0), "a", "read", whole("{\"path\"")), (Some(0), "a", "read", whole(":\"x\"}"))],
                one(),
            ),
            ("late name", vec![(Some(0), "a", "", json!("")), (Some(0), "", "read", whole(x))], one()),
            ("late id", vec![(Some(0), "", "read", json!("")), (Some(0), "a", "", whole(x))], one()),
            ("name in parts", vec![(Some(0), "a", "re", json!("")), (Some(0), "", "ad", whole(x))], one()),
            ("an object", vec![(Some(0), "a", "read", json!({"path": "x"}))], one()),
            ("a phantom before", vec![(Some(0), "", "", json!("")), (Some(1), "a", "read", whole(x))], one()),
            ("a phantom behind", vec![(Some(0), "a", "read", whole(x)), (Some(1), "p", "", json!(null))], one()),
        ];
        for (what, rows, wanted) in table {
            assert_eq!(put_together(&rows), wanted, "{what}");
        }
    }

    #[test]
    fn a_call_without_arguments_keeps_its_place_beside_one_with_the_same_index() {
        let rows = [(Some(0), "a", "list", json!("")), (Some(0), "b", "write", json!("{}"))];
        let names: Vec<String> = put_together(&rows).into_iter().map(|call| call.1).collect();
        assert_eq!(names, ["list", "write"]);
        let rows = [(Some(0), "", "list", json!("")), (Some(0), "", "write", json!("{}"))];
        let names: Vec<String> = put_together(&rows).into_iter().map(|call| call.1).collect();
        assert_eq!(names, ["list", "write"], "without ids the names tell them apart");
    }

    #[test]
    fn calls_beyond_the_bound_are_counted_and_cost_nothing() {
        let mut table = CallTable::new(BTreeSet::new());
        let arguments = json!("{}");
        for index in 0..10_000u64 {
            table.take(&Fragment {
                index: Some(index * 4_000_000_000),
                id: "",
                name: "x",
                arguments: Some(&arguments),
            });
        }
        assert!(table.beyond.len() <= CALLS_MAX);
        let (calls, dropped) = table.into_calls();
        assert_eq!((calls.len(), dropped), (CALLS_MAX, 10_000 - 64));
    }
}
