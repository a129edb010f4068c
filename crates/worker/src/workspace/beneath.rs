//! Opening below a folder without following a link: what every module of the workspace does its file work by. Must never: resolve
//! a path that an agent could have changed in any other way.
use crate::error::Error;
use rustix::fs::{Gid, Mode, OFlags, ResolveFlags, Uid, fchmod, fchown, fstat, mkdirat, openat2};
use rustix::io::Errno;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use tenure_sandbox::Identity;

pub(super) const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
pub(super) const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// A folder that only the worker's user may enter, made if it is missing.
pub(super) fn private(parent: BorrowedFd<'_>, name: &str, path: &Path) -> Result<OwnedFd, Error> {
    match mkdirat(parent, name, Mode::from(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(at("make", path)(errno)),
    }
    let folder = open_beneath(parent, name).map_err(at("open", path))?;
    let found = fstat(&folder).map_err(at("look at", path))?;
    if found.st_uid != rustix::process::geteuid().as_raw() || found.st_mode & 0o077 != 0 {
        let why = "it must belong to the worker's user, with mode 0700";
        return Err(Error::Unsafe { path: path.display().to_string(), why });
    }
    Ok(folder)
}

pub(super) fn open_beneath(parent: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    openat2(parent, name, FOLDER | OFlags::PATH, Mode::empty(), BENEATH)
}

/// Gives a folder to the agent that nobody but the worker has had yet.
pub(super) fn own(parent: &OwnedFd, name: &str, identity: Identity, path: &Path) -> Result<(), Error> {
    let Identity::Host { uid, gid } = identity else { return Ok(()) };
    let folder = openat2(parent, name, FOLDER | OFlags::RDONLY, Mode::empty(), BENEATH).map_err(at("open", path))?;
    if fstat(&folder).map_err(at("look at", path))?.st_uid == rustix::process::geteuid().as_raw() {
        fchmod(&folder, Mode::from(0o755)).map_err(at("open up", path))?;
        fchown(&folder, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(at("give away", path))?;
    }
    Ok(())
}

pub(super) fn at(what: &str, path: &Path) -> impl FnOnce(Errno) -> Error {
    Error::errno(format!("{what} {}", path.display()))
}
