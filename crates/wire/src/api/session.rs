//! What an agent that is connected from outside sees, and its sessions as people see them.
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tenure_core::id::{AgentId, CallId, KeyId, SessionId};

use super::agent::AgentStatus;
use super::moment::Moment;

/// The header by which an agent says which of its sessions a request is of; without it, the newest.
pub const SESSION: &str = "tenure-session";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    Live,
    Ended,
}

impl SessionStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            SessionStatus::Live => "live",
            SessionStatus::Ended => "ended",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Session {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: SessionId,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub agent: AgentId,
    pub agent_name: String,
    pub status: SessionStatus,
    /// Why it ended: `closed`, `idle`, `replaced`, `killed`, `key_revoked`, `agent_revoked` or `agent_deleted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<String>,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub opened_at: Moment,
    /// When something of it was heard last.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub last_at: Moment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub ended_at: Option<Moment>,
    /// Until it ended, or until now.
    pub duration_ms: u64,
    /// Calls that it asked for.
    pub invocations: u32,
    /// Those that have not ended.
    pub calls: u32,
    /// A worker holds a sandbox of it.
    pub has_sandbox: bool,
    /// When the last of what its calls were asked and answered was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub erased_at: Option<Moment>,
}

/// Who an agent's key makes of its holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Whoami {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub agent: AgentId,
    pub name: String,
    pub status: AgentStatus,
    pub revision: u32,
    /// The key that was shown; of a program in a jail, its instance.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub key: String,
    /// When that key dies: another has taken its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub key_dies_at: Option<Moment>,
    /// The present session, if one is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    /// Calls and openings of sessions that are taken in a minute.
    pub calls_per_minute: u32,
    /// A session of which nothing is heard for so long ends.
    pub idle_ms: u64,
}

/// The answer to opening a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OpenedSession {
    pub session: Session,
    pub whoami: Whoami,
    /// What happened since the agent was last here, as `GET /v1/agents/{agent}/briefing` tells it.
    pub briefing: Value,
}

/// One capability call of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Invoke {
    pub capability: String,
    #[serde(default = "no_arguments")]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub arguments: Value,
    /// 1 to 255 printable ASCII characters. The same key of the same agent is one call, however often it is sent and over
    /// whichever session; without one each request is a call of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 255, pattern = "^[ -~]*$"))]
    pub idempotency_key: Option<String>,
    /// How long the answer may wait for the call's end, in milliseconds; 30 s without it. A call that takes longer goes on, and
    /// the answer is 202 with its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 120_000_i64))]
    pub wait_ms: Option<u64>,
}

/// The most milliseconds that an answer waits for a call's end, and how many where the caller does not say.
pub const WAIT_MS_MAX: u64 = 120_000;
pub const WAIT_MS_DEFAULT: u64 = 30_000;

fn no_arguments() -> Value {
    Value::Object(serde_json::Map::new())
}

/// What came of a call that was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Invoked {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub call: CallId,
    pub capability: String,
    pub result: Value,
    /// What stands beside the result: the version of a value that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Value>,
    /// The call was made before with the same idempotency key, and this is what came of it then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// For a worker that has room, or for a person to allow it.
    Waiting,
    Running,
    Ended,
}

/// A call of a session, ended or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionCall {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub call: CallId,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub session: SessionId,
    pub capability: String,
    pub state: CallState,
    /// How it ended: `done`, `failed:CODE`, `timed_out`, `resource_exhausted:RESOURCE`, `killed`, `lost` (whether it was done is not
    /// known), or why it never began: `policy`, `misfit`, `withdrawn`, `expired`, `cancelled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// By the capability's output schema, or `{"error": SENTENCE}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Value>,
    /// Why it never began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub called_at: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub ended_at: Option<Moment>,
}

/// The answer to a call: what came of it (200), or where it stands (202).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum Answered {
    Done(Invoked),
    Open(SessionCall),
}

impl Answered {
    pub fn done(self) -> Option<Invoked> {
        match self {
            Answered::Done(invoked) => Some(invoked),
            Answered::Open(_) => None,
        }
    }
}

/// The body of a rotation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// How long the present key lives beside the new one; 0: it dies at once.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 604_800_000_i64))]
    pub overlap_ms: u64,
}

/// An agent's new key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentKey {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub agent: AgentId,
    pub agent_name: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: KeyId,
    /// Shown this once.
    pub secret: String,
    /// Until when the one before it lives on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub previous_until: Option<Moment>,
}

impl std::fmt::Debug for AgentKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentKey").field("agent", &self.agent).field("id", &self.id).finish_non_exhaustive()
    }
}
