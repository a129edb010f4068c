//! How programs speak: the three wires of providers and the plain one of `/v1/llm/generate`. A body becomes a request of the one
//! `Model` trait, an answer becomes a body or events. A field is honoured, or asks nothing of an answer, or is named as left out, or
//! the request is refused; must never: drop one in silence.
mod chat;
mod fields;
mod generate;
mod messages;
mod responses;

use super::problem::Problem;
use crate::model::answer::{Answer, StopReason, Usage};
use crate::model::request::{Message, Part, Reasoning, Request, Tag, Tool, ToolCall, ToolChoice, Wishes};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tenure_core::id::CallId;

/// Tokens that an answer may have where the program does not say.
const ANSWER_TOKENS: u32 = 8192;
/// More than any model gives.
const ANSWER_TOKENS_MAX: u64 = 1_000_000;
const MESSAGES_MAX: usize = 10_000;
const TOOLS_MAX: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Chat,
    Responses,
    Messages,
    /// One text in, one text out.
    Generate,
}

impl Wire {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Wire::Chat => "chat",
            Wire::Responses => "responses",
            Wire::Messages => "messages",
            Wire::Generate => "generate",
        }
    }
}

/// What a program asks.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// None: its agent's own model.
    pub(super) word: Option<String>,
    pub(super) request: Request,
    pub(super) stream: bool,
    /// Whether a stream of chat ends with the count of tokens.
    pub(super) count: bool,
    /// Fields that no model is asked for.
    pub(super) left_out: Vec<String>,
    namespaces: Namespaces,
}

/// Tools that a program has under a namespace, by the one name that a model sees: the namespace and the name in it.
type Namespaces = BTreeMap<String, (String, String)>;

impl Asked {
    /// `counting`: its tokens are counted, and no answer is asked for.
    pub(super) fn read(wire: Wire, body: &str, counting: bool) -> Result<Asked, Problem> {
        let value: Value =
            serde_json::from_str(body).map_err(|error| Problem::not_json(format!("no JSON: {error}")))?;
        let asked = match wire {
            Wire::Chat => chat::read(value)?,
            Wire::Responses => responses::read(value)?,
            Wire::Messages => messages::read(value, counting)?,
            Wire::Generate => generate::read(value)?,
        };
        if asked.request.messages.is_empty() {
            return Err(Problem::field("messages", "there is none, so nothing is asked"));
        }
        if asked.request.messages.len() > MESSAGES_MAX || asked.request.tools.len() > TOOLS_MAX {
            let message = format!("a request has at most {MESSAGES_MAX} messages and {TOOLS_MAX} tools");
            return Err(Problem::field("messages", message));
        }
        Ok(asked)
    }
}

/// A request as it grows.
#[derive(Default)]
struct Draft {
    system: Vec<String>,
    messages: Vec<Message>,
    tools: Vec<Tool>,
    wishes: Wishes,
    no_calls: bool,
}

impl Draft {
    /// What stands before all else is the system text; later on it is said by the user, in its place.
    fn instruct(&mut self, text: String) {
        if self.messages.is_empty() { self.system.push(text) } else { self.messages.push(Message::User { text }) }
    }

    fn user(&mut self, parts: Vec<Part>) {
        if parts.is_empty() {
            return;
        }
        let texts: Option<Vec<&str>> = parts.iter().map(Part::text).collect();
        self.messages.push(match texts {
            Some(texts) => Message::User { text: texts.join("\n\n") },
            None => Message::Parts { parts },
        });
    }

    /// What the model said goes into one message until somebody else speaks.
    fn said(&mut self) -> (&mut String, &mut Vec<ToolCall>, &mut Option<Reasoning>) {
        if !matches!(self.messages.last(), Some(Message::Assistant { .. })) {
            self.messages.push(Message::Assistant { text: String::new(), calls: Vec::new(), reasoning: None });
        }
        match self.messages.last_mut() {
            Some(Message::Assistant { text, calls, reasoning }) => (text, calls, reasoning),
            _ => unreachable!("invariant: it was just pushed"),
        }
    }

    /// The result of a call that the model asked for before.
    fn result(&mut self, field: &str, call_id: String, content: String) -> Result<(), Problem> {
        let known = self.messages.iter().rev().find_map(|message| match message {
            Message::Assistant { calls, .. } => calls.iter().find(|call| call.id == call_id),
            Message::User { .. } | Message::Parts { .. } | Message::Tool { .. } => None,
        });
        let Some(name) = known.map(|call| call.name.clone()) else {
            return Err(Problem::field(field, format!("no call before it has the id {call_id:?}")));
        };
        self.messages.push(Message::Tool { call_id, name, content });
        Ok(())
    }

    fn tool(
        &mut self,
        field: &str,
        name: String,
        description: Option<String>,
        schema: Option<Value>,
    ) -> Result<(), Problem> {
        if self.tools.iter().any(|tool| tool.name == name) {
            return Err(Problem::field(field, format!("two tools are named {name:?}")));
        }
        let schema = schema.unwrap_or_else(|| json!({"type": "object", "properties": {}}));
        self.tools.push(Tool { name, description: description.unwrap_or_default(), schema });
        Ok(())
    }

    /// The word of the OpenAI wires for which tool is to be called.
    fn choose(&mut self, word: &str) -> Result<(), Problem> {
        match word {
            "auto" => {}
            "none" => self.no_calls = true,
            "required" => self.wishes.choice = Some(ToolChoice::Required),
            _ => return Err(Problem::field("tool_choice", "give auto, none, required or a function")),
        }
        Ok(())
    }

    fn finish(self, max_tokens: Option<u64>) -> Result<Request, Problem> {
        let Draft { system, messages, mut tools, wishes, no_calls } = self;
        if no_calls {
            tools.clear();
        }
        if let Some(ToolChoice::One { name }) = &wishes.choice
            && !tools.iter().any(|tool| tool.name == *name)
        {
            return Err(Problem::field("tool_choice", format!("no tool is named {name:?}")));
        }
        let max_tokens = match max_tokens {
            None => ANSWER_TOKENS,
            Some(tokens @ 1..=ANSWER_TOKENS_MAX) => u32::try_from(tokens).unwrap_or(ANSWER_TOKENS),
            Some(_) => return Err(Problem::field("max_tokens", format!("give 1 to {ANSWER_TOKENS_MAX}"))),
        };
        Ok(Request { system: system.join("\n\n"), messages, tools, max_tokens, wishes, tag: Tag::default() })
    }
}

/// An image by a URL, which may hold its bytes.
fn image(field: &str, url: &str) -> Result<Part, Problem> {
    if let Some(rest) = url.strip_prefix("data:") {
        let Some((media_type, data)) = rest.split_once(";base64,") else {
            return Err(Problem::field(field, "a data URL of an image is data:TYPE;base64,DATA"));
        };
        return Ok(Part::Image { media_type: media_type.to_string(), data: data.to_string() });
    }
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok(Part::ImageUrl { url: url.to_string() });
    }
    Err(Problem::field(field, "an image is given by an http, https or data URL"))
}

/// The object of a call's arguments, which some wires have as text.
fn arguments(field: &str, text: &str) -> Result<Value, Problem> {
    if text.trim().is_empty() {
        return Ok(json!({}));
    }
    match serde_json::from_str::<Value>(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) | Err(_) => Err(Problem::field(field, "the arguments of a call are a JSON object")),
    }
}

/// What the program is to do of a call that the model wrote wrongly: its own check of arguments tells the model.
fn told_arguments(call: &ToolCall) -> Value {
    match &call.misfit {
        Some(why) => json!({"_misfit": why}),
        None => call.arguments.clone(),
    }
}

/// An answer on its way out: whole, or as events.
pub(super) struct Speech {
    wire: Wire,
    /// What the answer is called.
    id: String,
    /// The word by which the program asked.
    model: String,
    streams: bool,
    count: bool,
    /// The text that was sent.
    said: String,
    begun: bool,
    /// Events that were sent, where a wire numbers them.
    number: u64,
    namespaces: Namespaces,
}

impl Speech {
    pub(super) fn new(wire: Wire, asked: &Asked) -> Speech {
        let model = asked.word.clone().unwrap_or_else(|| "default".to_string());
        Speech {
            wire,
            id: "answer".to_string(),
            model,
            streams: asked.stream,
            count: asked.count,
            said: String::new(),
            begun: false,
            number: 0,
            namespaces: asked.namespaces.clone(),
        }
    }

    pub(super) fn streams(&self) -> bool {
        self.streams
    }

    /// Each answer has an id of its own: programs take two of one id for parts of one.
    pub(super) fn name(&mut self, call: CallId) {
        if !self.begun {
            self.id = call.to_string();
        }
    }

    /// A whole answer.
    pub(super) fn whole(&self, answer: &Answer) -> Value {
        match self.wire {
            Wire::Chat => chat::whole(self, answer),
            Wire::Responses => responses::whole(self, answer),
            Wire::Messages => messages::whole(self, answer),
            Wire::Generate => generate::whole(answer),
        }
    }

    /// Events of a piece of text.
    pub(super) fn text(&mut self, text: &str) -> String {
        let mut out = self.begin();
        self.said.push_str(text);
        out.push_str(&match self.wire {
            Wire::Chat => chat::text(self, text),
            Wire::Responses => responses::text(self, text),
            Wire::Messages => messages::text(text),
            Wire::Generate => generate::text(text),
        });
        out
    }

    fn begin(&mut self) -> String {
        if std::mem::replace(&mut self.begun, true) {
            return String::new();
        }
        match self.wire {
            Wire::Chat => chat::begin(self),
            Wire::Responses => responses::begin(self),
            Wire::Messages => messages::begin(self),
            Wire::Generate => String::new(),
        }
    }

    /// The events that are left once the answer is whole.
    pub(super) fn end(&mut self, answer: &Answer) -> String {
        let Some(rest) = answer.text.strip_prefix(self.said.as_str()).map(str::to_string) else {
            let message = "what was streamed is not the beginning of the whole answer; ask again without a stream";
            return self.failed(&Problem::field("stream", message));
        };
        let mut out = if rest.is_empty() { self.begin() } else { self.text(&rest) };
        out.push_str(&match self.wire {
            Wire::Chat => chat::end(self, answer),
            Wire::Responses => responses::end(self, answer),
            Wire::Messages => messages::end(self, answer),
            Wire::Generate => generate::end(answer),
        });
        out
    }

    /// An error after the answer has begun.
    pub(super) fn failed(&mut self, problem: &Problem) -> String {
        let body = problem.body();
        match self.wire {
            Wire::Chat | Wire::Generate => data(&body),
            Wire::Messages => event("error", &body),
            Wire::Responses => responses::failed(self, problem),
        }
    }
}

fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}

fn event(name: &str, value: &Value) -> String {
    format!("event: {name}\ndata: {value}\n\n")
}

/// Tokens as the OpenAI wires count them: all of the input, cached or not.
fn tokens(usage: &Usage) -> (u64, u64, u64) {
    (usage.input.unwrap_or(0), usage.output.unwrap_or(0), usage.cached.unwrap_or(0))
}

fn is_cut(answer: &Answer) -> bool {
    answer.stop == StopReason::Length
}

#[cfg(test)]
mod tests;
