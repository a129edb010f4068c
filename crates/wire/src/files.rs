//! What people ask of an agent's folders through the daemon, and what the worker answers that holds them. Shapes only.
use serde::{Deserialize, Serialize};
use tenure_core::plan::Volume;

use crate::api::file::FileKind;

/// Entries of one answer to `List`.
pub const LIST_PAGE: usize = 1000;
/// Bytes of one answer to `Read`.
pub const PIECE_BYTES_MAX: usize = 1024 * 1024;

/// A path is in the form that calls are judged in: absolute inside the jail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum FilesRequest {
    Stat {
        path: String,
    },
    /// Entries by name, from the first that comes after `after`.
    List {
        path: String,
        after: Option<String>,
    },
    /// `file`: what an earlier answer gave; another file under this path is refused.
    Read {
        path: String,
        offset: u64,
        file: Option<u64>,
    },
    /// The whole content in base64. Folders on the way are made.
    Write {
        path: String,
        content: String,
        disk_bytes: u64,
        files: u32,
    },
}

/// What of the agent's folders is mounted where, and what is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesAsked {
    pub volumes: Vec<Volume>,
    pub request: FilesRequest,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFound {
    pub name: String,
    pub kind: FileKind,
    pub size: u64,
    pub modified_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum FilesAnswer {
    Stat(FileFound),
    List {
        entries: Vec<FileFound>,
        more: bool,
    },
    /// In base64; `file` tells this file from another of its name.
    Read {
        content: String,
        size: u64,
        file: u64,
    },
    Written {
        replaced: bool,
    },
    Refused(FilesRefusal),
}

/// Why it is not done. A path is the one that was asked for, or the part of it that is in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "refused", rename_all = "snake_case")]
pub enum FilesRefusal {
    #[error("nothing of the agent's files is kept here")]
    NoHome,
    #[error("{path} is in none of the agent's own folders: those are /workspace and its volumes")]
    Outside { path: String },
    #[error("the volume {name} is ephemeral, and no execution that has it runs: its files went with the last one")]
    Ephemeral { name: String },
    #[error("there is no {path}")]
    NotFound { path: String },
    #[error("{path} is or lies behind a link, and none is followed")]
    Link { path: String },
    #[error("{path} is a directory")]
    Directory { path: String },
    #[error("a part of {path} is no directory")]
    NotDirectory { path: String },
    #[error("{path} is neither a file nor a directory")]
    Special { path: String },
    #[error("{path} was replaced or cut while it was read")]
    Changed { path: String },
    #[error("{why}")]
    Full { why: String },
    #[error("too much is asked of agents' files at a time")]
    Busy {},
    #[error("{why}")]
    Failed { why: String },
}
