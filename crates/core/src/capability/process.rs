//! Programs inside the sandbox: a command and its arguments, never a shell string.
use super::{Attributes, Capability, Effects, judged_path};
use serde_json::{Value, json};

pub(super) const GROUP: &[Capability] = &[Capability {
    name: "process.run",
    version: 1,
    brief: "Run a program; gives its output and exit code.",
    use_when: "A program, test or script is to be run.",
    avoid_when: "A file is only read or written: filesystem.*.",
    effects: Effects::Irreversible,
    idempotent: false,
    usual: &["command", "args"],
    input,
    output: || json!({"type": "object", "properties": {"exit_code": {"type": ["integer", "null"]}, "signal": {"type": ["integer", "null"]}, "stdout": {"type": "string"}, "stderr": {"type": "string"}, "timed_out": {"type": "boolean"}, "truncated": {"type": "boolean"}, "limit": {"type": "string"}, "limit_was": {"type": "integer"}, "cpu_throttled_ms": {"type": "integer"}, "error": {"type": "string"}}}),
    attributes,
    perform: None,
}];

fn input() -> Value {
    json!({
        "type": "object",
        "properties": {
            "command": {"type": "string", "minLength": 1, "maxLength": 4096},
            "args": {"type": "array", "items": {"type": "string", "maxLength": 65536}, "maxItems": 256},
            "stdin": {"type": "string", "maxLength": 1_048_576},
            "env": {
                "type": "object",
                "propertyNames": {"maxLength": 256},
                "additionalProperties": {"type": "string", "maxLength": 4096},
                "maxProperties": 64
            },
            "cwd": {"type": "string", "minLength": 1, "maxLength": 4096},
            "timeout_ms": {"type": "integer", "minimum": 1, "maximum": 3_600_000},
            "pty": {"type": "boolean", "description": "Give it a terminal; stderr is in stdout then."}
        },
        "required": ["command"],
        "additionalProperties": false
    })
}

fn attributes(arguments: &Value) -> Attributes {
    let text = |value: &Value| value.as_str().map(str::to_string);
    let args = arguments.get("args").and_then(Value::as_array).into_iter().flatten().filter_map(text);
    let argv = arguments.get("command").and_then(text).into_iter().chain(args).collect();
    Attributes { path: judged_path(arguments, "cwd"), argv: Some(argv), ..Attributes::default() }
}
