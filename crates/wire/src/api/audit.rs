//! The ledger as stored.
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Records in the order of the chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Records {
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Value>))]
    pub items: Vec<Value>,
    /// Ask from here for what comes later.
    pub next: u64,
}
