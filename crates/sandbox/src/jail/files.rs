//! The file operations, done by the jail itself. Must never: leave `/workspace`, `/tmp` and the spec's mounts, block on a special
//! file, or hold more of a file or folder in memory than the protocol's bounds.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat, unlinkat};
use rustix::io::Errno;

use super::place::{Place, Places, refusal};
use super::trash::{Deletion, Trashes};
use super::upload::{Upload, io, regular};
use crate::bypass::{Check, enforces, follow};
use crate::edit::Replacement;
use crate::name::shown;
use crate::protocol::{
    Answer, BODY_BYTES_MAX, EDIT_BYTES_MAX, Entry, Kind, LIST_MAX, Operation, Refusal, UPLOADS_MAX, WriteMode,
};
use crate::spec::Spec;

/// Most bytes of one page of a folder, estimated; keeps the answer within a frame.
const PAGE_BYTES_MAX: usize = 512 << 10;
/// Deepest tree and most entries that one delete really removes.
const REMOVE_DEPTH_MAX: usize = 128;
const REMOVE_MAX: usize = 200_000;

/// An answer and its body.
pub(super) type Answered = Result<(Answer, Vec<u8>), Refusal>;

pub(super) struct Files {
    places: Places,
    file_bytes: u64,
    uploads: BTreeMap<u32, Upload>,
    trashes: Trashes,
}

impl Files {
    pub(super) fn open(spec: &Spec) -> rustix::io::Result<Self> {
        Ok(Self {
            places: Places::open(spec)?,
            file_bytes: spec.limits.file_bytes,
            uploads: BTreeMap::new(),
            trashes: Trashes::open(spec)?,
        })
    }

    pub(super) fn read(&self, path: &str, offset: u64, max: u32) -> Answered {
        let file = self.places.open_at(&self.places.locate(path)?, OFlags::RDONLY, Mode::empty())?;
        let found = fstat(&file).map_err(refusal)?;
        regular(&found)?;
        let size = found.st_size as u64;
        let wanted =
            (max as usize).min(BODY_BYTES_MAX).min(usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX));
        let (file, mut body, mut got) = (File::from(file), vec![0; wanted], 0);
        while got < wanted {
            match file.read_at(&mut body[got..], offset + got as u64) {
                Ok(0) => break,
                Ok(count) => got += count,
                Err(error) => return Err(io(error)),
            }
        }
        body.truncate(got);
        Ok((Answer::Read { size, eof: offset + got as u64 >= size || got < wanted }, body))
    }

    /// Begins `Write` or `Append`; the answer at once if the first chunk is all.
    pub(super) fn upload(&mut self, id: u32, operation: &Operation, chunk: &[u8]) -> Result<Option<Answer>, Refusal> {
        let (path, size) = match operation {
            Operation::Write { path, size, .. } | Operation::Append { path, size } => (path, *size),
            _ => return Err(Refusal::Invalid { reason: "not an upload".to_owned() }),
        };
        if size > self.file_bytes {
            return Err(Refusal::TooLarge { limit: self.file_bytes });
        }
        if self.uploads.len() >= UPLOADS_MAX {
            return Err(Refusal::Busy);
        }
        let place = self.places.locate(path)?;
        let mut upload = match operation {
            Operation::Write { mode, .. } => {
                self.free_of_uploads(&place)?;
                Upload::replace(&self.places, &place, size, *mode)?
            }
            _ => Upload::append(&self.places, &place, size)?,
        };
        let answer = upload.take(chunk)?;
        if answer.is_none() {
            self.uploads.insert(id, upload);
        }
        Ok(answer)
    }

    fn free_of_uploads(&self, place: &Place) -> Result<(), Refusal> {
        if self.uploads.is_empty() {
            return Ok(());
        }
        let (folder, name) = self.places.target(place, true)?;
        let taken = self.uploads.values().any(|upload| upload.writes_to(folder.as_fd(), &name));
        if taken { Err(Refusal::Busy) } else { Ok(()) }
    }

    /// A further chunk. None while more is to come, and for an upload that was refused before.
    pub(super) fn more(&mut self, id: u32, chunk: &[u8]) -> Result<Option<Answer>, Refusal> {
        let Some(upload) = self.uploads.get_mut(&id) else { return Ok(None) };
        let answer = upload.take(chunk);
        if !matches!(answer, Ok(None)) {
            self.uploads.remove(&id);
        }
        answer
    }

    pub(super) fn edit(&mut self, edit: &Edit<'_>) -> Answered {
        if edit.find.is_empty() {
            return Err(Refusal::Invalid { reason: "the text to find is empty".to_owned() });
        }
        let place = self.places.locate(edit.path)?;
        self.free_of_uploads(&place)?;
        let file = self.places.open_at(&place, OFlags::RDONLY, Mode::empty())?;
        let found = fstat(&file).map_err(refusal)?;
        regular(&found)?;
        if found.st_size as u64 > EDIT_BYTES_MAX {
            return Err(Refusal::TooLarge { limit: EDIT_BYTES_MAX });
        }
        let mut content = String::new();
        File::from(file).take(EDIT_BYTES_MAX).read_to_string(&mut content).map_err(|error| match error.kind() {
            ErrorKind::InvalidData => {
                Refusal::Invalid { reason: "the file is not UTF-8 text; write it whole".to_owned() }
            }
            _ => io(error),
        })?;
        let replacement = Replacement::of(&content, edit.find, edit.replace);
        let count = u32::try_from(replacement.count).unwrap_or(u32::MAX);
        if count != edit.expected_count.unwrap_or(1) {
            return Err(Refusal::NoMatch { count, expected: edit.expected_count.unwrap_or(1) });
        }
        let limit = self.file_bytes.min(2 * EDIT_BYTES_MAX);
        if replacement.size(&content) > limit {
            return Err(Refusal::TooLarge { limit });
        }
        if !edit.dry_run {
            let new = replacement.apply(&content);
            Upload::replace(&self.places, &place, new.len() as u64, WriteMode::Overwrite)?.take(new.as_bytes())?;
        }
        Ok((Answer::Edited { replaced: count }, Vec::new()))
    }

    pub(super) fn list(&self, path: &str, max: u32, cursor: Option<&str>) -> Answered {
        let place = self.places.locate(path)?;
        let folder = self.places.open_at(&place, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        let max = max.clamp(1, LIST_MAX) as usize;
        let mut names = BTreeMap::new();
        for found in Dir::read_from(&folder).map_err(refusal)? {
            let raw = found.map_err(refusal)?.file_name().to_owned();
            let name = shown(OsStr::from_bytes(raw.to_bytes()));
            if name != "." && name != ".." && cursor.is_none_or(|cursor| name.as_str() > cursor) {
                names.insert(name, raw);
            }
            // One more than a page tells whether there is a next one.
            if names.len() > max + 1 {
                names.pop_last();
            }
        }
        let mut entries: Vec<Entry> = Vec::new();
        let (mut bytes, mut more) = (0, false);
        for (name, raw) in names {
            bytes += name.len() * 6 + 128;
            if entries.len() == max || bytes > PAGE_BYTES_MAX {
                more = true;
                break;
            }
            match statat(&folder, raw.as_c_str(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) => entries.push(entry(name, &found)),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(refusal(error)),
            }
        }
        let next = more.then(|| entries.last().map(|entry| entry.name.clone())).flatten();
        Ok((Answer::Listed { entries, next }, Vec::new()))
    }

    pub(super) fn stat(&self, path: &str) -> Answered {
        let file = self.places.open_at(&self.places.locate(path)?, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or(path).to_owned();
        Ok((Answer::Stat(entry(name, &fstat(&file).map_err(refusal)?)), Vec::new()))
    }

    /// Whether a request at `path` would meet a link, without doing anything there.
    pub(super) fn check(&self, path: &str) -> Answered {
        match self.places.open_at(&self.places.locate(path)?, OFlags::PATH, Mode::empty()) {
            Ok(_) | Err(Refusal::NotFound) => Ok((Answer::Done, Vec::new())),
            Err(refusal) => Err(refusal),
        }
    }

    pub(super) fn delete(&mut self, path: &str, recursive: bool) -> Answered {
        let place = self.places.locate(path)?;
        let (folder, name) = self.places.parent(&place, false)?;
        let (folder, name) = follow(&folder, &name).unwrap_or((folder, name));
        let found = statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(refusal)?;
        let directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
        if directory && !recursive && !is_empty(folder.as_fd(), &name)? {
            return Err(Refusal::NotEmpty);
        }
        match self.trashes.delete(folder.as_fd(), &name)? {
            Deletion::Kept(trash) => Ok((Answer::Deleted { trash: Some(trash) }, Vec::new())),
            Deletion::Final => {
                remove(folder.as_fd(), &name, 0, &mut 0)?;
                self.trashes.removed(folder.as_fd(), &name);
                Ok((Answer::Deleted { trash: None }, Vec::new()))
            }
        }
    }

    pub(super) fn restore(&self, trashed_as: &str, path: Option<&str>) -> Answered {
        let path = self.trashes.restore(&self.places, trashed_as, path)?;
        Ok((Answer::Restored { path }, Vec::new()))
    }
}

/// The arguments of an edit.
pub(super) struct Edit<'a> {
    pub(super) path: &'a str,
    pub(super) find: &'a str,
    pub(super) replace: &'a str,
    pub(super) expected_count: Option<u32>,
    pub(super) dry_run: bool,
}

fn entry(name: String, found: &Stat) -> Entry {
    let kind = match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Other,
    };
    let modified_ms = found.st_mtime * 1000 + found.st_mtime_nsec as i64 / 1_000_000;
    Entry { name, kind, size: found.st_size as u64, mode: found.st_mode & 0o7777, modified_ms }
}

fn open_folder(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Refusal> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty()).map_err(refusal)
}

fn is_empty(parent: BorrowedFd<'_>, name: &OsStr) -> Result<bool, Refusal> {
    let folder = open_folder(parent, name)?;
    for found in Dir::read_from(&folder).map_err(refusal)? {
        let found = found.map_err(refusal)?;
        if !matches!(found.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes for good, depth first.
fn remove(parent: BorrowedFd<'_>, name: &OsStr, depth: usize, count: &mut usize) -> Result<(), Refusal> {
    *count += 1;
    if enforces(Check::Paths) && (depth > REMOVE_DEPTH_MAX || *count > REMOVE_MAX) {
        return Err(Refusal::TooLarge { limit: REMOVE_MAX as u64 });
    }
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(refusal(error)),
    }
    let folder = open_folder(parent, name)?;
    for found in Dir::read_from(&folder).map_err(refusal)? {
        let found = found.map_err(refusal)?;
        let bytes = found.file_name().to_bytes();
        if !matches!(bytes, b"." | b"..") {
            remove(folder.as_fd(), OsStr::from_bytes(bytes), depth + 1, count)?;
        }
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR).map_err(refusal)
}
