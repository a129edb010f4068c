//! Chat completions: what OpenAI began and nearly everybody speaks, each with an accent.

use super::calls::{self, Fragment};
use super::lenient::{place, texts, word};
use super::reply::Gathered;
use super::{AnswerLimit, Dialect, Flow, WireError};
use crate::model::request::{ChatField, Format, Message, Part, Reasoning, Request, ToolCall, ToolChoice, Wishes};
use crate::model::spelling::Spelling;
use serde_json::{Map, Value, json};

/// Types of content parts that are the answer's text.
const TEXT: [&str; 2] = ["text", "output_text"];

pub(super) fn encode(model: &str, request: &Request, dialect: Dialect, spelling: &Spelling) -> Value {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(model));
    body.insert("messages".to_owned(), Value::Array(messages(request, dialect, spelling)));
    body.insert("stream".to_owned(), json!(true));
    if dialect.stream_options {
        body.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
    match dialect.limit {
        AnswerLimit::MaxTokens => body.insert("max_tokens".to_owned(), json!(request.max_tokens)),
        AnswerLimit::MaxCompletionTokens => body.insert("max_completion_tokens".to_owned(), json!(request.max_tokens)),
        AnswerLimit::Unsaid => None,
    };
    if !request.tools.is_empty() {
        let tool = |tool: &crate::model::request::Tool| {
            let (name, description) = (spelling.spell(&tool.name), &tool.description);
            json!({"type": "function", "function": {"name": name, "description": description, "parameters": tool.schema}})
        };
        body.insert("tools".to_owned(), request.tools.iter().map(tool).collect());
    }
    wishes(&mut body, request, spelling);
    Value::Object(body)
}

fn wishes(body: &mut Map<String, Value>, request: &Request, spelling: &Spelling) {
    let Wishes { temperature, top_p, stop, choice, one_call, format } = &request.wishes;
    let mut wish = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    wish("temperature", temperature.map(|value| json!(value)));
    wish("top_p", top_p.map(|value| json!(value)));
    wish("stop", (!stop.is_empty()).then(|| json!(stop)));
    wish("parallel_tool_calls", one_call.then(|| json!(false)));
    wish(
        "tool_choice",
        choice.as_ref().map(|choice| match choice {
            ToolChoice::Required => json!("required"),
            ToolChoice::One { name } => json!({"type": "function", "function": {"name": spelling.spell(name)}}),
        }),
    );
    wish(
        "response_format",
        format.as_ref().map(|format| match format {
            Format::Object => json!({"type": "json_object"}),
            Format::Schema { name, schema, strict } => {
                json!({"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": strict}})
            }
        }),
    );
}

fn part(part: &Part) -> Value {
    match part {
        Part::Text { text } => json!({"type": "text", "text": text}),
        Part::Image { media_type, data } => {
            json!({"type": "image_url", "image_url": {"url": format!("data:{media_type};base64,{data}")}})
        }
        Part::ImageUrl { url } => json!({"type": "image_url", "image_url": {"url": url}}),
    }
}

fn messages(request: &Request, dialect: Dialect, spelling: &Spelling) -> Vec<Value> {
    let mut messages = Vec::with_capacity(request.messages.len() + 1);
    if !request.system.is_empty() {
        messages.push(json!({"role": "system", "content": request.system}));
    }
    for message in &request.messages {
        match message {
            Message::User { text } => push_user(&mut messages, text),
            Message::Parts { parts } => {
                messages.push(json!({"role": "user", "content": parts.iter().map(part).collect::<Vec<_>>()}));
            }
            Message::Assistant { text, calls, reasoning } => {
                let reasoning = reasoning.as_ref().filter(|_| dialect.reasoning);
                messages.push(assistant(text, calls, reasoning, spelling));
            }
            Message::Tool { call_id, content, .. } => {
                messages.push(json!({"role": "tool", "tool_call_id": call_id, "content": content}));
            }
        }
    }
    messages
}

/// Templates of some models refuse two messages of the user in a row.
fn push_user(messages: &mut Vec<Value>, text: &str) {
    if let Some(Value::Object(last)) = messages.last_mut()
        && last.get("role") == Some(&json!("user"))
        && let Some(Value::String(before)) = last.get_mut("content")
    {
        before.push_str("\n\n");
        before.push_str(text);
        return;
    }
    messages.push(json!({"role": "user", "content": text}));
}

fn assistant(text: &str, calls: &[ToolCall], reasoning: Option<&Reasoning>, spelling: &Spelling) -> Value {
    let mut message = Map::new();
    message.insert("role".to_owned(), json!("assistant"));
    let content = if text.is_empty() && !calls.is_empty() { Value::Null } else { json!(text) };
    message.insert("content".to_owned(), content);
    if let Some(Reasoning::Chat { field, text, details }) = reasoning {
        if !text.is_empty() {
            message.insert(field.as_str().to_owned(), json!(text));
        }
        if !details.is_empty() {
            message.insert("reasoning_details".to_owned(), Value::Array(details.clone()));
        }
    }
    if !calls.is_empty() {
        let call = |call: &ToolCall| {
            let function = json!({"name": spelling.spell(&call.name), "arguments": call.arguments.to_string()});
            json!({"id": call.id, "type": "function", "function": function})
        };
        message.insert("tool_calls".to_owned(), calls.iter().map(call).collect());
    }
    Value::Object(message)
}

#[derive(Default)]
pub(super) struct Decoder {
    /// The one choice that is read, where a server gives several.
    choice: Option<Value>,
}

impl Decoder {
    pub(super) fn take(
        &mut self,
        event: &Value,
        gathered: &mut Gathered,
        text: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Flow, WireError> {
        gathered.usage.look(event);
        for choice in event.get("choices").and_then(Value::as_array).into_iter().flatten() {
            let number = choice.get("index").cloned().unwrap_or(Value::Null);
            if *self.choice.get_or_insert_with(|| number.clone()) != number {
                continue;
            }
            if let Some(error) = super::lenient::error_in(choice) {
                return Err(WireError::Told(error.clone()));
            }
            gathered.usage.look(choice);
            let delta = match (choice.get("delta"), choice.get("message")) {
                (Some(delta @ Value::Object(_)), _) => Some(delta),
                // Some repeat the whole message in their last event.
                (_, Some(message @ Value::Object(_))) if !gathered.holds_something() => Some(message),
                _ => None,
            };
            if let Some(delta) = delta {
                gathered.usage.look(delta);
                take_delta(delta, gathered, text)?;
            }
            let reason = word(choice, "finish_reason").or_else(|| word(choice, "native_finish_reason"));
            gathered.ends(reason.unwrap_or_default());
        }
        Ok(Flow::More)
    }
}

fn take_delta(delta: &Value, gathered: &mut Gathered, out: &mut (dyn FnMut(&str) + Send)) -> Result<(), WireError> {
    let mut found: Vec<&str> = Vec::new();
    let mut thought: Vec<&str> = Vec::new();
    if let Some(content) = delta.get("content") {
        texts(content, &TEXT, &mut |text| found.push(text));
        for part in content.as_array().into_iter().flatten() {
            part.get("thinking").into_iter().for_each(|within| texts(within, &TEXT, &mut |text| thought.push(text)));
        }
    }
    // A server that gives both gives the same twice.
    let field = [ChatField::ReasoningContent, ChatField::Reasoning]
        .into_iter()
        .find_map(|field| Some((field, word(delta, field.as_str())?)));
    if let Some((field, text)) = field {
        gathered.thought_in(field);
        thought.push(text);
    }
    thought.into_iter().try_for_each(|text| gathered.push_thought(text))?;
    found.into_iter().try_for_each(|text| gathered.push_text(text, out))?;
    if let Some(refusal) = word(delta, "refusal") {
        gathered.push_refusal(refusal)?;
    }
    for detail in delta.get("reasoning_details").and_then(Value::as_array).into_iter().flatten() {
        take_detail(detail, gathered)?;
    }
    match delta.get("tool_calls") {
        Some(Value::Array(fragments)) => {
            fragments.iter().try_for_each(|fragment| calls::take(gathered, &fragment_of(fragment)))
        }
        Some(fragment @ Value::Object(_)) => calls::take(gathered, &fragment_of(fragment)),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => {
            match delta.get("function_call") {
                Some(function @ Value::Object(_)) => {
                    let name = word(function, "name").unwrap_or_default();
                    let arguments = function.get("arguments");
                    calls::take(gathered, &Fragment { index: Some(0), id: "", name, arguments })
                }
                _ => Ok(()),
            }
        }
    }
}

/// Pieces of one detail come with the same index, and go back as one.
fn take_detail(detail: &Value, gathered: &mut Gathered) -> Result<(), WireError> {
    let same = |kept: &Value| {
        kept.get("index").is_some()
            && kept.get("index") == detail.get("index")
            && kept.get("type") == detail.get("type")
    };
    gathered.spend(super::reply::bytes(detail))?;
    if let Some(kept) = gathered.kept_mut().iter_mut().rev().find(|kept| same(kept)) {
        for (name, value) in detail.as_object().into_iter().flatten() {
            match (kept.get_mut(name), value) {
                (Some(Value::String(before)), Value::String(more))
                    if ["text", "summary", "data"].contains(&name.as_str()) =>
                {
                    before.push_str(more);
                }
                (None | Some(Value::Null), value) => kept[name.as_str()] = value.clone(),
                (Some(_), _) => {}
            }
        }
        return Ok(());
    }
    gathered.keep(detail.clone()).map(|_| ())
}

fn fragment_of(fragment: &Value) -> Fragment<'_> {
    let function = fragment.get("function").unwrap_or(fragment);
    Fragment {
        index: place(fragment.get("index")),
        id: word(fragment, "id").unwrap_or_default(),
        name: word(function, "name").unwrap_or_default(),
        arguments: function.get("arguments"),
    }
}
