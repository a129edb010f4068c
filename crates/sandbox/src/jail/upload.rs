//! A file that is being written, chunk by chunk. Must never: let a reader see half of a whole-file write, or leave its
//! temporary file behind unless the jail is killed in the middle.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, fchmod, fstat, openat, renameat, renameat_with, statat,
    unlinkat,
};
use rustix::io::Errno;

use super::place::{Place, Places, refusal, special};
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
    temporary: OsString,
    mode: WriteMode,
    /// The permission bits of the file that is replaced.
    kept: Option<u32>,
    finished: bool,
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
        let temporary = temporary_name()?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&folder, &temporary, flags, Mode::from(0o600)).map_err(refusal)?;
        let kind = Kind::Replace(Replace { folder, name, temporary, mode, kept, finished: false });
        Ok(Self { kind, file: File::from(file), size, got: 0 })
    }

    pub(super) fn append(places: &Places, place: &Place, size: u64) -> Result<Self, Refusal> {
        let (folder, name) = places.target(place, true)?;
        let created = matches!(statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT));
        let flags =
            OFlags::APPEND | OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&folder, &name, flags, Mode::from(NEW_FILE)).map_err(refusal)?;
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
                replace.put_in_place()?;
                replace.kept.is_none()
            }
        };
        Ok(Some(Answer::Written { bytes: self.size, created }))
    }
}

impl Replace {
    fn put_in_place(&mut self) -> Result<(), Refusal> {
        match self.mode {
            WriteMode::Create => {
                renameat_with(&self.folder, &self.temporary, &self.folder, &self.name, RenameFlags::NOREPLACE)
            }
            WriteMode::Overwrite => renameat(&self.folder, &self.temporary, &self.folder, &self.name),
        }
        .map_err(refusal)?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Replace {
    fn drop(&mut self) {
        if !self.finished {
            let _ = unlinkat(&self.folder, &self.temporary, AtFlags::empty());
        }
    }
}

/// The permission bits to keep of a file that may be replaced.
fn replaceable(found: &Stat, mode: WriteMode) -> Result<u32, Refusal> {
    regular(found)?;
    match mode {
        WriteMode::Create => Err(Refusal::Exists),
        WriteMode::Overwrite => Ok(found.st_mode & 0o777),
    }
}

pub(super) fn regular(found: &Stat) -> Result<(), Refusal> {
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(Refusal::IsDirectory),
        _ => Err(special()),
    }
}

/// Random: several jails of one agent may write the same file at the same time, and none may take another's away.
fn temporary_name() -> Result<OsString, Refusal> {
    let mut random = [0u8; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).map_err(refusal)?;
    Ok(OsString::from(format!(".tenure-tmp-{:016x}", u64::from_ne_bytes(random))))
}
