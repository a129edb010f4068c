//! Responses: OpenAI's wire of items. Each item is told in pieces and once more whole, and the whole counts.

use super::calls::{self, Fragment};
use super::lenient::{place, texts, word};
use super::reply::Gathered;
use super::{AnswerLimit, Dialect, Flow, WireError};
use crate::model::request::{Format, Message, Part, Reasoning, Request, ToolChoice, Wishes};
use crate::model::spelling::Spelling;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Items of one answer that are told apart.
const ITEMS_MAX: usize = 1024;
const TEXT: [&str; 2] = ["output_text", "text"];

pub(super) fn encode(model: &str, request: &Request, dialect: Dialect, spelling: &Spelling) -> Value {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(model));
    if !request.system.is_empty() {
        body.insert("instructions".to_owned(), json!(request.system));
    }
    body.insert("input".to_owned(), Value::Array(input(request, dialect, spelling)));
    body.insert("stream".to_owned(), json!(true));
    body.insert("store".to_owned(), json!(false));
    if dialect.include {
        body.insert("include".to_owned(), json!(["reasoning.encrypted_content"]));
    }
    match dialect.limit {
        AnswerLimit::MaxTokens | AnswerLimit::MaxCompletionTokens => {
            body.insert("max_output_tokens".to_owned(), json!(request.max_tokens));
        }
        AnswerLimit::Unsaid => {}
    }
    if !request.tools.is_empty() {
        let tool = |tool: &crate::model::request::Tool| {
            let (name, description) = (spelling.spell(&tool.name), &tool.description);
            json!({"type": "function", "name": name, "description": description, "parameters": tool.schema, "strict": false})
        };
        body.insert("tools".to_owned(), request.tools.iter().map(tool).collect());
    }
    wishes(&mut body, request, spelling);
    Value::Object(body)
}

fn wishes(body: &mut Map<String, Value>, request: &Request, spelling: &Spelling) {
    // The wire has no sequences that end an answer: a request with such ones does not come here.
    let Wishes { temperature, top_p, stop: _, choice, one_call, format } = &request.wishes;
    let mut wish = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    wish("temperature", temperature.map(|value| json!(value)));
    wish("top_p", top_p.map(|value| json!(value)));
    wish("parallel_tool_calls", one_call.then(|| json!(false)));
    wish(
        "tool_choice",
        choice.as_ref().map(|choice| match choice {
            ToolChoice::Required => json!("required"),
            ToolChoice::One { name } => json!({"type": "function", "name": spelling.spell(name)}),
        }),
    );
    wish(
        "text",
        format.as_ref().map(|format| match format {
            Format::Object => json!({"format": {"type": "json_object"}}),
            Format::Schema { name, schema, strict } => {
                json!({"format": {"type": "json_schema", "name": name, "schema": schema, "strict": strict}})
            }
        }),
    );
}

fn part(part: &Part) -> Value {
    match part {
        Part::Text { text } => json!({"type": "input_text", "text": text}),
        Part::Image { media_type, data } => {
            json!({"type": "input_image", "image_url": format!("data:{media_type};base64,{data}")})
        }
        Part::ImageUrl { url } => json!({"type": "input_image", "image_url": url}),
    }
}

fn input(request: &Request, dialect: Dialect, spelling: &Spelling) -> Vec<Value> {
    let mut items = Vec::new();
    for message in &request.messages {
        match message {
            Message::User { text } => {
                let content = json!([{"type": "input_text", "text": text}]);
                items.push(json!({"type": "message", "role": "user", "content": content}));
            }
            Message::Parts { parts } => {
                let content: Vec<Value> = parts.iter().map(part).collect();
                items.push(json!({"type": "message", "role": "user", "content": content}));
            }
            Message::Assistant { text, calls, reasoning } => {
                if let (Some(Reasoning::Responses { items: thought }), true) = (reasoning, dialect.reasoning) {
                    items.extend(thought.iter().cloned());
                }
                if !text.is_empty() {
                    let content = json!([{"type": "output_text", "text": text}]);
                    items.push(json!({"type": "message", "role": "assistant", "content": content}));
                }
                items.extend(calls.iter().map(|call| {
                    let (name, arguments) = (spelling.spell(&call.name), call.arguments.to_string());
                    json!({"type": "function_call", "call_id": call.id, "name": name, "arguments": arguments})
                }));
            }
            Message::Tool { call_id, content, .. } => {
                items.push(json!({"type": "function_call_output", "call_id": call_id, "output": content}));
            }
        }
    }
    items
}

#[derive(Default)]
pub(super) struct Decoder {
    /// The number that stands for each item, by its id or its place.
    numbers: BTreeMap<String, u64>,
    /// Items whose text has come in pieces.
    told: BTreeSet<u64>,
    /// A text came in pieces that name no item, so that no item's text is told apart.
    told_unnamed: bool,
    /// Items that were told whole.
    done: BTreeSet<u64>,
}

impl Decoder {
    pub(super) fn take(
        &mut self,
        name: Option<&str>,
        event: &Value,
        gathered: &mut Gathered,
        text: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Flow, WireError> {
        gathered.usage.look(event);
        let kind = word(event, "type").or(name).unwrap_or_default();
        match kind {
            "response.output_text.delta" => {
                self.told_of(event)?;
                gathered.push_text(word(event, "delta").unwrap_or_default(), text)?;
            }
            "response.refusal.delta" => gathered.push_refusal(word(event, "delta").unwrap_or_default())?,
            "response.output_item.added" => self.added(event, gathered)?,
            "response.function_call_arguments.delta" => {
                let index = Some(self.number(event)?);
                calls::take(gathered, &Fragment { index, id: "", name: "", arguments: event.get("delta") })?;
            }
            "response.function_call_arguments.done" => {
                let index = Some(self.number(event)?);
                let name = word(event, "name").unwrap_or_default();
                complete(gathered, &Fragment { index, id: "", name, arguments: event.get("arguments") })?;
            }
            "response.output_item.done" => {
                let number = self.number(event)?;
                if let Some(item) = event.get("item") {
                    self.whole_item(number, item, gathered, text)?;
                }
            }
            "response.completed" | "response.incomplete" | "response.done" => {
                let response = event.get("response").unwrap_or(event);
                self.take_whole(response, gathered, text)?;
                if gathered.finish.is_none() {
                    gathered.ends(if kind == "response.incomplete" { "incomplete" } else { "completed" });
                }
                return Ok(Flow::Over);
            }
            "response.failed" | "response.cancelled" => {
                let response = event.get("response").unwrap_or(event);
                let error = response.get("error").filter(|error| !error.is_null()).unwrap_or(response);
                return Err(WireError::Told(error.clone()));
            }
            _ => {}
        }
        Ok(Flow::More)
    }

    pub(super) fn take_whole(
        &mut self,
        response: &Value,
        gathered: &mut Gathered,
        text: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), WireError> {
        gathered.usage.look(response);
        for (index, item) in response.get("output").and_then(Value::as_array).into_iter().flatten().enumerate() {
            let number = self.number(&json!({"output_index": index, "item_id": word(item, "id")}))?;
            self.whole_item(number, item, gathered, text)?;
        }
        let why = response.get("incomplete_details").and_then(|details| word(details, "reason"));
        gathered.ends(why.or_else(|| word(response, "status")).unwrap_or_default());
        Ok(())
    }

    /// The number of the item that an event speaks of: by the item's id, or else by its place.
    fn number(&mut self, event: &Value) -> Result<u64, WireError> {
        let id = word(event, "item_id").or_else(|| event.get("item").and_then(|item| word(item, "id")));
        let id = id.filter(|id| id.len() <= 256).map(|id| format!("id {id}"));
        let at = place(event.get("output_index")).map(|index| format!("at {index}"));
        let known = id.iter().chain(&at).find_map(|key| self.numbers.get(key).copied());
        if self.numbers.len() >= ITEMS_MAX {
            return known.ok_or(WireError::TooLarge);
        }
        let number = known.unwrap_or(self.numbers.len() as u64);
        for key in id.into_iter().chain(at) {
            self.numbers.entry(key).or_insert(number);
        }
        Ok(number)
    }

    fn told_of(&mut self, event: &Value) -> Result<(), WireError> {
        if event.get("item_id").is_none() && event.get("output_index").is_none() {
            self.told_unnamed = true;
            return Ok(());
        }
        let number = self.number(event)?;
        self.told.insert(number);
        Ok(())
    }

    fn added(&mut self, event: &Value, gathered: &mut Gathered) -> Result<(), WireError> {
        let number = self.number(event)?;
        match event.get("item") {
            Some(item) if word(item, "type") == Some("function_call") => {
                calls::take(gathered, &fragment_of(number, item))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn whole_item(
        &mut self,
        number: u64,
        item: &Value,
        gathered: &mut Gathered,
        out: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), WireError> {
        if !self.done.insert(number) {
            return Ok(());
        }
        match word(item, "type").unwrap_or_default() {
            "function_call" => complete(gathered, &fragment_of(number, item)),
            "reasoning" => gathered.keep(sendable(item)).map(|_| ()),
            "message" if !self.told.contains(&number) && !self.told_unnamed => {
                let mut found = Vec::new();
                texts(item.get("content").unwrap_or(&Value::Null), &TEXT, &mut |text| found.push(text));
                found.into_iter().try_for_each(|text| gathered.push_text(text, out))?;
                let parts = item.get("content").and_then(Value::as_array).into_iter().flatten();
                parts.filter_map(|part| word(part, "refusal")).try_for_each(|words| gathered.push_refusal(words))
            }
            _ => Ok(()),
        }
    }
}

/// A reasoning item as the provider takes it back: its status is the provider's own.
fn sendable(item: &Value) -> Value {
    let mut item = item.clone();
    if let Value::Object(fields) = &mut item {
        fields.remove("status");
    }
    item
}

fn complete(gathered: &mut Gathered, fragment: &Fragment<'_>) -> Result<(), WireError> {
    gathered.spend(calls::CallTable::bytes_of(fragment))?;
    gathered.calls.complete(fragment);
    Ok(())
}

fn fragment_of(number: u64, item: &Value) -> Fragment<'_> {
    Fragment {
        index: Some(number),
        id: word(item, "call_id").or_else(|| word(item, "id")).unwrap_or_default(),
        name: word(item, "name").unwrap_or_default(),
        arguments: item.get("arguments"),
    }
}
