//! The ledger's records and figures, over the wire.
use serde_json::Value;

use super::{Client, Error, Query, path};
use crate::api::List;
use crate::api::audit::AuditStats;

impl Client {
    /// A page of the records that these parameters select.
    pub async fn records_of(&self, query: Query<'_>) -> Result<List<Value>, Error> {
        self.get(&path(&["audit", "records"], query)).await
    }

    pub async fn audit_stats(&self) -> Result<AuditStats, Error> {
        self.get(&path(&["audit", "stats"], &[])).await
    }
}
