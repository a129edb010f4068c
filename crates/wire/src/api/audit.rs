//! Figures of the ledger.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tenure_core::bound::Hash;
use tenure_core::id::{AgentId, ProjectId};
use tenure_core::ledger::Signed;
use tenure_core::ledger::consistency::HandOver;

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

/// That the ledger of `from` records is the beginning of the one of `to`: whoever knows both roots checks it by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConsistencyProof {
    pub from: u64,
    pub to: u64,
    /// PROOF(from, D[to]) of RFC 6962, section 2.1.2, in hexadecimal digits.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub path: Vec<Hash>,
    /// The newest signed head, where `to` is its size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub head: Option<Signed>,
    /// What each of the ledger's keys said under its signature and the next one's, oldest first.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub keys: Vec<HandOver>,
}
