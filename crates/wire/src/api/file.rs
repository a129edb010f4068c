//! Files of an agent's folders, as people see and put them.
use serde::{Deserialize, Serialize};

use super::moment::Moment;

/// A file that is put has at most so many bytes.
pub const PUT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// An archive has at most so many entries.
pub const ARCHIVE_ENTRIES_MAX: usize = 100_000;
/// Of the answer with an archive: links, special files and unreadable folders that are not in it.
pub const LEFT_OUT: &str = "tenure-left-out";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum FileKind {
    File,
    Directory,
    /// Never followed.
    Symlink,
    Other,
}

impl FileKind {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FileEntry {
    pub name: String,
    /// Absolute, as the agent names it.
    pub path: String,
    pub kind: FileKind,
    /// Bytes; 0 of what is no file.
    pub size: u64,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub modified_at: Moment,
}

/// The answer to a put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FilePut {
    pub path: String,
    pub size: u64,
    pub sha256: String,
    /// A file was there before.
    pub replaced: bool,
}
