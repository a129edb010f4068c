//! Ends what the worker's last life left behind, before anything new is started. Must never: adopt any of it.
use crate::error::Error;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a worker whose daemon died may take to end.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// The right to the run folder. Held while the worker lives; a free one proves nothing about its jails.
#[derive(Debug)]
pub(crate) struct RunDirLock {
    lock: File,
    path: PathBuf,
    missed: AtomicBool,
}

/// Waits until no other worker lives on `run_dir`, then kills and removes what is recorded there. Returns how much that was.
pub(crate) fn reap(run_dir: &Path) -> Result<(RunDirLock, u32), Error> {
    let lock_held = RunDirLock::take(run_dir, LOCK_TIMEOUT)?;
    let report = tenure_sandbox::reap(run_dir)?;
    let count = report.killed + report.already_dead;
    if count > 0 {
        tracing::info!(
            killed = report.killed,
            already_dead = report.already_dead,
            cgroups = report.cgroups_removed,
            "removed what an earlier worker left"
        );
    }
    Ok((lock_held, count))
}

impl RunDirLock {
    fn take(run_dir: &Path, limit: Duration) -> Result<RunDirLock, Error> {
        let path = run_dir.join("lock");
        let describe = || format!("open {}", path.display());
        let lock =
            OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(Error::io(describe()))?;
        let deadline = Instant::now() + limit;
        while let Err(errno) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            if errno != rustix::io::Errno::WOULDBLOCK && errno != rustix::io::Errno::INTR {
                return Err(Error::errno(format!("lock {}", path.display()))(errno));
            }
            if Instant::now() > deadline {
                return Err(Error::Locked { folder: run_dir.display().to_string() });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(RunDirLock { lock, path, missed: AtomicBool::new(false) })
    }

    /// Says once when the file is gone or another's: then nothing keeps a second worker off this folder.
    pub(crate) fn look(&self) {
        let held = self.lock.metadata().map(|held| (held.dev(), held.ino()));
        let there = std::fs::metadata(&self.path).map(|there| (there.dev(), there.ino()));
        if held.ok() != there.ok() && !self.missed.swap(true, Ordering::Relaxed) {
            tracing::error!(
                lock = %self.path.display(),
                "somebody removed this worker's lock: do not start another daemon on the data directory; restart this one"
            );
        }
    }

    #[cfg(test)]
    fn is_missed(&self) -> bool {
        self.missed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_worker_on_one_folder_is_refused_until_the_first_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let first = RunDirLock::take(folder.path(), Duration::ZERO).unwrap();
        let second = RunDirLock::take(folder.path(), Duration::ZERO);
        assert!(matches!(second, Err(Error::Locked { .. })), "{second:?}");
        first.look();
        assert!(!first.is_missed());
        std::fs::remove_file(folder.path().join("lock")).unwrap();
        first.look();
        assert!(first.is_missed(), "a removed lock is said");
        drop(first);
        RunDirLock::take(folder.path(), Duration::ZERO).unwrap();
    }
}
