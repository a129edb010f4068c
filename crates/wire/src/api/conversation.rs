//! Conversations: a person talks with an agent, and each message is an execution that goes on from the one before it.
use serde::{Deserialize, Serialize};
use tenure_core::id::{AgentId, ExecutionId};

use super::execution::{Execution, ExecutionStatus};
use super::moment::Moment;

/// What a person says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Say {
    pub message: String,
}

/// The turn that was begun with it. Its execution's output is the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Said {
    /// The id of its first execution.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub conversation: ExecutionId,
    /// From 1.
    pub turn: u32,
    pub execution: Execution,
    /// It was said before with the same idempotency key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Conversation {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: ExecutionId,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub agent: AgentId,
    pub agent_name: String,
    pub turns: u32,
    /// When something was said last.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub last_at: Moment,
    /// What was said last; cut to 200 characters, absent once it is erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_message: Option<String>,
}

/// One message and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Exchange {
    pub turn: u32,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub execution: ExecutionId,
    pub status: ExecutionStatus,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Moment,
    /// Absent once it is erased, as the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConversationFile {
    #[serde(flatten)]
    pub conversation: Conversation,
    /// The last 50, oldest first.
    pub exchanges: Vec<Exchange>,
}
