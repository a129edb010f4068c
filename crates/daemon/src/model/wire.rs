//! The three wires that models speak: chat completions, responses and messages. A codec each; what they share is here.
//!
//! Lenient in what is taken, exact in what is given. Nothing here connects, waits for a clock of its own but the one
//! after an answer's end, or decides what an answer is worth: bytes come in, a [`Reply`] goes out. What a provider sends
//! is hostile: every size is bounded before anything is allocated for it, and a number that it sends never is a size.

pub mod arguments;
mod body;
mod calls;
pub mod chat;
pub mod finish;
mod lenient;
pub mod messages;
mod reply;
pub mod responses;
mod usage;

pub use body::read;
pub use reply::{Reply, WireCall};

use super::request::Request;
use super::spelling::Spelling;
use reply::Gathered;
use serde_json::Value;
use std::collections::BTreeSet;

/// Bytes of one event, and of an answer that comes as one JSON body.
pub const EVENT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of one answer with all that its events say beside the text.
pub const STREAM_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Marks that begin or part JSON values in one event: each value costs memory, however short it is.
const MARKS_MAX: usize = 200_000;

/// How a provider is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wire {
    /// `chat/completions`, spoken by OpenAI and by nearly all others.
    Chat,
    /// `responses`, which some models of OpenAI want.
    Responses,
    /// `messages`, Anthropic's.
    Messages,
}

impl Wire {
    pub const ALL: [Wire; 3] = [Wire::Chat, Wire::Responses, Wire::Messages];

    pub fn as_str(self) -> &'static str {
        match self {
            Wire::Chat => "chat",
            Wire::Responses => "responses",
            Wire::Messages => "messages",
        }
    }

    /// What follows the base URL.
    pub fn path(self) -> &'static str {
        match self {
            Wire::Chat => "chat/completions",
            Wire::Responses => "responses",
            Wire::Messages => "messages",
        }
    }
}

/// How the length of an answer is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerLimit {
    MaxTokens,
    MaxCompletionTokens,
    /// By the provider alone.
    Unsaid,
}

/// What an endpoint is not sent, because it refused it before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    pub limit: AnswerLimit,
    /// Whether it is asked to count tokens at the end of its stream.
    pub stream_options: bool,
    /// Whether its own reasoning is sent back to it.
    pub reasoning: bool,
    /// Whether it is asked for reasoning in a form that can be sent back.
    pub include: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Dialect { limit: AnswerLimit::MaxTokens, stream_options: true, reasoning: true, include: true }
    }
}

/// The body of a request.
pub fn encode(wire: Wire, model: &str, request: &Request, dialect: Dialect) -> Value {
    let spelling = Spelling::of(&request.tools);
    match wire {
        Wire::Chat => chat::encode(model, request, dialect, &spelling),
        Wire::Responses => responses::encode(model, request, dialect, &spelling),
        Wire::Messages => messages::encode(model, request, dialect, &spelling),
    }
}

/// What of a request this wire has no words for; such a one is not sent.
pub fn lacks(wire: Wire, request: &Request) -> Option<&'static str> {
    match wire {
        Wire::Responses if !request.wishes.stop.is_empty() => Some("sequences that end an answer"),
        Wire::Messages if request.wishes.format.is_some() => Some("a form of the answer's text"),
        Wire::Chat | Wire::Responses | Wire::Messages => None,
    }
}

/// Why an answer cannot be taken.
#[derive(Debug)]
pub enum WireError {
    /// The provider says that it failed, in these words.
    Told(Value),
    /// More than an answer may hold.
    TooLarge,
    /// What came is not what the protocol says.
    NotTheProtocol,
    /// The bytes ended in the middle of an event, or before anything said how the answer ended.
    Cut,
    /// The body is a page for people, or empty.
    Nothing,
    /// The connection broke; `begun`: part of an answer had come.
    Broken { error: Box<dyn std::error::Error + Send + Sync>, begun: bool },
}

/// What an event was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    More,
    /// Nothing follows that belongs to the answer.
    Over,
}

/// Takes the events of one answer.
pub(crate) struct Decoder {
    codec: Codec,
    gathered: Gathered,
}

enum Codec {
    Chat(chat::Decoder),
    Responses(responses::Decoder),
    Messages(messages::Decoder),
}

impl Decoder {
    /// `offered`: the tools' names as the provider was sent them, by which a name in parts is told from two names.
    pub(crate) fn new(wire: Wire, offered: BTreeSet<String>) -> Decoder {
        let codec = match wire {
            Wire::Chat => Codec::Chat(chat::Decoder::default()),
            Wire::Responses => Codec::Responses(responses::Decoder::default()),
            Wire::Messages => Codec::Messages(messages::Decoder::default()),
        };
        Decoder { codec, gathered: Gathered::new(offered) }
    }

    /// Something said how the answer ends; what still may come is its count of tokens.
    pub(crate) fn has_end(&self) -> bool {
        self.gathered.finish.is_some()
    }

    /// Something of an answer has come.
    pub(crate) fn begun(&self) -> bool {
        self.gathered.begun
    }

    pub(crate) fn take(
        &mut self,
        name: Option<&str>,
        data: &str,
        text: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Flow, WireError> {
        let data = data.trim();
        if data.is_empty() {
            return Ok(Flow::More);
        }
        if data.eq_ignore_ascii_case("[DONE]") {
            self.gathered.begun = true;
            return Ok(Flow::Over);
        }
        let is_error = name.is_some_and(|name| name.trim().eq_ignore_ascii_case("error"));
        if !data.starts_with(['{', '[']) {
            // Words of keep-alive that some servers send as data.
            return if is_error { Err(WireError::Told(Value::String(data.to_owned()))) } else { Ok(Flow::More) };
        }
        for value in values(data)? {
            if is_error {
                return Err(WireError::Told(value));
            }
            self.gathered.begun = true;
            if self.one(name, &value, text)? == Flow::Over {
                return Ok(Flow::Over);
            }
        }
        Ok(Flow::More)
    }

    fn one(
        &mut self,
        name: Option<&str>,
        value: &Value,
        text: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Flow, WireError> {
        if let Some(error) = lenient::error_in(value) {
            return Err(WireError::Told(error.clone()));
        }
        let gathered = &mut self.gathered;
        match &mut self.codec {
            Codec::Chat(codec) => codec.take(value, gathered, text),
            Codec::Responses(codec) => codec.take(name, value, gathered, text),
            Codec::Messages(codec) => codec.take(name, value, gathered, text),
        }
    }

    /// An answer that came as one JSON body, though a stream was asked for.
    pub(crate) fn take_whole(&mut self, body: &str, text: &mut (dyn FnMut(&str) + Send)) -> Result<(), WireError> {
        if marks(body) > MARKS_MAX {
            return Err(WireError::TooLarge);
        }
        let value = lenient::json(body).map_err(|_| WireError::NotTheProtocol)?;
        if let Some(error) = lenient::error_in(&value) {
            return Err(WireError::Told(error.clone()));
        }
        let gathered = &mut self.gathered;
        match &mut self.codec {
            Codec::Chat(codec) => codec.take(&value, gathered, text).map(|_| ())?,
            Codec::Responses(codec) => codec.take_whole(&value, gathered, text)?,
            Codec::Messages(codec) => codec.take_whole(&value, gathered, text)?,
        }
        let said = gathered.finish.is_some() || gathered.holds_something();
        if !said {
            // JSON that is no answer is most likely the words of an error.
            return Err(WireError::Told(value));
        }
        gathered.begun = true;
        Ok(())
    }

    pub(crate) fn into_reply(self) -> Reply {
        let Decoder { codec, gathered } = self;
        let wire = match codec {
            Codec::Chat(_) => Wire::Chat,
            Codec::Responses(_) => Wire::Responses,
            Codec::Messages(_) => Wire::Messages,
        };
        gathered.into_reply(wire)
    }
}

/// The JSON values of an event: one, or one a line from servers that leave the empty line out.
fn values(data: &str) -> Result<Vec<Value>, WireError> {
    if data.len() > EVENT_BYTES_MAX || marks(data) > MARKS_MAX {
        return Err(WireError::TooLarge);
    }
    if let Ok(value) = lenient::json(data) {
        return Ok(vec![value]);
    }
    let lines = data.lines().map(str::trim).filter(|line| !line.is_empty() && !line.eq_ignore_ascii_case("[DONE]"));
    lines.map(|line| lenient::json(line).map_err(|_| WireError::NotTheProtocol)).collect()
}

/// At least as many as the JSON has values.
fn marks(json: &str) -> usize {
    json.bytes().filter(|byte| matches!(byte, b',' | b':' | b'[' | b'{')).count()
}
