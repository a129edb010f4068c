//! What of its work folder a jail sees and may change, from the two lists of a manifest.
//! Must never: follow a link of the agent's, or show what neither list names.
use super::Home;
use super::beneath::{BENEATH, at, open_beneath, own};
use super::volume::Found;
use crate::error::Error;
use rustix::fs::{FileType, Mode, OFlags, fstat, mkdirat, openat2};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use tenure_sandbox::{Identity, Mount, WORKSPACE};

/// Beside the work folder: shown in its place where only parts of it may be seen.
const EMPTY: &str = "empty";

/// The mounts that make a view of the work folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct View {
    /// What appears as `/workspace`.
    pub(super) base: PathBuf,
    pub(super) base_read_only: bool,
    pub(super) mounts: Vec<Mount>,
}

/// What becomes of the work folder.
pub(super) struct ViewRequest<'a> {
    /// Paths at or below /workspace.
    pub(super) read: &'a [&'a str],
    pub(super) write: &'a [&'a str],
    /// Whether nothing can be written whatever `write` says.
    pub(super) read_only: bool,
    /// Where volumes will be mounted, relative to the work folder.
    pub(super) places: &'a [PathBuf],
}

/// Makes the folders that the lists and volumes name, and says how to show them. Blocks.
pub(super) fn view(home: &Home, identity: Identity, work: &Found, wanted: &ViewRequest<'_>) -> Result<View, Error> {
    let (read, write) = (beneath(wanted.read)?, beneath(wanted.write)?);
    let whole = Path::new("");
    for place in wanted.places {
        make_place(&work.folder, place, identity, &Path::new(WORKSPACE).join(place))?;
    }
    if write.iter().any(|path| path == whole) {
        return Ok(View { base: work.path.clone(), base_read_only: wanted.read_only, mounts: Vec::new() });
    }
    let everything = read.iter().any(|path| path == whole);
    let base = if everything { work.path.clone() } else { home.path.join(EMPTY) };
    // Holds nothing but places to mount on.
    let empty = if everything { None } else { Some(make(&home.folder, EMPTY, identity, &base)?) };
    let covered = |list: &[PathBuf], path: &Path| list.iter().any(|other| path != other && path.starts_with(other));
    let readable = read.iter().filter(|path| !covered(&read, path) && !covered(&write, path) && !write.contains(path));
    let writable = write.iter().filter(|path| !covered(&write, path));
    let mut mounts = Vec::new();
    for (path, read_only) in readable.map(|path| (path, true)).chain(writable.map(|path| (path, wanted.read_only))) {
        if path == whole {
            continue;
        }
        let file = make_all(&work.folder, path, identity, false)?;
        if let Some(empty) = &empty
            && !covered(&read, path)
        {
            make_all(empty, path, identity, file)?;
        }
        mounts.push(Mount { source: work.path.join(path), target: Path::new(WORKSPACE).join(path), read_only });
    }
    if let Some(empty) = &empty {
        let shown = |place: &Path| read.iter().chain(&write).any(|path| place.starts_with(path));
        for place in wanted.places.iter().filter(|place| !shown(place)) {
            make_all(empty, place, identity, false)?;
        }
    }
    Ok(View { base, base_read_only: true, mounts })
}

/// The lists' paths relative to the work folder.
fn beneath(list: &[&str]) -> Result<Vec<PathBuf>, Error> {
    let relative = |stated: &&str| {
        let path = Path::new(stated);
        let plain = path.components().skip(1).all(|part| matches!(part, std::path::Component::Normal(_)));
        match path.strip_prefix(WORKSPACE) {
            Ok(path) if plain => Ok(path.to_owned()),
            Ok(_) | Err(_) => {
                let why = "only /workspace and what lies in it can be listed, without `..`";
                Err(Error::Unsafe { path: (*stated).to_owned(), why })
            }
        }
    };
    let mut paths = list.iter().map(relative).collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// Makes the folder at `path` that a volume is mounted on; `shown` is where that is inside.
pub(super) fn make_place(top: &OwnedFd, path: &Path, identity: Identity, shown: &Path) -> Result<(), Error> {
    if make_all(top, path, identity, false)? {
        let why = "a volume is to be mounted there, and it is a file; remove it";
        return Err(Error::Unsafe { path: shown.display().to_string(), why });
    }
    Ok(())
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
    match mkdirat(parent, name, Mode::from(0o755)) {
        Ok(()) => own(parent, name, identity, path)?,
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(at("make", path)(errno)),
    }
    open_beneath(parent.as_fd(), name).map_err(|errno| match errno {
        Errno::LOOP | Errno::NOTDIR => Error::Unsafe {
            path: Path::new(WORKSPACE).join(path).display().to_string(),
            why: "a part of it is a link or a file, where the manifest lists a folder; remove it",
        },
        other => at("open", path)(other),
    })
}
