//! A file that a command was told to write: it is there whole or not at all, and takes no other's place unless it was said so.
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::failure::{Exit, Failure};

/// For its owner alone.
pub(super) const PRIVATE: u32 = 0o600;
/// As others' files are.
pub(super) const SHARED: u32 = 0o666;

/// One that is being written.
#[derive(Debug)]
pub(super) struct OutFile {
    path: PathBuf,
    part: PathBuf,
    force: bool,
    pub(super) file: File,
}

impl OutFile {
    pub(super) fn begin(path: &Path, force: bool, mode: u32) -> Result<OutFile, Failure> {
        refuse_taken(path, force)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let part = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&part);
        let file = file.map_err(|error| unwritten(path, &error))?;
        Ok(OutFile { path: path.to_path_buf(), part, force, file })
    }

    /// Gives it its name, once all is in it.
    pub(super) fn place(self) -> Result<(), Failure> {
        let synced = self.file.sync_all();
        let placed = synced.and_then(|()| match self.force {
            true => std::fs::rename(&self.part, &self.path),
            false => std::fs::hard_link(&self.part, &self.path),
        });
        placed.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => taken(&self.path),
            _ => unwritten(&self.path, &error),
        })
    }
}

impl Drop for OutFile {
    fn drop(&mut self) {
        // Under its own name it stays.
        let _ = std::fs::remove_file(&self.part);
    }
}

/// Before any work is done for it.
pub(super) fn refuse_taken(path: &Path, force: bool) -> Result<(), Failure> {
    if !force && path.symlink_metadata().is_ok() { Err(taken(path)) } else { Ok(()) }
}

pub(super) fn unwritten(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failure, format!("{} cannot be written: {error}", path.display())).next("name another file")
}

fn taken(path: &Path) -> Failure {
    let failure = Failure::new(Exit::Conflict, format!("{} is there already", path.display()));
    failure.next("name another place, or say --force")
}
