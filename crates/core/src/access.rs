//! Roles of people and their API keys.
use serde::{Deserialize, Serialize};

/// Live keys of one project.
pub const KEYS_MAX: i64 = 64;

/// In order of power; each may do what those before it may.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumIter,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_ty = String, parse_err_fn = unknown)]
pub enum Role {
    Viewer,
    Approver,
    Operator,
    Owner,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

fn unknown(text: &str) -> String {
    format!("`{text}` is no role: use viewer, approver, operator or owner")
}
