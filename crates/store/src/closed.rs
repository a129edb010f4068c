//! Who may reach a data directory: its owner alone, whatever the umask was when its files were made. Must never: follow a
//! link, change what belongs to another user, or leave open what it was asked to close.
use crate::Error;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, chmodat, fchmod, fstat, openat, statat};
use rustix::io::Errno;
use std::ffi::CStr;
use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// What everybody but the owner could do.
const OTHERS: u32 = 0o077;
/// A file system's own, at the top of one.
const LOST_AND_FOUND: &CStr = c"lost+found";
/// Folders below the top whose own folders are closed too, where the top was open: who was in one of them still is.
const DEEP: [&CStr; 2] = [c"blobs", c"run"];

/// Makes the directory where there is none, and closes one that is there to everybody but its owner, with what lies at its
/// top. Returns what it found open, for people.
///
/// # Errors
/// `Foreign` where the directory, or something at its top, belongs to another user; the file system's.
pub(crate) fn close(root: &Path) -> Result<Vec<String>, Error> {
    let doing = "making the data directory";
    let made = DirBuilder::new().recursive(true).mode(0o700).create(root);
    made.map_err(|error| Error::file(doing, &error))?;
    let top = openat(CWD, root, FOLDER, Mode::empty()).map_err(failed)?;
    let found = fstat(&top).map_err(failed)?;
    let own = rustix::process::geteuid().as_raw();
    if found.st_uid != own {
        return Err(Error::Foreign { path: root.to_path_buf(), uid: found.st_uid });
    }
    let mut said = Vec::new();
    let was_open = found.st_mode & OTHERS != 0;
    if was_open {
        fchmod(&top, Mode::from_raw_mode(0o700)).map_err(failed)?;
        said.push(open_word(root, found.st_mode));
    }
    for entry in Dir::read_from(&top).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") || name == LOST_AND_FOUND {
            continue;
        }
        let path = root.join(name.to_string_lossy().as_ref());
        let found = match statat(&top, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            // The file of a writing that has just ended.
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(failed(errno)),
        };
        if found.st_uid != own {
            return Err(Error::Foreign { path, uid: found.st_uid });
        }
        let kind = FileType::from_raw_mode(found.st_mode);
        if close_one(&top, name, kind, found.st_mode)? {
            said.push(open_word(&path, found.st_mode));
        }
        if was_open && kind == FileType::Directory && DEEP.contains(&name) {
            close_below(&top, name)?;
        }
    }
    Ok(said)
}

/// True where others could reach it.
fn close_one(parent: &OwnedFd, name: &CStr, kind: FileType, mode: u32) -> Result<bool, Error> {
    // A link has no mode of its own, and what it leads to is what its owner put there.
    if kind == FileType::Symlink || mode & OTHERS == 0 {
        return Ok(false);
    }
    chmodat(parent, name, Mode::from_raw_mode(mode & 0o700), AtFlags::empty()).map_err(failed)?;
    Ok(true)
}

/// The entries of one folder of the top.
fn close_below(top: &OwnedFd, name: &CStr) -> Result<(), Error> {
    let folder = openat(top, name, FOLDER | OFlags::NOFOLLOW, Mode::empty()).map_err(failed)?;
    for entry in Dir::read_from(&folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        let found = statat(&folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        close_one(&folder, entry.file_name(), FileType::from_raw_mode(found.st_mode), found.st_mode)?;
    }
    Ok(())
}

fn open_word(path: &Path, mode: u32) -> String {
    let what = if mode & 0o022 == 0 { "read" } else { "write" };
    format!("other users could {what} {} (mode {:04o}); it is closed now", path.display(), mode & 0o7777)
}

fn failed(errno: Errno) -> Error {
    Error::file("closing the data directory to other users", &errno.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown};

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn open(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_others_could_reach_is_closed_with_a_word_and_what_is_closed_is_left_in_silence() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        assert_eq!(close(&root).unwrap(), Vec::<String>::new(), "a new one is made closed");
        assert_eq!(mode(&root), 0o700);
        fs::create_dir_all(root.join("blobs/ab")).unwrap();
        let elsewhere = folder.path().join("elsewhere");
        for (path, word) in [(root.join("tenure.db"), 0o644), (root.join("ledger.key"), 0o600), (elsewhere, 0o644)] {
            fs::write(&path, "x").unwrap();
            open(&path, word);
        }
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), root.join("models")).unwrap();
        [(root.join("blobs/ab"), 0o755), (root.join("blobs"), 0o755), (root.clone(), 0o777)]
            .iter()
            .for_each(|(path, mode)| open(path, *mode));
        let said = close(&root).unwrap();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].contains("could write") && said.iter().any(|word| word.contains("tenure.db")), "{said:?}");
        for (path, wanted) in [("tenure.db", 0o600), ("ledger.key", 0o600), ("blobs", 0o700), ("blobs/ab", 0o700)] {
            assert_eq!(mode(&root.join(path)), wanted, "{path}");
        }
        assert_eq!(mode(&folder.path().join("elsewhere")), 0o644, "what a link leads to is not touched");
        assert_eq!(close(&root).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_directory_or_a_file_of_another_user_is_refused_and_not_changed() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: only root can give a file away");
        }
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        close(&root).unwrap();
        fs::write(root.join("tenure.db"), "x").unwrap();
        open(&root.join("tenure.db"), 0o644);
        chown(root.join("tenure.db"), Some(65534), None).unwrap();
        assert!(matches!(close(&root), Err(Error::Foreign { uid: 65534, .. })));
        assert_eq!(mode(&root.join("tenure.db")), 0o644);
        chown(root.join("tenure.db"), Some(0), None).unwrap();
        assert!(close(&root).is_ok(), "the control: the user's own is taken");
        chown(&root, Some(65534), None).unwrap();
        assert!(matches!(close(&root), Err(Error::Foreign { uid: 65534, .. })));
    }
}
