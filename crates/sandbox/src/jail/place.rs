//! From a path in a request to a descriptor beneath `/workspace`, `/tmp` or a folder that holds mounts of the spec. Must never:
//! resolve a path in any other way than `openat2` beneath one of them, follow a magic link, or block in an open.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, mkdirat, open, openat2, readlinkat, statat};
use rustix::io::Errno;

use crate::layers::{Duty, kept};
use crate::protocol::Refusal;
use crate::spec::{MOUNT_ROOTS, Spec, WORKSPACE};

/// Longest path that a request may name, in bytes.
pub(super) const PATH_BYTES_MAX: usize = 4096;
/// Most links in a row at the end of a path.
const LINKS_MAX: usize = 16;
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// The folders that file operations reach: the work folder first, then /tmp, then those that hold further mounts.
pub(super) struct Places {
    anchors: Vec<Anchor>,
}

struct Anchor {
    path: PathBuf,
    folder: OwnedFd,
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

/// How an open is made: as asked for.
#[cfg(not(feature = "controls"))]
pub(super) const fn resolution(flags: OFlags, resolve: ResolveFlags) -> (OFlags, ResolveFlags) {
    (flags, resolve)
}
#[cfg(feature = "controls")]
pub(super) use super::controls::resolution;

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
        if kept(Duty::Paths) && (path.is_empty() || path.len() > PATH_BYTES_MAX || path.contains('\0')) {
            let reason = "a path has 1 to 4096 bytes, none of them zero".to_owned();
            return Err(Refusal::Invalid { reason });
        }
        self.find(Path::new(path))
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
            None if kept(Duty::Paths) => Err(Refusal::Escape),
            None => Ok(Place { anchor: 0, path: path.to_owned() }),
        }
    }

    /// Opens without blocking and without leaving. Links are followed while they stay beneath.
    pub(super) fn open_at(&self, place: &Place, flags: OFlags, mode: Mode) -> Result<OwnedFd, Refusal> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let flags = if flags.contains(OFlags::PATH) { flags & !(OFlags::NOCTTY | OFlags::NONBLOCK) } else { flags };
        let path = if place.path.as_os_str().is_empty() { Path::new(".") } else { &place.path };
        let (flags, resolve) = resolution(flags, RESOLVE);
        let mut tries = 0;
        loop {
            match openat2(self.base(place), path, flags, mode, resolve) {
                // A rename somewhere raced with the resolution of a `..`.
                Err(Errno::AGAIN | Errno::INTR) if tries < 16 => tries += 1,
                other => return other.map_err(refusal),
            }
        }
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
            Err(Refusal::NotFound) if make => self.make(&parent)?,
            other => other?,
        };
        Ok((folder, name.to_owned()))
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

    /// Like `parent`, but a link at the end is followed to where it leads, as a write through it would.
    pub(super) fn target(&self, place: &Place, make: bool) -> Result<(OwnedFd, OsString), Refusal> {
        let mut place = place.clone();
        for _ in 0..LINKS_MAX {
            let (folder, name) = self.parent(&place, make)?;
            match statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Symlink => {
                    let link = readlinkat(&folder, &name, Vec::new()).map_err(refusal)?;
                    let link = PathBuf::from(OsString::from_vec(link.into_bytes()));
                    place = if link.is_absolute() {
                        self.find(&link)?
                    } else {
                        Place { anchor: place.anchor, path: place.path.parent().unwrap_or(Path::new("")).join(link) }
                    };
                }
                Ok(_) | Err(Errno::NOENT) => return Ok((folder, name)),
                Err(error) => return Err(refusal(error)),
            }
        }
        Err(refusal(Errno::LOOP))
    }

    /// A folder for a program to start in. Unlike file operations it may be anywhere in the view.
    pub(super) fn working_folder(path: Option<&str>) -> Result<OwnedFd, Refusal> {
        let path = Path::new(WORKSPACE).join(path.unwrap_or("."));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let magic = if kept(Duty::Descriptors) { ResolveFlags::NO_MAGICLINKS } else { ResolveFlags::empty() };
        openat2(CWD, &path, flags, Mode::empty(), magic).map_err(refusal)
    }
}
