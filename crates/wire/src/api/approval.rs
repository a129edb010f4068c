//! What people are asked to allow, and what they have let agents do unasked.
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tenure_core::id::{AgentId, ApprovalId, CallId, ExecutionId, GrantId, SessionId};

use super::execution::Target;
use super::moment::Moment;

/// A call that a person is, or was, asked to allow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Approval {
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "apr_06exampleexampleexampleex0"))]
    pub id: ApprovalId,
    /// `pending`, `approved`, `rejected`, `expired` or `cancelled`.
    pub status: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub agent: AgentId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_name: Option<String>,
    /// Whose call it is; else a session's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub execution: Option<ExecutionId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub session: Option<SessionId>,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub call: CallId,
    pub capability: String,
    #[serde(flatten)]
    pub target: Target,
    /// Why it is asked.
    pub rules: Vec<String>,
    /// Different people who must allow it.
    pub people: u32,
    /// Who answered, and in what words; of a pending one, who has allowed it so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub asked_at: Moment,
    /// While it is pending: when the call is refused if nobody has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub decided_at: Option<Moment>,
    /// What was given with the answer; only in the answer to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Grant>,
}

/// The card: one approval with all that a person decides by.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApprovalFile {
    #[serde(flatten)]
    pub approval: Approval,
    /// What would be done, in a sentence.
    pub effect: String,
    /// Whether it can be taken back: `none`, `reversible` or `irreversible`.
    pub effects: String,
    /// The very arguments; absent once erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub arguments: Option<Box<RawValue>>,
    /// Of the execution so far.
    pub tokens: u64,
    pub cost_micro_usd: u64,
    /// The calls that a grant would cover, as an exception to put behind the rule that asks, in Cedar.
    pub rule: String,
}

/// The body of an approval; it may be left out.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Approve {
    /// Kept in the ledger; cut at 1 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Other arguments than those that were asked about: the call is done with these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub arguments: Option<Box<RawValue>>,
    /// Calls like this one need nobody's word for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantScope>,
}

/// How long a grant holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum GrantScope {
    /// From 1 to 43,200.
    Minutes(u32),
    /// From 1 to 10,000.
    Calls(u32),
    /// Until the execution that asked has ended.
    Execution {},
}

/// The body of a rejection; it may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Reject {
    /// The agent is told it; kept in the ledger, cut at 1 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Calls that an agent may make without asking again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Grant {
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "grt_06exampleexampleexampleex0"))]
    pub id: GrantId,
    /// `active`, `used_up`, `expired` or `revoked`.
    pub status: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub agent: AgentId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_name: Option<String>,
    pub capability: String,
    /// The calls that it covers, as an exception to the rule that asks, in Cedar.
    pub rule: String,
    /// How long, in words.
    pub scope: String,
    pub by: String,
    /// How it was used last, or who took it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub given_at: Moment,
}
