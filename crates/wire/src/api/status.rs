//! What the daemon says of itself.
use crate::fingerprint::Fingerprint;
use serde::{Deserialize, Serialize};

use tenure_core::id::{ProjectId, WorkerId};

use super::item::OpenAlerts;
use super::model::DefaultModel;
use super::moment::Moment;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Status {
    /// The project's.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: ProjectId,
    /// `ok`, `starting` while something is not there yet, or `stopping`.
    pub status: String,
    pub version: String,
    pub pid: u32,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub started_at: Moment,
    pub data_dir: String,
    /// The Unix socket, then each TCP address.
    pub listening: Vec<String>,
    /// SHA-256 of the certificate that is shown over TLS; absent without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub fingerprint: Option<Fingerprint>,
    /// Records on the ledger's chain.
    pub records: u64,
    pub ledger_check: LedgerCheck,
    /// Absent until the built-in worker has said hello.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<Worker>,
    pub model: DefaultModel,
    /// Agents that are not archived.
    pub agents: u64,
    /// Executions that have not ended.
    pub executions_open: u64,
    /// Messages that could not be delivered.
    #[serde(default)]
    pub dead_letters: u64,
    /// Alerts of agents that nobody has acknowledged.
    #[serde(default)]
    pub alerts: OpenAlerts,
    /// What takes room on the disk in the data directory; looked at no more than once a minute.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disk: Vec<DiskUse>,
    /// Where committed records go on to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sinks: Vec<Sink>,
    /// What cannot be used now, or is not enforced here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unusable: Vec<Unusable>,
}

/// How much of the disk is used for one thing, as allotted there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DiskUse {
    /// `database`, `blobs`, `work_folders`, `volumes`, `logs`, `models` or `other`.
    pub what: String,
    pub bytes: u64,
    /// Not all of it could be looked at: there is more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub beyond: bool,
}

/// A place outside that is sent every record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Sink {
    /// `file` or `webhook`.
    pub kind: String,
    pub to: String,
    /// Records that it has.
    pub delivered: u64,
    /// Records that it does not have yet.
    pub behind: u64,
    /// Why it takes nothing now; absent while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub failing_since: Option<Moment>,
}

/// Something that is not usable yet, and how it becomes so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Unusable {
    pub what: String,
    pub why: String,
    /// What to do; absent where waiting is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What the look at the ledger that follows each start has come to. It is quicker than `tenure audit verify`, and finds less.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LedgerCheck {
    pub state: LedgerCheckState,
    /// Records that were looked at.
    pub records: u64,
    /// The first of what was found, or why nothing could be looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LedgerCheckState {
    Running,
    Clean,
    Damaged,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Worker {
    /// Absent while it is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub id: Option<WorkerId>,
    pub name: String,
    /// `connected` or `away`.
    pub status: String,
    pub connected: bool,
    pub slots: u32,
    /// The confinement that it gives, in one line.
    pub level: String,
    /// Languages that programs inside can be written in, as in `python 3.11.7`.
    pub toolchains: Vec<String>,
    /// The container engine with its version, or why there is none.
    pub engine: String,
    pub limits_memory: bool,
    pub limits_cpu: bool,
    pub limits_pids: bool,
    /// How the disk limits are kept: `none`, `soft` or `hard`.
    pub quota: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Health {
    /// `ok`, `starting` while something is not there yet, or `stopping`.
    pub status: String,
    /// What is not there yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    pub version: String,
}
