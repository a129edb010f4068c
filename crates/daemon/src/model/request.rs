//! What a model is asked, independent of who answers.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// One question: the conversation so far and the calls on offer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    pub system: String,
    pub messages: Vec<Message>,
    pub tools: Vec<Tool>,
    /// Tokens that the answer may have.
    pub max_tokens: u32,
    /// How a program wants to be answered; the built-in loop leaves that to the model.
    #[serde(default, skip_serializing_if = "Wishes::is_none")]
    pub wishes: Wishes,
    /// Whose turn it is. Not part of the hash: it differs between runs of the same work.
    #[serde(skip)]
    pub tag: Tag,
}

/// The turn that a request belongs to, and the attempt at it. All three count from 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tag {
    pub execution: String,
    pub iteration: u32,
    pub turn: u32,
    /// Of this turn: 2 is the first repetition.
    pub attempt: u32,
}

impl Default for Tag {
    /// A request outside any execution, such as a test of a model.
    fn default() -> Self {
        Tag { execution: String::new(), iteration: 1, turn: 1, attempt: 1 }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Message {
    User {
        text: String,
    },
    /// The same of a program that shows images.
    Parts {
        parts: Vec<Part>,
    },
    Assistant {
        text: String,
        calls: Vec<ToolCall>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reasoning: Option<Reasoning>,
    },
    /// The result of the call `call_id` of the assistant message before it. Every call must have one.
    Tool {
        call_id: String,
        name: String,
        content: String,
    },
}

/// A piece of what a user says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "snake_case")]
pub enum Part {
    Text {
        text: String,
    },
    /// `data`: base64.
    Image {
        media_type: String,
        data: String,
    },
    /// Fetched by the provider.
    ImageUrl {
        url: String,
    },
}

/// Each is honoured by whoever is asked, or the request is refused before.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Wishes {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<ToolChoice>,
    /// No more than one call in an answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_call: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
}

/// That a call must be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "choice", rename_all = "snake_case")]
pub enum ToolChoice {
    Required,
    One { name: String },
}

/// What form the answer's text must have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "format", rename_all = "snake_case")]
pub enum Format {
    Object,
    Schema { name: String, schema: Value, strict: bool },
}

impl Wishes {
    pub fn is_none(&self) -> bool {
        *self == Wishes::default()
    }
}

/// What an image counts in the estimate of a request, as providers count a middling one.
const IMAGE_BYTES: usize = 6 * 1024;

impl Part {
    fn bytes(&self) -> usize {
        match self {
            Part::Text { text } => text.len(),
            Part::Image { .. } | Part::ImageUrl { .. } => IMAGE_BYTES,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Part::Text { text } => Some(text),
            Part::Image { .. } | Part::ImageUrl { .. } => None,
        }
    }
}

/// A call that a model asks for. `arguments` is always a JSON object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    pub id: String,
    /// The capability's name, with dots; a name that matches none on offer stands here as the model wrote it.
    pub name: String,
    pub arguments: Value,
    /// Why the call cannot be made, where the model did not write an object of arguments: it is told, and `arguments`
    /// is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misfit: Option<String>,
}

/// What a model thought before it answered, kept as its provider wants it back. It is sent over the same wire alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "wire", rename_all = "snake_case")]
pub enum Reasoning {
    Chat {
        field: ChatField,
        text: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        details: Vec<Value>,
    },
    /// Items of reasoning, sealed by the provider.
    Responses { items: Vec<Value> },
    /// Blocks of thinking, signed by the provider.
    Messages { blocks: Vec<Value> },
}

/// Where reasoning stands in a chat message. Nobody agreed on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatField {
    ReasoningContent,
    Reasoning,
}

impl ChatField {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ChatField::ReasoningContent => "reasoning_content",
            ChatField::Reasoning => "reasoning",
        }
    }
}

/// A capability as a model sees it. `schema` is the JSON Schema of its arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    pub name: String,
    pub description: String,
    pub schema: Value,
}

/// The largest integer that canonical JSON keeps exactly.
const INTEGER_MAX: u64 = (1 << 53) - 1;

impl Request {
    /// SHA-256, in hex, of the request's canonical JSON without its tag.
    ///
    /// Integers beyond ±(2^53−1) are hashed as strings, since canonical JSON would round them.
    pub fn hash(&self) -> String {
        let mut value = serde_json::to_value(self).expect("invariant: a request has only string keys");
        exact(&mut value);
        let bytes = serde_json_canonicalizer::to_vec(&value).expect("invariant: a JSON value is canonical JSON");
        HEXLOWER.encode(&Sha256::digest(&bytes))
    }

    /// Bytes that the provider will read, roughly: what the estimate of input tokens stands on.
    pub fn bytes(&self) -> usize {
        let messages: usize = self.messages.iter().map(Message::bytes).sum();
        let tools: usize = self
            .tools
            .iter()
            .map(|tool| tool.name.len() + tool.description.len() + tool.schema.to_string().len())
            .sum();
        self.system.len() + messages + tools
    }
}

impl Message {
    fn bytes(&self) -> usize {
        match self {
            Message::User { text } => text.len(),
            Message::Parts { parts } => parts.iter().map(Part::bytes).sum(),
            Message::Assistant { text, calls, .. } => text.len() + calls.iter().map(ToolCall::bytes).sum::<usize>(),
            Message::Tool { name, content, .. } => name.len() + content.len(),
        }
    }
}

impl ToolCall {
    pub(crate) fn bytes(&self) -> usize {
        self.name.len() + self.arguments.to_string().len()
    }
}

fn exact(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let beyond = match (number.as_u64(), number.as_i64()) {
                (Some(positive), _) => positive > INTEGER_MAX,
                (None, Some(negative)) => negative.unsigned_abs() > INTEGER_MAX,
                (None, None) => false,
            };
            if beyond {
                *value = Value::String(number.to_string());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(exact),
        Value::Object(fields) => fields.values_mut().for_each(exact),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) fn ask(text: &str) -> Request {
        Request {
            system: "You are an agent.".into(),
            messages: vec![Message::User { text: text.into() }],
            tools: vec![Tool {
                name: "filesystem.read".into(),
                description: "Read a file.".into(),
                schema: json!({"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}),
            }],
            max_tokens: 256,
            wishes: Wishes::default(),
            tag: Tag { execution: "exe_a".into(), ..Tag::default() },
        }
    }

    #[test]
    fn the_hash_ignores_whose_turn_it_is_and_nothing_else() {
        let one = ask("hello");
        let mut other_run = one.clone();
        other_run.tag.execution = "exe_b".into();
        assert_eq!(one.hash(), other_run.hash());
        assert_eq!(one.hash().len(), 64);
        let mut longer = one.clone();
        longer.max_tokens += 1;
        assert_ne!(one.hash(), longer.hash());
    }

    #[test]
    fn integers_that_canonical_json_would_round_still_differ() {
        let with = |number: u64| {
            let mut request = ask("x");
            request.tools[0].schema = json!({ "const": number });
            request.hash()
        };
        assert_ne!(with(9_007_199_254_740_992), with(9_007_199_254_740_993));
    }
}
