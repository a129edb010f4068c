//! The AEGIS dialect, translated to the canonical form before anything else reads it. It has the canonical form's
//! shape, so only words are replaced and every value keeps its place in the file. Must never drop a field: what has no
//! canonical counterpart stays, and is refused by name like any unknown field.

use super::document::{Key, Node, Value};

pub(super) const API_VERSION: &str = "100monkeys.ai/v1";

/// Where a tool's word is another than ours; all others differ in their group's name alone.
const TOOLS: [(&str, &str); 3] =
    [("fs.multi_edit", "filesystem.edit"), ("fs.grep", "filesystem.search_content"), ("fs.glob", "filesystem.search")];

/// The groups of its tools by our names.
const GROUPS: [(&str, &str); 2] = [("fs.", "filesystem."), ("cmd.", "process.")];

/// Our name for a tool of an AEGIS manifest; none for what is no `fs.` or `cmd.` tool.
pub(super) fn tool(theirs: &str) -> Option<String> {
    if let Some((_, ours)) = TOOLS.iter().find(|(word, _)| *word == theirs) {
        return Some((*ours).to_owned());
    }
    GROUPS.iter().find_map(|(group, ours)| theirs.strip_prefix(group).map(|word| format!("{ours}{word}")))
}

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
    let Value::Text(text) = &mut node.value else { return };
    if let Some(ours) = tool(text) {
        *text = ours;
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
