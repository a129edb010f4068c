//! From a path in a request to a descriptor beneath `/workspace`, `/tmp` or a folder that holds mounts of the spec. Must never:
//! resolve a path in any other way than `openat2` beneath one of them, follow a link, or block in an open.
//!
//! Whoever judged a request judged the path that it names. Where a link is on that path, nothing is done: the request is
//! answered with the path that the link leads to, and may be asked again with that one.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, open, openat2, readlinkat, statat,
};
use rustix::io::Errno;

use crate::bypass::{Check, enforces, follow, resolution};
use crate::name::{self, shown};
use crate::protocol::Refusal;
use crate::spec::{MOUNT_ROOTS, Spec, WORKSPACE};

/// Longest path that a request may name, in bytes.
pub(super) const PATH_BYTES_MAX: usize = 4096;
/// Most links that are read to find where one path leads; the kernel's own bound.
const LINKS_MAX: usize = 40;
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// The folders that file operations reach: the work folder first, then /tmp, then those that hold further mounts.
pub(super) struct Places {
    anchors: Vec<Anchor>,
}

struct Anchor {
    path: PathBuf,
    folder: OwnedFd,
}

/// What a request means by a link at the end of its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Itself,
    Followed,
}

/// Which of the folders, and the rest of the path.
#[derive(Debug, Clone)]
pub(super) struct Place {
    anchor: usize,
    path: PathBuf,
}

pub(super) fn refusal(error: Errno) -> Refusal {
    match error {
        Errno::NOENT => Refusal::NotFound,
        Errno::XDEV => Refusal::Escape,
        Errno::ISDIR => Refusal::IsDirectory,
        Errno::NOTDIR => Refusal::NotDirectory,
        Errno::EXIST => Refusal::Exists,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => Refusal::Denied,
        Errno::NOSPC | Errno::DQUOT => Refusal::NoSpace,
        Errno::NOTEMPTY => Refusal::NotEmpty,
        Errno::LOOP => Refusal::Invalid { reason: "too many symbolic links".to_owned() },
        Errno::NAMETOOLONG => Refusal::Invalid { reason: "a name in the path is too long".to_owned() },
        Errno::NXIO => special(),
        Errno::AGAIN => Refusal::Busy,
        Errno::BUSY => {
            let reason = "a folder or volume is mounted there: it stays, and what is in it can be changed".to_owned();
            Refusal::Invalid { reason }
        }
        other => Refusal::Io { errno: other.raw_os_error() },
    }
}

pub(super) fn special() -> Refusal {
    Refusal::Invalid { reason: "it is a socket, fifo or device, not a file; use a program to work with it".to_owned() }
}

/// The answer to a request whose path leads elsewhere.
pub(super) fn redirected(path: &Path) -> Refusal {
    match Some(shown(path.as_os_str())).filter(|path| path.len() <= PATH_BYTES_MAX) {
        Some(path) => Refusal::Redirected { path },
        None => Refusal::Invalid { reason: "it leads by a link to a path that is too long for a request".to_owned() },
    }
}

/// What a path in a request means. One in another spelling than its own is answered like a link: judged by that spelling, it would
/// escape a rule.
fn meant(path: &str) -> Result<PathBuf, Refusal> {
    let named = name::parse(path).map(PathBuf::from);
    named.map_err(|form| redirected(&Path::new(WORKSPACE).join(name::parse(&form).unwrap_or_default())))
}

/// The kernel's own path of an open folder: no link and no `..` is left in it.
pub(super) fn resolved(folder: BorrowedFd<'_>) -> Result<PathBuf, Refusal> {
    let path = readlinkat(CWD, format!("/proc/self/fd/{}", folder.as_raw_fd()), Vec::new()).map_err(refusal)?;
    Ok(PathBuf::from(OsString::from_vec(path.into_bytes())))
}

/// The names of a path, `..` among them.
fn names(path: &Path) -> VecDeque<OsString> {
    let named = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components().filter(|part| named(*part)).map(|part| OsStr::to_owned(part.as_os_str())).collect()
}

impl Places {
    pub(super) fn open(spec: &Spec) -> rustix::io::Result<Self> {
        let roots = MOUNT_ROOTS.iter().map(|root| Path::new("/").join(root));
        let used = roots.filter(|root| spec.mounts.iter().any(|mount| mount.target.starts_with(root)));
        let anchor = |path: PathBuf| {
            let folder = open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            Ok(Anchor { path, folder })
        };
        let anchors = [WORKSPACE, "/tmp"].into_iter().map(PathBuf::from).chain(used).map(anchor);
        Ok(Self { anchors: anchors.collect::<rustix::io::Result<_>>()? })
    }

    fn base(&self, place: &Place) -> BorrowedFd<'_> {
        self.anchors[place.anchor].folder.as_fd()
    }

    /// Which place a request's path names. Nothing is resolved yet.
    pub(super) fn locate(&self, path: &str) -> Result<Place, Refusal> {
        if enforces(Check::Paths) && (path.is_empty() || path.len() > PATH_BYTES_MAX || path.contains('\0')) {
            let reason = "a path has 1 to 4096 bytes, none of them zero".to_owned();
            return Err(Refusal::Invalid { reason });
        }
        self.find(&meant(path)?)
    }

    fn find(&self, path: &Path) -> Result<Place, Refusal> {
        if !path.is_absolute() {
            return Ok(Place { anchor: 0, path: path.to_owned() });
        }
        let beneath = |(anchor, known): (usize, &Anchor)| {
            path.strip_prefix(&known.path).ok().map(|rest| Place { anchor, path: rest.to_owned() })
        };
        match self.anchors.iter().enumerate().find_map(beneath) {
            Some(place) => Ok(place),
            None if enforces(Check::Paths) => Err(Refusal::Escape),
            None => Ok(Place { anchor: 0, path: path.to_owned() }),
        }
    }

    /// Opens without blocking, without leaving and without following a link.
    pub(super) fn open_at(&self, place: &Place, flags: OFlags, mode: Mode) -> Result<OwnedFd, Refusal> {
        let end = if flags.contains(OFlags::NOFOLLOW) { End::Itself } else { End::Followed };
        self.try_open_at(place, flags, mode).map_err(|errno| self.refusal_at(place, errno, end))
    }

    fn try_open_at(&self, place: &Place, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let flags = if flags.contains(OFlags::PATH) { flags & !(OFlags::NOCTTY | OFlags::NONBLOCK) } else { flags };
        let path = if place.path.as_os_str().is_empty() { Path::new(".") } else { &place.path };
        let (flags, resolve) = resolution(flags, RESOLVE);
        let mut tries = 0;
        loop {
            match openat2(self.base(place), path, flags, mode, resolve) {
                // A rename somewhere raced with the resolution of a `..`.
                Err(Errno::AGAIN | Errno::INTR) if tries < 16 => tries += 1,
                other => return other,
            }
        }
    }

    /// Why nothing was done at `place`: where it met a link, where that leads.
    pub(super) fn refusal_at(&self, place: &Place, errno: Errno, end: End) -> Refusal {
        if errno != Errno::LOOP || !enforces(Check::Paths) {
            return refusal(errno);
        }
        match self.leads_to(&self.anchors[place.anchor].path.join(&place.path), end) {
            Ok(path) => redirected(&path),
            Err(refusal) => refusal,
        }
    }

    /// Where a path leads that goes through links: read one by one, each from a folder that was opened without following any.
    /// What is not there is named as it stands.
    fn leads_to(&self, path: &Path, end: End) -> Result<PathBuf, Refusal> {
        let mut rest: VecDeque<OsString> = names(path);
        let (mut real, mut links) = (PathBuf::from("/"), 0);
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                real.pop();
                continue;
            }
            real.push(name);
            if rest.is_empty() && end == End::Itself {
                break;
            }
            let opened = self.try_open_at(&self.find(&real)?, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty());
            let found = match opened {
                Err(Errno::NOENT) => {
                    real.extend(rest.drain(..));
                    break;
                }
                found => found.map_err(refusal)?,
            };
            if FileType::from_raw_mode(fstat(&found).map_err(refusal)?.st_mode) != FileType::Symlink {
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                return Err(refusal(Errno::LOOP));
            }
            let link = readlinkat(&found, "", Vec::new()).map_err(refusal)?;
            let link = PathBuf::from(OsString::from_vec(link.into_bytes()));
            real.pop();
            if link.is_absolute() {
                real = PathBuf::from("/");
            }
            names(&link).into_iter().rev().for_each(|name| rest.push_front(name));
        }
        self.find(&real)?;
        Ok(real)
    }

    pub(super) fn folder(&self, place: &Place) -> Result<OwnedFd, Refusal> {
        self.open_at(place, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
    }

    /// The folder that holds the path's last name, and that name; the name itself is not followed.
    pub(super) fn parent(&self, place: &Place, make: bool) -> Result<(OwnedFd, OsString), Refusal> {
        let Some(Component::Normal(name)) = place.path.components().next_back() else {
            return Err(match place.path.components().next_back() {
                Some(Component::ParentDir) => {
                    Refusal::Invalid { reason: "the path ends in `..`: name a file".to_owned() }
                }
                _ => Refusal::IsDirectory,
            });
        };
        let path = place.path.parent().unwrap_or(Path::new("")).to_owned();
        let parent = Place { anchor: place.anchor, path };
        let folder = match self.folder(&parent) {
            Err(Refusal::NotFound) if make => self.make(&parent),
            other => other,
        };
        match folder {
            Err(Refusal::Redirected { .. }) => Err(self.refusal_at(place, Errno::LOOP, End::Itself)),
            folder => Ok((folder?, name.to_owned())),
        }
    }

    /// Makes a folder and those above it.
    fn make(&self, place: &Place) -> Result<OwnedFd, Refusal> {
        let mut so_far = Place { anchor: place.anchor, path: PathBuf::new() };
        let mut folder = self.folder(&so_far)?;
        for part in place.path.components() {
            so_far.path.push(part);
            folder = match self.folder(&so_far) {
                Err(Refusal::NotFound) => {
                    mkdirat(&folder, part.as_os_str(), Mode::from(0o755)).map_err(refusal)?;
                    self.folder(&so_far)?
                }
                other => other?,
            };
        }
        Ok(folder)
    }

    /// Like `parent`, for what acts on the file and not on its name: a link at the end is met like any other.
    pub(super) fn target(&self, place: &Place, make: bool) -> Result<(OwnedFd, OsString), Refusal> {
        let (folder, name) = self.parent(place, make)?;
        match statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Symlink => {
                follow(&folder, &name).ok_or_else(|| self.refusal_at(place, Errno::LOOP, End::Followed))
            }
            Ok(_) | Err(Errno::NOENT) => Ok((folder, name)),
            Err(error) => Err(refusal(error)),
        }
    }

    /// A folder for a program to start in. Unlike file operations it may be anywhere in the view.
    pub(super) fn working_folder(path: Option<&str>) -> Result<OwnedFd, Refusal> {
        let path = Path::new(WORKSPACE).join(meant(path.unwrap_or("."))?);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if !enforces(Check::Descriptors) {
            return openat2(CWD, &path, flags, Mode::empty(), ResolveFlags::empty()).map_err(refusal);
        }
        match openat2(CWD, &path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
            Err(Errno::LOOP) => {
                let found = openat2(CWD, &path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS).map_err(refusal)?;
                Err(redirected(&resolved(found.as_fd())?))
            }
            opened => opened.map_err(refusal),
        }
    }
}
