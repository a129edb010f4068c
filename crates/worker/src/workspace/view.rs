//! What of its work folder a jail sees and may change, from the two lists of a manifest.
//! Must never: follow a link of the agent's, or show what neither list names.
use super::{BENEATH, FOLDER, WorkFolder, at, open_beneath};
use crate::error::Error;
use rustix::fs::{FileType, Gid, Mode, OFlags, Uid, fchown, fstat, mkdirat, openat2};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use tenure_sandbox::{Identity, Mount, WORKSPACE};

/// The mounts that make a view.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// What appears as `/workspace`.
    pub(crate) base: PathBuf,
    pub(crate) base_read_only: bool,
    pub(crate) mounts: Vec<Mount>,
}

/// Makes the folders that the lists name, and says how to show them. Blocks.
pub(crate) fn view(folder: &WorkFolder, read: &[String], write: &[String]) -> Result<View, Error> {
    let (read, write) = (beneath(read)?, beneath(write)?);
    let whole = Path::new("");
    if write.iter().any(|path| path == whole) {
        return Ok(View { base: folder.path.clone(), base_read_only: false, mounts: Vec::new() });
    }
    let everything = read.iter().any(|path| path == whole);
    let base = if everything { folder.path.clone() } else { folder.path.with_file_name("empty") };
    // Holds nothing but places to mount on.
    let empty = if everything { None } else { Some(make(&folder.agent, "empty", folder.identity, &base)?) };
    let covered = |list: &[PathBuf], path: &Path| list.iter().any(|other| path != other && path.starts_with(other));
    let readable = read.iter().filter(|path| !covered(&read, path) && !covered(&write, path) && !write.contains(path));
    let writable = write.iter().filter(|path| !covered(&write, path));
    let mut mounts = Vec::new();
    for (path, read_only) in readable.map(|path| (path, true)).chain(writable.map(|path| (path, false))) {
        if path == whole {
            continue;
        }
        let file = make_all(&folder.folder, path, folder.identity, false)?;
        if let Some(empty) = &empty
            && !covered(&read, path)
        {
            make_all(empty, path, folder.identity, file)?;
        }
        mounts.push(Mount { source: folder.path.join(path), target: Path::new(WORKSPACE).join(path), read_only });
    }
    // A folder is mounted before what lies in it.
    mounts.sort_by_key(|mount| mount.target.components().count());
    Ok(View { base, base_read_only: true, mounts })
}

/// The lists' paths relative to the work folder.
fn beneath(list: &[String]) -> Result<Vec<PathBuf>, Error> {
    let relative = |stated: &String| {
        let path = Path::new(stated);
        let plain = path.components().skip(1).all(|part| matches!(part, std::path::Component::Normal(_)));
        match path.strip_prefix(WORKSPACE) {
            Ok(path) if plain => Ok(path.to_owned()),
            Ok(_) | Err(_) => {
                let why = "only /workspace and what lies in it can be listed, without `..`";
                Err(Error::Unsafe { path: stated.clone(), why })
            }
        }
    };
    let mut paths = list.iter().map(relative).collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// Makes the folders of `path`; true if its last name is a file, which `file` asks for where nothing is there.
fn make_all(top: &OwnedFd, path: &Path, identity: Identity, file: bool) -> Result<bool, Error> {
    let mut parent = top.try_clone().map_err(Error::io("copy a descriptor"))?;
    let mut names = path.iter().peekable();
    while let Some(name) = names.next() {
        let name = name.to_str().unwrap_or_default();
        if names.peek().is_none() && file {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat2(&parent, name, flags, Mode::from(0o644), BENEATH).map_err(at("make", path))?;
        }
        if names.peek().is_none() && is_file(&parent, name) {
            return Ok(true);
        }
        parent = make(&parent, name, identity, path)?;
    }
    Ok(false)
}

fn is_file(parent: &OwnedFd, name: &str) -> bool {
    let found = openat2(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty(), BENEATH);
    let kind = found.and_then(fstat).map(|found| FileType::from_raw_mode(found.st_mode));
    kind == Ok(FileType::RegularFile)
}

/// Opens a folder of the agent's, making it if it is missing.
fn make(parent: &OwnedFd, name: &str, identity: Identity, path: &Path) -> Result<OwnedFd, Error> {
    let made = match mkdirat(parent, name, Mode::from(0o755)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(errno) => return Err(at("make", path)(errno)),
    };
    if let Identity::Host { uid, gid } = identity
        && made
    {
        let folder =
            openat2(parent, name, FOLDER | OFlags::RDONLY, Mode::empty(), BENEATH).map_err(at("open", path))?;
        // Only a folder that nobody else has touched is given away.
        if fstat(&folder).map_err(at("look at", path))?.st_uid == rustix::process::geteuid().as_raw() {
            fchown(&folder, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(at("give away", path))?;
        }
    }
    open_beneath(parent.as_fd(), name).map_err(|errno| match errno {
        Errno::LOOP | Errno::NOTDIR => Error::Unsafe {
            path: Path::new(WORKSPACE).join(path).display().to_string(),
            why: "a part of it is a link or a file, where the manifest lists a folder; remove it",
        },
        other => at("open", path)(other),
    })
}
