//! Ends what an earlier life of the worker left: jails, their control groups, their records.
//! Must never: adopt a jail, signal a process that it cannot tell apart from a stranger, or report death unproven.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Serialize;

use super::channel;
use super::record::{self, Holder, Life, Record};
use crate::error::Error;

/// How long one process or group may take to go.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// What was found and ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReapReport {
    /// Jails and zygotes that still lived and were killed.
    pub killed: u32,
    /// Records whose process was gone already, or is not this folder's.
    pub already_dead: u32,
    pub cgroups_removed: u32,
}

/// Kills every process that the records in `run_dir` name, if they were written there (and not where it was copied from), waits until each is proven dead, removes the control groups and
/// then the records. Call it before the first `Zygote::start` on the same folder; the folder must not be in use by another
/// worker. A folder that is not there holds nothing to reap.
pub fn reap(run_dir: &Path) -> Result<ReapReport, Error> {
    let mut report = ReapReport::default();
    if !run_dir.exists() {
        return Ok(report);
    }
    let holder = holder(run_dir)?;
    // Zygotes first, and then a second look: one may have forked a last jail in between.
    let zygote = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("zygote-"));
    for path in slots(run_dir)?.into_iter().filter(zygote) {
        end(&path, &holder, &mut report)?;
    }
    for path in slots(run_dir)? {
        end(&path, &holder, &mut report)?;
    }
    crate::container::rendezvous::clear(run_dir)
        .map_err(Error::io(format!("remove the doors in {}", run_dir.display())))?;
    match fs::remove_dir_all(run_dir.join(record::SKELETON)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove the view in {}", run_dir.display()))(error))
        }
        Ok(()) | Err(_) => Ok(report),
    }
}

fn holder(run_dir: &Path) -> Result<Holder, Error> {
    Holder::of(run_dir).map_err(Error::io(format!("tell {} from a copy of it", run_dir.display())))
}

fn slots(run_dir: &Path) -> Result<Vec<PathBuf>, Error> {
    record::slots(run_dir).map_err(Error::io(format!("read {}", run_dir.display())))
}

fn read(path: &Path) -> Result<Option<Record>, Error> {
    record::read(path).map_err(Error::io(format!("read {}", path.display())))
}

/// Ends what a slot's record names, and removes the slot last.
fn end(path: &Path, holder: &Holder, report: &mut ReapReport) -> Result<(), Error> {
    match read(path)? {
        Some(record) if record.intent.is_of(holder) => end_record(&record, report)?,
        // Of a former boot, torn, or of the folder that this one is a copy of: then it may live, and is not ours to end.
        Some(_) => report.already_dead += 1,
        None => {}
    }
    match fs::remove_file(path) {
        // A dying zygote still cleans up.
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove {}", path.display()))(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn end_record(record: &Record, report: &mut ReapReport) -> Result<(), Error> {
    match record.life {
        Some(life) if kill(life, &record.intent.cgroups)? => report.killed += 1,
        Some(_) | None => report.already_dead += 1,
    }
    for group in &record.intent.cgroups {
        let ours = group.file_name().is_some_and(|name| name.to_string_lossy().starts_with("tenure-"));
        if !ours || !group.exists() {
            continue;
        }
        if !super::cgroup::remove(group, KILL_TIMEOUT) {
            return Err(Error::Unproven { what: format!("the control group {}", group.display()) });
        }
        report.cgroups_removed += 1;
    }
    Ok(())
}

/// Kills one process if it is still the one that was recorded; true if it was. Returns once it is dead.
fn kill(life: Life, cgroups: &[PathBuf]) -> Result<bool, Error> {
    let what = || Error::Unproven { what: format!("process {}", life.pid) };
    let Some(pid) = Pid::from_raw(life.pid) else { return Ok(false) };
    // The pidfd comes first: what it holds cannot change its identity between the check and the signal.
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(false) };
    if record::start_time(life.pid) != Some(life.start) {
        return Ok(false);
    }
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) => {}
        Err(rustix::io::Errno::SRCH) => return Ok(false),
        Err(_) => return Err(what()),
    }
    super::freeze::release(cgroups);
    if channel::readable(&pidfd, KILL_TIMEOUT).map_err(|_| what())? { Ok(true) } else { Err(what()) }
}

/// Whether the zygote still has to clean up jail `id`.
pub(crate) fn is_recorded(path: &Path, id: &str) -> bool {
    // What cannot be read is not known to be gone.
    record::read(path).map_or(true, |record| record.is_some_and(|record| record.intent.id == id))
}

/// Ends one jail by its record, for a worker whose zygote is gone.
pub(crate) fn end_one(path: &Path, id: &str) -> Result<(), Error> {
    let holder = holder(path.parent().unwrap_or(path))?;
    match read(path)? {
        Some(record) if record.intent.id == id => end(path, &holder, &mut ReapReport::default()),
        Some(_) | None => Ok(()),
    }
}
