//! Removes trees that agents made, of any shape, in steps. Must never: follow a link, leave the file system, hold more than two
//! folders open, or go on past its effort: what is left then goes at the next step.

use super::beneath::{BENEATH, FOLDER, at};
use crate::error::Error;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, chmodat, fstat, openat, openat2, renameat_with, unlinkat,
};
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How the name begins of what is to be removed: nobody looks for it any more.
const GONE: &str = "gone-";
const NAMES_MAX: usize = 16;

/// How much one step may do.
#[derive(Debug)]
pub(crate) struct Effort {
    until: Instant,
    entries: u64,
    stop: CancellationToken,
}

impl Effort {
    pub(crate) fn new(time: Duration, entries: u64, stop: CancellationToken) -> Effort {
        Effort { until: Instant::now() + time, entries, stop }
    }

    /// Whether one more entry may be dealt with.
    pub(super) fn spend(&mut self) -> bool {
        self.entries = self.entries.saturating_sub(1);
        self.entries > 0 && Instant::now() < self.until && !self.stop.is_cancelled()
    }
}

/// Takes `name` out of `parent` at once, for a later [`clear`] of `home`, which is on the same file system.
pub(super) fn discard(parent: BorrowedFd<'_>, name: &CStr, home: BorrowedFd<'_>) -> Result<(), Errno> {
    for _ in 0..NAMES_MAX {
        match renameat_with(parent, name, home, unique()?, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            // A folder that its owner may not write cannot be moved from one folder to another.
            Err(Errno::ACCESS) => drop(reach(parent, name)?),
            Err(Errno::NOENT) => return Ok(()),
            done => return done,
        }
    }
    Err(Errno::EXIST)
}

/// Removes what was discarded into `home`; false if some of it is left for the next time.
pub(super) fn clear(home: BorrowedFd<'_>, path: &Path, effort: &mut Effort) -> Result<bool, Error> {
    let listed = openat2(home, ".", FOLDER | OFlags::RDONLY, Mode::empty(), BENEATH).map_err(at("list", path))?;
    let mut all = true;
    for entry in Dir::read_from(&listed).map_err(at("list", path))? {
        let entry = entry.map_err(at("list", path))?;
        let name = entry.file_name();
        if !name.to_bytes().starts_with(GONE.as_bytes()) {
            continue;
        }
        if !effort.spend() {
            return Ok(false);
        }
        match remove(home, name, effort) {
            Ok(done) => all &= done,
            Err(error) => {
                // One that cannot be removed keeps no other from it.
                tracing::warn!(folder = %path.display(), ?name, %error, "something discarded could not be removed");
                all = false;
            }
        }
    }
    Ok(all)
}

fn remove(parent: BorrowedFd<'_>, name: &CStr, effort: &mut Effort) -> Result<bool, Errno> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(true),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    let top = reach(parent, name)?;
    if !empty(&top, effort)? {
        return Ok(false);
    }
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Level by level, each folder's folders moved up into `top`, so that no depth matters.
fn empty(top: &OwnedFd, effort: &mut Effort) -> Result<bool, Errno> {
    loop {
        let mut found = false;
        for entry in Dir::read_from(top)? {
            let entry = entry?;
            if is_self(entry.file_name()) {
                continue;
            }
            found = true;
            if !effort.spend() || !take_apart(top, entry.file_name(), effort)? {
                return Ok(false);
            }
        }
        if !found {
            return Ok(true);
        }
    }
}

/// Unlinks `name`, or what is in it and then itself. False: the effort is spent.
fn take_apart(top: &OwnedFd, name: &CStr, effort: &mut Effort) -> Result<bool, Errno> {
    if unlinked(top.as_fd(), name)? {
        return Ok(true);
    }
    let folder = reach(top.as_fd(), name)?;
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        if is_self(entry.file_name()) {
            continue;
        }
        if !effort.spend() {
            return Ok(false);
        }
        if !unlinked(folder.as_fd(), entry.file_name())? {
            discard(folder.as_fd(), entry.file_name(), top.as_fd())?;
        }
    }
    // If something came into it meanwhile, the next round finds it.
    unlinked(top.as_fd(), name).map(|_| true)
}

/// Whether it is gone: a file, or an empty folder.
fn unlinked(parent: BorrowedFd<'_>, name: &CStr) -> Result<bool, Errno> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(true),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ACCESS) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens a folder to read, with its owner's rights given back where they were taken away.
pub(super) fn reach(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    readable(&openat2(parent, name, FOLDER | OFlags::PATH, Mode::empty(), BENEATH)?)
}

/// As [`reach`], of one that is held as a path.
pub(super) fn readable(folder: &OwnedFd) -> Result<OwnedFd, Errno> {
    let found = fstat(folder)?;
    if FileType::from_raw_mode(found.st_mode) == FileType::Directory && found.st_mode & 0o700 != 0o700 {
        let own = format!("/proc/self/fd/{}", folder.as_raw_fd());
        chmodat(CWD, own, Mode::from_raw_mode(found.st_mode & 0o777 | 0o700), AtFlags::empty())?;
    }
    openat(folder, ".", FOLDER | OFlags::RDONLY, Mode::empty())
}

fn is_self(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

fn unique() -> Result<String, Errno> {
    let mut random = [0u8; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{GONE}{:016x}", u64::from_ne_bytes(random)))
}
