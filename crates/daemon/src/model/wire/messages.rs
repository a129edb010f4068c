//! Messages: Anthropic's wire. Content comes in numbered blocks, and reasoning goes back signed, exactly as it came.

use super::calls::{self, Fragment};
use super::lenient::{place, word};
use super::reply::Gathered;
use super::{Dialect, Flow, WireError};
use crate::model::request::{Message, Part, Reasoning, Request, ToolCall, ToolChoice, Wishes};
use crate::model::spelling::Spelling;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Blocks of one answer that are told apart.
const BLOCKS_MAX: usize = 1024;

pub(super) fn encode(model: &str, request: &Request, dialect: Dialect, spelling: &Spelling) -> Value {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(model));
    body.insert("max_tokens".to_owned(), json!(request.max_tokens));
    body.insert("stream".to_owned(), json!(true));
    // One mark behind the system text and one behind the newest message: each turn finds the last one's prefix.
    let mark = json!({"type": "ephemeral"});
    if !request.system.is_empty() {
        let system = json!([{"type": "text", "text": request.system, "cache_control": mark}]);
        body.insert("system".to_owned(), system);
    }
    let mut messages = messages(request, dialect, spelling);
    if let Some(Value::Object(block)) = messages.last_mut().and_then(|last| last["content"].as_array_mut()?.last_mut())
    {
        block.insert("cache_control".to_owned(), mark);
    }
    body.insert("messages".to_owned(), Value::Array(messages));
    if !request.tools.is_empty() {
        let tool = |tool: &crate::model::request::Tool| json!({"name": spelling.spell(&tool.name), "description": tool.description, "input_schema": tool.schema});
        body.insert("tools".to_owned(), request.tools.iter().map(tool).collect());
    }
    wishes(&mut body, request, spelling);
    Value::Object(body)
}

fn wishes(body: &mut Map<String, Value>, request: &Request, spelling: &Spelling) {
    // The wire has no form of a text: a request with one does not come here.
    let Wishes { temperature, top_p, stop, choice, one_call, format: _ } = &request.wishes;
    let mut wish = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    wish("temperature", temperature.map(|value| json!(value)));
    wish("top_p", top_p.map(|value| json!(value)));
    wish("stop_sequences", (!stop.is_empty()).then(|| json!(stop)));
    let mut chosen = match choice {
        None if *one_call && !request.tools.is_empty() => Some(json!({"type": "auto"})),
        None => None,
        Some(ToolChoice::Required) => Some(json!({"type": "any"})),
        Some(ToolChoice::One { name }) => Some(json!({"type": "tool", "name": spelling.spell(name)})),
    };
    if let Some(chosen) = chosen.as_mut().filter(|_| *one_call) {
        chosen["disable_parallel_tool_use"] = json!(true);
    }
    wish("tool_choice", chosen);
}

fn part(part: &Part) -> Option<Value> {
    match part {
        Part::Text { text } => text_block(text),
        Part::Image { media_type, data } => {
            Some(json!({"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}))
        }
        Part::ImageUrl { url } => Some(json!({"type": "image", "source": {"type": "url", "url": url}})),
    }
}

/// Messages of the same side in a row become one: all results of a turn must stand in one message.
fn messages(request: &Request, dialect: Dialect, spelling: &Spelling) -> Vec<Value> {
    let mut messages: Vec<(&str, Vec<Value>)> = Vec::with_capacity(request.messages.len());
    for message in &request.messages {
        let (role, blocks) = match message {
            Message::User { text } => ("user", text_block(text).into_iter().collect()),
            Message::Parts { parts } => ("user", parts.iter().filter_map(part).collect()),
            Message::Tool { call_id, content, .. } => {
                ("user", vec![json!({"type": "tool_result", "tool_use_id": call_id, "content": content})])
            }
            Message::Assistant { text, calls, reasoning } => {
                ("assistant", assistant(text, calls, reasoning.as_ref().filter(|_| dialect.reasoning), spelling))
            }
        };
        match messages.last_mut() {
            Some((last, before)) if *last == role => before.extend(blocks),
            Some(_) | None => messages.push((role, blocks)),
        }
    }
    let full = messages.into_iter().filter(|(_, blocks)| !blocks.is_empty());
    full.map(|(role, content)| json!({"role": role, "content": content})).collect()
}

/// A text of nothing but spaces is refused as a block.
fn text_block(text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| json!({"type": "text", "text": text}))
}

fn assistant(text: &str, calls: &[ToolCall], reasoning: Option<&Reasoning>, spelling: &Spelling) -> Vec<Value> {
    let thought = match reasoning {
        Some(Reasoning::Messages { blocks }) => blocks.as_slice(),
        Some(Reasoning::Chat { .. } | Reasoning::Responses { .. }) | None => &[],
    };
    let asked = calls.iter().map(
        |call| json!({"type": "tool_use", "id": call.id, "name": spelling.spell(&call.name), "input": call.arguments}),
    );
    thought.iter().cloned().chain(text_block(text)).chain(asked).collect()
}

#[derive(Default)]
pub(super) struct Decoder {
    /// What stands at each index, and which call it is: an index is a key, whatever its size.
    blocks: BTreeMap<u64, Block>,
    /// The block that was begun last, for deltas without an index.
    last: u64,
    begun: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Text,
    /// The number of the call among all blocks of this answer.
    Call(u64),
    /// The place of the kept block.
    Thought(usize),
    Other,
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
            "message_start" => {
                if let Some(message) = event.get("message") {
                    gathered.usage.look(message);
                }
            }
            "content_block_start" => self.begin(event, gathered, text)?,
            "content_block_delta" => self.delta(event, gathered, text)?,
            "message_delta" => {
                let reason = event.get("delta").and_then(|delta| word(delta, "stop_reason"));
                gathered.ends(reason.unwrap_or_default());
            }
            "message_stop" => return Ok(Flow::Over),
            // Its content stands in one event, as if no stream had been asked for.
            "message" => {
                self.take_whole(event, gathered, text)?;
                return Ok(Flow::Over);
            }
            _ => {}
        }
        Ok(Flow::More)
    }

    pub(super) fn take_whole(
        &mut self,
        message: &Value,
        gathered: &mut Gathered,
        text: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), WireError> {
        gathered.usage.look(message);
        match message.get("content") {
            Some(Value::Array(blocks)) => {
                for (index, block) in blocks.iter().enumerate() {
                    self.begin(&json!({"index": index, "content_block": block}), gathered, text)?;
                }
            }
            Some(Value::String(said)) => gathered.push_text(said, text)?,
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {}
        }
        gathered.ends(word(message, "stop_reason").unwrap_or_default());
        Ok(())
    }

    fn begin(
        &mut self,
        event: &Value,
        gathered: &mut Gathered,
        text: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), WireError> {
        if self.blocks.len() >= BLOCKS_MAX {
            return Err(WireError::TooLarge);
        }
        let index = place(event.get("index")).unwrap_or(self.last.wrapping_add(1));
        self.last = index;
        self.begun += 1;
        let Some(block) = event.get("content_block") else { return Ok(()) };
        let kind = match word(block, "type").unwrap_or_default() {
            "text" => {
                gathered.push_text(word(block, "text").unwrap_or_default(), text)?;
                Block::Text
            }
            "tool_use" => {
                // An empty object only announces what comes in pieces.
                let input = block.get("input").filter(|input| input.as_object().is_some_and(|input| !input.is_empty()));
                let (id, name) = (word(block, "id").unwrap_or_default(), word(block, "name").unwrap_or_default());
                calls::take(gathered, &Fragment { index: Some(self.begun), id, name, arguments: input })?;
                Block::Call(self.begun)
            }
            "thinking" | "redacted_thinking" => {
                gathered.keep(block.clone())?;
                Block::Thought(gathered.kept_mut().len() - 1)
            }
            _ => Block::Other,
        };
        self.blocks.insert(index, kind);
        Ok(())
    }

    fn delta(
        &mut self,
        event: &Value,
        gathered: &mut Gathered,
        text: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(), WireError> {
        let Some(delta) = event.get("delta") else { return Ok(()) };
        let index = place(event.get("index")).unwrap_or(self.last);
        let block = self.blocks.get(&index).copied();
        if let Some(said) = word(delta, "text") {
            return gathered.push_text(said, text);
        }
        if let Some(part) = delta.get("partial_json") {
            // A call that was never begun has no name, and is told to the model as such.
            let number = match block {
                Some(Block::Call(number)) => number,
                Some(Block::Text | Block::Thought(_) | Block::Other) | None => u64::MAX,
            };
            return calls::take(gathered, &Fragment { index: Some(number), id: "", name: "", arguments: Some(part) });
        }
        for field in ["thinking", "signature"] {
            let (Some(Block::Thought(kept)), Some(more)) = (block, word(delta, field)) else { continue };
            gathered.spend(more.len())?;
            if let Some(Value::Object(thought)) = gathered.kept_mut().get_mut(kept) {
                match thought.get_mut(field) {
                    Some(Value::String(before)) => before.push_str(more),
                    Some(_) | None => {
                        thought.insert(field.to_owned(), json!(more));
                    }
                }
            }
        }
        Ok(())
    }
}
