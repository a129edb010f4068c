//! Files of an agent's own work folder. Every path is resolved inside the sandbox, never here.
use super::{Attributes, Capability, Effects, arguments, judged_path, path::WORKSPACE};
use serde_json::{Value, json};

pub(super) const GROUP: &[Capability] = &[
    Capability {
        name: "filesystem.read",
        version: 1,
        brief: "Read a text file.",
        use_when: "The content of one file is needed.",
        avoid_when: "Only size or kind is needed: filesystem.stat.",
        effects: Effects::None,
        idempotent: true,
        usual: &["path"],
        input: || arguments(&["path"], json!({"path": path(), "offset": offset(), "max_bytes": max_bytes()})),
        output: || json!({"type": "object", "properties": {"content": {"type": "string"}, "size": {"type": "integer"}, "truncated": {"type": "boolean"}, "encoding": {"enum": ["utf-8", "base64"]}}}),
        attributes: at_path,
        perform: None,
    },
    Capability {
        name: "filesystem.write",
        version: 1,
        brief: "Create or replace a file with this text.",
        use_when: "A file is to have exactly this content.",
        avoid_when: "A small part changes: filesystem.edit. Content is added at the end: filesystem.append.",
        effects: Effects::Reversible,
        idempotent: true,
        usual: &["path", "content"],
        input: || arguments(&["path", "content"], json!({"path": path(), "content": content()})),
        output: size_written,
        attributes: at_path_with_content,
        perform: None,
    },
    Capability {
        name: "filesystem.append",
        version: 1,
        brief: "Add text at the end of a file.",
        use_when: "Lines are added to a log or list.",
        avoid_when: "The file is to be replaced: filesystem.write.",
        effects: Effects::Reversible,
        idempotent: false,
        usual: &["path", "content"],
        input: || arguments(&["path", "content"], json!({"path": path(), "content": content()})),
        output: size_written,
        attributes: at_path_with_content,
        perform: None,
    },
    Capability {
        name: "filesystem.edit",
        version: 1,
        brief: "Replace an exact text that occurs once in a file, or expected_count times.",
        use_when: "A small part of a file changes.",
        avoid_when: "Most of the file changes: filesystem.write.",
        effects: Effects::Reversible,
        idempotent: false,
        usual: &["path", "find", "replace"],
        input: || {
            arguments(
                &["path", "find", "replace"],
                json!({
                    "path": path(),
                    "find": {"type": "string", "minLength": 1, "maxLength": 65536},
                    "replace": {"type": "string", "maxLength": 65536},
                    "expected_count": {
                        "type": "integer", "minimum": 1, "maximum": 10000,
                        "description": "How often the text occurs; all of them are replaced. 1 if not stated."
                    },
                    "dry_run": {"type": "boolean"}
                }),
            )
        },
        output: || json!({"type": "object", "properties": {"replaced": {"type": "integer"}, "diff": {"type": "string"}}}),
        attributes: at_path,
        perform: None,
    },
    Capability {
        name: "filesystem.list",
        version: 1,
        brief: "List a folder.",
        use_when: "Names in a folder are needed.",
        avoid_when: "One file's kind or size is needed: filesystem.stat.",
        effects: Effects::None,
        idempotent: true,
        usual: &["path"],
        input: || arguments(&[], json!({"path": path()})),
        output: || json!({"type": "object", "properties": {"entries": {"type": "array"}, "truncated": {"type": "boolean"}}}),
        attributes: at_path,
        perform: None,
    },
    Capability {
        name: "filesystem.stat",
        version: 1,
        brief: "Show a file's kind, size and time.",
        use_when: "Whether a path exists, its kind or size, is needed.",
        avoid_when: "Its content is needed: filesystem.read.",
        effects: Effects::None,
        idempotent: true,
        usual: &["path"],
        input: || arguments(&["path"], json!({"path": path()})),
        output: || json!({"type": "object", "properties": {"kind": {"enum": ["file", "directory", "symlink", "other"]}, "size": {"type": "integer"}, "modified_ms": {"type": "integer"}, "mode": {"type": "string"}}}),
        attributes: at_path,
        perform: None,
    },
    Capability {
        name: "filesystem.delete",
        version: 1,
        brief: "Move a file or folder to the trash; what lies in the trash is removed for good.",
        use_when: "A file is no longer wanted.",
        avoid_when: "It is about to be written anew: filesystem.write.",
        effects: Effects::Reversible,
        idempotent: false,
        usual: &["path"],
        input: || arguments(&["path"], json!({"path": path(), "recursive": {"type": "boolean"}})),
        output: || json!({"type": "object", "properties": {"trashed_as": {"type": "string"}, "removed": {"type": "boolean"}}}),
        attributes: at_path,
        perform: None,
    },
    Capability {
        name: "filesystem.restore",
        version: 1,
        brief: "Move a file or folder from the trash to where it was, or to path.",
        use_when: "Something that filesystem.delete moved to the trash is wanted again.",
        avoid_when: "Something else is at that path now: name another path.",
        effects: Effects::Reversible,
        idempotent: false,
        usual: &["trashed_as"],
        input: || arguments(&["trashed_as"], json!({"trashed_as": path(), "path": path()})),
        output: || json!({"type": "object", "properties": {"restored_to": {"type": "string"}}}),
        attributes: at_restored_path,
        perform: None,
    },
];

fn path() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 4096})
}

fn content() -> Value {
    json!({"type": "string", "maxLength": 1_048_576})
}

fn offset() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn max_bytes() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": 1_048_576})
}

fn size_written() -> Value {
    json!({"type": "object", "properties": {"size": {"type": "integer"}}})
}

fn at_path(arguments: &Value) -> Attributes {
    // Without one, the work folder itself is meant.
    let path = match arguments.get("path") {
        None => Some(WORKSPACE.to_string()),
        Some(_) => judged_path(arguments, "path"),
    };
    Attributes { path, ..Attributes::default() }
}

/// Where it is to lie, where that is said. Where it is not, the sandbox answers with the place where it lay, which is judged then.
fn at_restored_path(arguments: &Value) -> Attributes {
    Attributes { path: judged_path(arguments, "path"), ..Attributes::default() }
}

fn at_path_with_content(arguments: &Value) -> Attributes {
    let bytes = arguments.get("content").and_then(Value::as_str).map(|content| content.len() as u64);
    Attributes { bytes, ..at_path(arguments) }
}

#[cfg(test)]
mod tests {
    use super::super::find;
    use serde_json::json;

    #[test]
    fn what_is_restored_is_judged_by_the_place_where_it_is_to_lie_and_by_no_other() {
        let restore = find("filesystem.restore").unwrap();
        let judged = |arguments| restore.attributes(&arguments).path;
        assert_eq!(judged(json!({"trashed_as": ".trash/1-0-a"})), None);
        assert_eq!(judged(json!({"trashed_as": ".trash/1-0-a", "path": "b/../c"})), Some("/workspace/c".into()));
    }
}
