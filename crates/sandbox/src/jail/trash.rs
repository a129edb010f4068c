//! Where deleted files wait: a `.trash` at the top of each mount that can be written, with a note of where each entry lay.
//! Must never: believe a note further than a request, or move anything from one mount to another.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, ResolveFlags, StatxFlags, fstat, mkdirat, openat, openat2, renameat_with,
    statat, statx, unlinkat,
};
use rustix::io::Errno;

use super::place::{PATH_BYTES_MAX, Places, redirected, refusal, resolved};
use crate::bypass::{Check, enforces, resolution};
use crate::name;
use crate::protocol::{Refusal, TRASH, TRASH_ORIGINS};
use crate::spec::{Spec, WORKSPACE};

/// Bytes kept of a deleted thing's own name.
const NAME_BYTES_MAX: usize = 200;
/// Names that are tried for one entry: another jail over the same folder may take one at the same millisecond.
const NAMES_MAX: u32 = 16;
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const WITHIN: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// The mounts that have a trash.
pub(super) struct Trashes {
    trees: Vec<Tree>,
    deleted: Cell<u32>,
}

/// One mount, known by the kernel's number for it, since a path may come to it by a link.
struct Tree {
    mount: u64,
    path: PathBuf,
    top: OwnedFd,
}

/// What a deletion comes to.
pub(super) enum Deletion {
    /// It lies in the trash, under this path.
    Kept(String),
    /// It is to be removed for good.
    Final,
}

impl Trashes {
    /// Every writable mount beneath the places that file operations reach, but for /tmp.
    pub(super) fn open(spec: &Spec) -> rustix::io::Result<Self> {
        let own = (!spec.work_folder_read_only).then(|| PathBuf::from(WORKSPACE));
        let writable = spec.mounts.iter().filter(|mount| !mount.read_only && !mount.target.starts_with("/tmp"));
        let mut trees = Vec::new();
        for path in own.into_iter().chain(writable.map(|mount| mount.target.clone())) {
            match openat2(CWD, &path, FOLDER, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
                Ok(top) => trees.push(Tree { mount: mount_of(top.as_fd())?, path, top }),
                // A single file is mounted there: it cannot be deleted.
                Err(Errno::NOTDIR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { trees, deleted: Cell::new(0) })
    }

    fn tree(&self, folder: BorrowedFd<'_>) -> Result<Option<&Tree>, Refusal> {
        let mount = mount_of(folder).map_err(refusal)?;
        Ok(self.trees.iter().find(|tree| tree.mount == mount))
    }

    /// Moves `name` of `folder` into its mount's trash.
    pub(super) fn delete(&self, folder: BorrowedFd<'_>, name: &OsStr) -> Result<Deletion, Refusal> {
        let Some(tree) = self.tree(folder)? else { return Ok(Deletion::Final) };
        let trash = match tree.trash(true) {
            Ok(trash) => trash,
            // Without room for a trash, what is deleted makes room.
            Err(Refusal::NoSpace) => return Ok(Deletion::Final),
            Err(refusal) => return Err(refusal),
        };
        if same(folder, tree.top.as_fd())? && name == OsStr::new(TRASH) {
            return Err(Refusal::Invalid { reason: "the trash itself stays; delete what is in it".to_owned() });
        }
        let place = resolved(folder)?;
        if tree.is_trash(&place) {
            return Ok(Deletion::Final);
        }
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let kept = clipped(name);
        for _ in 0..NAMES_MAX {
            let mut new_name = OsString::from(format!("{since_epoch}-{}-", self.deleted.get()));
            new_name.push(kept);
            let noted = note(trash.as_fd(), &new_name, &place.join(name)).is_ok();
            let moved = renameat_with(folder, name, &trash, &new_name, RenameFlags::NOREPLACE);
            if moved.is_err() && noted {
                forget(trash.as_fd(), &new_name);
            }
            match moved {
                Ok(()) => return Ok(Deletion::Kept(tree.shown(&new_name))),
                Err(Errno::EXIST) => self.deleted.set(self.deleted.get().wrapping_add(1)),
                Err(Errno::NOSPC | Errno::DQUOT) => return Ok(Deletion::Final),
                Err(error) => return Err(refusal(error)),
            }
        }
        Err(Refusal::Busy)
    }

    /// Moves an entry of a trash to `wanted`. Without it nothing is moved: the answer says where its note would have it, which
    /// nobody has judged yet.
    ///
    /// Nobody judges `trashed`. It can name nothing but what lies directly in the trash of a mount that this jail may write, found
    /// by the folder's identity and without a link, and what `wanted` names lies in the same mount: nothing is reached by it that
    /// the agent's own deletion did not put there, or its programs could not.
    pub(super) fn restore(&self, places: &Places, trashed: &str, wanted: Option<&str>) -> Result<String, Refusal> {
        let not_in_trash = || Refusal::Invalid {
            reason: "only what lies directly in a trash can be restored: name it as the delete did".to_owned(),
        };
        let found = places.locate(trashed).and_then(|place| places.parent(&place, false));
        let (folder, name) = found.map_err(|refused| match refused {
            // Only where it goes to is judged; where it lies is named plainly.
            Refusal::Redirected { .. } => not_in_trash(),
            refused => refused,
        })?;
        let tree = self.tree(folder.as_fd())?.ok_or_else(not_in_trash)?;
        let trash = tree.trash(false)?;
        if !same(folder.as_fd(), trash.as_fd())? || name == TRASH_ORIGINS {
            return Err(not_in_trash());
        }
        statat(&trash, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(refusal)?;
        let target = match wanted {
            Some(path) => path.to_owned(),
            None => origin(trash.as_fd(), &name)?,
        };
        let noted = || redirected(&Path::new(WORKSPACE).join(name::parse(&target).unwrap_or_default()));
        let unjudged = wanted.is_none() && enforces(Check::Paths);
        let (into, new_name) = match places.parent(&places.locate(&target)?, !unjudged) {
            Err(Refusal::NotFound) if unjudged => return Err(noted()),
            found => found?,
        };
        if self.tree(into.as_fd())?.is_none_or(|other| other.mount != tree.mount) {
            let reason = format!("it can only be restored to a path in {}: name another one", tree.path.display());
            return Err(Refusal::Invalid { reason });
        }
        if tree.is_trash(&resolved(into.as_fd())?) {
            return Err(Refusal::Invalid { reason: "that is in the trash again; name a path outside it".to_owned() });
        }
        if unjudged {
            return Err(noted());
        }
        renameat_with(&trash, &name, &into, &new_name, RenameFlags::NOREPLACE).map_err(refusal)?;
        forget(trash.as_fd(), &name);
        Ok(target)
    }

    /// An entry of a trash is gone for good: its note goes too.
    pub(super) fn removed(&self, folder: BorrowedFd<'_>, name: &OsStr) {
        if let Ok(Some(tree)) = self.tree(folder)
            && let Ok(trash) = tree.trash(false)
            && same(folder, trash.as_fd()) == Ok(true)
        {
            forget(trash.as_fd(), name);
        }
    }
}

impl Tree {
    fn trash(&self, make: bool) -> Result<OwnedFd, Refusal> {
        if make {
            private(self.top.as_fd(), TRASH)?;
        }
        let (flags, resolve) = resolution(FOLDER, WITHIN);
        openat2(&self.top, TRASH, flags, Mode::empty(), resolve).map_err(|error| match error {
            Errno::LOOP | Errno::NOTDIR | Errno::XDEV => {
                Refusal::Invalid { reason: format!("{} is not a folder: remove it first", self.shown(OsStr::new(""))) }
            }
            other => refusal(other),
        })
    }

    /// The path of a trash's entry: relative in the work folder, absolute elsewhere.
    fn shown(&self, name: &OsStr) -> String {
        let trash = self.path.join(TRASH);
        let path = trash.strip_prefix(WORKSPACE).unwrap_or(&trash);
        name::shown(if name.is_empty() { path.to_owned() } else { path.join(name) }.as_os_str())
    }

    /// Whether a folder is the trash or lies in it.
    fn is_trash(&self, folder: &Path) -> bool {
        folder.starts_with(self.path.join(TRASH))
    }
}

/// The beginning of a name, its letters whole.
fn clipped(name: &OsStr) -> &OsStr {
    let bytes = name.as_bytes();
    let end = bytes.len().min(NAME_BYTES_MAX);
    let whole = |end: &usize| std::str::from_utf8(&bytes[..*end]).is_ok();
    let end = (end.saturating_sub(3)..=end).rev().find(whole).unwrap_or(end);
    OsStr::from_bytes(&bytes[..end])
}

fn mount_of(folder: BorrowedFd<'_>) -> rustix::io::Result<u64> {
    let found = statx(folder, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    // Before Linux 5.8 there is no such number, and a host so old holds no jail.
    if found.stx_mask & StatxFlags::MNT_ID.bits() == 0 { Err(Errno::NOSYS) } else { Ok(found.stx_mnt_id) }
}

fn same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Result<bool, Refusal> {
    let (one, other) = (fstat(one).map_err(refusal)?, fstat(other).map_err(refusal)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

fn private(parent: BorrowedFd<'_>, name: &str) -> Result<(), Refusal> {
    match mkdirat(parent, name, Mode::from(0o700)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(refusal(error)),
    }
}

fn origins(trash: BorrowedFd<'_>) -> Result<OwnedFd, Refusal> {
    openat2(trash, TRASH_ORIGINS, FOLDER, Mode::empty(), WITHIN).map_err(refusal)
}

/// Without its note an entry is restored all the same, to a path that the request must name.
fn note(trash: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<(), Refusal> {
    private(trash, TRASH_ORIGINS)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(origins(trash)?, name, flags, Mode::from(0o600)).map_err(refusal)?;
    let written = File::from(file).write_all(path.as_os_str().as_encoded_bytes());
    if written.is_err() {
        forget(trash, name);
    }
    written.map_err(super::upload::io)
}

/// Where a note says that an entry lay. The agent may have written it: it is a path like any that is asked for.
fn origin(trash: BorrowedFd<'_>, name: &OsStr) -> Result<String, Refusal> {
    let unknown = || Refusal::Invalid { reason: "where it lay is not known any more: name the path".to_owned() };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = origins(trash).and_then(|origins| openat(origins, name, flags, Mode::empty()).map_err(refusal));
    let file = file.map_err(|_| unknown())?;
    super::upload::regular(&fstat(&file).map_err(refusal)?).map_err(|_| unknown())?;
    let mut path = Vec::new();
    File::from(file).take(PATH_BYTES_MAX as u64 + 1).read_to_end(&mut path).map_err(|_| unknown())?;
    Ok(name::shown(OsStr::from_bytes(&path)))
}

fn forget(trash: BorrowedFd<'_>, name: &OsStr) {
    if let Ok(origins) = origins(trash) {
        let _ = unlinkat(origins, name, AtFlags::empty());
    }
}
