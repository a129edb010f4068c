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
    /// The words that mean it.
    pub aliases: Vec<String>,
    /// What a word of the configuration stands for, in the order in which that is tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<String>,
    /// Whether a call could be made now: its key or its weights are there. No call was made to find out.
    pub ready: bool,
    /// What is missing, or what is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Of a local model: the file that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
}

/// A file of weights, as the catalogue pins it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Weights {
    pub title: String,
    /// An SPDX identifier.
    pub licence: String,
    pub bytes: u64,
    /// In hex; a file with another is not used.
    pub sha256: String,
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
    /// Where `tenure model alias` and `add` are kept for this daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings_file: Option<String>,
    /// Why the newest configuration of models is not used; absent while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings_failure: Option<String>,
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
    /// Which one answered.
    pub model: String,
    /// Those of its alias that were asked before it, and why they did not answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
    pub text: String,
    pub tokens_in: u64,
    pub tokens_out: u64,
    /// The provider did not count all of them, so that some were estimated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tokens_estimated: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micro_usd: Option<u64>,
    pub took_ms: u64,
}
