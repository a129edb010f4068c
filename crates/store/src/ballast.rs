//! Room that is kept for the moment when the disk is full: given back then, so that stopping can be written down.
use crate::Error;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

pub(crate) const BALLAST_BYTES: u64 = 8 << 20;

#[derive(Debug, Clone)]
pub struct Ballast {
    path: PathBuf,
    bytes: u64,
}

impl Ballast {
    pub(crate) fn new(path: PathBuf, bytes: u64) -> Ballast {
        Ballast { path, bytes }
    }

    pub fn is_held(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|found| found.len() == self.bytes)
    }

    /// Takes the room, if it is not yet held.
    ///
    /// # Errors
    /// `Full` while there is none; what was taken of it is given back.
    pub fn make(&self) -> Result<(), Error> {
        if self.is_held() {
            return Ok(());
        }
        let doing = "setting room aside for a full disk";
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.path);
        let file = file.map_err(|error| Error::file(doing, &error))?;
        let taken = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, self.bytes);
        taken.map_err(|errno| {
            let _ = fs::remove_file(&self.path);
            Error::file(doing, &errno.into())
        })
    }

    /// Gives the room back to the file system. Make it again once there is space.
    ///
    /// # Errors
    /// The file system's.
    pub fn release(&self) -> Result<(), Error> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::file("giving back the room set aside", &error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
