//! `/v1/messages`, as Anthropic's libraries and Claude Code speak it.
use super::fields::Fields;
use super::{Asked, Draft, Namespaces, Problem, Speech, event, image, is_cut, told_arguments};
use crate::model::answer::{Answer, StopReason};
use crate::model::request::{Part, Reasoning, ToolCall, ToolChoice};
use serde_json::{Value, json};

pub(super) fn read(body: Value, counting: bool) -> Result<Asked, Problem> {
    let mut fields = Fields::of(body, "")?;
    let mut draft = Draft::default();
    let word = Some(fields.needed("model")?);
    match fields.take("system") {
        None => {}
        Some(Value::String(text)) => draft.instruct(text),
        Some(Value::Array(blocks)) => {
            for (place, block) in blocks.into_iter().enumerate() {
                let text = text_of(block, &format!("system[{place}]"))?;
                draft.instruct(text);
            }
        }
        Some(_) => return Err(Problem::field("system", "it must be a text or a list of blocks of text")),
    }
    for (place, message) in fields.list("messages")?.into_iter().enumerate() {
        read_message(&mut draft, message, &format!("messages[{place}]"))?;
    }
    for (place, tool) in fields.list("tools")?.into_iter().enumerate() {
        read_tool(&mut draft, &mut fields, tool, &format!("tools[{place}]"))?;
    }
    if let Some(choice) = fields.take("tool_choice") {
        read_choice(&mut draft, choice)?;
    }
    draft.wishes.temperature = fields.number("temperature")?;
    draft.wishes.top_p = fields.number("top_p")?;
    draft.wishes.stop = fields.texts("stop_sequences")?;
    let stream = fields.flag("stream")?.unwrap_or(false);
    let max_tokens = fields.count("max_tokens")?;
    if max_tokens.is_none() && !counting {
        return Err(Problem::field("max_tokens", "it is missing"));
    }
    fields.only("mcp_servers", &[json!([])], "a provider's own MCP servers are not reached; leave it out")?;
    fields.ignore(&["metadata", "service_tier", "cache_control", "inference_geo", "betas"]);
    fields.leave_out(&["thinking", "output_config", "context_management", "top_k", "speed"]);
    let left_out = fields.end()?;
    Ok(Asked { word, request: draft.finish(max_tokens)?, stream, count: true, left_out, namespaces: Namespaces::new() })
}

fn text_of(block: Value, at: &str) -> Result<String, Problem> {
    let mut fields = Fields::of(block, at)?;
    fields.only("type", &[json!("text")], "only text can stand here")?;
    let text = fields.needed("text")?;
    fields.ignore(&["cache_control", "citations"]);
    fields.end()?;
    Ok(text)
}

fn read_message(draft: &mut Draft, message: Value, at: &str) -> Result<(), Problem> {
    let mut fields = Fields::of(message, at)?;
    let role = fields.needed("role")?;
    let blocks = match fields.take("content") {
        Some(Value::String(text)) => vec![json!({"type": "text", "text": text})],
        Some(Value::Array(blocks)) => blocks,
        Some(_) | None => return Err(Problem::field(fields.at("content"), "it must be a text or a list of blocks")),
    };
    let at = fields.at("content");
    fields.end()?;
    match role.as_str() {
        "user" => read_user(draft, blocks, &at),
        "assistant" => read_assistant(draft, blocks, &at),
        "system" => {
            for (place, block) in blocks.into_iter().enumerate() {
                let text = text_of(block, &format!("{at}[{place}]"))?;
                draft.instruct(text);
            }
            Ok(())
        }
        _ => Err(Problem::field(at, format!("{role:?} is no role that is known here"))),
    }
}

/// Results stand before what the user says beside them; so do images that are results.
fn read_user(draft: &mut Draft, blocks: Vec<Value>, at: &str) -> Result<(), Problem> {
    let mut parts = Vec::new();
    for (place, block) in blocks.into_iter().enumerate() {
        let at = format!("{at}[{place}]");
        if block.get("type") == Some(&json!("tool_result")) {
            parts.extend(read_result(draft, block, &at)?);
        } else {
            parts.push(read_part(block, &at)?);
        }
    }
    draft.user(parts);
    Ok(())
}

fn read_part(block: Value, at: &str) -> Result<Part, Problem> {
    let mut fields = Fields::of(block, at)?;
    let kind = fields.needed("type")?;
    fields.ignore(&["cache_control", "citations"]);
    let part = match kind.as_str() {
        "text" => Part::Text { text: fields.needed("text")? },
        "image" => {
            let source = fields.take("source").unwrap_or(Value::Null);
            let mut source = Fields::of(source, &fields.at("source"))?;
            let part = match source.needed("type")?.as_str() {
                "base64" => Part::Image { media_type: source.needed("media_type")?, data: source.needed("data")? },
                "url" => image(&source.at("url"), &source.needed("url")?)?,
                _ => return Err(Problem::field(source.at("type"), "an image is given as base64 or by a url")),
            };
            source.end()?;
            part
        }
        _ => return Err(Problem::field(fields.at("type"), format!("a block of type {kind:?} cannot be passed on"))),
    };
    fields.end()?;
    Ok(part)
}

/// The images that a result holds.
fn read_result(draft: &mut Draft, block: Value, at: &str) -> Result<Vec<Part>, Problem> {
    let mut fields = Fields::of(block, at)?;
    fields.ignore(&["type", "cache_control"]);
    let call_id = fields.needed("tool_use_id")?;
    let failed = fields.flag("is_error")?.unwrap_or(false);
    let parts = match fields.take("content") {
        None => Vec::new(),
        Some(Value::String(text)) => vec![Part::Text { text }],
        Some(Value::Array(blocks)) => {
            let read = |(place, block)| read_part(block, &fields.at(&format!("content[{place}]")));
            blocks.into_iter().enumerate().map(read).collect::<Result<Vec<Part>, Problem>>()?
        }
        Some(_) => return Err(Problem::field(fields.at("content"), "it must be a text or a list of blocks")),
    };
    let texts: Vec<&str> = parts.iter().filter_map(Part::text).collect();
    let mut content = texts.join("\n\n");
    if failed {
        content = format!("The call failed: {content}");
    }
    draft.result(&fields.at("tool_use_id"), call_id, content)?;
    fields.end()?;
    Ok(parts.into_iter().filter(|part| part.text().is_none()).collect())
}

fn read_assistant(draft: &mut Draft, blocks: Vec<Value>, at: &str) -> Result<(), Problem> {
    let mut thought = Vec::new();
    let (mut said, mut calls) = (Vec::new(), Vec::new());
    for (place, block) in blocks.into_iter().enumerate() {
        let at = format!("{at}[{place}]");
        match block.get("type").and_then(Value::as_str) {
            Some("thinking" | "redacted_thinking") => thought.push(block),
            Some("tool_use") => {
                let mut fields = Fields::of(block, &at)?;
                fields.ignore(&["type", "cache_control", "caller"]);
                let (id, name) = (fields.needed("id")?, fields.needed("name")?);
                let arguments = match fields.take("input") {
                    None => json!({}),
                    Some(input @ Value::Object(_)) => input,
                    Some(_) => return Err(Problem::field(fields.at("input"), "it must be a JSON object")),
                };
                fields.end()?;
                calls.push(ToolCall { id, name, arguments, misfit: None });
            }
            Some(_) | None => said.push(text_of(block, &at)?),
        }
    }
    let (text, asked, kept) = draft.said();
    text.push_str(&said.join(""));
    asked.extend(calls);
    if !thought.is_empty() {
        match kept {
            Some(Reasoning::Messages { blocks }) => blocks.extend(thought),
            Some(Reasoning::Chat { .. } | Reasoning::Responses { .. }) | None => {
                *kept = Some(Reasoning::Messages { blocks: thought });
            }
        }
    }
    Ok(())
}

/// What a provider would do by itself is not offered here, which is noted.
fn read_tool(draft: &mut Draft, all: &mut Fields, tool: Value, at: &str) -> Result<(), Problem> {
    let mut fields = Fields::of(tool, at)?;
    if let Some(kind) = fields.text("type")?.filter(|kind| kind != "custom") {
        if kind.starts_with("web_search") || kind.starts_with("web_fetch") {
            all.note(format!("{at} ({kind})"));
            return Ok(());
        }
        return Err(Problem::field(fields.at("type"), format!("a tool of type {kind:?} cannot be offered")));
    }
    let (name, description) = (fields.needed("name")?, fields.text("description")?);
    let schema = fields.take("input_schema");
    fields.ignore(&[
        "cache_control",
        "strict",
        "eager_input_streaming",
        "input_examples",
        "defer_loading",
        "allowed_callers",
    ]);
    draft.tool(at, name, description, schema)?;
    fields.end().map(drop)
}

fn read_choice(draft: &mut Draft, choice: Value) -> Result<(), Problem> {
    let mut fields = Fields::of(choice, "tool_choice")?;
    match fields.needed("type")?.as_str() {
        "auto" => {}
        "none" => draft.no_calls = true,
        "any" => draft.wishes.choice = Some(ToolChoice::Required),
        "tool" => draft.wishes.choice = Some(ToolChoice::One { name: fields.needed("name")? }),
        _ => return Err(Problem::field("tool_choice.type", "give auto, any, tool or none")),
    }
    draft.wishes.one_call = fields.flag("disable_parallel_tool_use")?.unwrap_or(false);
    fields.end().map(drop)
}

fn reason(answer: &Answer) -> &'static str {
    match answer.stop {
        _ if !answer.calls.is_empty() => "tool_use",
        _ if is_cut(answer) => "max_tokens",
        StopReason::Pause => "pause_turn",
        StopReason::End | StopReason::Calls | StopReason::Length | StopReason::CallsLost | StopReason::Silent => {
            "end_turn"
        }
    }
}

/// Here the input does not count what came from the cache.
fn usage(answer: &Answer) -> Value {
    let usage = answer.usage;
    let (read, written) = (usage.cached.unwrap_or(0), usage.cache_written.unwrap_or(0));
    let input = usage.input.unwrap_or(0).saturating_sub(read).saturating_sub(written);
    json!({
        "input_tokens": input, "output_tokens": usage.output.unwrap_or(0),
        "cache_read_input_tokens": read, "cache_creation_input_tokens": written,
    })
}

fn thought(answer: &Answer) -> &[Value] {
    match &answer.reasoning {
        Some(Reasoning::Messages { blocks }) => blocks,
        Some(Reasoning::Chat { .. } | Reasoning::Responses { .. }) | None => &[],
    }
}

fn id(speech: &Speech) -> String {
    format!("msg_{}", speech.id)
}

pub(super) fn whole(speech: &Speech, answer: &Answer) -> Value {
    let text = (!answer.text.is_empty()).then(|| json!({"type": "text", "text": answer.text}));
    let calls = answer
        .calls
        .iter()
        .map(|call| json!({"type": "tool_use", "id": call.id, "name": call.name, "input": told_arguments(call)}));
    let content: Vec<Value> = thought(answer).iter().cloned().chain(text).chain(calls).collect();
    json!({
        "id": id(speech), "type": "message", "role": "assistant", "model": speech.model, "content": content,
        "stop_reason": reason(answer), "stop_sequence": null, "usage": usage(answer),
    })
}

/// The text's block is the first; the others follow it, though what was thought came before.
pub(super) fn begin(speech: &Speech) -> String {
    let message = json!({
        "id": id(speech), "type": "message", "role": "assistant", "model": speech.model, "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 0, "output_tokens": 0},
    });
    let start = event("message_start", &json!({"type": "message_start", "message": message}));
    start + &block(0, &json!({"type": "text", "text": ""}))
}

fn block(index: usize, block: &Value) -> String {
    event("content_block_start", &json!({"type": "content_block_start", "index": index, "content_block": block}))
}

fn delta(index: usize, delta: &Value) -> String {
    event("content_block_delta", &json!({"type": "content_block_delta", "index": index, "delta": delta}))
}

fn stop(index: usize) -> String {
    event("content_block_stop", &json!({"type": "content_block_stop", "index": index}))
}

pub(super) fn text(text: &str) -> String {
    delta(0, &json!({"type": "text_delta", "text": text}))
}

pub(super) fn end(_: &Speech, answer: &Answer) -> String {
    let mut out = stop(0);
    let mut index = 0;
    for thought in thought(answer) {
        index += 1;
        let word = |name: &str| thought.get(name).and_then(Value::as_str).unwrap_or_default();
        if word("type") == "thinking" {
            out.push_str(&block(index, &json!({"type": "thinking", "thinking": "", "signature": ""})));
            out.push_str(&delta(index, &json!({"type": "thinking_delta", "thinking": word("thinking")})));
            out.push_str(&delta(index, &json!({"type": "signature_delta", "signature": word("signature")})));
        } else {
            out.push_str(&block(index, thought));
        }
        out.push_str(&stop(index));
    }
    for call in &answer.calls {
        index += 1;
        out.push_str(&block(index, &json!({"type": "tool_use", "id": call.id, "name": call.name, "input": {}})));
        let input = told_arguments(call).to_string();
        out.push_str(&delta(index, &json!({"type": "input_json_delta", "partial_json": input})));
        out.push_str(&stop(index));
    }
    let last = json!({
        "type": "message_delta", "delta": {"stop_reason": reason(answer), "stop_sequence": null}, "usage": usage(answer),
    });
    out.push_str(&event("message_delta", &last));
    out + &event("message_stop", &json!({"type": "message_stop"}))
}
