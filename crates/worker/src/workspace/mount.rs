//! Folders of the host that the operator lets agents see. Must never: show what holds the data directory or lies in it, follow a
//! link, or let an agent write where the operator allowed reading.

use crate::error::Error;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, openat2};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use tenure_core::manifest::HostMount;

/// Most that an operator may allow.
const MOUNTS_MAX: usize = 64;
/// Where such folders lie, outside and inside.
pub(super) const PLACES: [&str; 4] = ["/data", "/mnt", "/opt", "/srv"];

/// `PATH` for reading, `PATH:rw` for both.
///
/// # Errors
/// Why this is no folder that can be shown to agents.
pub fn host_mount(stated: &str) -> Result<HostMount, String> {
    let (path, read_only) = match stated.rsplit_once(':') {
        Some((path, "rw")) => (path, false),
        Some((path, "ro")) => (path, true),
        Some(_) | None => (stated, true),
    };
    let path = path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(path);
    if !is_plain(Path::new(path)) {
        return Err(format!("{path} is no absolute path without `.` and `..`"));
    }
    if !PLACES.iter().any(|place| Path::new(path).starts_with(place)) {
        return Err(format!(
            "{path} does not lie in /data, /mnt, /opt or /srv; bind the folder to a place in one of them"
        ));
    }
    Ok(HostMount { path: path.to_owned(), read_only })
}

/// Looks whether all of these can be shown now.
///
/// # Errors
/// `Unsafe` with the path and why it is never shown, `Io` if it is not there or goes through a link.
pub fn check_mounts(mounts: &[HostMount], data_dir: &Path) -> Result<(), Error> {
    let refuse = |path: &str, why| Err(Error::Unsafe { path: path.to_owned(), why });
    if mounts.len() > MOUNTS_MAX {
        return refuse("--allow-mount", "at most 64 folders can be allowed");
    }
    for mount in mounts {
        let path = Path::new(&mount.path);
        if !is_plain(path) || !PLACES.iter().any(|place| path.starts_with(place)) {
            return refuse(&mount.path, "only what lies in /data, /mnt, /opt or /srv can be allowed");
        }
        let folder = open(path)?;
        if path.starts_with(data_dir) || data_dir.starts_with(path) || is_above(&folder, data_dir)? {
            return refuse(&mount.path, "it holds the data directory or lies in it, and no agent may see that");
        }
        let own = open(&data_dir.canonicalize().map_err(Error::io(format!("resolve {}", data_dir.display())))?)?;
        if is_above(&own, path)? {
            return refuse(&mount.path, "it lies in the data directory, and no agent may see that");
        }
    }
    Ok(())
}

/// What of `path` an agent gets: a source for a mount, and whether it is read-only. Checked anew at each opening.
pub(super) fn allowed(mounts: &[HostMount], path: &Path, write: bool) -> Result<bool, Error> {
    let refuse = |why| Err(Error::Unsafe { path: path.display().to_string(), why });
    let text = path.to_str().unwrap_or_default();
    let holding: Vec<&HostMount> = mounts.iter().filter(|mount| mount.holds(text)).collect();
    if holding.is_empty() || !is_plain(path) {
        return refuse("the operator has not allowed it; the daemon takes `--allow-mount PATH`");
    }
    if write && holding.iter().all(|mount| mount.read_only) {
        return refuse("the operator allowed it for reading alone; the daemon takes `--allow-mount PATH:rw`");
    }
    open(path)?;
    Ok(!write)
}

fn is_plain(path: &Path) -> bool {
    path.is_absolute() && path.components().skip(1).all(|part| matches!(part, Component::Normal(_)))
        // `components` passes over these.
        && !path.to_string_lossy().split('/').skip(1).any(|part| matches!(part, "" | "."))
}

fn open(path: &Path) -> Result<OwnedFd, Error> {
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    // With NOFOLLOW as well, a link at the end would itself be opened.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let describe = format!("open {} (no part of it may be a link)", path.display());
    openat2(CWD, path, flags, Mode::empty(), resolve).map_err(Error::errno(describe))
}

/// Whether `folder` is a folder above `path` or `path` itself, under whatever name it was opened.
fn is_above(folder: &OwnedFd, path: &Path) -> Result<bool, Error> {
    let describe = || format!("look at {}", path.display());
    let wanted = fstat(folder).map_err(Error::errno(describe()))?;
    let mut above: Option<PathBuf> = Some(path.canonicalize().map_err(Error::io(describe()))?);
    while let Some(path) = above {
        let found = rustix::fs::stat(&path).map_err(Error::errno(describe()))?;
        if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino) {
            return Ok(true);
        }
        above = path.parent().map(Path::to_owned);
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_may_be_shown_lies_where_such_folders_lie() {
        assert_eq!(host_mount("/srv/data").unwrap(), HostMount { path: "/srv/data".into(), read_only: true });
        assert_eq!(host_mount("/mnt/a/:rw").unwrap(), HostMount { path: "/mnt/a".into(), read_only: false });
        for stated in ["", "/", "srv", "/srv/../etc", "/srv//x", "/srv/./x", "/etc", "/srvx", "/var/me:rw", "/tmp/x"] {
            assert!(host_mount(stated).is_err(), "{stated}");
        }
    }

    #[test]
    fn only_what_was_allowed_and_only_as_it_was_allowed() {
        let mount = |path: &str, read_only| HostMount { path: path.to_owned(), read_only };
        let mounts = [mount("/srv/nothing-here", true), mount("/opt", false)];
        let refused = |path: &str, write| allowed(&mounts, Path::new(path), write).unwrap_err().to_string();
        assert!(refused("/srv", false).contains("has not allowed"));
        assert!(refused("/srv/nothing-here-either", false).contains("has not allowed"));
        assert!(refused("/opt/../etc", false).contains("has not allowed"));
        assert!(refused("/srv/nothing-here/x", true).contains("reading alone"));
        assert!(refused("/srv/nothing-here", false).contains("No such file"));
        assert!(!allowed(&mounts, Path::new("/opt"), true).unwrap());
        assert!(allowed(&mounts, Path::new("/opt"), false).unwrap());
    }
}
