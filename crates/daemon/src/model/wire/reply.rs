//! What an answer has come to so far, in the same form for all three wires.

use super::calls::CallTable;
use super::finish::End;
use super::usage::Counted;
use super::{Wire, WireError, arguments};
use crate::model::ANSWER_BYTES_MAX;
use crate::model::answer::Usage;
use crate::model::request::{ChatField, Reasoning};
use serde_json::Value;
use std::collections::BTreeSet;

/// Pieces of reasoning that are kept to be sent back.
const KEPT_MAX: usize = 256;

/// One whole answer as a provider gave it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub text: String,
    /// The model's own words of refusal.
    pub refusal: String,
    pub reasoning: Option<Reasoning>,
    pub calls: Vec<WireCall>,
    /// Calls beyond what one answer may hold.
    pub dropped: u32,
    /// Nothing where the answer broke off.
    pub end: Option<End>,
    pub usage: Usage,
}

/// A call as a provider gave it.
#[derive(Debug, Clone, PartialEq)]
pub struct WireCall {
    /// May be empty, or that of another call.
    pub id: String,
    pub name: String,
    /// A JSON object, or why there is none.
    pub arguments: Result<Value, String>,
    /// Nothing was written for its arguments.
    pub blank: bool,
}

pub(super) struct Gathered {
    pub(super) begun: bool,
    pub(super) finish: Option<End>,
    pub(super) calls: CallTable,
    pub(super) usage: Counted,
    text: String,
    refusal: String,
    thought: String,
    field: ChatField,
    kept: Vec<Value>,
    left: usize,
}

impl Gathered {
    pub(super) fn new(offered: BTreeSet<String>) -> Gathered {
        Gathered {
            begun: false,
            finish: None,
            calls: CallTable::new(offered),
            usage: Counted::default(),
            text: String::new(),
            refusal: String::new(),
            thought: String::new(),
            field: ChatField::ReasoningContent,
            kept: Vec::new(),
            left: ANSWER_BYTES_MAX,
        }
    }

    /// Takes so many bytes of what one answer may hold, before they are kept.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), WireError> {
        self.left = self.left.checked_sub(bytes).ok_or(WireError::TooLarge)?;
        Ok(())
    }

    pub(super) fn has_text(&self) -> bool {
        !self.text.is_empty()
    }

    pub(super) fn holds_something(&self) -> bool {
        self.has_text() || !self.refusal.is_empty() || !self.thought.is_empty() || !self.calls.is_empty()
    }

    pub(super) fn push_text(&mut self, text: &str, out: &mut (dyn FnMut(&str) + Send)) -> Result<(), WireError> {
        self.spend(text.len())?;
        self.text.push_str(text);
        out(text);
        Ok(())
    }

    pub(super) fn push_refusal(&mut self, text: &str) -> Result<(), WireError> {
        self.spend(text.len())?;
        self.refusal.push_str(text);
        Ok(())
    }

    pub(super) fn push_thought(&mut self, text: &str) -> Result<(), WireError> {
        self.spend(text.len())?;
        self.thought.push_str(text);
        Ok(())
    }

    /// The field that the provider's reasoning stood in, which it wants back under the same name.
    pub(super) fn thought_in(&mut self, field: ChatField) {
        self.field = field;
    }

    /// Keeps a piece of reasoning as it came, to be sent back unchanged. What was taken is not freed again.
    pub(super) fn keep(&mut self, piece: Value) -> Result<&mut Value, WireError> {
        if self.kept.len() >= KEPT_MAX {
            return Err(WireError::TooLarge);
        }
        self.spend(bytes(&piece))?;
        self.kept.push(piece);
        Ok(self.kept.last_mut().expect("invariant: it was pushed just now"))
    }

    pub(super) fn kept_mut(&mut self) -> &mut Vec<Value> {
        &mut self.kept
    }

    pub(super) fn ends(&mut self, word: &str) {
        if !word.is_empty() {
            self.finish = Some(End::of(word));
        }
    }

    pub(super) fn into_reply(self, wire: Wire) -> Reply {
        let reasoning = match wire {
            Wire::Chat if self.thought.is_empty() && self.kept.is_empty() => None,
            Wire::Chat => Some(Reasoning::Chat { field: self.field, text: self.thought, details: self.kept }),
            Wire::Responses | Wire::Messages if self.kept.is_empty() => None,
            Wire::Responses => Some(Reasoning::Responses { items: self.kept }),
            Wire::Messages => Some(Reasoning::Messages { blocks: self.kept }),
        };
        let (building, dropped) = self.calls.into_calls();
        let calls = building.into_iter().map(|call| WireCall {
            id: call.id,
            name: call.name,
            arguments: arguments::read(&call.arguments),
            blank: call.arguments.trim().is_empty(),
        });
        Reply {
            text: self.text,
            refusal: self.refusal,
            reasoning,
            calls: calls.collect(),
            dropped,
            end: self.finish,
            usage: self.usage.into_usage(),
        }
    }
}

/// About as many as the value takes when it is written.
pub(super) fn bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 16,
        Value::String(text) => 16 + text.len(),
        Value::Array(items) => 16 + items.iter().map(bytes).sum::<usize>(),
        Value::Object(fields) => 16 + fields.iter().map(|(name, value)| 16 + name.len() + bytes(value)).sum::<usize>(),
    }
}
