//! What commands bring: a start, a model's call and its answer, a validator's finding.
use super::Trigger;
use crate::bound::{Hash, Payload};
use crate::call;
use crate::id::AgentId;
use crate::time::Run;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    pub agent: AgentId,
    /// An older one than the newest.
    pub revision: Option<u32>,
    pub input: Payload,
    pub max_iterations: Option<u32>,
    /// Hash of the caller's idempotency key within the agent.
    pub idempotency: Option<Hash>,
    pub trigger: Trigger,
}

/// Which model call of an execution is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    pub iteration: u32,
    /// Turns answered before it in this iteration.
    pub turn: u32,
    pub attempt: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallModel {
    pub turn: Turn,
    pub model: String,
    pub request: Hash,
    pub deadline: Run,
    pub reserved_micro_usd: Option<u64>,
    /// Estimated input and the longest answer.
    pub reserved_tokens: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub model: String,
    /// The turn's delta: text and calls as the provider gave them.
    pub delta: Payload,
    /// The final text. Without it and without calls the answer is not finished, and the next turn goes on with it.
    pub output: Option<Payload>,
    pub calls: Vec<call::Proposal>,
    pub usage: Usage,
    /// Replayed from a cassette, not answered by a model.
    pub cassette: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    pub input: u64,
    pub output: u64,
    pub cached: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_usd: Option<u64>,
    pub took_ms: u64,
    /// The provider did not count all of the tokens, so that some were estimated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFailure {
    pub kind: String,
    /// Clipped where it is recorded; no secret may stand in it.
    pub sentence: String,
    pub remedy: Remedy,
    pub used: Used,
}

/// What a failed answer took all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Used {
    /// The provider did not begin.
    Nothing,
    /// It began, and nobody counted: what the call held is used up.
    Unknown,
    Counted(Usage),
}

/// What may help after a model's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The same question later; not before the provider's own time, if it named one.
    Again {
        after_ms: Option<u64>,
    },
    /// The same question at once: it goes to another model of the same alias.
    Elsewhere,
    /// Another conversation: the next iteration's.
    NextIteration,
    None,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub validator: String,
    pub pass: bool,
    /// Thousandths, 0 to 1000.
    pub score_milli: u32,
    pub reasons: Payload,
}
