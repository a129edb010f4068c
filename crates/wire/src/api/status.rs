//! What the daemon says of itself.
use serde::{Deserialize, Serialize};

use super::model::DefaultModel;
use super::moment::Moment;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Status {
    pub version: String,
    pub pid: u32,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub started_at: Moment,
    pub data_dir: String,
    /// The Unix socket, then each TCP address.
    pub listening: Vec<String>,
    pub ledger: Ledger,
    /// Absent until the built-in worker has said hello.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<Worker>,
    pub model: DefaultModel,
    pub agents: u64,
    pub executions: Counts,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Counts {
    pub queued: u64,
    pub running: u64,
    pub waiting: u64,
    pub completed: u64,
    pub failed: u64,
    pub cancelled: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Ledger {
    /// Records on the chain.
    pub records: u64,
    /// Hash of the newest record; absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// Whether new things may be written; false on a full disk.
    pub writable: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Worker {
    pub name: String,
    pub connected: bool,
    pub slots: u32,
    /// The confinement that it gives, in one line.
    pub level: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
    pub limits_memory: bool,
    pub limits_cpu: bool,
    pub limits_pids: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Health {
    /// `ok`, or `starting` while something is not there yet.
    pub status: String,
    /// What is not there yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    pub version: String,
}
