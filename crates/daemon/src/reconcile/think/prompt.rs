//! The conversation of one iteration, rebuilt from rows and payloads at every turn: the same rows give the same bytes,
//! so that a provider's prefix cache holds. It reads nothing itself and never shortens what is stored.
use crate::model::answer::StopReason;
use crate::model::request::{Message, Reasoning, Request, Tag, Tool, ToolCall, Wishes};
use crate::upstream::Upstream;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt::Write;
use tenure_core::call::HolderKind;
use tenure_core::capability::{self, mcp};
use tenure_core::plan::Plan;
use tenure_core::row::Note;
use tenure_core::template;

/// Tokens that one answer may have.
const ANSWER_TOKENS_MAX: u32 = 4096;
const FRUGAL_ANSWER_TOKENS_MAX: u32 = 1024;
/// A model that is shown no more of a result than this is a small one: it gets a shorter prompt with fewer choices.
const FRUGAL_BYTES_MAX: usize = 4096;

/// What is stored of a model's turn, as canonical JSON.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    pub text: String,
    pub calls: Vec<ToolCall>,
    /// Calls beyond the bound of a turn, which were not made.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u32,
    /// What the model thought, as its provider wants it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Reasoning>,
    /// Why this answer is not a finished one, where it asks for no calls: the next turn goes on with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<StopReason>,
    /// Its tokens were estimated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// A turn that was answered, with the results of its calls in the order in which they were asked for.
#[derive(Debug, Clone)]
pub(super) struct PastTurn {
    pub delta: Delta,
    pub results: Vec<PastCall>,
    /// What is said after these results.
    pub notes: Vec<Note>,
}

#[derive(Debug, Clone)]
pub(super) struct PastCall {
    pub capability: String,
    /// The word of the call's row: `done`, `failed:…`, `blocked` and so on.
    pub outcome: String,
    pub exit_code: Option<i32>,
    pub result: Option<Value>,
    /// What stands beside a stored value: its version, whose it is, since when.
    pub detail: Option<Value>,
    /// Why it was not made, or how it ended, where there is no result.
    pub sentence: Option<String>,
}

/// What was said, and answered, in an earlier turn of the conversation.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    pub message: String,
    pub answer: String,
}

pub(super) struct PromptContext<'a> {
    pub plan: &'a Plan,
    /// What MCP servers bring.
    pub upstream: &'a Upstream,
    /// Oldest first.
    pub said: &'a [Exchange],
    pub input: &'a str,
    /// What it missed since it was last there; told first.
    pub briefing: Option<&'a str>,
    pub iteration: u32,
    pub previous_error: &'a str,
    /// What is said before the first turn.
    pub notes: &'a [Note],
    pub turns: &'a [PastTurn],
    /// Bytes of one result that the model is shown.
    pub result_bytes_max: usize,
    pub tag: Tag,
}

const FRUGAL_SYSTEM: &str = "You are an agent that works in the folder /workspace.\n\
Call one tool at a time and read its result before the next. \
When the task is done and checked, call answer with one short sentence.";

const SYSTEM: &str = "You are an agent at work in a sandbox. Your files are in /workspace. \
Act by calling tools, one step at a time; check your work. \
When the task is done, answer in plain text without a tool call.";

fn told(note: Note) -> &'static str {
    match note {
        Note::SandboxLost => {
            "Note: the sandbox was lost and made anew. Files in /workspace are still there; running programs and /tmp are \
             gone."
        }
        Note::TokensNear => "Note: most of the tokens of this task are used up. Finish what matters, and answer soon.",
        Note::MoneyNear => "Note: most of the money for this task is spent. Finish what matters, and answer soon.",
        Note::ToolCallsNear => "Note: most of the tool calls of this task are used up. Make only those that matter.",
        Note::TimeNear => "Note: most of the time for this task is over. Finish what matters, and answer soon.",
    }
}

/// What an attempt is to do: the rendered template, and where that does not tell it, why the one before was refused.
///
/// # Errors
/// The template cannot be rendered, for instance because the prompt is too long.
pub(super) fn task(
    plan: &Plan,
    input: &str,
    iteration: u32,
    previous_error: &str,
) -> Result<Vec<String>, template::Error> {
    let prompt = &plan.prompt;
    let vars = template::Vars { instruction: &prompt.instruction, input, iteration_number: iteration, previous_error };
    let mut task = vec![template::render(&prompt.template, &vars)?];
    if !previous_error.is_empty() && !prompt.tells_error {
        let told = "Do the task again so that this is right.";
        task.push(format!("The previous attempt was refused:\n{previous_error}\n{told}"));
    }
    Ok(task)
}

/// # Errors
/// The template cannot be rendered, for instance because the prompt is too long.
pub(super) fn request(context: &PromptContext<'_>) -> Result<Request, template::Error> {
    let mut messages = Vec::new();
    messages.extend(context.briefing.map(|text| Message::User { text: text.to_string() }));
    for Exchange { message, answer } in context.said {
        messages.push(Message::User { text: message.clone() });
        messages.push(Message::Assistant { text: answer.clone(), calls: Vec::new(), reasoning: None });
    }
    let task = task(context.plan, context.input, context.iteration, context.previous_error)?;
    messages.extend(task.into_iter().map(|text| Message::User { text }));
    if !context.notes.is_empty() {
        let notes: Vec<&str> = context.notes.iter().map(|note| told(*note)).collect();
        messages.push(Message::User { text: notes.join("\n") });
    }
    let unknown: Vec<String> = context
        .upstream
        .failures()
        .map(|(server, why)| format!("Note: the tools of the MCP server {server} cannot be used: {why}"))
        .collect();
    if !unknown.is_empty() {
        messages.push(Message::User { text: unknown.join("\n") });
    }
    for turn in context.turns {
        push_turn(&mut messages, turn, context.result_bytes_max);
    }
    let frugal = context.result_bytes_max <= FRUGAL_BYTES_MAX;
    Ok(Request {
        system: if frugal { FRUGAL_SYSTEM } else { SYSTEM }.to_string(),
        messages,
        tools: offered(&context.plan.tools, context.upstream, frugal),
        max_tokens: if frugal { FRUGAL_ANSWER_TOKENS_MAX } else { ANSWER_TOKENS_MAX },
        wishes: Wishes::default(),
        tag: context.tag.clone(),
    })
}

/// The capabilities that the plan's `tools` list names, in the catalogue's order; then those of MCP servers.
fn offered(patterns: &[String], upstream: &Upstream, frugal: bool) -> Vec<Tool> {
    let brought = upstream.tools().map(|tool| Tool {
        name: tool.capability.clone(),
        description: tool.description.clone(),
        schema: tool.input.clone(),
    });
    capability::offered(patterns, HolderKind::Execution)
        .map(|capability| Tool {
            name: capability.name.to_string(),
            description: capability.brief.to_string(),
            schema: if frugal { capability.usual_input() } else { capability.input() },
        })
        .chain(brought)
        .collect()
}

/// What the directly preceding turns said of an answer that is not finished.
pub(super) fn carried(turns: &[PastTurn]) -> String {
    let goes_on = |turn: &&PastTurn| matches!(turn.delta.unfinished, Some(StopReason::Length | StopReason::Pause));
    let parts: Vec<&str> = turns.iter().rev().take_while(goes_on).map(|turn| turn.delta.text.as_str()).collect();
    parts.into_iter().rev().collect()
}

/// What a model is told of an answer that it did not finish.
fn unfinished_note(delta: &Delta) -> Option<&'static str> {
    match delta.unfinished? {
        StopReason::Length if delta.text.is_empty() => {
            Some("Note: you used up the token limit before you said anything. Think less and answer now.")
        }
        StopReason::Length => {
            Some("Note: the token limit cut your answer here. Go on exactly where it stopped, and repeat nothing.")
        }
        StopReason::Pause => Some("Note: go on where you stopped."),
        StopReason::CallsLost => Some(
            "Note: your answer ended as if it asked for tools, but no call could be read. Call the tool again, or \
             answer in plain text.",
        ),
        StopReason::Silent => Some("Note: you thought, but said nothing. Answer in plain text now, or call a tool."),
        StopReason::End | StopReason::Calls => None,
    }
}

fn push_turn(messages: &mut Vec<Message>, turn: &PastTurn, result_bytes_max: usize) {
    let Delta { text, calls, reasoning, .. } = &turn.delta;
    // Providers refuse a message of nothing.
    if !text.trim().is_empty() || !calls.is_empty() {
        let (text, calls, reasoning) = (text.clone(), calls.clone(), reasoning.clone());
        messages.push(Message::Assistant { text, calls, reasoning });
    }
    for (call, past) in turn.delta.calls.iter().zip(&turn.results) {
        messages.push(Message::Tool {
            call_id: call.id.clone(),
            name: call.name.clone(),
            content: shown(past, result_bytes_max),
        });
    }
    let mut notes: Vec<String> = unfinished_note(&turn.delta).map(str::to_string).into_iter().collect();
    if turn.delta.dropped > 0 {
        notes.push(format!(
            "Note: {} more calls of that turn were not made; ask for fewer at once.",
            turn.delta.dropped
        ));
    }
    notes.extend(turn.notes.iter().map(|note| told(*note).to_string()));
    if !notes.is_empty() {
        messages.push(Message::User { text: notes.join("\n") });
    }
}

/// A result as the model sees it: plain lines cost fewer tokens than JSON.
fn shown(past: &PastCall, bytes_max: usize) -> String {
    let mut text = String::new();
    let writes = ["filesystem.write", "filesystem.append"].contains(&past.capability.as_str());
    if let (true, "done", Some(size)) =
        (writes, past.outcome.as_str(), past.result.as_ref().map(|result| &result["size"]))
    {
        return format!("done: the file has {size} bytes");
    }
    if past.outcome != "done" {
        let _ = writeln!(text, "{}", spoken(&past.outcome));
    }
    if let Some(code) = past.exit_code {
        let _ = writeln!(text, "exit code {code}");
    }
    if let Some(sentence) = &past.sentence {
        let _ = writeln!(text, "{sentence}");
    }
    if let (Some(_), Some(result)) = (mcp::Name::parse(&past.capability), &past.result) {
        let _ = writeln!(text, "{}", clipped(&said(result), bytes_max));
        text.truncate(text.trim_end().len());
        return text;
    }
    match (&past.detail, &past.result) {
        (Some(detail), Some(value)) => push_stored(&mut text, value, detail, bytes_max),
        (None, Some(Value::Object(fields))) => {
            let long = fields.values().filter(|value| value.as_str().is_some_and(|text| text.len() > 64)).count();
            let budget = bytes_max / long.max(1);
            for (name, value) in fields {
                push_field(&mut text, name, value, budget);
            }
        }
        (_, Some(_) | None) => {}
    }
    if text.is_empty() {
        text.push_str("done");
    }
    if past.capability == "process.run" && past.exit_code.is_some() && text.lines().count() == 1 {
        text.push_str("no output");
    }
    text.truncate(text.trim_end().len());
    text
}

/// What an MCP server answered, as text. What is none is named.
fn said(result: &Value) -> String {
    let blocks = ["content", "contents", "messages"].iter().find_map(|name| result[*name].as_array());
    let Some(blocks) = blocks else { return result.to_string() };
    let block = |block: &Value| {
        let block = block.get("content").filter(|inner| inner.is_object()).unwrap_or(block);
        let block = block.get("resource").unwrap_or(block);
        match (block["text"].as_str(), block["uri"].as_str()) {
            (Some(text), _) => text.to_string(),
            (None, Some(uri)) => format!("[{uri}]"),
            (None, None) => format!("[{}, which cannot be shown]", block["type"].as_str().unwrap_or("something")),
        }
    };
    let texts: Vec<String> = blocks.iter().map(block).collect();
    match result.get("structuredContent").filter(|_| texts.is_empty()) {
        Some(structured) => structured.to_string(),
        None => texts.join("\n"),
    }
}

/// A stored value may be of any type, and is told as what it is; what stands beside it must not look like part of it.
fn push_stored(text: &mut String, value: &Value, detail: &Value, budget: usize) {
    let _ = writeln!(text, "value: {}", clipped(&value.to_string(), budget));
    for (name, beside) in detail.as_object().into_iter().flatten() {
        push_field(text, name, beside, budget);
    }
}

fn push_field(text: &mut String, name: &str, value: &Value, budget: usize) {
    let _ = match value {
        Value::Null | Value::Bool(false) => Ok(()),
        Value::String(value) if value.is_empty() => Ok(()),
        Value::Number(_) if name == "exit_code" => Ok(()),
        Value::String(value) if value.contains('\n') || value.len() > 64 => {
            writeln!(text, "{name}:\n{}", clipped(value.trim_end(), budget))
        }
        Value::String(value) => writeln!(text, "{name}: {value}"),
        Value::Bool(true) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            writeln!(text, "{name}: {}", clipped(&value.to_string(), budget))
        }
    };
}

fn spoken(outcome: &str) -> &str {
    match outcome {
        "lost" => "outcome unknown: the sandbox was lost while this ran; check before you repeat it",
        "killed" => "ended before it was done",
        "timed_out" => "timed out",
        other => other,
    }
}

fn clipped(text: &str, bytes_max: usize) -> String {
    head_and_tail(text, bytes_max, "; read the file in parts with offset and max_bytes")
}

/// Head and tail, with a line between that says what is missing.
pub(super) fn head_and_tail(text: &str, bytes_max: usize, advice: &str) -> String {
    if text.len() <= bytes_max {
        return text.to_string();
    }
    let head = floor(text, bytes_max * 2 / 3);
    let tail = floor(text, text.len() - bytes_max / 3);
    let missing = tail - head;
    format!("{}\n[… {missing} bytes left out{advice} …]\n{}", &text[..head], &text[tail..])
}

fn floor(text: &str, mut place: usize) -> usize {
    while !text.is_char_boundary(place) {
        place -= 1;
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_result_is_shown_as_lines_and_clipped_with_its_head_and_tail() {
        let past = PastCall {
            capability: "process.run".to_string(),
            outcome: "done".to_string(),
            exit_code: Some(1),
            result: Some(json!({"exit_code": 1, "stdout": "a".repeat(5000), "stderr": "", "timed_out": false})),
            detail: None,
            sentence: None,
        };
        let text = shown(&past, 300);
        assert!(text.starts_with("exit code 1\nstdout:\naaa"), "{text}");
        assert!(text.contains("bytes left out") && text.len() < 500, "{text}");
    }

    #[test]
    fn what_was_never_made_says_why() {
        let past = PastCall {
            capability: "process.run".to_string(),
            outcome: "blocked".to_string(),
            exit_code: None,
            result: None,
            detail: None,
            sentence: Some("blocked by policy (floor:default_deny)".to_string()),
        };
        assert_eq!(shown(&past, 300), "blocked\nblocked by policy (floor:default_deny)");
    }

    #[test]
    fn a_stored_value_of_any_type_is_told_with_what_stands_beside_it() {
        for value in [json!(42), json!("a word"), json!(null), json!(false), json!(["x"]), json!({"version": 9})] {
            let past = PastCall {
                capability: "state.persistent.get".to_string(),
                outcome: "done".to_string(),
                exit_code: None,
                result: Some(value.clone()),
                detail: Some(json!({"version": 3})),
                sentence: None,
            };
            assert_eq!(shown(&past, 300), format!("value: {value}\nversion: 3"));
        }
    }
}
