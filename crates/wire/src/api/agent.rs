//! Agents and their revisions.
use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strum::IntoEnumIterator;
use tenure_core::agent::{Cause, Severity, Status};
use tenure_core::id::AgentId;
use tenure_core::manifest::changes::Difference;

use super::execution::Execution;
use super::item::PlannedWake;
use super::key::Secret;
use super::moment::Moment;
use super::session::Session;
use crate::confinement::Confinement;

/// The shown status: the administrative state and presence in one word.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::EnumIter, strum::EnumString, strum::IntoStaticStr,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AgentStatus {
    /// Nothing of it has ever run.
    Registered,
    Active,
    Idle,
    Paused,
    Quarantined,
    Revoked,
    Archived,
}

impl AgentStatus {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl From<Status> for AgentStatus {
    fn from(status: Status) -> AgentStatus {
        match status {
            Status::Registered => AgentStatus::Registered,
            Status::Active => AgentStatus::Active,
            Status::Idle => AgentStatus::Idle,
            Status::Paused => AgentStatus::Paused,
            Status::Quarantined => AgentStatus::Quarantined,
            Status::Revoked => AgentStatus::Revoked,
            Status::Archived => AgentStatus::Archived,
        }
    }
}

/// What `status` of an agent list may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentFilter {
    /// Registered, active or idle.
    Deployed,
    Is(AgentStatus),
}

impl AgentFilter {
    pub fn words() -> Vec<&'static str> {
        std::iter::once("deployed").chain(AgentStatus::iter().map(AgentStatus::as_str)).collect()
    }

    pub fn statuses(self) -> &'static [Status] {
        match self {
            AgentFilter::Deployed => &[Status::Registered, Status::Active, Status::Idle],
            AgentFilter::Is(AgentStatus::Registered) => &[Status::Registered],
            AgentFilter::Is(AgentStatus::Active) => &[Status::Active],
            AgentFilter::Is(AgentStatus::Idle) => &[Status::Idle],
            AgentFilter::Is(AgentStatus::Paused) => &[Status::Paused],
            AgentFilter::Is(AgentStatus::Quarantined) => &[Status::Quarantined],
            AgentFilter::Is(AgentStatus::Revoked) => &[Status::Revoked],
            AgentFilter::Is(AgentStatus::Archived) => &[Status::Archived],
        }
    }
}

/// Labels of an agent list as they are asked for: `team=money,night`, where a key alone stands for any value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelFilter(pub Vec<(String, Option<String>)>);

/// Labels that a list may be asked for at once.
const LABELS_ASKED_MAX: usize = 8;

impl FromStr for LabelFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<LabelFilter, String> {
        let labels = text.split(',').map(|label| match label.trim().split_once('=') {
            Some((key, value)) => (key.trim().to_string(), Some(value.trim().to_string())),
            None => (label.trim().to_string(), None),
        });
        let labels: Vec<(String, Option<String>)> = labels.collect();
        if labels.iter().any(|(key, _)| key.is_empty()) {
            return Err(format!("`{text}` has a label without a key: write key=value,key2"));
        }
        if labels.len() > LABELS_ASKED_MAX {
            return Err(format!("{} labels; a list is held to at most {LABELS_ASKED_MAX}", labels.len()));
        }
        Ok(LabelFilter(labels))
    }
}

impl FromStr for AgentFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<AgentFilter, String> {
        if text == "deployed" {
            return Ok(AgentFilter::Deployed);
        }
        text.parse()
            .map(AgentFilter::Is)
            .map_err(|_| format!("`{text}` is no status of an agent: use {}", AgentFilter::words().join(", ")))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Agent {
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "agt_06exampleexampleexampleex0"))]
    pub id: AgentId,
    pub name: String,
    pub status: AgentStatus,
    /// The newest revision; running executions keep their own.
    pub revision: u32,
    /// `metadata.version` of the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What it runs in, such as `native`.
    pub runtime: String,
    /// The alias or name that the manifest gives.
    pub model: String,
    pub labels: BTreeMap<String, String>,
    /// What it says that it does for others; it grants nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provides: Vec<String>,
    /// Messages that it has not taken yet.
    #[serde(default)]
    pub messages_waiting: u32,
    /// Of a paused or revoked one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervised: Option<Supervised>,
    /// When its schedule wakes it next; absent without one, and while it is held back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub next_run_at: Option<Moment>,
    /// Its newest session, live or ended; none where it never connected from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Moment,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub updated_at: Moment,
}

/// Who holds it back, why, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Supervised {
    pub by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub until: Option<Moment>,
}

/// The body of a pause.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// Kept in the ledger, and shown; cut at 250 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When it is over by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub until: Option<Moment>,
}

/// The body of a quarantine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Quarantine {
    /// `crash`, `resource_abuse`, `security_violation` or `manual`, which holds without it.
    #[serde(default, rename = "type")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^(crash|resource_abuse|security_violation|manual)$"))]
    pub cause: Cause,
    /// `low`, `medium` (which holds without it), `high` or `critical`: recovery may be tried 5, 3, 1 or 0 times.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^(low|medium|high|critical)$"))]
    pub severity: Severity,
    /// What happened; kept in the ledger, and shown; cut at 250 bytes.
    #[serde(default)]
    pub description: String,
}

/// What people do to an agent beside pausing it, as the path's last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Act {
    Resume,
    Kill,
    Recover,
    Revoke,
}

impl Act {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The body of a resume, a kill, a recovery or a revocation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Supervise {
    /// Kept in the ledger; cut at 250 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The answer to a deploy: the agent, and what the deploy did to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Deployed {
    /// Absent only where a dry run is of an agent that does not exist yet.
    #[serde(default, skip_serializing_if = "Option::is_none", flatten)]
    pub agent: Option<Agent>,
    /// False: the same manifest is already the newest revision.
    pub changed: bool,
    /// True: nothing was written; this is what would have been.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The text of a new agent's key, where one was asked for. Shown this once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub key: Option<Secret>,
    /// What is accepted and is not quite as its author may think.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Revision {
    pub number: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// SHA-256 of the canonical manifest.
    pub digest: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Moment,
}

/// One revision with its manifest, and what another one has differently.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RevisionFile {
    #[serde(flatten)]
    pub revision: Revision,
    /// In the canonical form.
    pub manifest: serde_json::Value,
    /// What is different from the revision that it was asked to be held against, field by field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<FieldChange>>,
}

/// A field that two manifests have differently.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldChange {
    /// As in `spec.execution.max_turns`.
    pub path: String,
    /// Absent where it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<serde_json::Value>,
    /// Absent where it is no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<serde_json::Value>,
}

impl From<Difference> for FieldChange {
    fn from(Difference { path, before, after }: Difference) -> FieldChange {
        FieldChange { path, before, after }
    }
}

/// The body of a rollback; it may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// The revision to go back to; without it the one before the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u32>,
}

/// What holds where the manifest is silent, beside what it states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Limits {
    pub max_iterations: u32,
    /// Of each iteration.
    pub max_turns: u32,
    pub tool_calls: u32,
    /// In and out together.
    pub tokens: u64,
    pub iteration_timeout_ms: u64,
    /// Of the whole execution.
    pub timeout_ms: u64,
    /// What an execution may cost, in millionths of a US dollar; without it there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_usd: Option<u64>,
    #[serde(default)]
    pub messages_per_minute: u32,
    /// A message has one hop more than the last one that its sender's execution took.
    #[serde(default)]
    pub hop_limit: u32,
}

/// When the clock wakes an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Schedule {
    /// Five fields or a word, in the meaning of Debian's cron(8).
    pub cron: String,
    /// An IANA time zone.
    pub timezone: String,
    /// Where its last run is not over: `skip`, `queue` or `replace`.
    pub overlap: String,
    /// What becomes of times that were missed: `run-once` or `skip`.
    pub missed: String,
    /// Each wake is later by up to so much.
    pub jitter_ms: u64,
    /// The next five times, without jitter.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub next: Vec<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub last_woken_at: Option<Moment>,
}

/// One agent with all that is kept of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentFile {
    #[serde(flatten)]
    pub agent: Agent,
    /// What it is for: `metadata.description` of the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    pub limits: Limits,
    pub tools: Vec<String>,
    /// What starts it: `schedule`, `comms` or `manual`.
    pub triggers: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Wakes that it planned itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub planned: Vec<PlannedWake>,
    /// The secrets that its manifest asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<WantedSecret>,
    /// Newest first, at most 50.
    pub revisions: Vec<Revision>,
    /// In the canonical form, whatever dialect it was deployed in.
    pub manifest: serde_json::Value,
    /// Its last executions, the latest first, at most 5.
    #[serde(default)]
    pub tasks: Vec<Execution>,
}

/// A secret that an agent asks to use, and whether a person has let it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WantedSecret {
    pub name: String,
    pub capability: String,
    pub host: String,
    pub bound: bool,
}

/// What holds the programs of an agent on the worker's host, as a jail opened now would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentSandbox {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: AgentId,
    pub name: String,
    /// The agent's.
    pub status: AgentStatus,
    pub revision: u32,
    /// The confinement that the worker's host gives, in one line.
    pub level: String,
    /// How the disk limits are kept: `none`, `soft` or `hard`.
    pub quota: String,
    /// Folders of the host that the daemon's operator lets manifests name.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub mounts: Vec<tenure_core::manifest::HostMount>,
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub confinement: Confinement,
}

/// What `POST /v1/manifests/validate` answers when nothing is wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Validated {
    pub valid: bool,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What the manifest states and this host would not enforce: a deploy refuses it for these.
    pub unenforced: Vec<crate::problem::Fault>,
    /// What is accepted and is not quite as its author may think.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The canonical form.
    pub manifest: serde_json::Value,
}
