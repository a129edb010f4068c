//! What tells one state of a file from another, so that it is read anew when somebody changed it. Must never open it: where
//! it is not the daemon's to read, that too is a state.
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// None where there is no file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStamp(Option<[i128; 6]>);

impl FileStamp {
    /// Blocks for a look at the file system.
    pub fn of(path: &Path) -> FileStamp {
        FileStamp(std::fs::metadata(path).ok().map(|found| {
            let (seconds, nanoseconds) = (found.mtime().into(), found.mtime_nsec().into());
            [found.dev().into(), found.ino().into(), seconds, nanoseconds, found.size().into(), found.mode().into()]
        }))
    }
}
