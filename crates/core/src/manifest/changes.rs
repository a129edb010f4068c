//! A manifest made or changed by a few words instead of a file: what `agent create` and `agent edit` mean by their flags.
//! Works on the canonical form as a tree; whether the result is a manifest is for [`super::Manifest::parse`] to say, so that
//! a wrong value is refused with its path as in any file. Must never drop what no word names.

use serde_json::{Map, Value, json};

use super::canonical::{Mode, Trigger};
use super::tools::ToolPattern;

/// What an agent may use that is made by words and names no tools: its own files, programs and values, and messages. All of
/// it stays in its sandbox and its project; what reaches further is asked for by name.
const TOOLS: [&str; 5] = ["filesystem.*", "process.run", "state.*", "comms.*", "agent.whoami"];

/// What is said of a field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Change<T> {
    #[default]
    Keep,
    Set(T),
    Unset,
}

impl<T> Change<T> {
    pub fn is_keep(&self) -> bool {
        matches!(self, Change::Keep)
    }
}

impl<T> From<Option<T>> for Change<T> {
    fn from(stated: Option<T>) -> Change<T> {
        stated.map_or(Change::Keep, Change::Set)
    }
}

/// What is to be different. A schedule without triggers wakes by the schedule alone; triggers beside it add to that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// What the agent is for. Without an instruction of its own it is the standing instruction too.
    pub purpose: Option<String>,
    /// One attempt a run, of so many turns as `max_iterations` says.
    pub autonomous: bool,
    pub schedule: Change<String>,
    pub timezone: Change<String>,
    pub instructions: Option<String>,
    pub triggers: Change<Vec<String>>,
    pub max_iterations: Option<u32>,
    pub model: Option<String>,
    /// By key; none takes the label away.
    pub labels: Vec<(String, Option<String>)>,
    pub tools: Option<Vec<String>>,
}

impl Changes {
    /// The manifest of a new agent.
    pub fn create(&self, name: &str) -> Value {
        let empty = json!({
            "apiVersion": super::API_VERSION, "kind": "Agent", "metadata": { "name": name }, "spec": {},
        });
        let built = |name: &&&str| ToolPattern::parse(name).is_ok_and(|pattern| pattern.is_built());
        let tools = || TOOLS.iter().filter(built).map(|name| (*name).to_string()).collect();
        let stated = Changes { tools: Some(self.tools.clone().unwrap_or_else(tools)), ..self.clone() };
        stated.apply(&empty)
    }

    pub fn is_nothing(&self) -> bool {
        *self == Changes::default()
    }

    /// The same manifest but for what is stated.
    pub fn apply(&self, manifest: &Value) -> Value {
        let mut manifest = manifest.clone();
        self.purpose_and_instruction(&mut manifest);
        for (key, value) in &self.labels {
            let change = value.as_ref().map_or(Change::Unset, |value| Change::Set(value.as_str()));
            put(&mut manifest, &["metadata", "labels", key], &change);
        }
        put(&mut manifest, &["spec", "runtime", "model"], &Change::from(self.model.as_deref()));
        put(&mut manifest, &["spec", "tools"], &Change::from(self.tools.clone()));
        if self.autonomous {
            put(&mut manifest, &["spec", "execution", "mode"], &Change::Set(Mode::OneShot.as_str()));
        }
        let one_shot = manifest["spec"]["execution"]["mode"] == Mode::OneShot.as_str();
        let home = if one_shot { "max_turns" } else { "max_iterations" };
        put(&mut manifest, &["spec", "execution", home], &Change::from(self.max_iterations));
        self.schedule_and_triggers(&mut manifest);
        manifest
    }

    /// An instruction that was only the purpose goes on being that.
    fn purpose_and_instruction(&self, manifest: &mut Value) {
        let instruction = &manifest["spec"]["task"]["instruction"];
        let follows = instruction.is_null() || *instruction == manifest["metadata"]["description"];
        let purpose = self.purpose.as_deref();
        let instruction = self.instructions.as_deref().or(purpose.filter(|_| follows));
        put(manifest, &["metadata", "description"], &Change::from(purpose));
        put(manifest, &["spec", "task", "instruction"], &Change::from(instruction));
    }

    fn schedule_and_triggers(&self, manifest: &mut Value) {
        put(manifest, &["spec", "schedule", "cron"], &self.schedule);
        put(manifest, &["spec", "schedule", "timezone"], &self.timezone);
        if self.schedule == Change::Unset {
            put::<()>(manifest, &["spec", "schedule"], &Change::Unset);
        }
        let mut triggers = self.triggers.clone();
        let (has_schedule, schedule) = (!manifest["spec"]["schedule"].is_null(), Trigger::Schedule.as_str());
        if let Change::Set(words) = &mut triggers
            && has_schedule
            && !words.iter().any(|word| word == schedule)
        {
            words.insert(0, schedule.to_string());
        }
        put(manifest, &["spec", "triggers"], &triggers);
        let Some(Value::Array(words)) = manifest.pointer_mut("/spec/triggers") else { return };
        if self.schedule == Change::Unset {
            words.retain(|word| word != schedule);
        } else if has_schedule && !self.schedule.is_keep() && words.iter().all(|word| word != schedule) {
            words.insert(0, schedule.into());
        }
        if words.is_empty() {
            put::<()>(manifest, &["spec", "triggers"], &Change::Unset);
        }
    }
}

/// Sets or takes away one field; a mapping that has nothing left in it goes too.
fn put<T: serde::Serialize>(tree: &mut Value, path: &[&str], change: &Change<T>) {
    let Some((word, rest)) = path.split_first() else { return };
    let value = match change {
        Change::Keep => return,
        Change::Set(value) => serde_json::to_value(value).expect("invariant: words and numbers are JSON"),
        Change::Unset => Value::Null,
    };
    if !tree.is_object() {
        *tree = Value::Object(Map::new());
    }
    let Value::Object(fields) = tree else { return };
    if !rest.is_empty() {
        if value.is_null() && !fields.contains_key(*word) {
            return;
        }
        let inner = fields.entry((*word).to_string()).or_insert(Value::Null);
        put(inner, rest, &if value.is_null() { Change::Unset } else { Change::Set(value) });
        if inner.as_object().is_some_and(Map::is_empty) && *word != "spec" && *word != "metadata" {
            fields.shift_remove(*word);
        }
    } else if value.is_null() {
        fields.shift_remove(*word);
    } else {
        fields.insert((*word).to_string(), value);
    }
}

/// A field that two manifests have differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// As in `spec.execution.max_turns`.
    pub path: String,
    /// None where it was not there.
    pub before: Option<Value>,
    /// None where it is no more.
    pub after: Option<Value>,
}

/// What differs, field by field, in the order of the first manifest and then of the second. Lists are compared as wholes.
pub fn differences(before: &Value, after: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(String::new(), Some(before), Some(after), &mut found);
    found
}

fn compare(path: String, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Difference>) {
    if before == after {
        return;
    }
    let (old, new) = (before.and_then(Value::as_object), after.and_then(Value::as_object));
    if before.is_some_and(|before| !before.is_object()) || after.is_some_and(|after| !after.is_object()) {
        return found.push(Difference { path, before: before.cloned(), after: after.cloned() });
    }
    let old_keys = old.into_iter().flat_map(Map::keys);
    let new_keys = new.into_iter().flat_map(Map::keys).filter(|key| old.is_none_or(|old| !old.contains_key(*key)));
    for key in old_keys.chain(new_keys) {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        compare(path, old.and_then(|old| old.get(key)), new.and_then(|new| new.get(key)), found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    fn set(text: &str) -> Change<String> {
        Change::Set(text.to_string())
    }

    fn bookkeeper() -> Value {
        let changes = Changes {
            purpose: Some("Process invoices".into()),
            autonomous: true,
            schedule: set("0 */2 * * *"),
            instructions: Some("Check for new invoices.".into()),
            triggers: Change::Set(vec!["comms".into()]),
            max_iterations: Some(30),
            labels: vec![("team".into(), Some("money".into()))],
            ..Changes::default()
        };
        changes.create("bookkeeper")
    }

    #[test]
    fn words_make_a_manifest_that_reads_and_a_schedule_adds_its_trigger() {
        let made = bookkeeper();
        assert_eq!(made["spec"]["triggers"], json!(["schedule", "comms"]));
        assert_eq!(made["spec"]["execution"], json!({"mode": "one-shot", "max_turns": 30}));
        assert_eq!(made["spec"]["task"]["instruction"], "Check for new invoices.");
        assert_eq!(made["metadata"]["description"], "Process invoices");
        let manifest = Manifest::parse(&made.to_string()).unwrap();
        assert_eq!((manifest.limits().max_iterations, manifest.limits().max_turns), (1, 30));
        let bare = Changes { purpose: Some("General assistant".into()), ..Changes::default() }.create("my-agent");
        assert_eq!(bare["spec"]["task"]["instruction"], "General assistant");
        assert!(bare["spec"]["execution"].is_null() && bare["spec"]["schedule"].is_null());
        Manifest::parse(&bare.to_string()).unwrap();
    }

    #[test]
    fn a_change_leaves_all_else_as_it_is_and_a_schedule_that_goes_takes_its_trigger_along() {
        let made = bookkeeper();
        assert_eq!(Changes::default().apply(&made), made);
        let edited =
            Changes { schedule: set("0 */4 * * *"), max_iterations: Some(9), ..Changes::default() }.apply(&made);
        let told: Vec<String> = differences(&made, &edited).into_iter().map(|difference| difference.path).collect();
        assert_eq!(told, ["spec.execution.max_turns", "spec.schedule.cron"]);
        let unset = Changes { schedule: Change::Unset, ..Changes::default() }.apply(&made);
        assert_eq!((&unset["spec"]["schedule"], &unset["spec"]["triggers"]), (&Value::Null, &json!(["comms"])));
        let bare = Changes { triggers: Change::Unset, ..Changes::default() }.apply(&unset);
        assert!(bare["spec"].get("triggers").is_none());
        let again = Changes { schedule: set("@daily"), ..Changes::default() }.apply(&unset);
        assert_eq!(again["spec"]["triggers"], json!(["schedule", "comms"]));
        let unlabelled = Changes { labels: vec![("team".into(), None)], ..Changes::default() }.apply(&made);
        assert!(unlabelled["metadata"].get("labels").is_none());
    }

    #[test]
    fn an_instruction_that_was_only_the_purpose_follows_it_and_another_does_not() {
        let plain = Changes { purpose: Some("Tidy up".into()), ..Changes::default() };
        let renamed = Changes { purpose: Some("Tidy up well".into()), ..Changes::default() };
        assert_eq!(renamed.apply(&plain.create("a"))["spec"]["task"]["instruction"], "Tidy up well");
        assert_eq!(renamed.apply(&bookkeeper())["spec"]["task"]["instruction"], "Check for new invoices.");
    }

    #[test]
    fn what_differs_is_told_with_both_values_or_with_the_one_that_there_is() {
        let found = differences(&json!({"a": {"b": 1, "c": [1]}, "x": 1}), &json!({"a": {"b": 2, "c": [1], "d": 3}}));
        let told: Vec<String> =
            found.iter().map(|one| format!("{} {:?} {:?}", one.path, one.before, one.after)).collect();
        assert_eq!(told, ["a.b Some(Number(1)) Some(Number(2))", "a.d None Some(Number(3))", "x Some(Number(1)) None"]);
    }
}
