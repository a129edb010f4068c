//! The grammar that holds an answer to the offered calls. Pure: it must never ask the engine.
//!
//! An answer is one line `{"name": "answer", "arguments": {"text": …}}`, or 1 to 4 lines `{"name": …, "arguments": …}`
//! of offered tools.

mod schema;

use std::fmt::Write as _;

use serde_json::{Map, Value};
use tenure_wire::local::{ANSWER, CALLS_MAX, TOOLS_MAX, Tool};

use crate::engine::CHUNK_TOKENS;
use crate::grammar::schema::{COMMON, Rules, literal};

const ANSWER_ARGUMENT: &str = "text";
/// How a final text begins; [`crate::reply`] reads by it.
pub(crate) const ANSWER_HEAD: &str = r#"{"name": "answer", "arguments": {"text": ""#;

/// Longest text put in whole, in bytes: no text has more tokens than bytes, and one chunk takes it all.
const FORCED_BYTES_MAX: usize = CHUNK_TOKENS;

/// Builds the grammar for `tools`.
///
/// # Errors
/// A sentence that names the tool which cannot be offered and why.
pub(crate) fn build(tools: &[Tool], calls_max: u32) -> Result<String, String> {
    if !(1..=CALLS_MAX).contains(&calls_max) {
        return Err(format!("calls_max is {calls_max}; it may be 1 to {CALLS_MAX}"));
    }
    check_names(tools)?;
    let mut out = String::from(COMMON);
    let mut calls = Vec::new();
    for (at, tool) in tools.iter().enumerate() {
        if tool.schema.get("type").and_then(Value::as_str) != Some("object") {
            return Err(format!("the schema of tool `{}` is not of type object", tool.name));
        }
        let (arguments, rules) = Rules::of(&tool.schema, &format!("tool-{at}"))
            .map_err(|e| format!("the schema of tool `{}` cannot be turned into a grammar: {e}", tool.name))?;
        let head = literal(&format!(r#"{HEAD}{}", "arguments":"#, tool.name));
        let _ = writeln!(out, r#"{rules}tool-{at} ::= {head} space {arguments} space "}}""#);
        calls.push(format!("tool-{at}"));
    }
    out.push_str(&answer_rules());
    if calls.is_empty() {
        out.push_str("root ::= tenure-answer\n");
        return Ok(out);
    }
    let _ = write!(out, "tenure-call ::= {}\nroot ::= tenure-answer | tenure-call", calls.join(" | "));
    if calls_max > 1 {
        let _ = write!(out, r#" ("\n" tenure-call){{0,{}}}"#, calls_max - 1);
    }
    out.push('\n');
    Ok(out)
}

/// The grammar that leaves nothing but the final text.
pub(crate) fn answer_only() -> String {
    format!("{COMMON}{}root ::= tenure-answer\n", answer_rules())
}

fn answer_rules() -> String {
    format!("tenure-answer ::= {} letter+ {}\n", literal(ANSWER_HEAD), literal("\"}}"))
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
        let grammar = build(&[write_tool()], 1).unwrap();
        let object = grammar.lines().find(|line| line.starts_with("tool-0 ::= ")).unwrap();
        let head = r#"tool-0 ::= "{\"name\": \"write\", \"arguments\":" space "#;
        assert_eq!(object, format!(r#"{head}"{{" space tool-0-1 "," space tool-0-2 space "}}" space "}}""#));
        assert!(grammar.contains(r#"tool-0-1 ::= "\"path\"" "#), "{grammar}");
    }

    #[test]
    fn short_strings_are_bounded_by_rules_and_long_ones_left_to_the_token_bound() {
        let grammar = build(&[write_tool()], 1).unwrap();
        assert!(grammar.contains("letter{0,150}"), "{grammar}");
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
