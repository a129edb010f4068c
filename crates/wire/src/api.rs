//! The bodies of the HTTP API, one file a resource. Shapes only: where a shape differs from core's on purpose, the
//! translation stands beside it. A field once here keeps its name and meaning; new ones are optional.
pub mod moment;
pub mod agent;
pub mod approval;
pub mod policy;
pub mod audit;
pub mod conversation;
pub mod file;
pub mod execution;
pub mod event;
pub mod budget;
pub mod retention;
pub mod cost;
pub mod state;
pub mod instance;
pub mod item;
pub mod key;
pub mod message;
pub mod model;
pub mod package;
pub mod secret;
pub mod session;
pub mod status;
pub mod doctor;
pub mod watch;

use serde::{Deserialize, Serialize};

/// The path under which this version of the API lives.
pub const PREFIX: &str = "/v1";
/// Items of a list when no `limit` is given.
pub const LIMIT_DEFAULT: u32 = 50;
/// The largest `limit`.
pub const LIMIT_MAX: u32 = 500;

/// The body of a request has at most so many bytes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Of it, the JSON of an input; the rest is what stands around it.
pub const INPUT_BYTES_MAX: usize = BODY_BYTES_MAX - 64 * 1024;

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct List<T> {
    pub items: Vec<T>,
    /// Hand it back as `cursor` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}
