//! What of the data directory's disk no agent may take, where no quota of the kernel's keeps them from it: the ledger lies there too.
//! Must never: end more programs at once than it takes, or wait for a look at folders.

use super::quota::LimitReached;
use rustix::fs::fstatvfs;
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most that is kept free, and which part of a small disk.
const RESERVE_BYTES: u64 = 256 << 20;
const RESERVE_PART: u64 = 20;
/// How long the end of one program may take to free what it held, before the next one is ended.
const RELEASE_TIME: Duration = Duration::from_millis(250);
/// How often a running program's disk is asked how much is free.
pub(super) const RESERVE_PERIOD: Duration = Duration::from_millis(20);

/// One for all jails of a worker.
#[derive(Debug)]
pub(crate) struct Reserve {
    folder: OwnedFd,
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    next: u64,
    /// What each agent with a running program was seen to hold.
    held: HashMap<u64, u64>,
    last_ended: Option<Instant>,
}

/// A running program. Dropping it ends its part.
#[derive(Debug)]
pub(super) struct RunningProgram<'a> {
    reserve: &'a Reserve,
    number: u64,
}

impl Reserve {
    pub(super) fn of(folder: OwnedFd) -> Reserve {
        Reserve { folder, running: Mutex::default() }
    }

    /// Whether `bytes` more would take from it what is kept.
    pub(super) fn would_take(&self, bytes: u64) -> Option<LimitReached> {
        // Where nothing can be asked, the write itself will tell.
        let (free, kept) = self.free().ok()?;
        (free.saturating_sub(bytes) < kept).then(|| low(free, kept))
    }

    /// Bytes that are free, and how many are to stay so.
    fn free(&self) -> Result<(u64, u64), Errno> {
        let found = fstatvfs(&self.folder)?;
        let total = found.f_blocks.saturating_mul(found.f_frsize);
        Ok((found.f_bavail.saturating_mul(found.f_frsize), RESERVE_BYTES.min(total / RESERVE_PART)))
    }

    pub(super) fn begin(&self) -> RunningProgram<'_> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.next += 1;
        let number = running.next;
        running.held.insert(number, 0);
        RunningProgram { reserve: self, number }
    }
}

impl RunningProgram<'_> {
    pub(super) fn saw(&self, bytes: u64) {
        let mut running = self.reserve.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.held.insert(self.number, bytes);
    }

    /// Whether this program is to end: too little is free, and nobody holds more.
    pub(super) fn must_end(&self) -> Option<LimitReached> {
        let (free, kept) = self.reserve.free().ok().filter(|(free, kept)| free < kept)?;
        let mut running = self.reserve.running.lock().unwrap_or_else(PoisonError::into_inner);
        let most = running.held.iter().max_by_key(|(number, held)| (**held, **number)).map(|(number, _)| *number);
        if most != Some(self.number) || running.last_ended.is_some_and(|last| last.elapsed() < RELEASE_TIME) {
            return None;
        }
        running.last_ended = Some(Instant::now());
        // The next in line is looked for among the others.
        running.held.remove(&self.number);
        Some(low(free, kept))
    }
}

impl Drop for RunningProgram<'_> {
    fn drop(&mut self) {
        self.reserve.running.lock().unwrap_or_else(PoisonError::into_inner).held.remove(&self.number);
    }
}

fn low(free: u64, kept: u64) -> LimitReached {
    let sentence = format!(
        "the disk of this host is nearly full: {free} bytes are free, and agents may not take the last {kept}; delete what is not \
         needed, and tell whoever runs the host"
    );
    LimitReached { resource: "disk".to_owned(), limit: None, sentence }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_until_what_is_kept_would_be_taken() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(std::fs::File::open(folder.path()).unwrap().into());
        let (free, kept) = reserve.free().unwrap();
        assert!(free > kept, "this host's disk is full");
        assert_eq!(reserve.would_take(0), None);
        let refused = reserve.would_take(free - kept / 2).unwrap();
        assert_eq!((refused.resource.as_str(), refused.limit), ("disk", None));
        let held = reserve.begin();
        assert_eq!(held.must_end(), None, "enough is free");
    }
}
