//! What a model answered.

use super::name::ModelName;
use super::request::{Reasoning, ToolCall};
use serde::{Deserialize, Serialize};

/// One whole answer. A cut or malformed one is a [`super::failure::Failure`] and never stands here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub text: String,
    pub calls: Vec<ToolCall>,
    /// Calls beyond [`super::CALLS_MAX`], which are not here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Reasoning>,
    pub stop: StopReason,
    pub usage: Usage,
    /// Who really answered; `cassette/…` for a recorded answer.
    pub model: ModelName,
    /// Micro-dollars. `None` is an unknown price, which is not zero.
    pub cost_micro_usd: Option<u64>,
    /// Something a person should read beside the answer, such as a cassette that no longer fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Why the model stopped. Only `End` is a finished answer; after all others it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// It had said all.
    End,
    /// It asks for calls.
    Calls,
    /// The token limit cut its text.
    Length,
    /// The provider paused it.
    Pause,
    /// It asked for calls that did not come.
    CallsLost,
    /// It thought, and said nothing.
    Silent,
}

/// Tokens as the provider counted them. `None` where it did not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// All of the input, cached or not.
    pub input: Option<u64>,
    pub output: Option<u64>,
    /// The part of the input that was read from the provider's cache.
    pub cached: Option<u64>,
    /// The part of the input that was written to the provider's cache, which some charge more for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_written: Option<u64>,
    /// The provider did not count all: what is missing was estimated here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}
