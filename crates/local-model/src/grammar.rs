//! The grammar that holds an answer to the offered calls. Pure but for llama.cpp's own translation of JSON Schema.
//!
//! An answer is one line `{"name": "answer", "arguments": {"text": …}}`, or 1 to 4 lines `{"name": …, "arguments": …}`
//! of offered tools. White space is one blank at most, so that no token is spent on layout.

use std::fmt::Write as _;

use crate::engine::CHUNK_TOKENS;
use llama_cpp_2::json_schema_to_grammar;
use serde_json::{Map, Value};
use tenure_wire::local::{ANSWER, CALLS_MAX, TOOLS_MAX, Tool};

const ANSWER_ARGUMENT: &str = "text";
/// How a final text begins; [`crate::reply`] reads by it.
pub(crate) const ANSWER_HEAD: &str = r#"{"name": "answer", "arguments": {"text": ""#;

/// Longest string that the grammar itself bounds, in characters. Each costs a rule, so what is longer is left open and
/// ended by the token bound and the watch on repetition.
const STRING_RULES_MAX: u64 = 200;
/// Longest text put in whole, in bytes: no text has more tokens than bytes, and one chunk takes it all.
const FORCED_BYTES_MAX: usize = CHUNK_TOKENS;
/// Nesting of a schema.
const DEPTH_MAX: usize = 32;

/// Builds the grammar for `tools`.
///
/// # Errors
/// A sentence that names the tool which cannot be offered and why.
pub(crate) fn build(tools: &[Tool], calls_max: u32) -> Result<String, String> {
    if !(1..=CALLS_MAX).contains(&calls_max) {
        return Err(format!("calls_max is {calls_max}; it may be 1 to {CALLS_MAX}"));
    }
    check_names(tools)?;
    let mut alternatives = Vec::new();
    for tool in tools {
        let one = alternative(tool)?;
        // Alone first, so that the error names the tool.
        translate(&one)
            .map_err(|e| format!("the schema of tool `{}` cannot be turned into a grammar: {e}", tool.name))?;
        alternatives.push(one);
    }
    let rules = translate(&format!(r#"{{"anyOf":[{}]}}"#, alternatives.join(",")))?;
    Ok(compose(&rules, calls_max))
}

/// The grammar that leaves nothing but the final text.
pub(crate) fn answer_only() -> String {
    let mut out = answer_rules();
    out.push_str("root ::= tenure-answer\n");
    out
}

fn answer_rules() -> String {
    let head = ANSWER_HEAD.replace('"', "\\\"");
    let letter = r#"tenure-letter ::= [^"\\\x7F\x00-\x1F] | [\\] (["\\bfnrt] | "u" [0-9a-fA-F]{4})"#;
    format!("{letter}\ntenure-answer ::= \"{head}\" tenure-letter+ \"\\\"}}}}\"\n")
}

fn check_names(tools: &[Tool]) -> Result<(), String> {
    if tools.len() > TOOLS_MAX {
        return Err(format!("{} tools are offered; the bound is {TOOLS_MAX}", tools.len()));
    }
    for (at, tool) in tools.iter().enumerate() {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if tool.name.is_empty() || tool.name.len() > 64 || !tool.name.chars().all(plain) {
            return Err(format!("tool name `{}` is not 1 to 64 of A-Z a-z 0-9 _ . -", tool.name.escape_debug()));
        }
        if tool.name == ANSWER {
            return Err(format!("`{ANSWER}` is the name of the final text; no tool may bear it"));
        }
        if tools[..at].iter().any(|other| other.name == tool.name) {
            return Err(format!("tool `{}` is offered twice", tool.name));
        }
    }
    Ok(())
}

fn translate(schema: &str) -> Result<String, String> {
    json_schema_to_grammar(schema).map_err(|e| e.to_string())
}

fn compose(rules: &str, calls_max: u32) -> String {
    let mut out = String::new();
    for rule in rules.lines() {
        if let Some(body) = rule.strip_prefix("root ::=") {
            let _ = writeln!(out, "tenure-call ::={body}");
        } else if rule.starts_with("space ::=") {
            out.push_str("space ::= \" \"?\n");
        } else {
            let _ = writeln!(out, "{rule}");
        }
    }
    out.push_str(&answer_rules());
    out.push_str("root ::= tenure-answer | tenure-call");
    if calls_max > 1 {
        let _ = write!(out, r#" ("\n" tenure-call){{0,{}}}"#, calls_max - 1);
    }
    out.push('\n');
    out
}

/// How every constrained answer begins.
pub(crate) const HEAD: &str = r#"{"name": ""#;

/// What must follow `raw` word for word once it ends in the whole name of a tool. Tokens that are known are computed many
/// at a time, so each costs a third of one that is sampled. It ends before a value: a value's quote and first character
/// are often one token, and a model made to cut them goes astray.
pub(crate) fn forced(raw: &str, tools: &[Tool]) -> Option<String> {
    let line = raw.rsplit('\n').next().unwrap_or(raw);
    let name = line.strip_prefix(HEAD)?;
    let names = tools.iter().map(|tool| tool.name.as_str()).chain([ANSWER]);
    if names.filter(|other| other.starts_with(name)).ne([name]) {
        return None;
    }
    let first = match tools.iter().find(|tool| tool.name == name) {
        None => Some(ANSWER_ARGUMENT),
        Some(tool) => {
            let schema = tool.schema.as_object()?;
            let required = schema.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            ordered_properties(schema).first().copied().filter(|first| required.iter().any(|r| r == first))
        }
    };
    let first = first.map(|first| format!(" {{{}:", Value::from(first))).unwrap_or_default();
    let text = format!(r#"", "arguments":{first}"#);
    (text.len() <= FORCED_BYTES_MAX).then_some(text)
}

/// The schema of one call of `tool`, as text: llama.cpp takes properties in the order in which they are written.
fn alternative(tool: &Tool) -> Result<String, String> {
    if tool.schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err(format!("the schema of tool `{}` is not of type object", tool.name));
    }
    let mut arguments = String::new();
    write(&bounded(&tool.schema, 0)?, &mut arguments);
    Ok(format!(
        concat!(
            r#"{{"type":"object","properties":{{"name":{{"const":"{}"}},"arguments":{}}},"#,
            r#""required":["name","arguments"],"additionalProperties":false}}"#
        ),
        tool.name, arguments
    ))
}

/// `schema` with closed objects, and strings bounded only where the grammar can afford it.
fn bounded(schema: &Value, depth: usize) -> Result<Value, String> {
    if depth > DEPTH_MAX {
        return Err(format!("a schema is nested deeper than {DEPTH_MAX}"));
    }
    let Value::Object(map) = schema else {
        if let Value::Array(items) = schema {
            return items.iter().map(|item| bounded(item, depth + 1)).collect::<Result<_, _>>().map(Value::Array);
        }
        return Ok(schema.clone());
    };
    let mut out = Map::new();
    for (key, value) in map {
        let kept = match key.as_str() {
            "maxLength" if value.as_u64().is_some_and(|n| n > STRING_RULES_MAX) => continue,
            "description" | "title" | "default" | "examples" => continue,
            "enum" | "const" | "required" => value.clone(),
            _ => bounded(value, depth + 1)?,
        };
        out.insert(key.clone(), kept);
    }
    if out.contains_key("properties") {
        out.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    Ok(Value::Object(out))
}

/// Names of an object schema's properties in the order in which arguments are asked for: as `required` lists them, then
/// the rest by name. A model that states the path first writes the better content.
pub(crate) fn ordered_properties(schema: &Map<String, Value>) -> Vec<&str> {
    let Some(Value::Object(properties)) = schema.get("properties") else { return Vec::new() };
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let mut names: Vec<&str> = properties.keys().map(String::as_str).collect();
    names.sort_by_key(|name| (required.iter().position(|r| r == name).unwrap_or(usize::MAX), *name));
    names
}

fn write(value: &Value, out: &mut String) {
    let Value::Object(map) = value else {
        if let Value::Array(items) = value {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        } else {
            let _ = write!(out, "{value}");
        }
        return;
    };
    let ordered = ordered_properties(map);
    out.push('{');
    for (at, (key, value)) in map.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        let _ = write!(out, "{}:", Value::from(key.as_str()));
        match value {
            Value::Object(properties) if key == "properties" => {
                out.push('{');
                for (at, name) in ordered.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    let _ = write!(out, "{}:", Value::from(*name));
                    write(&properties[*name], out);
                }
                out.push('}');
            }
            other => write(other, out),
        }
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool(name: &str, schema: Value) -> Tool {
        Tool { name: name.into(), description: String::new(), schema }
    }

    fn write_tool() -> Tool {
        let properties =
            json!({"content": {"type": "string", "maxLength": 60000}, "path": {"type": "string", "maxLength": 150}});
        tool("write", json!({"type": "object", "properties": properties, "required": ["path", "content"]}))
    }

    #[test]
    fn arguments_are_asked_for_in_the_order_of_required() {
        let schema = alternative(&write_tool()).unwrap();
        assert!(schema.find(r#""path":"#) < schema.find(r#""content":"#), "{schema}");
        let grammar = build(&[write_tool()], 1).unwrap();
        let object = grammar.lines().find(|l| l.contains("path-kv") && l.contains("content-kv")).unwrap();
        assert!(object.find("path-kv") < object.find("content-kv"), "{object}");
    }

    #[test]
    fn short_strings_are_bounded_by_rules_and_long_ones_left_to_the_token_bound() {
        let grammar = build(&[write_tool()], 1).unwrap();
        assert!(grammar.contains("char{0,150}"), "{grammar}");
        assert!(!grammar.contains("60000"), "{grammar}");
    }

    #[test]
    fn the_root_is_a_final_text_or_one_to_four_calls() {
        let grammar = build(&[write_tool(), tool("now", json!({"type": "object"}))], 4).unwrap();
        let root: Vec<&str> = grammar.lines().filter(|l| l.starts_with("root ")).collect();
        assert_eq!(root, [r#"root ::= tenure-answer | tenure-call ("\n" tenure-call){0,3}"#]);
        assert!(grammar.contains("space ::= \" \"?\n"));
    }

    #[test]
    fn a_tool_that_cannot_be_offered_is_refused_by_name() {
        let object = || json!({"type": "object"});
        assert!(build(&[tool("answer", object())], 1).unwrap_err().contains("final text"));
        assert!(build(&[tool("a b", object())], 1).unwrap_err().contains("`a b`"));
        assert!(build(&[tool("a", object()), tool("a", object())], 1).unwrap_err().contains("twice"));
        assert!(build(&[tool("a", json!({"type": "string"}))], 1).unwrap_err().contains("not of type object"));
        let unknown = json!({"type": "object", "properties": {"x": {"$ref": "#/nowhere"}}, "required": ["x"]});
        assert!(build(&[tool("odd", unknown)], 1).unwrap_err().contains("`odd`"));
    }

    #[test]
    fn what_the_grammar_leaves_no_choice_about_is_known_beforehand() {
        let tools =
            [write_tool(), tool("write_all", json!({"type": "object"})), tool("now", json!({"type": "object"}))];
        assert_eq!(forced(HEAD, &tools), None);
        assert_eq!(forced(r#"{"name": "write"#, &tools), None, "it may still become write_all");
        assert_eq!(forced(r#"{"name": "write"#, &tools[..1]).as_deref(), Some(r#"", "arguments": {"path":"#));
        assert_eq!(forced(r#"{"name": "now"#, &tools).as_deref(), Some(r#"", "arguments":"#));
        let answer = forced(r#"{"name": "answer"#, &tools).unwrap();
        assert!(ANSWER_HEAD.starts_with(&format!("{HEAD}answer{answer}")), "{answer}");
        assert_eq!(forced(r#"{"name": "write", "a"#, &tools), None);
    }
}
