//! What the kernel counted against a jail's control groups: limits that were hit. Read through descriptors, so that the jail can
//! read on when no path leads there any more. Must never: guess where the kernel does not tell.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Where a group's counters lie; None where no group counts.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// `oom_kill` in it counts memory kills.
    pub(crate) memory: Option<PathBuf>,
    /// `max` in it counts refused forks.
    pub(crate) pids: Option<PathBuf>,
    /// `throttled_usec` (v2) or `throttled_time` (v1, in ns) in it sums up how long programs were held back.
    pub(crate) cpu: Option<PathBuf>,
}

/// The same, open.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    memory: Option<File>,
    pids: Option<File>,
    cpu: Option<File>,
}

/// The counters at one moment; 0 where no group counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) memory_kills: u64,
    pub(crate) pids_refused: u64,
    pub(crate) throttled_micros: u64,
}

impl Sources {
    pub(crate) fn open(&self) -> io::Result<Tally> {
        let open = |path: &Option<PathBuf>| match path.as_ref().map(File::open) {
            // Old kernels lack some.
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => file.transpose(),
        };
        Ok(Tally { memory: open(&self.memory)?, pids: open(&self.pids)?, cpu: open(&self.cpu)? })
    }
}

impl Tally {
    pub(crate) fn of(memory: Option<File>, pids: Option<File>, cpu: Option<File>) -> Self {
        Self { memory, pids, cpu }
    }

    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> + '_ {
        [&self.memory, &self.pids, &self.cpu].into_iter().flatten().map(AsRawFd::as_raw_fd)
    }

    pub(crate) fn now(&self) -> Counts {
        let value = |file: &Option<File>, key| file.as_ref().and_then(|file| field(file, key));
        let micros = value(&self.cpu, "throttled_usec");
        let nanos = || value(&self.cpu, "throttled_time").map(|nanos| nanos / 1000);
        Counts {
            memory_kills: value(&self.memory, "oom_kill").unwrap_or(0),
            pids_refused: value(&self.pids, "max").unwrap_or(0),
            throttled_micros: micros.or_else(nanos).unwrap_or(0),
        }
    }
}

impl Counts {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            memory_kills: self.memory_kills.saturating_sub(before.memory_kills),
            pids_refused: self.pids_refused.saturating_sub(before.pids_refused),
            throttled_micros: self.throttled_micros.saturating_sub(before.throttled_micros),
        }
    }
}

fn field(file: &File, key: &str) -> Option<u64> {
    let mut text = [0; 1024];
    let count = file.read_at(&mut text, 0).ok()?;
    let text = String::from_utf8_lossy(&text[..count]);
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}
