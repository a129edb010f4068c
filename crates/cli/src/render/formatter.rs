//! Formats an execution's events as lines for people. Pure: the same events give the same lines.
use std::collections::{HashMap, HashSet};

use tenure_core::capability::mcp;
use tenure_core::id::CallId;
use tenure_wire::api::event::{ExecutionEvent, What};
use tenure_wire::api::execution::{ExecutionStatus, Target};
use tenure_wire::api::moment::Moment;

use super::margin::Voice;
use super::{cost, duration};
use crate::screen::one_line;

/// What an event is shown as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// With its time.
    Ours(String),
    /// What another said, as it was said.
    Said(Voice, String),
}

/// What later lines need of earlier events.
#[derive(Debug, Default)]
pub struct Formatter {
    started: Option<Moment>,
    iterations: u32,
    /// Of the open iteration: `exit_code=PASS`, and the least score.
    checks: Vec<String>,
    score: f64,
    /// Why those that failed did.
    reasons: Vec<String>,
    /// Calls that the model asked for; others are validators' own.
    asked: HashSet<CallId>,
    /// The call that runs the program that the agent is.
    program: Option<CallId>,
    /// By which MCP servers are asked what they have: the server of each.
    lists: HashMap<CallId, String>,
    cassette_said: bool,
    /// The model that is asked, and the one that failed before it.
    called: Option<String>,
    failed: Option<String>,
    status: Option<ExecutionStatus>,
    /// It waits for a person, and gives its place back.
    parked: bool,
}

impl Formatter {
    /// How it ended, once it has.
    pub fn status(&self) -> Option<ExecutionStatus> {
        self.status
    }

    /// The lines of the next event; many events have none.
    pub fn lines(&mut self, event: &ExecutionEvent) -> Vec<Line> {
        let ours = self.text_of(event).into_iter();
        let ours = ours.map(|line| Line::Ours(format!("[{}] {}", event.at.0, one_line(&line))));
        let said = self.said(&event.what).into_iter().filter(|(_, text)| !text.trim().is_empty());
        let said = said.map(|(voice, text)| Line::Said(voice, text));
        // What a program printed stands before the line on how it ended.
        match &event.what {
            What::CallEnded { .. } => said.chain(ours).collect(),
            _ => ours.chain(said).collect(),
        }
    }

    fn said(&mut self, what: &What) -> Vec<(Voice, String)> {
        let text =
            |voice: Voice, text: &Option<String>| text.iter().map(|text| (voice, text.clone())).collect::<Vec<_>>();
        match what {
            What::ModelAnswered { text: said, .. } => text(Voice::Model, said),
            What::CallEnded { stdout, stderr, error, .. } => {
                [text(Voice::Output, stdout), text(Voice::Errors, stderr), text(Voice::Errors, error)].concat()
            }
            What::IterationCompleted {} | What::IterationFailed { .. } => {
                std::mem::take(&mut self.reasons).into_iter().map(|reasons| (Voice::Check, reasons)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn text_of(&mut self, event: &ExecutionEvent) -> Vec<String> {
        let number = event.iteration.unwrap_or(self.iterations);
        match &event.what {
            What::ExecutionStarted { .. } => {
                self.started = Some(event.at);
                vec![format!("Execution {} Started", event.execution)]
            }
            What::IterationStarted { .. } => {
                self.iterations = number;
                self.checks.clear();
                self.reasons.clear();
                vec![format!("Iteration {number} Started")]
            }
            What::IterationCompleted {} => self.iteration_ended(format!("Iteration {number} Completed")),
            What::IterationFailed { cause } => {
                self.iteration_ended(format!("Iteration {number} Failed ({})", cause_in_words(cause)))
            }
            What::Validated { validator, pass, score, reasons, .. } => {
                self.reasons.extend(reasons.iter().filter(|_| !*pass).map(|why| format!("{validator}: {why}")));
                self.score = if self.checks.is_empty() { *score } else { self.score.min(*score) };
                self.checks.push(format!("{validator}={}", if *pass { "PASS" } else { "FAIL" }));
                Vec::new()
            }
            What::ExecutionEnded { status, reason, detail } => {
                self.status = Some(*status);
                vec![self.ending(event, *status, reason.as_deref(), detail.as_deref())]
            }
            What::ModelCalled { .. }
            | What::ModelAnswered { .. }
            | What::ModelFailed { .. }
            | What::ModelLost { .. } => self.of_model(event),
            What::ProxyCalled { .. }
            | What::ProxyAnswered { .. }
            | What::ProxyFailed { .. }
            | What::ProxyLost { .. } => of_proxy(&event.what),
            What::CallCalled { .. }
            | What::CallHeld { .. }
            | What::CallAllowed { .. }
            | What::CallReleased { .. }
            | What::CallRecalled { .. }
            | What::CallBlocked { .. }
            | What::CallEnded { .. } => self.of_call(&event.what),
            What::CancelRequested { by, why } => vec![format!("Cancel requested by {by}: {why}")],
            What::ToolsAsked { servers } => {
                vec![format!("MCP servers are asked for their tools: {}", servers.join(", "))]
            }
            What::ProgramAsked { .. }
            | What::ProgramTold { .. }
            | What::ProgramHeard { .. }
            | What::ProgramEnded { .. } => self.of_program(&event.what),
            What::IterationParked {} => {
                self.parked = true;
                Vec::new()
            }
            What::IterationUnbound { why, sandbox_lost } => vec![self.unbound(why, *sandbox_lost)],
            What::JailLost { why, .. } => vec![format!("Sandbox lost: {why}; /workspace is kept")],
            What::ChildStarted { child, .. } => vec![format!("Started execution {child}")],
            What::ChildEnded { child } => vec![format!("Execution {child} has ended")],
            What::BudgetWarned { budget, used, limit } => {
                vec![format!("Budget: {}", nearly_used(budget, *used, *limit))]
            }
            What::NetworkRefused { host, port, rule, count } => {
                let times = if *count > 1 { format!(" ({count} times)") } else { String::new() };
                vec![format!("Network refused: {host}:{port} by {rule}{times}")]
            }
            What::PayloadErased { payload, reason } => vec![format!("Erased: payload {payload}: {reason}")],
            What::Erased { payloads, .. } => vec![format!("Erased: {payloads} payloads")],
            What::CommandRefused { verb, code, .. } => vec![format!("Refused: {verb} ({code})")],
            What::IterationBound { .. } => vec!["Worker found".to_string()],
            What::IterationClosing { .. } | What::IterationReleased { .. } => Vec::new(),
        }
    }

    /// Its call is told of by itself.
    fn of_program(&mut self, what: &What) -> Vec<String> {
        if let What::ProgramAsked { call } = what {
            self.program = Some(*call);
        }
        match what {
            What::ProgramTold { call, .. } => vec![format!("Its program has the message ({})", call.short())],
            What::ProgramHeard { lost: true, .. } => vec!["Its program was lost with it; it is told again".to_string()],
            What::ProgramEnded { failure: Some(failure) } => vec![format!("Failed: {failure}")],
            _ => Vec::new(),
        }
    }

    fn unbound(&mut self, why: &str, sandbox_lost: bool) -> String {
        match (std::mem::take(&mut self.parked), sandbox_lost) {
            (true, true) => "Waits without a worker; its sandbox is gone, /workspace is kept".to_string(),
            (true, false) => "Waits without a worker".to_string(),
            (false, true) => {
                format!("Worker lost: {why}; its sandbox is lost, /workspace is kept; waiting for another")
            }
            (false, false) => format!("Worker lost: {why}; waiting for another"),
        }
    }

    fn iteration_ended(&mut self, line: String) -> Vec<String> {
        let checks = std::mem::take(&mut self.checks);
        if checks.is_empty() {
            return vec![line];
        }
        vec![line, format!("Validation: {} (score={:.1})", checks.join(" "), self.score)]
    }

    fn ending(
        &self,
        event: &ExecutionEvent,
        status: ExecutionStatus,
        reason: Option<&str>,
        detail: Option<&str>,
    ) -> String {
        let took = self.started.map_or(0, |started| event.at.0.since_ms(started.0));
        let plural = if self.iterations == 1 { "" } else { "s" };
        let figures = format!("({} iteration{plural}, {})", self.iterations, duration(took));
        let id = event.execution;
        match (status, reason, detail) {
            (ExecutionStatus::Completed, ..) => format!("Execution {id} Completed {figures}"),
            (ExecutionStatus::Cancelled, _, Some(detail)) => format!("Execution {id} Cancelled {detail} {figures}"),
            (ExecutionStatus::Cancelled, _, None) => format!("Execution {id} Cancelled {figures}"),
            (_, Some(reason), Some(detail)) => format!("Execution {id} Failed: {reason}: {detail} {figures}"),
            (_, Some(reason), None) => format!("Execution {id} Failed: {reason} {figures}"),
            (_, None, _) => format!("Execution {id} Failed {figures}"),
        }
    }

    fn of_model(&mut self, event: &ExecutionEvent) -> Vec<String> {
        match &event.what {
            What::ModelCalled { model, .. } => {
                self.called = Some(model.clone());
                Vec::new()
            }
            What::ModelAnswered { calls, model, cassette, .. } => {
                self.asked.extend(calls.iter().map(|call| call.call));
                if *cassette && !std::mem::replace(&mut self.cassette_said, true) {
                    return vec![format!("Model: {model}: answers are replayed from a cassette, no model is asked")];
                }
                match self.failed.take() {
                    Some(failed) if failed != *model => vec![format!("Model: {model} answers in its place")],
                    Some(_) | None => Vec::new(),
                }
            }
            What::ModelFailed { failure, .. } if failure == "withdrawn" => Vec::new(),
            What::ModelFailed { failure, sentence, retry_at, .. } => {
                self.failed = self.called.take();
                vec![match retry_at.map(|at| at.0.since_ms(event.at.0)) {
                    Some(0) => format!("Model: {failure}: {sentence}; the next is asked"),
                    Some(ms) => format!("Model: {failure}: {sentence}; again in {}", duration(ms)),
                    None => format!("Model: {failure}: {sentence}"),
                }]
            }
            What::ModelLost { .. } => vec!["Model: its answer was lost with the daemon; it is asked again".to_string()],
            _ => Vec::new(),
        }
    }

    fn of_call(&mut self, what: &What) -> Vec<String> {
        match what {
            What::CallCalled { call, capability, target, .. } => {
                if let Some(name) = mcp::Name::parse(capability).filter(|name| name.method.is_list()) {
                    self.lists.insert(*call, name.server.to_string());
                }
                let word = match call {
                    call if self.program == Some(*call) => "Program",
                    call if self.asked.contains(call) => "Tool",
                    _ => "Check",
                };
                vec![format!("{word}: {}", call_summary(capability, target))]
            }
            What::CallHeld { approval, capability, target, .. } => vec![
                format!("Waits for approval: {}", call_summary(capability, target)),
                format!("  `tenure approval show {approval}`, then approve or reject it"),
            ],
            What::CallAllowed { by, complete, edited, .. } => {
                let edited = if *edited { ", with other arguments" } else { "" };
                let more = if *complete { "" } else { "; another person must allow it too" };
                vec![format!("Allowed by {by}{edited}{more}")]
            }
            What::CallReleased { .. } => vec!["Released: the rules ask for nobody's word any more".to_string()],
            What::CallRecalled { capability, why, .. } => vec![format!("Taken back: {capability}: {why}")],
            What::CallBlocked { capability, why, .. } => match mcp::Name::parse(capability) {
                Some(name) if name.method.is_list() => vec![unusable(name.server, &format!("blocked: {why}"))],
                _ => vec![format!("Blocked: {capability}: {why}")],
            },
            What::CallEnded { call, outcome, code, .. } if self.lists.contains_key(call) => {
                let server = self.lists.remove(call).unwrap_or_default();
                let how = code.as_ref().map_or_else(|| outcome.clone(), |code| format!("{outcome}, {code}"));
                if outcome == "done" { Vec::new() } else { vec![unusable(&server, &how)] }
            }
            What::CallEnded { outcome, code, exit_code, .. } => ended(outcome, code.as_deref(), *exit_code),
            _ => Vec::new(),
        }
    }
}

/// Of a command line, as much as a terminal's line has room for beside the rest.
const COMMAND_CHARS_MAX: usize = 96;

/// `filesystem.write /workspace/solution.py (234 bytes)`.
pub fn call_summary(capability: &str, target: &Target) -> String {
    let mut line = capability.to_string();
    if let Some(path) = &target.path {
        line.push(' ');
        if !path.starts_with('/') {
            line.push_str("/workspace/");
        }
        line.push_str(path.trim_start_matches("./"));
    }
    if let Some(command) = &target.command {
        line.push(' ');
        line.extend(command.chars().take(COMMAND_CHARS_MAX));
        if command.chars().count() > COMMAND_CHARS_MAX {
            line.push('…');
        }
    }
    if let Some(host) = &target.host {
        line.push(' ');
        line.push_str(host);
    }
    if let Some(bytes) = target.bytes {
        line.push_str(&format!(" ({bytes} bytes)"));
    }
    line
}

fn unusable(server: &str, why: &str) -> String {
    format!("MCP server {server} cannot be used ({why}): none of its tools is offered, and the model is told so")
}

/// Only what did not go well has a line.
fn ended(outcome: &str, code: Option<&str>, exit_code: Option<i32>) -> Vec<String> {
    match (outcome, code, exit_code) {
        ("done", _, None | Some(0)) => Vec::new(),
        ("done", _, Some(code)) => vec![format!("Tool: ended with exit code {code}")],
        ("failed", Some("sandbox"), _) => {
            vec!["Tool: failed, since no sandbox opened for it; `tenure execution logs` says why".to_string()]
        }
        ("failed", Some(code), _) => vec![format!("Tool: failed ({code})")],
        ("resource_exhausted", Some(resource), _) => vec![format!("Tool: reached its limit of {resource}")],
        ("timed_out", ..) => vec!["Tool: ran out of time".to_string()],
        ("lost", Some(_), _) => vec!["Tool: lost with its sandbox; it is done again".to_string()],
        ("lost", None, _) => vec!["Tool: lost with its sandbox; its outcome is not known".to_string()],
        ("killed", ..) => vec!["Tool: ended with its sandbox".to_string()],
        (other, ..) => vec![format!("Tool: {other}")],
    }
}

fn cause_in_words(cause: &str) -> String {
    match cause.split_once(':') {
        Some(("validation", place)) => {
            format!("validator {place} did not pass")
        }
        Some(_) | None => cause.replace('_', " "),
    }
}

fn nearly_used(budget: &str, used: u64, limit: u64) -> String {
    match budget {
        "money" => format!("{} of {} are spent", cost(used, 0), cost(limit, 0)),
        "time" => format!("{} of {} are over", duration(used), duration(limit)),
        other => format!("{used} of {limit} {} are used", other.replace('_', " ")),
    }
}

/// What a program in the sandbox asked of a model; its beginning says nothing that its end does not.
fn of_proxy(what: &What) -> Vec<String> {
    match what {
        What::ProxyAnswered { model, tokens_in, tokens_out, cost_micro_usd, cassette, .. } => {
            let cost = cost(cost_micro_usd.unwrap_or(0), u32::from(cost_micro_usd.is_none()));
            let from = if *cassette { ", from a cassette" } else { "" };
            vec![format!("Program: asked {model}, {tokens_in} tokens in, {tokens_out} out, {cost}{from}")]
        }
        What::ProxyFailed { failure, sentence, .. } => {
            vec![format!("Program: its model call failed: {failure}: {sentence}")]
        }
        What::ProxyLost { .. } => vec!["Program: its model call was lost with the daemon".to_string()],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::margin::Margin;
    use serde_json::{Value, json};

    fn format(events: &[(u64, Value)]) -> String {
        let mut formatter = Formatter::default();
        let mut text = String::new();
        for (index, (second, what)) in events.iter().enumerate() {
            let mut event = json!({
                "index": index,
                "at": format!("2026-02-23T10:00:{second:02}.200Z"),
                "execution": "exe_01jm000000e000000000000001",
            });
            event.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
            let event: ExecutionEvent = serde_json::from_value(event).unwrap();
            let mut margin = Margin::default();
            for line in formatter.lines(&event) {
                text.push_str(&match line {
                    Line::Ours(line) => margin.ours(&line),
                    Line::Said(voice, said) => margin.say(voice, &said) + margin.close(),
                });
            }
        }
        text
    }

    fn call(number: u32) -> String {
        format!("call_01jm000000e00000000000000{number}")
    }

    #[test]
    fn a_run_reads_as_the_seed_shows_it() {
        let worker = "wrk_01jm000000e000000000000001";
        let proposed = |number: u32, capability: &str| json!({"call": call(number), "capability": capability});
        let calls = json!([proposed(1, "filesystem.write"), proposed(2, "process.run")]);
        insta::assert_snapshot!(format(&[
            (1, json!({"kind": "execution.started", "agent": "agt_01jm000000e000000000000001", "revision": 1, "model": "default", "max_iterations": 10})),
            (1, json!({"kind": "iteration.started", "iteration": 1, "worker": worker})),
            (2, json!({"kind": "model.called", "iteration": 1, "turn": 1, "attempt": 1, "model": "m"})),
            (3, json!({"kind": "model.answered", "iteration": 1, "turn": 1, "model": "m", "calls": calls, "text": "I write it.\nThen I run it.", "tokens_in": 1, "tokens_out": 1, "tokens_cached": 0, "took_ms": 9})),
            (3, json!({"kind": "call.called", "call": call(1), "capability": "filesystem.write", "path": "solution.py", "bytes": 234, "rules": []})),
            (3, json!({"kind": "call.ended", "call": call(1), "outcome": "done", "took_ms": 1})),
            (4, json!({"kind": "call.called", "call": call(2), "capability": "process.run", "command": "python3 /workspace/solution.py", "rules": []})),
            (4, json!({"kind": "call.ended", "call": call(2), "outcome": "done", "exit_code": 0, "took_ms": 1, "stdout": "42\n"})),
            (5, json!({"kind": "iteration.validated", "iteration": 1, "place": 1, "validator": "exit_code", "pass": true, "score": 1.0})),
            (5, json!({"kind": "iteration.validated", "iteration": 1, "place": 2, "validator": "json_schema", "pass": true, "score": 1.0})),
            (6, json!({"kind": "iteration.closing", "iteration": 1, "cause": "passed"})),
            (6, json!({"kind": "iteration.completed", "iteration": 1})),
            (6, json!({"kind": "execution.ended", "status": "completed"})),
        ]), @r"
        [2026-02-23T10:00:01Z] Execution exe_01jm000000e000000000000001 Started
        [2026-02-23T10:00:01Z] Iteration 1 Started
          │ I write it.
          │ Then I run it.
        [2026-02-23T10:00:03Z] Tool: filesystem.write /workspace/solution.py (234 bytes)
        [2026-02-23T10:00:04Z] Tool: process.run python3 /workspace/solution.py
          > 42
        [2026-02-23T10:00:06Z] Iteration 1 Completed
        [2026-02-23T10:00:06Z] Validation: exit_code=PASS json_schema=PASS (score=1.0)
        [2026-02-23T10:00:06Z] Execution exe_01jm000000e000000000000001 Completed (1 iteration, 5.0s)
        ");
    }

    #[test]
    fn a_model_that_answers_in_the_place_of_another_is_named() {
        let answered = |model: &str| json!({"kind": "model.answered", "iteration": 1, "turn": 1, "model": model, "calls": [], "tokens_in": 1, "tokens_out": 1, "tokens_cached": 0, "took_ms": 9});
        let called =
            |model: &str| json!({"kind": "model.called", "iteration": 1, "turn": 1, "attempt": 1, "model": model});
        let failed = json!({"kind": "model.failed", "iteration": 1, "turn": 1, "attempt": 1, "failure": "auth", "sentence": "no", "retry_at": "2026-02-23T10:00:02Z"});
        insta::assert_snapshot!(format(&[
            (1, called("openai/a")),
            (2, failed),
            (2, called("openai/b")),
            (3, answered("openai/b")),
            (4, called("openai/b")),
            (5, answered("openai/b")),
        ]), @r"
        [2026-02-23T10:00:02Z] Model: auth: no; the next is asked
        [2026-02-23T10:00:03Z] Model: openai/b answers in its place
        ");
    }

    #[test]
    fn what_goes_wrong_is_said_in_its_place() {
        insta::assert_snapshot!(format(&[
            (1, json!({"kind": "execution.started", "agent": "agt_01jm000000e000000000000001", "revision": 1, "model": "default", "max_iterations": 1})),
            (1, json!({"kind": "iteration.started", "iteration": 1, "worker": "wrk_01jm000000e000000000000001"})),
            (2, json!({"kind": "model.failed", "iteration": 1, "turn": 1, "attempt": 1, "failure": "rate_limited", "sentence": "too many requests", "retry_at": "2026-02-23T10:00:04.200Z"})),
            (3, json!({"kind": "call.blocked", "call": call(1), "capability": "process.run", "why": "blocked by policy (floor:default_deny)"})),
            (4, json!({"kind": "call.called", "call": call(2), "capability": "process.run", "command": "true", "rules": []})),
            (4, json!({"kind": "call.ended", "call": call(2), "outcome": "done", "exit_code": 1, "took_ms": 1, "stderr": "no file"})),
            (5, json!({"kind": "iteration.validated", "iteration": 1, "place": 1, "validator": "command", "pass": false, "score": 0.0, "reasons": "there is no\nresult.json"})),
            (6, json!({"kind": "iteration.failed", "iteration": 1, "cause": "validation:1"})),
            (6, json!({"kind": "execution.ended", "status": "failed", "reason": "max_iterations", "detail": "1 of 1 attempts used"})),
        ]), @r"
        [2026-02-23T10:00:01Z] Execution exe_01jm000000e000000000000001 Started
        [2026-02-23T10:00:01Z] Iteration 1 Started
        [2026-02-23T10:00:02Z] Model: rate_limited: too many requests; again in 2.0s
        [2026-02-23T10:00:03Z] Blocked: process.run: blocked by policy (floor:default_deny)
        [2026-02-23T10:00:04Z] Check: process.run true
          ! no file
        [2026-02-23T10:00:04Z] Tool: ended with exit code 1
        [2026-02-23T10:00:06Z] Iteration 1 Failed (validator 1 did not pass)
        [2026-02-23T10:00:06Z] Validation: command=FAIL (score=0.0)
          ? command: there is no
          ? result.json
        [2026-02-23T10:00:06Z] Execution exe_01jm000000e000000000000001 Failed: max_iterations: 1 of 1 attempts used (1 iteration, 5.0s)
        ");
    }
}
