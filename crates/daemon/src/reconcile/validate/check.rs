//! What a validator finds, computed from an iteration's outcome. It runs nothing: a check that needs the sandbox says
//! which call it wants, and is asked again with that call's result.
use crate::schema;
use serde_json::{Value, json};
use tenure_core::manifest::{Target, Validator, compile_regex};

mod json;

const REASON_BYTES_MAX: usize = 4 * 1024;

/// What a check may look at.
#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    pub output: String,
    /// Of the iteration's last `process.run` that ended with one.
    pub last_exit_code: Option<i32>,
    /// The validator's own call, once it has ended.
    pub call: Option<EndedCall>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct EndedCall {
    pub outcome: String,
    pub exit_code: Option<i32>,
    pub result: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Make this call as the actor `validator`, then ask again.
    Call {
        capability: &'static str,
        arguments: Value,
    },
    Found {
        pass: bool,
        reasons: String,
    },
}

fn passed() -> Step {
    Step::Found { pass: true, reasons: String::new() }
}

fn failed(reasons: impl Into<String>) -> Step {
    let mut reasons: String = reasons.into();
    if reasons.len() > REASON_BYTES_MAX {
        let mut end = REASON_BYTES_MAX;
        while !reasons.is_char_boundary(end) {
            end -= 1;
        }
        reasons.truncate(end);
        reasons.push('…');
    }
    Step::Found { pass: false, reasons }
}

pub(super) fn step(validator: &Validator, evidence: &Evidence) -> Step {
    match validator {
        Validator::ExitCode { expected } => exit_code(i32::from(expected.unwrap_or(0)), evidence),
        Validator::JsonSchema { schema, target: target @ Some(Target::File(_)) } => {
            with_text(target.as_ref(), evidence, |text| fits(schema, serde_json::from_str(text)))
        }
        Validator::JsonSchema { schema, target } => {
            with_text(target.as_ref(), evidence, |text| fits(schema, json::find(text)))
        }
        Validator::Regex { pattern, target } => with_text(target.as_ref(), evidence, |text| found(pattern, text)),
        Validator::Command { command, timeout } => {
            run(command, timeout.as_ref().map_or(60_000, |timeout| timeout.as_millis()), evidence)
        }
        Validator::Semantic { .. } | Validator::MultiJudge { .. } => {
            failed("this validator is not enforced in this release; a deploy refuses it")
        }
    }
}

fn exit_code(expected: i32, evidence: &Evidence) -> Step {
    match evidence.last_exit_code {
        Some(code) if code == expected => passed(),
        Some(code) => failed(format!("The last process.run ended with exit code {code}; expected {expected}.")),
        None => failed(format!("No process.run of this attempt ended with an exit code; expected {expected}.")),
    }
}

fn with_text(target: Option<&Target>, evidence: &Evidence, look: impl Fn(&str) -> Step) -> Step {
    match (target, &evidence.call) {
        (None | Some(Target::Output), _) => look(evidence.output.trim()),
        (Some(Target::File(path)), None) => {
            Step::Call { capability: "filesystem.read", arguments: json!({"path": path, "max_bytes": 1_048_576}) }
        }
        (Some(Target::File(path)), Some(call)) => match call.result.get("content").and_then(Value::as_str) {
            // A text file's last line has its end, which is no part of what a pattern's `$` looks for.
            Some(content) if call.outcome == "done" => look(content.strip_suffix('\n').unwrap_or(content)),
            Some(_) | None => failed(format!("The file {path} cannot be read: {}", sentence(call))),
        },
    }
}

fn sentence(call: &EndedCall) -> String {
    match call.result.get("error").and_then(Value::as_str) {
        Some(error) => error.to_string(),
        None => call.outcome.clone(),
    }
}

fn fits(schema: &Value, found: Result<Value, serde_json::Error>) -> Step {
    let value = match found {
        Ok(value) => value,
        Err(error) => return failed(format!("This is no JSON: {error}.")),
    };
    let validator = match schema::compile(schema) {
        Ok(validator) => validator,
        Err(error) => return failed(format!("The schema of the validator is wrong: {error}.")),
    };
    let errors: Vec<String> =
        validator.iter_errors(&value).take(8).map(|error| format!("{}: {error}", error.instance_path())).collect();
    if errors.is_empty() { passed() } else { failed(errors.join("\n")) }
}

fn found(pattern: &str, text: &str) -> Step {
    match compile_regex(pattern) {
        Ok(regex) if regex.is_match(text) => passed(),
        Ok(_) => failed(format!("Nothing matches the pattern `{pattern}`.")),
        Err(fault) => failed(format!("The pattern of the validator is wrong: {}.", fault.reason)),
    }
}

fn run(command: &[String], timeout_ms: u64, evidence: &Evidence) -> Step {
    let Some(call) = &evidence.call else {
        let (program, args) = command.split_first().expect("invariant: a manifest's command has a program");
        let arguments = json!({"command": program, "args": args, "timeout_ms": timeout_ms});
        return Step::Call { capability: "process.run", arguments };
    };
    if call.outcome == "done" && call.exit_code == Some(0) {
        return passed();
    }
    let printed: Vec<&str> = ["stdout", "stderr"]
        .iter()
        .filter_map(|stream| call.result.get(stream).and_then(Value::as_str))
        .filter(|text| !text.trim().is_empty())
        .collect();
    let ended = match call.exit_code {
        Some(code) => format!("exit code {code}"),
        None => sentence(call),
    };
    failed(format!("`{}` ended with {ended}.\n{}", command.join(" "), printed.join("\n").trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(outcome: &str, exit_code: Option<i32>, result: Value) -> Evidence {
        let call = EndedCall { outcome: outcome.to_string(), exit_code, result };
        Evidence { call: Some(call), ..Evidence::default() }
    }

    #[test]
    fn an_exit_code_is_that_of_the_last_run_and_none_fails() {
        let validator = Validator::ExitCode { expected: None };
        let ended = |code| Evidence { last_exit_code: code, ..Evidence::default() };
        assert_eq!(step(&validator, &ended(Some(0))), passed());
        assert!(matches!(step(&validator, &ended(Some(2))), Step::Found { pass: false, .. }));
        assert!(matches!(step(&validator, &ended(None)), Step::Found { pass: false, .. }));
    }

    #[test]
    fn a_command_asks_for_its_call_and_then_tells_what_it_printed() {
        let command = ["python3".to_string(), "check.py".to_string()].to_vec();
        let validator = Validator::Command { command, timeout: None };
        let Step::Call { capability, arguments } = step(&validator, &Evidence::default()) else { panic!("no call") };
        assert_eq!((capability, &arguments["args"]), ("process.run", &json!(["check.py"])));
        let evidence = call("done", Some(1), json!({"stdout": "", "stderr": "line 3 is wrong"}));
        let Step::Found { pass: false, reasons } = step(&validator, &evidence) else { panic!("not failed") };
        assert!(reasons.contains("line 3 is wrong"), "{reasons}");
        assert_eq!(step(&validator, &call("done", Some(0), json!({}))), passed());
    }

    #[test]
    fn an_output_may_stand_in_a_fence_and_a_file_may_not() {
        let schema = json!({"type": "object", "required": ["ok"]});
        let fenced = "```json\n{\"ok\": true}\n```";
        let of_output = Validator::JsonSchema { schema: schema.clone(), target: None };
        assert_eq!(step(&of_output, &Evidence { output: fenced.into(), ..Evidence::default() }), passed());
        let other = Evidence { output: "```json\n{}\n```".into(), ..Evidence::default() };
        assert!(matches!(step(&of_output, &other), Step::Found { pass: false, .. }));
        let of_file = Validator::JsonSchema { schema, target: Some(Target::File("r.json".into())) };
        let file = call("done", None, json!({"content": fenced}));
        assert!(matches!(step(&of_file, &file), Step::Found { pass: false, .. }));
    }

    #[test]
    fn a_file_that_does_not_fit_its_schema_is_told_by_place() {
        let schema = json!({"type": "object", "required": ["total"], "properties": {"total": {"type": "integer"}}});
        let target = Some(Target::File("/workspace/r.json".to_string()));
        let validator = Validator::JsonSchema { schema, target };
        assert!(matches!(step(&validator, &Evidence::default()), Step::Call { capability: "filesystem.read", .. }));
        assert_eq!(step(&validator, &call("done", None, json!({"content": "{\"total\": 6}"}))), passed());
        let wrong = step(&validator, &call("done", None, json!({"content": "{\"total\": \"x\"}"})));
        let Step::Found { pass: false, reasons } = wrong else { panic!("passed") };
        assert!(reasons.contains("/total"), "{reasons}");
    }
}
