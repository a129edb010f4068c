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
    use llama_cpp_2::model::LlamaModel;
    use llama_cpp_2::model::params::LlamaModelParams;
    use llama_cpp_2::sampling::LlamaSampler;
    use serde_json::json;

    use super::*;
    use crate::sample;

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

    /// The engine's own reading of what is written here, with the vocabulary of real weights and none of their numbers.
    #[test]
    fn a_real_engine_takes_what_the_schemas_take_and_refuses_what_they_refuse() {
        let Some(weights) = std::env::var_os("TENURE_TEST_MODEL").filter(|path| !path.is_empty()) else {
            eprintln!("skipped: TENURE_TEST_MODEL names no GGUF file");
            return;
        };
        let backend = crate::engine::backend();
        let params = LlamaModelParams::default().with_vocab_only(true);
        let model = LlamaModel::load_from_file(backend, weights, &params).unwrap();
        let properties = json!({
            "path": {"type": "string", "minLength": 1, "maxLength": 8},
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
            "args": {"type": "array", "items": {"type": "string", "maxLength": 60000}, "maxItems": 256},
            "env": {"type": "object", "propertyNames": {"maxLength": 256},
                "additionalProperties": {"type": "string", "maxLength": 4096}},
            "mode": {"enum": ["a", "b\n"]},
            "sha": {"type": "string", "pattern": "^[0-9A-Fa-f]{64}$"},
            "tree": {"$ref": "#/$defs/tree"},
            "any": {},
        });
        let tree = json!({"type": ["object", "null"], "properties": {"left": {"$ref": "#/$defs/tree"}}});
        let all = json!({"type": "object", "$defs": {"tree": tree}, "properties": properties,
            "required": ["path"], "additionalProperties": false});
        let tools = [tool("all", all), tool("now", json!({"type": "object", "properties": {}}))];
        let text = build(&tools, 2).unwrap();
        let taken = |line: &str| {
            let mut grammar = LlamaSampler::grammar(&model, &text, "root").unwrap();
            let tokens = model.vocab().tokenize(line.as_bytes(), false, false);
            let mut tokens = tokens.into_iter().chain([model.vocab().eos()]);
            tokens.all(|token| sample::accept(&mut grammar, token))
        };
        let call = |arguments: &str| format!(r#"{{"name": "all", "arguments": {arguments}}}"#);
        for good in [
            r#"{"path": "a/b.py"}"#,
            r#"{"path":"é","any":{"x":[1,-2.5e3,null,"\u00e9"]},"args":["-c","print(\"1\")"]}"#,
            r#"{"path": "a", "env": {"A": "1", "B": "2"}, "mode": "b\n", "port": 65535}"#,
            r#"{"path": "a", "args": [], "env": {}, "tree": {"left": {"left": null}}}"#,
        ] {
            assert!(taken(&call(good)), "{good}");
        }
        let sha = "0123456789abcdef".repeat(4);
        assert!(taken(&call(&format!(r#"{{"path": "a", "sha": "{sha}"}}"#))));
        assert!(taken("{\"name\": \"now\", \"arguments\": {}}\n{\"name\": \"now\", \"arguments\": {}}"));
        assert!(taken(r#"{"name": "answer", "arguments": {"text": "done"}}"#));
        for bad in [
            r#"{"path": ""}"#,
            r#"{"path": "123456789"}"#,
            r#"{"mode": "a"}"#,
            r#"{"path": "a", "mode": "c"}"#,
            r#"{"path": "a", "port": 65536}"#,
            r#"{"path": "a", "port": 0}"#,
            r#"{"path": "a", "other": 1}"#,
            r#"{"path": "a", "sha": "01"}"#,
            r#"{"path": "a", "args": [1]}"#,
            r#"{"path": "a", "tree": 1}"#,
            r#"{"path": "a""#,
        ] {
            assert!(!taken(&call(bad)), "{bad}");
        }
        assert!(!taken(r#"{"name": "rm", "arguments": {}}"#));
        assert!(!taken(&[r#"{"name": "now", "arguments": {}}"#; 3].join("\n")));
    }
}
