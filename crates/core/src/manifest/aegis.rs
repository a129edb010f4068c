//! The AEGIS dialect, translated to the canonical form before anything else reads it. It has the canonical form's
//! shape, so only words are replaced and every value keeps its place in the file. Must never drop a field: what has no
//! canonical counterpart stays, and is refused by name like any unknown field.

use super::document::{Key, Node, Value};

pub(super) const API_VERSION: &str = "100monkeys.ai/v1";

/// The tools of an AEGIS manifest by our names.
const TOOLS: [(&str, &str); 7] = [
    ("fs.read", "filesystem.read"),
    ("fs.write", "filesystem.write"),
    ("fs.list", "filesystem.list"),
    ("fs.edit", "filesystem.edit"),
    ("fs.delete", "filesystem.delete"),
    ("fs.*", "filesystem.*"),
    ("cmd.run", "process.run"),
];

/// The fields of its validators by our names.
const VALIDATOR_FIELDS: [(&str, &str); 4] =
    [("judge_agent", "judge"), ("judge_model", "judge"), ("target_path", "target"), ("consensus", "strategy")];

pub(super) fn to_canonical(mut root: Node) -> Node {
    if let Some(version) = root.get_mut("apiVersion") {
        version.value = Value::Text(super::API_VERSION.to_owned());
    }
    let Some(spec) = root.get_mut("spec") else { return root };
    if let Some(Value::List(tools)) = spec.get_mut("tools").map(|node| &mut node.value) {
        tools.iter_mut().for_each(rename_tool);
    }
    let validation = spec.get_mut("execution").and_then(|execution| execution.get_mut("validation"));
    if let Some(Value::List(validators)) = validation.map(|node| &mut node.value) {
        validators.iter_mut().for_each(rename_fields);
    }
    root
}

fn rename_tool(node: &mut Node) {
    let Value::Text(tool) = &mut node.value else { return };
    if let Some((_, ours)) = TOOLS.iter().find(|(theirs, _)| theirs == tool) {
        *tool = (*ours).to_owned();
    }
}

fn rename_fields(validator: &mut Node) {
    let Value::Map(entries) = &mut validator.value else { return };
    for (key, node) in entries {
        if let Some((_, ours)) = VALIDATOR_FIELDS.iter().find(|(theirs, _)| *theirs == key.word) {
            key.word = (*ours).to_owned();
        }
        rename_timeout(key, node);
    }
}

fn rename_timeout(key: &mut Key, node: &mut Node) {
    if key.word != "timeout_seconds" {
        return;
    }
    if let Value::Number { digits, .. } = &node.value {
        *node = Node::text(&format!("{digits}s"), node.at);
        key.word = "timeout".to_owned();
    }
}
