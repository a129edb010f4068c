//! Models as this daemon knows them.
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ModelStatus {
    Ready,
    NotReady,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Model {
    /// The same as `name`.
    pub id: String,
    /// `provider/model`.
    pub name: String,
    pub status: ModelStatus,
    pub provider: String,
    /// The aliases that resolve to it.
    pub aliases: Vec<String>,
    /// Whether a call could be made now: its key or its weights are there. No call was made to find out.
    pub ready: bool,
    /// What is missing, or what is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What the alias `default` stands for, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DefaultModel {
    pub model: String,
    /// Such as `TENURE_DEFAULT_MODEL` or `no key in the environment`.
    pub because: String,
    /// Answers are replayed or recorded; absent without a cassette.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cassette: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Models {
    pub default: DefaultModel,
    pub items: Vec<Model>,
}

/// The body of a test: one short call to a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TestModel {
    /// An alias or `provider/model`.
    #[cfg_attr(feature = "openapi", schema(min_length = 1))]
    pub model: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TestedModel {
    /// As resolved.
    pub model: String,
    pub text: String,
    pub tokens_in: u64,
    pub tokens_out: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micro_usd: Option<u64>,
    pub took_ms: u64,
}
