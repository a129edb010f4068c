//! Ends what the worker's last life left behind, before anything new is started. Must never: adopt any of it.
use crate::error::Error;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a worker whose daemon died may take to end.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// The right to the run folder. Held while the worker lives; a free one proves nothing about its jails.
#[derive(Debug)]
pub(crate) struct RunDirLock {
    _lock: File,
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
        Ok(RunDirLock { _lock: lock })
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
        drop(first);
        RunDirLock::take(folder.path(), Duration::ZERO).unwrap();
    }
}
