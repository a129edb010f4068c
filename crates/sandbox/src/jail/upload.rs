//! A file that is being written, chunk by chunk. Must never: let a reader see half of a whole-file write, or keep a name
//! for it before it is whole where the file system can do without.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat, fchmod, fstat, linkat, openat, renameat,
    renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use super::place::{End, Place, Places, refusal, special};
use crate::bypass::{Check, enforces, resolution};
use crate::protocol::{Answer, Refusal, WriteMode};

/// Permission bits of a new file.
const NEW_FILE: u32 = 0o644;

pub(super) struct Upload {
    kind: Kind,
    file: File,
    size: u64,
    got: u64,
}

enum Kind {
    Replace(Replace),
    Append { created: bool },
}

struct Replace {
    folder: OwnedFd,
    name: OsString,
    /// The name that the new content has now. None on most file systems until it is whole, so that a killed jail leaves none.
    temporary: Option<OsString>,
    mode: WriteMode,
    /// The permission bits of the file that is replaced.
    kept: Option<u32>,
}

pub(super) fn io(error: std::io::Error) -> Refusal {
    refusal(Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

impl Upload {
    pub(super) fn replace(places: &Places, place: &Place, size: u64, mode: WriteMode) -> Result<Self, Refusal> {
        let (folder, name) = places.target(place, true)?;
        let kept = match statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Some(replaceable(&found, mode)?),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(refusal(error)),
        };
        let unnamed = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let (file, temporary) = match openat(&folder, ".", unnamed, Mode::from(0o600)) {
            Ok(file) => (file, None),
            // File systems without unnamed files (NFS, some FUSE) give one of these.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let name = temporary_name()?;
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                (openat(&folder, &name, flags, Mode::from(0o600)).map_err(refusal)?, Some(name))
            }
            Err(error) => return Err(refusal(error)),
        };
        let kind = Kind::Replace(Replace { folder, name, temporary, mode, kept });
        Ok(Self { kind, file: File::from(file), size, got: 0 })
    }

    pub(super) fn append(places: &Places, place: &Place, size: u64) -> Result<Self, Refusal> {
        let (folder, name) = places.target(place, true)?;
        let created = matches!(statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT));
        let flags =
            OFlags::APPEND | OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let (flags, _) = resolution(flags, ResolveFlags::empty());
        let opened = openat(&folder, &name, flags, Mode::from(NEW_FILE));
        let file = opened.map_err(|errno| places.refusal_at(place, errno, End::Followed))?;
        regular(&fstat(&file).map_err(refusal)?)?;
        Ok(Self { kind: Kind::Append { created }, file: File::from(file), size, got: 0 })
    }

    /// Whether this replaces `name` in `folder`.
    pub(super) fn writes_to(&self, folder: BorrowedFd<'_>, name: &OsStr) -> bool {
        match &self.kind {
            Kind::Replace(replace) => {
                let same = |(a, b): (Stat, Stat)| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
                replace.name == name && fstat(&replace.folder).ok().zip(fstat(folder).ok()).is_some_and(same)
            }
            Kind::Append { .. } => false,
        }
    }

    /// Takes one chunk; the answer once all are there.
    pub(super) fn take(&mut self, chunk: &[u8]) -> Result<Option<Answer>, Refusal> {
        self.got += chunk.len() as u64;
        if self.got > self.size {
            let reason = "more bytes came than were announced".to_owned();
            return Err(Refusal::Invalid { reason });
        }
        self.file.write_all(chunk).map_err(io)?;
        if self.got < self.size {
            return Ok(None);
        }
        let created = match &mut self.kind {
            Kind::Append { created } => {
                self.file.sync_all().map_err(io)?;
                *created
            }
            Kind::Replace(replace) => {
                fchmod(&self.file, Mode::from(replace.kept.unwrap_or(NEW_FILE))).map_err(refusal)?;
                self.file.sync_all().map_err(io)?;
                replace.put_in_place(&self.file)?;
                replace.kept.is_none()
            }
        };
        Ok(Some(Answer::Written { bytes: self.size, created }))
    }
}

impl Replace {
    fn put_in_place(&mut self, file: &File) -> Result<(), Refusal> {
        let temporary = match (self.temporary.take(), self.mode) {
            (Some(name), _) => name,
            (None, WriteMode::Create) => return self.link(file, &self.name),
            (None, WriteMode::Overwrite) => {
                let name = temporary_name()?;
                self.link(file, &name)?;
                name
            }
        };
        let renamed = match self.mode {
            WriteMode::Create => {
                renameat_with(&self.folder, &temporary, &self.folder, &self.name, RenameFlags::NOREPLACE)
            }
            WriteMode::Overwrite => renameat(&self.folder, &temporary, &self.folder, &self.name),
        };
        if renamed.is_err() {
            self.temporary = Some(temporary);
        }
        renamed.map_err(refusal)
    }

    /// Gives an unnamed file a name that is not taken.
    fn link(&self, file: &File, name: &OsStr) -> Result<(), Refusal> {
        let own = format!("/proc/self/fd/{}", file.as_raw_fd());
        linkat(CWD, own, &self.folder, name, AtFlags::SYMLINK_FOLLOW).map_err(refusal)
    }
}

impl Drop for Replace {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = unlinkat(&self.folder, temporary, AtFlags::empty());
        }
    }
}

/// The permission bits to keep of a file that may be replaced.
fn replaceable(found: &Stat, mode: WriteMode) -> Result<u32, Refusal> {
    regular(found)?;
    match mode {
        WriteMode::Create => Err(Refusal::Exists),
        WriteMode::Overwrite if enforces(Check::Kinds) => Ok(found.st_mode & 0o777),
        WriteMode::Overwrite => Ok(found.st_mode & 0o7777),
    }
}

pub(super) fn regular(found: &Stat) -> Result<(), Refusal> {
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(Refusal::IsDirectory),
        _ if enforces(Check::Kinds) => Err(special()),
        _ => Ok(()),
    }
}

/// Random: several jails of one agent may write the same file at the same time, and none may take another's away.
fn temporary_name() -> Result<OsString, Refusal> {
    let mut random = [0u8; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).map_err(refusal)?;
    Ok(OsString::from(format!(".tenure-tmp-{:016x}", u64::from_ne_bytes(random))))
}
