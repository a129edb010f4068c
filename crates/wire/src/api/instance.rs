//! The program of a code agent, as the API shows it.
use serde::{Deserialize, Serialize};
use tenure_core::call::CallRow;
use tenure_core::id::{AgentId, CallId, ExecutionId, InstanceId, SessionId};
use tenure_core::instance::{Health as Found, InstanceRow};
use tenure_core::time::Time;

use super::moment::Moment;

/// Seed 003, `AgentStatus.status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SeedStatus {
    Active,
    Quarantined,
    Terminated,
    NotFound,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Instance {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: InstanceId,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub agent: AgentId,
    pub name: String,
    pub status: SeedStatus,
    /// `due` (it is started then), `starting`, `ready`, `stopping` or `stopped`.
    pub state: String,
    /// Why it stops, or is stopped: `asked`, `crashed`, `quarantined`, `killed`, `revoked`, `deleted` or `plan_lost`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What it waits for, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    pub revision: u32,
    /// That the manifest of this revision states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Milliseconds since its program was ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_ms: Option<u64>,
    /// Programs that it has had.
    pub starts: u32,
    pub crashes: u32,
    /// How the last of them came, with what the program said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_crash: Option<String>,
    /// That the program has and has not answered.
    pub messages: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub session: Option<SessionId>,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Moment,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub stopped_at: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<InstanceHealth>,
}

/// What other rows and payloads say of an instance.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub version: Option<String>,
    pub last_crash: Option<String>,
    pub waits_for: Option<String>,
}

/// What the last health check found; the figures are the kernel's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceHealth {
    /// `healthy`, `warning` or `critical`, as the program says.
    pub status: String,
    pub memory_bytes: u64,
    pub cpu_ms: u64,
    pub processes: u32,
    pub uptime_ms: u64,
    /// Kinds of errors that the program counts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub errors: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Inspection {
    pub instance: Instance,
    /// Executions whose message the program has.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub messages: Vec<ExecutionId>,
    /// Hooks, and what the program asked for, the latest first.
    pub calls: Vec<InstanceCall>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceCall {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub call: CallId,
    pub capability: String,
    /// `proposed`, `waiting`, `called`, `ended` or `blocked`.
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub called_at: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub ended_at: Option<Moment>,
}

impl InstanceCall {
    pub fn of(row: CallRow) -> InstanceCall {
        InstanceCall {
            call: row.id,
            capability: row.capability,
            state: row.state,
            outcome: row.outcome,
            called_at: row.called_at.map(Into::into),
            ended_at: row.ended_at.map(Into::into),
        }
    }
}

impl InstanceHealth {
    fn of(found: Found) -> InstanceHealth {
        let Found { condition, memory_bytes, cpu_ms, processes, uptime_ms, errors, call: _ } = found;
        InstanceHealth { status: condition.as_str().to_string(), memory_bytes, cpu_ms, processes, uptime_ms, errors }
    }
}

impl Instance {
    /// `now`: up to when it is counted how long it is ready.
    pub fn of(row: InstanceRow, status: SeedStatus, known: Known, now: Time) -> Instance {
        let Known { version, last_crash, waits_for } = known;
        Instance {
            id: row.id,
            agent: row.agent,
            name: row.agent_name,
            status,
            state: row.state,
            why: row.why,
            waits_for,
            revision: row.revision,
            version,
            uptime_ms: row.ready_at.map(|since| now.since_ms(since)),
            starts: row.starts,
            crashes: row.crashes,
            last_crash,
            messages: row.messages,
            session: row.session,
            created_at: row.created_at.into(),
            stopped_at: row.stopped_at.map(Into::into),
            health: row.health.map(InstanceHealth::of),
        }
    }
}
