//! Figures of the ledger.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tenure_core::bound::Hash;
use tenure_core::id::{AgentId, ProjectId};

use super::moment::Moment;

/// How many records there are of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditStats {
    /// The project's.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: ProjectId,
    pub records: u64,
    /// Of the records alone, without what they bind.
    pub bytes: u64,
    /// Refused commands, blocked calls, and places that the network's rules kept from.
    pub refusals: u64,
    /// By kind.
    pub kinds: BTreeMap<String, u64>,
    /// At most 100, the busiest first.
    pub agents: Vec<AgentRecords>,
    /// At most 100 days of UTC, the newest first.
    pub days: Vec<DayRecords>,
    /// The newest.
    pub head: SignedHead,
    /// Of the head outside the database: `agrees`, `missing`, `differs` (a tail was cut, or an older copy put back) or `unreadable`.
    pub outside: String,
}

/// Records of one agent: its own, its executions' and its sessions'.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentRecords {
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub agent: AgentId,
    pub agent_name: String,
    pub records: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DayRecords {
    /// Its beginning.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub day: Moment,
    pub records: u64,
    pub refusals: u64,
}

/// A head of the ledger's tree, and by which key it is signed. `tenure audit export` has it in its signed form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignedHead {
    pub size: u64,
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub root: Hash,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Moment,
    pub key: String,
    pub signature: String,
}
