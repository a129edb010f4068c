//! How long, and how much, of what ended executions of all agents were told and said is kept.
use serde::{Deserialize, Serialize};

use super::moment::Moment;

/// What is older, or beyond the size of all together, is erased, the oldest first; null keeps all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SetRetention {
    /// Milliseconds after its end: from a minute to ten years.
    #[cfg_attr(feature = "openapi", schema(minimum = 60_000, maximum = 315_360_000_000_u64))]
    pub age_ms: Option<u64>,
    #[cfg_attr(feature = "openapi", schema(maximum = 17_592_186_044_416_u64))]
    pub bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Retention {
    /// Absent: of any age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// Absent: of any size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// What is kept now, of all agents.
    pub kept_bytes: u64,
    /// When it is looked at next; absent while nothing can be too old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub due_at: Option<Moment>,
}
