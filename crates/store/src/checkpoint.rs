//! The newest head, kept beside the database: what a cut tail or an older copy of the database shows itself against.
//! Written after COMMIT and never synced, so that the database may be ahead of it and is never behind.
use crate::{Error, folder};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tenure_core::ledger::{Keys, Signed};

/// What the head outside says of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checkpoint {
    /// There is none, as after a copy of the database alone.
    Missing,
    /// It is on this chain; the database has `newer` records more.
    OnChain {
        newer: u64,
    },
    Restored(Restored),
}

/// The head outside is not on the database's chain: a tail was cut, or an older copy was put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Records that the outside head was signed over. `restore.accepted` names it.
    pub checkpoint_size: u64,
    pub database_size: u64,
}

#[derive(Debug)]
pub(crate) struct HeadFile {
    path: PathBuf,
    part: PathBuf,
    /// Says that something was lost; it must not be overwritten before that is accepted.
    kept: Option<Restored>,
}

impl HeadFile {
    pub(crate) fn new(path: PathBuf, checkpoint: &Checkpoint) -> HeadFile {
        let kept = match checkpoint {
            Checkpoint::Restored(restored) => Some(restored.clone()),
            Checkpoint::Missing | Checkpoint::OnChain { .. } => None,
        };
        HeadFile { part: path.with_extension("part"), path, kept }
    }

    pub(crate) fn accept(&mut self, checkpoint_size: u64) {
        if self.kept.as_ref().is_some_and(|kept| kept.checkpoint_size == checkpoint_size) {
            self.kept = None;
        }
    }

    pub(crate) fn write(&self, signed: &str) -> Result<(), Error> {
        if self.kept.is_some() {
            return Ok(());
        }
        let write = || {
            let mut part = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.part)?;
            part.write_all(signed.as_bytes())?;
            fs::rename(&self.part, &self.path)
        };
        write().map_err(|error| Error::file("writing the head beside the database", &error))
    }
}

/// The head file's content, signed by one of the ledger's keys; none where there is no file.
pub(crate) fn read(path: &Path, keys: &Keys) -> Result<Option<Signed>, Error> {
    read_unchecked(path)?.map(|signed| checked(signed, keys)).transpose()
}

pub(crate) fn checked(signed: Signed, keys: &Keys) -> Result<Signed, Error> {
    let holds = keys.holds(&signed);
    holds.then_some(signed).ok_or_else(|| Error::corrupt("the signature in head.json is not by this ledger's key"))
}

/// The same before it is known which keys the ledger has had. Nothing may be believed of it.
pub(crate) fn read_unchecked(path: &Path) -> Result<Option<Signed>, Error> {
    let text = match folder::read_small(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file("reading the head beside the database", &error)),
    };
    // Never synced: after a crash of the machine it may be empty.
    if text.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let signed: Signed =
        serde_json::from_slice(&text).map_err(|error| Error::corrupt(format!("head.json cannot be read: {error}")))?;
    Ok(Some(signed))
}
