//! What people see of an agent's folders and put into them, while it runs and while it does not. The paths are those of the
//! agent's own file capabilities: judged as text, opened beneath, no link followed.
//! Must never: make a home for somebody who only looks, open what is neither file nor folder, or show half a file as whole.
use super::WorkFolders;
use super::beneath::{BENEATH, FOLDER, open_beneath, own};
use super::usage::usage;
use super::volume::{EPHEMERAL, PERSISTENT};
use crate::error::Error;
use data_encoding::BASE64;
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, fchmod, fchown, fstat, fsync, mkdirat, open, openat, openat2,
    renameat, statat, unlinkat,
};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tenure_core::id::AgentId;
use tenure_core::plan::{Life, Volume};
use tenure_sandbox::{Identity, WORKSPACE, parse_name, shown_name};
use tenure_wire::api::file::{FileKind, PUT_BYTES_MAX};
use tenure_wire::files::{FileFound, FilesAnswer, FilesAsked, FilesRefusal, FilesRequest, LIST_PAGE, PIECE_BYTES_MAX};

/// Names of one folder that are looked through.
const NAMES_MAX: usize = 200_000;
const ANYTHING: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A path in one of the agent's own folders.
struct Place {
    root: OwnedFd,
    /// Relative to it; empty for itself.
    rest: PathBuf,
    path: String,
    /// Of the volume that it is in.
    bytes_max: Option<u64>,
}

impl WorkFolders {
    /// Blocks.
    pub(crate) fn answer(&self, agent: AgentId, asked: FilesAsked) -> FilesAnswer {
        let FilesAsked { volumes, request } = asked;
        let answered = match request {
            FilesRequest::Stat { path } => self.place(agent, &volumes, path).and_then(|place| stat(&place)),
            FilesRequest::List { path, after } => {
                self.place(agent, &volumes, path).and_then(|place| list(&place, after.as_deref()))
            }
            FilesRequest::Read { path, offset, file } => {
                self.place(agent, &volumes, path).and_then(|place| read(&place, offset, file))
            }
            FilesRequest::Write { path, content, disk_bytes, files } => {
                self.put(agent, &volumes, path, &content, disk_bytes, files)
            }
        };
        answered.unwrap_or_else(FilesAnswer::Refused)
    }

    fn place(&self, agent: AgentId, volumes: &[Volume], path: String) -> Result<Place, FilesRefusal> {
        let home = open_beneath(self.agents.as_fd(), &agent.to_string()).map_err(|errno| match errno {
            Errno::NOENT => FilesRefusal::NoHome,
            errno => failed(&path, errno),
        })?;
        let whole = PathBuf::from(parse_name(&path).map_err(|form| {
            let why = format!("the path is written {form}");
            FilesRefusal::Failed { why }
        })?);
        let around = volumes.iter().filter(|volume| whole.starts_with(&volume.mount_point));
        let volume = around.max_by_key(|volume| volume.mount_point.len());
        let (root, top, bytes_max) = match volume {
            Some(volume) => (volume_root(&home, volume, &path)?, volume.mount_point.as_str(), volume.size_bytes),
            None => {
                let work = open_beneath(home.as_fd(), "work").map_err(|errno| match errno {
                    Errno::NOENT => FilesRefusal::NoHome,
                    errno => failed(&path, errno),
                })?;
                (work, WORKSPACE, None)
            }
        };
        let rest = whole.strip_prefix(top).map(Path::to_owned);
        let rest = rest.map_err(|_| FilesRefusal::Outside { path: path.clone() })?;
        Ok(Place { root, rest, path, bytes_max })
    }

    fn put(
        &self,
        agent: AgentId,
        volumes: &[Volume],
        path: String,
        content: &str,
        disk_bytes: u64,
        files: u32,
    ) -> Result<FilesAnswer, FilesRefusal> {
        let broken = |why: String| FilesRefusal::Failed { why };
        let content = BASE64.decode(content.as_bytes()).map_err(|error| broken(error.to_string()))?;
        if content.len() > PUT_BYTES_MAX {
            return Err(broken(format!("a file that is put has at most {PUT_BYTES_MAX} bytes")));
        }
        let (_, _, identity) = self.home(agent).map_err(|error: Error| broken(error.to_string()))?;
        let place = self.place(agent, volumes, path)?;
        room(&place, content.len() as u64, place.bytes_max.unwrap_or(disk_bytes), files)?;
        let (folder, name) = parent(&place, identity)?;
        let replaced = match statat(&folder, name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => {
                regular(&found, &place.path)?;
                true
            }
            Err(Errno::NOENT) => false,
            Err(errno) => return Err(failed(&place.path, errno)),
        };
        replace(&folder, &name, &content, identity).map_err(|errno| failed(&place.path, errno))?;
        Ok(FilesAnswer::Written { replaced })
    }
}

fn volume_root(home: &OwnedFd, volume: &Volume, path: &str) -> Result<OwnedFd, FilesRefusal> {
    let missing = |errno| match (errno, volume.life) {
        (Errno::NOENT, Life::Ephemeral { .. }) => FilesRefusal::Ephemeral { name: volume.name.clone() },
        (errno, _) => failed(path, errno),
    };
    match volume.life {
        Life::Persistent => {
            let all = open_beneath(home.as_fd(), PERSISTENT).map_err(missing)?;
            open_beneath(all.as_fd(), &volume.name).map_err(missing)
        }
        Life::Ephemeral { .. } => {
            let all = openat2(home, EPHEMERAL, FOLDER | OFlags::RDONLY, Mode::empty(), BENEATH).map_err(missing)?;
            // Behind their prefixes ids begin with their time: the greatest is the newest execution's or session's.
            let mut holders = names(&all, path)?;
            holders.sort_unstable_by(|one, other| time_of(one).cmp(time_of(other)));
            let newest = holders.iter().rev().find_map(|holder| {
                let folder = open_beneath(all.as_fd(), holder.to_str()?).ok()?;
                open_beneath(folder.as_fd(), &volume.name).ok()
            });
            newest.ok_or_else(|| missing(Errno::NOENT))
        }
    }
}

fn stat(place: &Place) -> Result<FilesAnswer, FilesRefusal> {
    let found = fstat(&anything(place)?).map_err(|errno| failed(&place.path, errno))?;
    let name = place.path.rsplit('/').next().unwrap_or_default().to_owned();
    Ok(FilesAnswer::Stat(described(name, &found)))
}

fn list(place: &Place, after: Option<&str>) -> Result<FilesAnswer, FilesRefusal> {
    let held = anything(place)?;
    let found = fstat(&held).map_err(|errno| failed(&place.path, errno))?;
    if kind(&found) == FileKind::Symlink {
        return Err(FilesRefusal::Link { path: place.path.clone() });
    }
    let folder = openat(&held, ".", FOLDER | OFlags::RDONLY, Mode::empty());
    let folder = folder.map_err(|errno| failed(&place.path, errno))?;
    let names = names(&folder, &place.path)?;
    let mut names: Vec<(String, OsString)> = names.into_iter().map(|name| (shown_name(&name), name)).collect();
    names.retain(|(text, _)| after.is_none_or(|after| text.as_str() > after));
    names.sort_unstable();
    let more = names.len() > LIST_PAGE;
    let entries = names.into_iter().take(LIST_PAGE).filter_map(|(text, name)| {
        // One that has gone meanwhile is not there.
        let found = statat(&folder, name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(described(text, &found))
    });
    Ok(FilesAnswer::List { entries: entries.collect(), more })
}

/// The part of an id behind its prefix.
fn time_of(id: &OsStr) -> &[u8] {
    const LETTERS: usize = 26;
    let id = id.as_bytes();
    &id[id.len().saturating_sub(LETTERS)..]
}

fn names(folder: &OwnedFd, path: &str) -> Result<Vec<OsString>, FilesRefusal> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder).map_err(|errno| failed(path, errno))? {
        let entry = entry.map_err(|errno| failed(path, errno))?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        if names.len() == NAMES_MAX {
            let why = format!("{path} has more than {NAMES_MAX} entries");
            return Err(FilesRefusal::Failed { why });
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

fn read(place: &Place, offset: u64, file: Option<u64>) -> Result<FilesAnswer, FilesRefusal> {
    let fail = |errno| failed(&place.path, errno);
    let held = anything(place)?;
    let found = fstat(&held).map_err(fail)?;
    regular(&found, &place.path)?;
    if file.is_some_and(|file| file != found.st_ino) {
        return Err(FilesRefusal::Changed { path: place.path.clone() });
    }
    // What was looked at is what is opened: a name may mean a pipe or a device by now.
    let own = format!("/proc/self/fd/{}", held.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = File::from(open(own, flags, Mode::empty()).map_err(fail)?);
    let size = u64::try_from(found.st_size).unwrap_or(0);
    let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
    let (mut content, mut got) = (vec![0; left.min(PIECE_BYTES_MAX)], 0);
    while got < content.len() {
        match opened.read_at(&mut content[got..], offset + got as u64) {
            Ok(0) => return Err(FilesRefusal::Changed { path: place.path.clone() }),
            Ok(count) => got += count,
            Err(error) => return Err(FilesRefusal::Failed { why: format!("{}: {error}", place.path) }),
        }
    }
    Ok(FilesAnswer::Read { content: BASE64.encode(&content), size, file: found.st_ino })
}

/// Whether so many bytes more may lie there.
fn room(place: &Place, size: u64, bytes_max: u64, files: u32) -> Result<(), FilesRefusal> {
    let used = usage(&place.root, u64::from(files), &mut HashSet::new()).map_err(|errno| failed(&place.path, errno))?;
    let full = |why: String| Err(FilesRefusal::Full { why });
    if used.beyond || used.files >= u64::from(files) {
        return full(format!("its manifest allows {files} files and folders, and they are there"));
    }
    if used.bytes.saturating_add(size) > bytes_max {
        return full(format!("{size} bytes are put, {} are there, and its manifest allows {bytes_max}", used.bytes));
    }
    Ok(())
}

/// The folder that the path's last name is in, made with all above it, and that name.
fn parent(place: &Place, identity: Identity) -> Result<(OwnedFd, OsString), FilesRefusal> {
    let fail = |errno| failed(&place.path, errno);
    let Some(name) = place.rest.file_name() else {
        return Err(FilesRefusal::Directory { path: place.path.clone() });
    };
    let mut folder = place.root.try_clone().map_err(|error| FilesRefusal::Failed { why: error.to_string() })?;
    for part in place.rest.parent().into_iter().flat_map(Path::iter) {
        let next = match openat2(&folder, part, FOLDER | OFlags::PATH, Mode::empty(), BENEATH) {
            Err(Errno::NOENT) => {
                let text = part.to_str().ok_or_else(|| FilesRefusal::NotFound { path: place.path.clone() })?;
                match mkdirat(&folder, text, Mode::from(0o755)) {
                    Ok(()) => own(&folder, text, identity, Path::new(&place.path))
                        .map_err(|error| FilesRefusal::Failed { why: error.to_string() })?,
                    Err(Errno::EXIST) => {}
                    Err(errno) => return Err(fail(errno)),
                }
                open_beneath(folder.as_fd(), text).map_err(fail)?
            }
            // The kernel calls a link that is not followed no folder.
            Err(Errno::NOTDIR) if is_link(&folder, part) => return Err(fail(Errno::LOOP)),
            found => found.map_err(fail)?,
        };
        folder = next;
    }
    Ok((folder, name.to_owned()))
}

fn is_link(folder: &OwnedFd, name: &OsStr) -> bool {
    let found = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    found.is_ok_and(|found| kind(&found) == FileKind::Symlink)
}

/// The whole new file takes the name at once, or nothing changes.
fn replace(folder: &OwnedFd, name: &OsStr, content: &[u8], identity: Identity) -> Result<(), Errno> {
    let mut random = [0u8; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    let temporary = format!(".tenure-tmp-{:016x}", u64::from_ne_bytes(random));
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat2(folder, &temporary, flags, Mode::from(0o644), BENEATH)?);
    let written = fill(&mut file, content, identity).and_then(|()| renameat(folder, &temporary, folder, name));
    if written.is_err() {
        let _ = unlinkat(folder, &temporary, AtFlags::empty());
    }
    written
}

fn fill(file: &mut File, content: &[u8], identity: Identity) -> Result<(), Errno> {
    // Whatever the worker's umask is.
    fchmod(&*file, Mode::from(0o644))?;
    if let Identity::Host { uid, gid } = identity {
        // First: what is written then counts against the agent's own quota.
        fchown(&*file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    file.write_all(content).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    fsync(&*file)
}

fn anything(place: &Place) -> Result<OwnedFd, FilesRefusal> {
    let path = if place.rest.as_os_str().is_empty() { Path::new(".") } else { place.rest.as_path() };
    openat2(&place.root, path, ANYTHING, Mode::empty(), BENEATH).map_err(|errno| failed(&place.path, errno))
}

fn regular(found: &Stat, path: &str) -> Result<(), FilesRefusal> {
    let path = path.to_owned();
    match kind(found) {
        FileKind::File => Ok(()),
        FileKind::Directory => Err(FilesRefusal::Directory { path }),
        FileKind::Symlink => Err(FilesRefusal::Link { path }),
        FileKind::Other => Err(FilesRefusal::Special { path }),
    }
}

fn kind(found: &Stat) -> FileKind {
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Other,
    }
}

fn described(name: String, found: &Stat) -> FileFound {
    let kind = kind(found);
    let size = if kind == FileKind::File { u64::try_from(found.st_size).unwrap_or(0) } else { 0 };
    let seconds_ms = found.st_mtime.saturating_mul(1000);
    let modified_ms = seconds_ms.saturating_add(i64::try_from(found.st_mtime_nsec / 1_000_000).unwrap_or(0));
    FileFound { name, kind, size, modified_ms }
}

fn failed(path: &str, errno: Errno) -> FilesRefusal {
    let path = path.to_owned();
    match errno {
        Errno::NOENT => FilesRefusal::NotFound { path },
        Errno::LOOP => FilesRefusal::Link { path },
        Errno::NOTDIR => FilesRefusal::NotDirectory { path },
        Errno::ISDIR => FilesRefusal::Directory { path },
        Errno::XDEV => FilesRefusal::Outside { path },
        Errno::DQUOT | Errno::NOSPC | Errno::FBIG => FilesRefusal::Full { why: format!("{path}: {errno}") },
        errno => FilesRefusal::Failed { why: format!("{path}: {errno}") },
    }
}
