//! `/v1/chat/completions`, as OpenAI's libraries and most agents speak it.
use super::fields::Fields;
use super::{Asked, Draft, Namespaces, Problem, Speech, arguments, data, image, is_cut, tokens, told_arguments};
use crate::model::answer::Answer;
use crate::model::request::{ChatField, Format, Part, Reasoning, ToolCall, ToolChoice};
use serde_json::{Value, json};

pub(super) fn read(body: Value) -> Result<Asked, Problem> {
    let mut fields = Fields::of(body, "")?;
    let mut draft = Draft::default();
    let word = Some(fields.needed("model")?);
    for (place, message) in fields.list("messages")?.into_iter().enumerate() {
        read_message(&mut draft, message, &format!("messages[{place}]"))?;
    }
    for (place, tool) in fields.list("tools")?.into_iter().enumerate() {
        read_tool(&mut draft, tool, &format!("tools[{place}]"))?;
    }
    if let Some(choice) = fields.take("tool_choice") {
        read_choice(&mut draft, choice)?;
    }
    draft.wishes.one_call = fields.flag("parallel_tool_calls")? == Some(false);
    draft.wishes.temperature = fields.number("temperature")?;
    draft.wishes.top_p = fields.number("top_p")?;
    draft.wishes.stop = fields.texts("stop")?;
    if let Some(format) = fields.take("response_format") {
        draft.wishes.format = read_format(format)?;
    }
    let stream = fields.flag("stream")?.unwrap_or(false);
    let count = match fields.take("stream_options") {
        None => false,
        Some(options) => {
            let mut options = Fields::of(options, "stream_options")?;
            let count = options.flag("include_usage")?.unwrap_or(false);
            options.ignore(&["include_obfuscation"]);
            options.end()?;
            count
        }
    };
    let (most, older) = (fields.count("max_completion_tokens")?, fields.count("max_tokens")?);
    fields.only("n", &[json!(1)], "one answer is given")?;
    fields.only("logprobs", &[json!(false)], "probabilities are not given")?;
    fields.only("frequency_penalty", &[json!(0), json!(0.0)], "it cannot be honoured; leave it out")?;
    fields.only("presence_penalty", &[json!(0), json!(0.0)], "it cannot be honoured; leave it out")?;
    fields.only("logit_bias", &[json!({})], "it cannot be honoured; leave it out")?;
    fields.only("modalities", &[json!(["text"])], "answers are text")?;
    fields.ignore(&[
        "user",
        "metadata",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
    ]);
    fields.only("store", &[json!(false)], "nothing is stored at a provider; leave it out")?;
    fields.leave_out(&["seed", "reasoning_effort", "verbosity"]);
    let left_out = fields.end()?;
    Ok(Asked { word, request: draft.finish(most.or(older))?, stream, count, left_out, namespaces: Namespaces::new() })
}

fn read_message(draft: &mut Draft, message: Value, at: &str) -> Result<(), Problem> {
    let mut fields = Fields::of(message, at)?;
    let role = fields.needed("role")?;
    fields.ignore(&["name"]);
    match role.as_str() {
        "system" | "developer" => {
            let text = joined(read_parts(&mut fields)?, &fields.at("content"))?;
            draft.instruct(text);
        }
        "user" => {
            let parts = read_parts(&mut fields)?;
            draft.user(parts);
        }
        "assistant" => read_assistant(draft, &mut fields)?,
        "tool" => {
            let call_id = fields.needed("tool_call_id")?;
            let content = joined(read_parts(&mut fields)?, &fields.at("content"))?;
            draft.result(&fields.at("tool_call_id"), call_id, content)?;
        }
        _ => return Err(Problem::field(fields.at("role"), format!("{role:?} is no role that is known here"))),
    }
    fields.end().map(drop)
}

fn read_assistant(draft: &mut Draft, fields: &mut Fields) -> Result<(), Problem> {
    let text = joined(read_parts(fields)?, &fields.at("content"))?;
    fields.ignore(&["refusal", "audio", "annotations", "function_call"]);
    let details = fields.list("reasoning_details")?;
    let of = |field: ChatField, text: Option<String>| text.map(|text| (field, text));
    let reasoning = of(ChatField::ReasoningContent, fields.text("reasoning_content")?);
    let other = of(ChatField::Reasoning, fields.text("reasoning")?);
    let thought = reasoning.or(other).or_else(|| (!details.is_empty()).then(|| (ChatField::Reasoning, String::new())));
    let mut calls = Vec::new();
    for (place, call) in fields.list("tool_calls")?.into_iter().enumerate() {
        let mut call = Fields::of(call, &fields.at(&format!("tool_calls[{place}]")))?;
        call.ignore(&["index"]);
        call.only("type", &[json!("function")], "only calls of functions are known")?;
        let id = call.needed("id")?;
        let function = call.take("function").unwrap_or(Value::Null);
        let mut function = Fields::of(function, &call.at("function"))?;
        let (name, text) = (function.needed("name")?, function.text("arguments")?.unwrap_or_default());
        let arguments = arguments(&function.at("arguments"), &text)?;
        function.end()?;
        call.end()?;
        calls.push(ToolCall { id, name, arguments, misfit: None });
    }
    let (said, asked, kept) = draft.said();
    said.push_str(&text);
    asked.extend(calls);
    if let Some((field, text)) = thought {
        *kept = Some(Reasoning::Chat { field, text, details });
    }
    Ok(())
}

/// A text, or parts of text and images.
fn read_parts(fields: &mut Fields) -> Result<Vec<Part>, Problem> {
    match fields.take("content") {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Part::Text { text }]),
        Some(Value::Array(parts)) => {
            let read = |(place, part)| read_part(part, &fields.at(&format!("content[{place}]")));
            parts.into_iter().enumerate().map(read).collect()
        }
        Some(_) => Err(Problem::field(fields.at("content"), "it must be a text or a list of parts")),
    }
}

fn read_part(part: Value, at: &str) -> Result<Part, Problem> {
    let mut fields = Fields::of(part, at)?;
    let kind = fields.needed("type")?;
    fields.ignore(&["cache_control"]);
    let part = match kind.as_str() {
        "text" => Part::Text { text: fields.needed("text")? },
        "refusal" => Part::Text { text: fields.needed("refusal")? },
        "image_url" => {
            let mut shown = match fields.take("image_url") {
                Some(Value::String(url)) => Fields::of(json!({"url": url}), &fields.at("image_url"))?,
                other => Fields::of(other.unwrap_or(Value::Null), &fields.at("image_url"))?,
            };
            shown.ignore(&["detail"]);
            let part = image(&shown.at("url"), &shown.needed("url")?)?;
            shown.end()?;
            part
        }
        _ => return Err(Problem::field(fields.at("type"), format!("a part of type {kind:?} cannot be passed on"))),
    };
    fields.end()?;
    Ok(part)
}

/// Where only text may stand.
pub(super) fn joined(parts: Vec<Part>, at: &str) -> Result<String, Problem> {
    let texts: Option<Vec<&str>> = parts.iter().map(Part::text).collect();
    texts.map(|texts| texts.join("\n\n")).ok_or_else(|| Problem::field(at, "an image cannot stand here"))
}

fn read_tool(draft: &mut Draft, tool: Value, at: &str) -> Result<(), Problem> {
    let mut fields = Fields::of(tool, at)?;
    fields.only("type", &[json!("function")], "only functions can be offered")?;
    fields.ignore(&["cache_control"]);
    let function = fields.take("function").unwrap_or(Value::Null);
    let mut function = Fields::of(function, &fields.at("function"))?;
    let (name, description) = (function.needed("name")?, function.text("description")?);
    let schema = function.take("parameters");
    function.ignore(&["strict"]);
    draft.tool(at, name, description, schema)?;
    function.end()?;
    fields.end().map(drop)
}

fn read_choice(draft: &mut Draft, choice: Value) -> Result<(), Problem> {
    match choice {
        Value::String(word) => draft.choose(&word)?,
        other => {
            let mut fields = Fields::of(other, "tool_choice")?;
            fields.only("type", &[json!("function")], "only a function can be chosen")?;
            let function = fields.take("function").unwrap_or(Value::Null);
            let mut function = Fields::of(function, "tool_choice.function")?;
            draft.wishes.choice = Some(ToolChoice::One { name: function.needed("name")? });
            function.end()?;
            fields.end()?;
        }
    }
    Ok(())
}

fn read_format(format: Value) -> Result<Option<Format>, Problem> {
    let mut fields = Fields::of(format, "response_format")?;
    let format = match fields.needed("type")?.as_str() {
        "text" => None,
        "json_object" => Some(Format::Object),
        "json_schema" => {
            let schema = fields.take("json_schema").unwrap_or(Value::Null);
            Some(read_schema(Fields::of(schema, "response_format.json_schema")?)?)
        }
        _ => return Err(Problem::field("response_format.type", "give text, json_object or json_schema")),
    };
    fields.end()?;
    Ok(format)
}

pub(super) fn read_schema(mut fields: Fields) -> Result<Format, Problem> {
    let name = fields.needed("name")?;
    let strict = fields.flag("strict")?.unwrap_or(false);
    let Some(schema) = fields.take("schema") else { return Err(Problem::field(fields.at("schema"), "it is missing")) };
    fields.ignore(&["description"]);
    fields.end()?;
    Ok(Format::Schema { name, schema, strict })
}

fn reason(answer: &Answer) -> &'static str {
    if !answer.calls.is_empty() {
        "tool_calls"
    } else if is_cut(answer) {
        "length"
    } else {
        "stop"
    }
}

fn usage(answer: &Answer) -> Value {
    let (input, output, cached) = tokens(&answer.usage);
    json!({
        "prompt_tokens": input, "completion_tokens": output, "total_tokens": input.saturating_add(output),
        "prompt_tokens_details": {"cached_tokens": cached},
    })
}

fn calls(answer: &Answer, indexed: bool) -> Value {
    let call = |(place, call): (usize, &ToolCall)| {
        let function = json!({"name": call.name, "arguments": told_arguments(call).to_string()});
        let mut told = json!({"id": call.id, "type": "function", "function": function});
        if indexed {
            told["index"] = json!(place);
        }
        told
    };
    answer.calls.iter().enumerate().map(call).collect()
}

fn thought(answer: &Answer, message: &mut Value) {
    if let Some(Reasoning::Chat { field, text, details }) = &answer.reasoning {
        if !text.is_empty() {
            message[field.as_str()] = json!(text);
        }
        if !details.is_empty() {
            message["reasoning_details"] = json!(details);
        }
    }
}

fn id(speech: &Speech) -> String {
    format!("chatcmpl-{}", speech.id)
}

pub(super) fn whole(speech: &Speech, answer: &Answer) -> Value {
    let content = if answer.text.is_empty() && !answer.calls.is_empty() { Value::Null } else { json!(answer.text) };
    let mut message = json!({"role": "assistant", "content": content, "refusal": null});
    if !answer.calls.is_empty() {
        message["tool_calls"] = calls(answer, false);
    }
    thought(answer, &mut message);
    json!({
        "id": id(speech), "object": "chat.completion", "created": 0, "model": speech.model,
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": reason(answer)}],
        "usage": usage(answer),
    })
}

fn chunk(speech: &Speech, delta: &Value, reason: Option<&str>) -> String {
    data(&json!({
        "id": id(speech), "object": "chat.completion.chunk", "created": 0, "model": speech.model,
        "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}],
    }))
}

pub(super) fn begin(speech: &Speech) -> String {
    chunk(speech, &json!({"role": "assistant", "content": ""}), None)
}

pub(super) fn text(speech: &Speech, text: &str) -> String {
    chunk(speech, &json!({"content": text}), None)
}

pub(super) fn end(speech: &Speech, answer: &Answer) -> String {
    let mut rest = json!({});
    thought(answer, &mut rest);
    if !answer.calls.is_empty() {
        rest["tool_calls"] = calls(answer, true);
    }
    let mut out = String::new();
    if rest.as_object().is_some_and(|rest| !rest.is_empty()) {
        out.push_str(&chunk(speech, &rest, None));
    }
    out.push_str(&chunk(speech, &json!({}), Some(reason(answer))));
    if speech.count {
        out.push_str(&data(&json!({
            "id": id(speech), "object": "chat.completion.chunk", "created": 0, "model": speech.model,
            "choices": [], "usage": usage(answer),
        })));
    }
    out.push_str("data: [DONE]\n\n");
    out
}
