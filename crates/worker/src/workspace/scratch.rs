//! A data directory that is only for one trial, and its end. Must never: remove what is not named and owned like one.
use super::beneath::{FOLDER, at};
use super::remove::{Effort, clear, discard};
use crate::error::Error;
use crate::reap;
use rustix::fs::{Mode, OFlags, fstat, open};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How the name of one begins.
pub const SCRATCH: &str = "tenure-trial-";
/// What its removal may take.
const CLEAR_TIME: Duration = Duration::from_secs(120);
const CLEAR_ENTRIES: u64 = 10_000_000;

/// Kills what a worker left that lived on this scratch folder, whatever became of it, and removes the folder. One that is not there
/// needs nothing. Blocks.
///
/// # Errors
/// `Unsafe` for a folder that is no scratch folder of this user's, `Locked` while a worker lives on it, `Unproven` if something
/// cannot be ended, `Io`.
pub fn remove_scratch(folder: &Path) -> Result<(), Error> {
    let named = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(SCRATCH));
    let top = match open(folder, FOLDER | OFlags::RDONLY, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        opened => opened.map_err(at("open", folder))?,
    };
    let owner = fstat(&top).map_err(at("look at", folder))?.st_uid;
    if !named || owner != rustix::process::geteuid().as_raw() {
        let why = "it is no folder of a trial of this user";
        return Err(Error::Unsafe { path: folder.display().to_string(), why });
    }
    let run_dir = folder.join("run/worker");
    // Held until all is gone: nobody starts on what is being removed.
    let _lock = if run_dir.is_dir() { Some(reap::reap(&run_dir)?) } else { None };
    // What programs made there may have any shape and hide behind any mode.
    discard(top.as_fd(), c"agents", top.as_fd()).map_err(at("discard what is in", folder))?;
    let mut effort = Effort::new(CLEAR_TIME, CLEAR_ENTRIES, CancellationToken::new());
    clear(top.as_fd(), folder, &mut effort)?;
    std::fs::remove_dir_all(folder).map_err(Error::io(format!("remove {}", folder.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_a_scratch_folder_is_removed_and_it_whole() {
        let base = tempfile::tempdir().unwrap();
        let (scratch, other) = (base.path().join("tenure-trial-1"), base.path().join("other"));
        for folder in [&scratch, &other] {
            std::fs::create_dir_all(folder.join("agents/one/deep")).unwrap();
            std::fs::create_dir_all(folder.join("run/worker")).unwrap();
        }
        std::fs::set_permissions(scratch.join("agents/one"), PermissionsExt::from_mode(0o0)).unwrap();
        remove_scratch(&scratch).unwrap();
        remove_scratch(&scratch).unwrap();
        assert!(!scratch.exists());
        assert!(matches!(remove_scratch(&other), Err(Error::Unsafe { .. })));
        assert!(other.join("agents/one/deep").exists());
    }
}
