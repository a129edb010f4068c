//! What differs between two bundles, rule by rule: comments, gaps and the order of rules are no difference.
use crate::bundle::Bundle;
use crate::fault::Fault;
use crate::layer::Layer;
use crate::load::rules_unchecked;
use crate::rule::Rule;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Beyond it the lines are matched less well.
const DIFF_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    Removed,
    Changed,
    Added,
}

impl ChangeKind {
    pub fn as_str(self) -> &'static str {
        match self {
            ChangeKind::Removed => "removed",
            ChangeKind::Changed => "changed",
            ChangeKind::Added => "added",
        }
    }
}

/// A rule that is in one bundle only, or of which both have the name and not the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    pub layer: Layer,
    pub kind: ChangeKind,
    pub id: Option<String>,
    /// `file:line` and text, as each bundle has it.
    pub before: Option<(String, String)>,
    pub after: Option<(String, String)>,
}

/// By layer, in the order of the files.
///
/// # Errors
/// Why one of them cannot be read.
pub fn diff(before: &Bundle, after: &Bundle) -> Result<Vec<Change>, Vec<Fault>> {
    let (before, after) = (rules_unchecked(before)?, rules_unchecked(after)?);
    let mut rest: BTreeMap<(Layer, String), VecDeque<&Rule>> = BTreeMap::new();
    for rule in &after {
        rest.entry((rule.layer.clone(), rule.normal_form())).or_default().push_back(rule);
    }
    let is_gone =
        |rule: &&Rule| rest.get_mut(&(rule.layer.clone(), rule.normal_form())).and_then(VecDeque::pop_front).is_none();
    let gone: Vec<&Rule> = before.iter().filter(is_gone).collect();
    let mut new: Vec<&Rule> = rest.into_values().flatten().collect();
    new.sort_by_key(|rule| (&rule.layer, &rule.file, rule.line));
    let mut changes = Vec::new();
    for rule in gone {
        let same = |other: &Rule| other.layer == rule.layer && rule.said.id.is_some() && other.said.id == rule.said.id;
        let successor = new.iter().position(|other| same(other)).map(|at| new.remove(at));
        changes.push(change(Some(rule), successor));
    }
    changes.extend(new.into_iter().map(|rule| change(None, Some(rule))));
    changes.sort_by(|a, b| (&a.layer, a.kind).cmp(&(&b.layer, b.kind)));
    Ok(changes)
}

/// Line by line, as `patch` takes it in a folder that `policy show --out` wrote.
pub(crate) fn unified(before: &Bundle, after: &Bundle) -> String {
    let texts = |bundle: &Bundle| -> BTreeMap<(Layer, String), String> {
        let layers = bundle.layers.iter();
        let documents = layers.flat_map(|(layer, documents)| documents.iter().map(move |one| (layer, one)));
        documents.map(|(layer, one)| ((layer.clone(), one.name.clone()), one.text.clone())).collect()
    };
    let (before, after) = (texts(before), texts(after));
    let keys: BTreeSet<&(Layer, String)> = before.keys().chain(after.keys()).collect();
    let mut diff = String::new();
    for key in keys {
        let (old, new) = (before.get(key), after.get(key));
        if old == new {
            continue;
        }
        let path = format!("{}/{}", key.0.to_string().replacen(':', "/", 1), key.1.replace('/', "_"));
        let name = |side: &str, text: Option<&String>| match text {
            Some(_) => format!("{side}/{path}"),
            None => "/dev/null".to_string(),
        };
        let (old_text, new_text) = (old.map_or("", String::as_str), new.map_or("", String::as_str));
        let lines = similar::TextDiff::configure().timeout(DIFF_TIMEOUT).diff_lines(old_text, new_text);
        diff.push_str(&lines.unified_diff().header(&name("a", old), &name("b", new)).to_string());
    }
    diff
}

fn change(before: Option<&Rule>, after: Option<&Rule>) -> Change {
    let kind = match (before, after) {
        (Some(_), Some(_)) => ChangeKind::Changed,
        (Some(_), None) => ChangeKind::Removed,
        (None, _) => ChangeKind::Added,
    };
    let one = before.or(after).expect("invariant: a change has a side");
    let shown = |rule: &Rule| (format!("{}:{}", rule.file, rule.line), rule.policy.to_string());
    Change {
        layer: one.layer.clone(),
        kind,
        id: one.said.id.clone(),
        before: before.map(shown),
        after: after.map(shown),
    }
}
