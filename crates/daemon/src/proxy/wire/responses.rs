//! `/v1/responses`, as OpenAI's newer libraries and Codex speak it. Nothing is stored: a request brings all that was said.
use super::chat::{joined, read_schema};
use super::fields::Fields;
use super::{Asked, Draft, Namespaces, Problem, Speech, arguments, event, image, is_cut, tokens, told_arguments};
use crate::model::answer::Answer;
use crate::model::request::{Format, Part, Reasoning, ToolCall, ToolChoice};
use serde_json::{Value, json};

const NOT_STORED: &str = "nothing is stored here; send all of the conversation as input";

pub(super) fn read(body: Value) -> Result<Asked, Problem> {
    let mut fields = Fields::of(body, "")?;
    let mut draft = Draft::default();
    let mut namespaces = Namespaces::new();
    let word = Some(fields.needed("model")?);
    if let Some(text) = fields.text("instructions")? {
        draft.instruct(text);
    }
    match fields.take("input") {
        Some(Value::String(text)) => draft.user(vec![Part::Text { text }]),
        Some(Value::Array(items)) => {
            for (place, item) in items.into_iter().enumerate() {
                read_item(&mut draft, item, &format!("input[{place}]"))?;
            }
        }
        Some(_) | None => return Err(Problem::field("input", "it must be a text or a list of items")),
    }
    for (place, tool) in fields.list("tools")?.into_iter().enumerate() {
        read_tool(&mut draft, &mut fields, &mut namespaces, tool, &format!("tools[{place}]"))?;
    }
    if let Some(choice) = fields.take("tool_choice") {
        read_choice(&mut draft, choice)?;
    }
    if let Some(text) = fields.take("text") {
        let mut text = Fields::of(text, "text")?;
        if let Some(format) = text.take("format") {
            draft.wishes.format = read_format(format)?;
        }
        text.leave_out(&["verbosity"]);
        text.end()?.into_iter().for_each(|name| fields.note(name));
    }
    draft.wishes.one_call = fields.flag("parallel_tool_calls")? == Some(false);
    draft.wishes.temperature = fields.number("temperature")?;
    draft.wishes.top_p = fields.number("top_p")?;
    let stream = fields.flag("stream")?.unwrap_or(false);
    let max_tokens = fields.count("max_output_tokens")?;
    fields.only("previous_response_id", &[], NOT_STORED)?;
    fields.only("conversation", &[], NOT_STORED)?;
    fields.only("background", &[json!(false)], "an answer is given at once; leave it out")?;
    fields.only("truncation", &[json!("disabled")], "nothing is cut out of a conversation; leave it out")?;
    fields.only("top_logprobs", &[json!(0)], "probabilities are not given")?;
    fields.only("store", &[json!(false)], NOT_STORED)?;
    fields.ignore(&[
        "user",
        "metadata",
        "client_metadata",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "include",
        "stream_options",
    ]);
    fields.leave_out(&["reasoning", "max_tool_calls"]);
    let left_out = fields.end()?;
    Ok(Asked { word, request: draft.finish(max_tokens)?, stream, count: true, left_out, namespaces })
}

fn read_item(draft: &mut Draft, item: Value, at: &str) -> Result<(), Problem> {
    let kind = item.get("type").and_then(Value::as_str).unwrap_or("message").to_string();
    if kind == "reasoning" {
        let (_, _, kept) = draft.said();
        match kept {
            Some(Reasoning::Responses { items }) => items.push(item),
            Some(Reasoning::Chat { .. } | Reasoning::Messages { .. }) | None => {
                *kept = Some(Reasoning::Responses { items: vec![item] });
            }
        }
        return Ok(());
    }
    let mut fields = Fields::of(item, at)?;
    fields.ignore(&["type", "id", "status"]);
    match kind.as_str() {
        "message" => read_message(draft, &mut fields)?,
        "function_call" => {
            let (id, name) = (fields.needed("call_id")?, fields.needed("name")?);
            let name =
                fields.text("namespace")?.map_or_else(|| name.clone(), |namespace| in_namespace(&namespace, &name));
            let text = fields.text("arguments")?.unwrap_or_default();
            let arguments = arguments(&fields.at("arguments"), &text)?;
            let (_, calls, _) = draft.said();
            calls.push(ToolCall { id, name, arguments, misfit: None });
        }
        "function_call_output" => {
            let call_id = fields.needed("call_id")?;
            let content = match fields.take("output") {
                None => String::new(),
                Some(Value::String(text)) => text,
                Some(Value::Array(parts)) => joined(read_parts(parts, &fields.at("output"))?, &fields.at("output"))?,
                Some(other) => other.to_string(),
            };
            draft.result(&fields.at("call_id"), call_id, content)?;
        }
        "item_reference" => return Err(Problem::field(at, NOT_STORED)),
        _ => return Err(Problem::field(at, format!("an item of type {kind:?} cannot be passed on"))),
    }
    fields.end().map(drop)
}

fn read_message(draft: &mut Draft, fields: &mut Fields) -> Result<(), Problem> {
    let (role, at) = (fields.needed("role")?, fields.at("content"));
    fields.ignore(&["phase"]);
    let parts = match fields.take("content") {
        None => Vec::new(),
        Some(Value::String(text)) => vec![Part::Text { text }],
        Some(Value::Array(parts)) => read_parts(parts, &at)?,
        Some(_) => return Err(Problem::field(at, "it must be a text or a list of parts")),
    };
    match role.as_str() {
        "system" | "developer" => draft.instruct(joined(parts, &at)?),
        "user" => draft.user(parts),
        "assistant" => {
            let text = joined(parts, &at)?;
            draft.said().0.push_str(&text);
        }
        _ => return Err(Problem::field(fields.at("role"), format!("{role:?} is no role that is known here"))),
    }
    Ok(())
}

fn read_parts(parts: Vec<Value>, at: &str) -> Result<Vec<Part>, Problem> {
    let read = |(place, part): (usize, Value)| {
        let mut fields = Fields::of(part, &format!("{at}[{place}]"))?;
        let kind = fields.needed("type")?;
        fields.ignore(&["annotations", "logprobs", "detail"]);
        let part = match kind.as_str() {
            "input_text" | "output_text" | "text" => Part::Text { text: fields.needed("text")? },
            "refusal" => Part::Text { text: fields.needed("refusal")? },
            "input_image" => {
                fields.only("file_id", &[], NOT_STORED)?;
                image(&fields.at("image_url"), &fields.needed("image_url")?)?
            }
            _ => return Err(Problem::field(fields.at("type"), format!("a part of type {kind:?} cannot be passed on"))),
        };
        fields.end()?;
        Ok(part)
    };
    parts.into_iter().enumerate().map(read).collect()
}

/// What a provider would do by itself is not offered here, which is noted.
/// So are forms of calls that only some models of its own know.
fn read_tool(
    draft: &mut Draft,
    all: &mut Fields,
    namespaces: &mut Namespaces,
    tool: Value,
    at: &str,
) -> Result<(), Problem> {
    if tool.get("type") != Some(&json!("namespace")) {
        return read_function(draft, all, tool, at).map(drop);
    }
    let mut fields = Fields::of(tool, at)?;
    fields.ignore(&["type", "description"]);
    let namespace = fields.needed("name")?;
    for (place, mut tool) in fields.list("tools")?.into_iter().enumerate() {
        let name = tool.get("name").and_then(Value::as_str).unwrap_or_default().to_string();
        let offered = in_namespace(&namespace, &name);
        if let Some(tool) = tool.as_object_mut() {
            tool.insert("name".to_string(), json!(offered));
        }
        if read_function(draft, all, tool, &fields.at(&format!("tools[{place}]")))? {
            namespaces.insert(offered, (namespace.clone(), name));
        }
    }
    fields.end().map(drop)
}

/// One name for both, of letters that every provider takes.
fn in_namespace(namespace: &str, name: &str) -> String {
    let between = if namespace.ends_with("__") { "" } else { "__" };
    format!("{namespace}{between}{name}")
}

/// Whether it is offered.
fn read_function(draft: &mut Draft, all: &mut Fields, tool: Value, at: &str) -> Result<bool, Problem> {
    let mut fields = Fields::of(tool, at)?;
    let kind = fields.needed("type")?;
    let of_provider = ["image_generation", "custom", "local_shell", "tool_search"].contains(&kind.as_str());
    if of_provider || kind.starts_with("web_search") {
        all.note(format!("{at} ({kind})"));
        return Ok(false);
    }
    if kind != "function" {
        return Err(Problem::field(fields.at("type"), format!("a tool of type {kind:?} cannot be offered")));
    }
    let (name, description) = (fields.needed("name")?, fields.text("description")?);
    let schema = fields.take("parameters");
    fields.ignore(&["strict", "defer_loading"]);
    draft.tool(at, name, description, schema)?;
    fields.end()?;
    Ok(true)
}

fn read_choice(draft: &mut Draft, choice: Value) -> Result<(), Problem> {
    match choice {
        Value::String(word) => draft.choose(&word)?,
        other => {
            let mut fields = Fields::of(other, "tool_choice")?;
            fields.only("type", &[json!("function")], "only a function can be chosen")?;
            draft.wishes.choice = Some(ToolChoice::One { name: fields.needed("name")? });
            fields.end()?;
        }
    }
    Ok(())
}

fn read_format(format: Value) -> Result<Option<Format>, Problem> {
    let mut fields = Fields::of(format, "text.format")?;
    match fields.needed("type")?.as_str() {
        "text" => fields.end().map(|_| None),
        "json_object" => fields.end().map(|_| Some(Format::Object)),
        "json_schema" => read_schema(fields).map(Some),
        _ => Err(Problem::field("text.format.type", "give text, json_object or json_schema")),
    }
}

fn usage(answer: &Answer) -> Value {
    let (input, output, cached) = tokens(&answer.usage);
    json!({
        "input_tokens": input, "input_tokens_details": {"cached_tokens": cached}, "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": input.saturating_add(output),
    })
}

fn text_item(speech: &Speech, text: &str, status: &str) -> Value {
    let content = match text {
        "" if status == "in_progress" => json!([]),
        text => json!([part(text)]),
    };
    json!({"type": "message", "id": format!("msg_{}", speech.id), "role": "assistant", "status": status, "content": content})
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

fn call_item(place: usize, speech: &Speech, call: &ToolCall, status: &str) -> Value {
    let arguments = if status == "in_progress" { String::new() } else { told_arguments(call).to_string() };
    let namespaced = speech.namespaces.get(&call.name);
    let name = namespaced.map_or(&call.name, |(_, name)| name);
    let mut item = json!({
        "type": "function_call", "id": format!("fc_{}_{place}", speech.id), "call_id": call.id, "name": name,
        "arguments": arguments, "status": status,
    });
    if let Some((namespace, _)) = namespaced {
        item["namespace"] = json!(namespace);
    }
    item
}

fn thought(answer: &Answer) -> &[Value] {
    match &answer.reasoning {
        Some(Reasoning::Responses { items }) => items,
        Some(Reasoning::Chat { .. } | Reasoning::Messages { .. }) | None => &[],
    }
}

fn response(speech: &Speech, status: &str, output: &[Value], answer: Option<&Answer>) -> Value {
    let cut = answer.filter(|answer| is_cut(answer)).map(|_| json!({"reason": "max_output_tokens"}));
    json!({
        "id": format!("resp_{}", speech.id), "object": "response", "created_at": 0, "status": status, "error": null,
        "incomplete_details": cut, "instructions": null, "metadata": {}, "model": speech.model, "output": output,
        "parallel_tool_calls": true, "temperature": null, "tool_choice": "auto", "tools": [], "top_p": null,
        "usage": answer.map(usage),
    })
}

fn status(answer: &Answer) -> &'static str {
    if is_cut(answer) { "incomplete" } else { "completed" }
}

/// The text's item stands first where it was streamed; in a whole answer what was thought does.
fn output(speech: &Speech, answer: &Answer, text_first: bool) -> Vec<Value> {
    let text = (text_first || !answer.text.is_empty()).then(|| text_item(speech, &answer.text, "completed"));
    let calls = answer.calls.iter().enumerate().map(|(place, call)| call_item(place, speech, call, "completed"));
    let thought = thought(answer).iter().cloned();
    match text_first {
        true => text.into_iter().chain(thought).chain(calls).collect(),
        false => thought.chain(text).chain(calls).collect(),
    }
}

pub(super) fn whole(speech: &Speech, answer: &Answer) -> Value {
    response(speech, status(answer), &output(speech, answer, false), Some(answer))
}

fn tell(speech: &mut Speech, name: &str, mut value: Value) -> String {
    value["type"] = json!(name);
    value["sequence_number"] = json!(speech.number);
    speech.number += 1;
    event(name, &value)
}

pub(super) fn begin(speech: &mut Speech) -> String {
    let begun = json!({"response": response(speech, "in_progress", &[], None)});
    let item = text_item(speech, "", "in_progress");
    let (id, empty) = (item["id"].clone(), part(""));
    let mut out = tell(speech, "response.created", begun.clone());
    out.push_str(&tell(speech, "response.in_progress", begun));
    out.push_str(&tell(speech, "response.output_item.added", json!({"output_index": 0, "item": item})));
    let added = json!({"item_id": id, "output_index": 0, "content_index": 0, "part": empty});
    out + &tell(speech, "response.content_part.added", added)
}

pub(super) fn text(speech: &mut Speech, text: &str) -> String {
    let id = format!("msg_{}", speech.id);
    let delta = json!({"item_id": id, "output_index": 0, "content_index": 0, "delta": text, "logprobs": []});
    tell(speech, "response.output_text.delta", delta)
}

pub(super) fn end(speech: &mut Speech, answer: &Answer) -> String {
    let items = output(speech, answer, true);
    let id = json!(format!("msg_{}", speech.id));
    let done = json!({"item_id": id, "output_index": 0, "content_index": 0, "text": answer.text, "logprobs": []});
    let mut out = tell(speech, "response.output_text.done", done);
    let done = json!({"item_id": id, "output_index": 0, "content_index": 0, "part": part(&answer.text)});
    out.push_str(&tell(speech, "response.content_part.done", done));
    let first_call = items.len() - answer.calls.len();
    for (index, item) in items.iter().enumerate() {
        if let Some(place) = index.checked_sub(first_call) {
            let call = &answer.calls[place];
            let begun = call_item(place, speech, call, "in_progress");
            let (id, arguments) = (begun["id"].clone(), item["arguments"].clone());
            out.push_str(&tell(speech, "response.output_item.added", json!({"output_index": index, "item": begun})));
            let delta = json!({"item_id": id, "output_index": index, "delta": arguments});
            out.push_str(&tell(speech, "response.function_call_arguments.delta", delta));
            let done = json!({"item_id": id, "output_index": index, "name": item["name"], "arguments": arguments});
            out.push_str(&tell(speech, "response.function_call_arguments.done", done));
        } else if index > 0 {
            out.push_str(&tell(speech, "response.output_item.added", json!({"output_index": index, "item": item})));
        }
        out.push_str(&tell(speech, "response.output_item.done", json!({"output_index": index, "item": item})));
    }
    let name = if is_cut(answer) { "response.incomplete" } else { "response.completed" };
    let last = json!({"response": response(speech, status(answer), &items, Some(answer))});
    out + &tell(speech, name, last)
}

pub(super) fn failed(speech: &mut Speech, problem: &Problem) -> String {
    let mut failed = response(speech, "failed", &[], None);
    failed["error"] = json!({"code": problem.code, "message": problem.message});
    tell(speech, "response.failed", json!({"response": failed}))
}
