//! How much lies in an agent's folders, found by looking. Must never: follow a link, leave the file system, count a file twice
//! that has two names, or look further than it was told.

use super::beneath::{BENEATH, FOLDER};
use super::remove::{reach, readable};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, openat2, statat};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

/// A folder whose path from the one that is held open is longer is held open itself, for what is in it.
const PATH_BYTES_MAX: usize = 2000;
/// Folders held open at once. What lies deeper is not counted, but told.
const ANCHORS_MAX: u32 = 64;

/// What one folder holds, itself not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// As allotted on the disk: holes of sparse files are none.
    pub(super) bytes: u64,
    /// Files, folders, links and all else that has a name.
    pub(super) files: u64,
    /// Some of it could not be counted: too many, too deep, or kept from being read. More is there than is said.
    pub(super) beyond: bool,
}

/// A folder that is still to be looked into, by its way from one that is open.
struct Folder {
    from: Rc<OwnedFd>,
    above: Option<Rc<Folder>>,
    name: CString,
    path_bytes: usize,
    anchors: u32,
}

/// Where the names come from that are being counted.
struct Here {
    opened: Rc<OwnedFd>,
    /// None: `opened` is what the names' ways begin at.
    folder: Option<Rc<Folder>>,
    anchors: u32,
}

struct Count<'a> {
    usage: Usage,
    files_max: u64,
    pending: Vec<Rc<Folder>>,
    seen: &'a mut HashSet<(u64, u64)>,
}

/// Counts what is in `top`, up to `files_max` names. `seen` holds what was counted before.
pub(super) fn usage(top: &OwnedFd, files_max: u64, seen: &mut HashSet<(u64, u64)>) -> Result<Usage, Errno> {
    let opened = Rc::new(readable(top)?);
    let mut count = Count { usage: Usage::default(), files_max, pending: Vec::new(), seen };
    count.names(&Here { opened, folder: None, anchors: 0 })?;
    while let Some(folder) = count.pending.pop() {
        if count.usage.files > files_max {
            break;
        }
        match folder.open() {
            Ok(opened) if folder.path_bytes > PATH_BYTES_MAX => {
                count.names(&Here { opened: Rc::new(opened), anchors: folder.anchors + 1, folder: None })?;
            }
            Ok(opened) => {
                count.names(&Here { opened: Rc::new(opened), anchors: folder.anchors, folder: Some(folder) })?;
            }
            // Somebody moved or removed it just now, or another file system is mounted there.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {}
            Err(Errno::ACCESS | Errno::PERM) => count.usage.beyond = true,
            Err(error) => return Err(error),
        }
    }
    count.usage.beyond |= count.usage.files > files_max;
    Ok(count.usage)
}

impl Count<'_> {
    fn names(&mut self, here: &Here) -> Result<(), Errno> {
        for entry in Dir::read_from(&here.opened)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if self.usage.files > self.files_max {
                return Ok(());
            }
            match statat(&here.opened, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) => self.take(&found, name, here),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn take(&mut self, found: &Stat, name: &CStr, here: &Here) {
        let is_folder = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
        // It has several names, or was given another one while this looks.
        if !self.seen.insert((found.st_dev, found.st_ino)) {
            return;
        }
        self.usage.files += 1;
        self.usage.bytes += allotted(found);
        if !is_folder {
            return;
        }
        if here.anchors > ANCHORS_MAX {
            self.usage.beyond = true;
            return;
        }
        let (from, path_bytes) = match &here.folder {
            Some(folder) => (&folder.from, folder.path_bytes + 1),
            None => (&here.opened, 0),
        };
        self.pending.push(Rc::new(Folder {
            from: Rc::clone(from),
            above: here.folder.clone(),
            name: name.to_owned(),
            path_bytes: path_bytes + name.to_bytes().len(),
            anchors: here.anchors,
        }));
    }
}

/// What a file takes on the disk, in bytes.
pub(super) fn allotted(found: &Stat) -> u64 {
    u64::try_from(found.st_blocks).unwrap_or(0) * 512
}

impl Folder {
    fn open(&self) -> Result<OwnedFd, Errno> {
        let mut names = vec![self.name.as_bytes()];
        let mut above = self.above.as_ref();
        while let Some(folder) = above {
            names.push(folder.name.as_bytes());
            above = folder.above.as_ref();
        }
        names.reverse();
        let path = CString::new(names.join(&b'/')).map_err(|_| Errno::INVAL)?;
        let resolve = BENEATH | ResolveFlags::NO_XDEV;
        match openat2(&*self.from, &path, FOLDER | OFlags::RDONLY, Mode::empty(), resolve) {
            // Hidden by its owner, who is the worker's own user.
            Err(Errno::ACCESS) => reach(self.from.as_fd(), &path),
            opened => opened,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, mkdirat, open};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    fn counted(path: &Path, files_max: u64) -> Usage {
        let top = open(path, FOLDER | OFlags::PATH, Mode::empty()).unwrap();
        usage(&top, files_max, &mut HashSet::new()).unwrap()
    }

    #[test]
    fn names_are_counted_and_bytes_where_they_are_allotted_and_nothing_outside() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("large"), vec![1; 1 << 20]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::write(at("a/b/file"), vec![1; 64 << 10]).unwrap();
        std::fs::hard_link(at("a/b/file"), at("again")).unwrap();
        std::fs::File::create(at("sparse")).unwrap().set_len(1 << 30).unwrap();
        symlink(outside.path(), at("link")).unwrap();
        symlink("/", at("a/root")).unwrap();
        let found = counted(folder.path(), 100);
        assert_eq!((found.files, found.beyond), (6, false), "a, b, file, sparse and two links");
        assert!((64 << 10..256 << 10).contains(&found.bytes), "{found:?}");
        assert_eq!(counted(folder.path(), 3), Usage { files: 4, beyond: true, ..counted(folder.path(), 3) });
    }

    #[test]
    fn neither_depth_nor_a_hidden_folder_keeps_files_from_being_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut here = open(folder.path(), FOLDER | OFlags::PATH, Mode::empty()).unwrap();
        for _ in 0..1500 {
            mkdirat(&here, "deep", Mode::from(0o755)).unwrap();
            here = openat2(&here, "deep", FOLDER | OFlags::PATH, Mode::empty(), BENEATH).unwrap();
        }
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat2(&here, "file", flags, Mode::from(0o644), BENEATH).unwrap();
        rustix::io::write(&file, &[1; 8192]).unwrap();
        std::fs::set_permissions(folder.path().join("deep/deep"), PermissionsExt::from_mode(0o000)).unwrap();
        assert!(openat2(CWD, folder.path().join("deep/".repeat(1500)), flags, Mode::empty(), BENEATH).is_err());
        let found = counted(folder.path(), 10_000);
        assert_eq!((found.files, found.beyond), (1501, false));
        assert!(found.bytes >= 8192, "{found:?}");
        // And it can be removed again, in as many steps as it takes.
        let home = open(folder.path(), FOLDER | OFlags::PATH, Mode::empty()).unwrap();
        super::super::remove::discard(home.as_fd(), c"deep", home.as_fd()).unwrap();
        let mut steps = 0;
        loop {
            let (time, stop) = (std::time::Duration::from_secs(60), tokio_util::sync::CancellationToken::new());
            let mut effort = super::super::remove::Effort::new(time, 100, stop);
            steps += 1;
            if super::super::remove::clear(home.as_fd(), folder.path(), &mut effort).unwrap() {
                break;
            }
            assert!(steps < 1000);
        }
        assert!(steps > 10, "a step does no more than it may: {steps}");
        assert_eq!(counted(folder.path(), 10).files, 0);
    }
}
