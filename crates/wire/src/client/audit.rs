//! The ledger's records and figures, over the wire.
use serde_json::Value;

use super::{Client, Error, Query, path};
use crate::api::List;
use crate::api::audit::{AuditStats, ConsistencyProof};

impl Client {
    /// A page of the records that these parameters select.
    pub async fn records_of(&self, query: Query<'_>) -> Result<List<Value>, Error> {
        self.get(&path(&["audit", "records"], query)).await
    }

    pub async fn audit_stats(&self) -> Result<AuditStats, Error> {
        self.get(&path(&["audit", "stats"], &[])).await
    }

    /// From the ledger of so many records, or from nothing older, to the newest head.
    pub async fn consistency(&self, from: Option<u64>) -> Result<ConsistencyProof, Error> {
        self.get(&path(&["audit", "consistency"], &[("from", from.map(|from| from.to_string()))])).await
    }
}
