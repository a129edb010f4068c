//! A copy of the jail program that nobody can change, for hosts where nothing else keeps a jail's program from its file.
//!
//! The process that starts a program was the host's jail program until then, and `/proc/self/exe` leads past all mounts to its
//! file: a program may be started from there. Landlock forbids that. Where there is none, and the worker's user owns the file,
//! so does the program inside, and could make it setuid or, on some kernels, write to it (as runc's file could, CVE-2019-5736).
//! Must never: run the file itself where a jail could change it.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::bypass::Bypass;
use crate::error::Layer;
use crate::sys;

const NAME: &str = crate::jail::JAIL_NAME;

/// A copy in memory; None where the file itself is safe.
pub(crate) fn copy_if_needed(exe: &Path, bypass: &Bypass) -> io::Result<Option<OwnedFd>> {
    let landlock = bypass.keeps(Layer::Landlock) && sys::landlock_abi() > 0;
    // Programs of root's worker have ids of their own, which own no program.
    if landlock || rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know the flag for what can be run, and need none.
    let copy = memfd_create(NAME, flags | MemfdFlags::EXEC).or_else(|_| memfd_create(NAME, flags))?;
    let mut copy = File::from(copy);
    io::copy(&mut File::open(exe)?, &mut copy)?;
    fcntl_add_seals(&copy, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(Some(copy.into()))
}

/// Where a child of this process finds it while it starts.
pub(crate) fn path(copy: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", copy.as_raw_fd()))
}
