//! Bound data: rows keyed by their salted hash, or files where they are large. The bytes read are checked every time.
use crate::Error;
use crate::folder::{sync_folder, write_synced};
use crate::sql::{Cell, Sql, Walk};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;
use tenure_core::bound::{Hash, Payload, salted};

/// Larger payloads are files.
pub const INLINE_BYTES_MAX: usize = 64 * 1024;

/// The folder of large payloads: a file each, named by its hash, below the hash's first two digits.
#[derive(Debug, Clone)]
pub struct Blobs {
    root: PathBuf,
}

impl Blobs {
    pub(crate) fn new(root: PathBuf) -> Blobs {
        Blobs { root }
    }

    pub(crate) fn path(&self, hash: &Hash) -> PathBuf {
        let name = hash.to_string();
        self.root.join(&name[..2]).join(name)
    }

    /// Writes and syncs a large payload, so that a commit may name it. Does nothing with a small one.
    /// Call it before the job that binds the payload: what is slow must not be done on the writer's thread.
    ///
    /// # Errors
    /// `Full`, or the file system's.
    pub fn keep(&self, payload: &Payload) -> Result<(), Error> {
        if payload.bytes().len() <= INLINE_BYTES_MAX {
            return Ok(());
        }
        let doing = "writing a large payload";
        let path = self.path(&payload.bound().hash);
        if fs::metadata(&path).is_ok_and(|found| found.len() == payload.bytes().len() as u64) {
            return Ok(());
        }
        let folder = path.parent().ok_or_else(|| Error::invariant("a blob has no folder"))?;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| Error::file(doing, &error))?;
        write_synced(&path, payload.bytes(), 0o600, doing)?;
        sync_folder(folder, doing)?;
        sync_folder(&self.root, doing)
    }

    /// Removes the files from before `start` that no row names: their commit never came, and never will, for every
    /// payload has a salt of its own. Ends early once `stop` is set.
    pub(crate) fn sweep(&self, sql: &mut dyn Sql, start: SystemTime, stop: &AtomicBool) -> Result<(), Error> {
        let failed = |error: std::io::Error| Error::file("sweeping orphaned payloads", &error);
        for folder in entries(&self.root).map_err(failed)? {
            for file in entries(&folder).map_err(failed)? {
                if stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let changed = fs::metadata(&file).and_then(|found| found.modified()).map_err(failed)?;
                let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let named = name.parse().ok().map(|hash| is_named(sql, &hash)).transpose()?;
                if changed < start && named != Some(true) {
                    fs::remove_file(&file).map_err(failed)?;
                }
            }
        }
        Ok(())
    }

    /// Removes the file of a payload that a committed event erased; one that stays is swept after the next start.
    pub(crate) fn remove(&self, hash: &Hash) {
        match fs::remove_file(self.path(hash)) {
            Ok(()) => {}
            // Most are small and have none.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%hash, %error, "an erased payload's file stays until the next start"),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        fs::read_dir(&self.root).is_ok_and(|mut entries| entries.next().is_none())
    }
}

fn entries(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
}

fn is_named(sql: &mut dyn Sql, hash: &Hash) -> Result<bool, Error> {
    let text = "SELECT 1 FROM payloads WHERE hash = $1 AND bytes IS NULL";
    Ok(sql.first(text, &[Cell::Bytes(&hash.0)], |row| row.int(0))?.is_some())
}

/// Whether an event says that its bytes are gone.
///
/// # Errors
/// The database's.
pub fn is_erased(sql: &mut dyn Sql, hash: &Hash) -> Result<bool, Error> {
    Ok(sql.first("SELECT 1 FROM erased WHERE hash = $1", &[Cell::Bytes(&hash.0)], |row| row.int(0))?.is_some())
}

/// Takes the row away, and keeps that it was erased. A large one's file goes after the commit.
pub(crate) fn erase(sql: &mut dyn Sql, hash: &Hash) -> Result<(), Error> {
    sql.execute("INSERT INTO erased (hash) VALUES ($1) ON CONFLICT (hash) DO NOTHING", &[Cell::Bytes(&hash.0)])?;
    sql.execute("DELETE FROM payloads WHERE hash = $1", &[Cell::Bytes(&hash.0)]).map(|_| ())
}

/// Writes the row, and a large one's file. Call [`Blobs::keep`] with a large one before the job: here it would hold up
/// everyone.
pub(crate) fn write(sql: &mut dyn Sql, blobs: &Blobs, payload: &Payload) -> Result<(), Error> {
    blobs.keep(payload)?;
    let inline = (payload.bytes().len() <= INLINE_BYTES_MAX).then_some(payload.bytes());
    let bound = payload.bound();
    let text = "INSERT INTO payloads (hash, salt, size, bytes) VALUES ($1, $2, $3, $4) ON CONFLICT (hash) DO NOTHING";
    let cells = [Cell::Bytes(&bound.hash.0), Cell::Bytes(payload.salt()), Cell::count(bound.size), inline.into()];
    sql.execute(text, &cells)?;
    Ok(())
}

/// Where the bytes of a hash are.
pub(crate) enum Lookup {
    Missing,
    Here {
        salt: [u8; 16],
        bytes: Vec<u8>,
    },
    /// The row is there and its file is not.
    FileLost,
}

pub(crate) fn find(sql: &mut dyn Sql, blobs: &Blobs, hash: &Hash) -> Result<Lookup, Error> {
    let mut found = None;
    sql.each("SELECT salt, size, bytes FROM payloads WHERE hash = $1", &[Cell::Bytes(&hash.0)], &mut |row| {
        let salt =
            <[u8; 16]>::try_from(row.bytes(0)?).map_err(|_| Error::corrupt("a payload's salt is not 16 bytes"))?;
        found = Some((salt, row.count::<usize>(1)?, row.bytes_or_null(2)?.map(<[u8]>::to_vec)));
        Ok(Walk::Stop)
    })?;
    let Some((salt, size, inline)) = found else { return Ok(Lookup::Missing) };
    let bytes = match inline {
        Some(bytes) => bytes,
        None => match fs::read(blobs.path(hash)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Lookup::FileLost),
            Err(error) => return Err(Error::file("reading a large payload", &error)),
        },
    };
    if bytes.len() != size && salted(&salt, &bytes) == *hash {
        return Err(Error::corrupt(format!("payload {hash} has {} bytes, and its row says {size}", bytes.len())));
    }
    Ok(Lookup::Here { salt, bytes })
}

/// The bytes that an event bound by this hash; none where there are none of that hash.
///
/// # Errors
/// `Corrupt` where the bytes are not those that were bound.
pub fn payload(sql: &mut dyn Sql, blobs: &Blobs, hash: &Hash) -> Result<Option<Vec<u8>>, Error> {
    Ok(salted_payload(sql, blobs, hash)?.map(|(_, bytes)| bytes))
}

/// The same with its salt, to be brought to a decision that checks it again.
///
/// # Errors
/// As `payload`.
pub fn bound_payload(sql: &mut dyn Sql, blobs: &Blobs, hash: &Hash) -> Result<Option<Payload>, Error> {
    Ok(salted_payload(sql, blobs, hash)?.map(|(salt, bytes)| Payload::new(salt, bytes)))
}

type Salted = ([u8; 16], Vec<u8>);

fn salted_payload(sql: &mut dyn Sql, blobs: &Blobs, hash: &Hash) -> Result<Option<Salted>, Error> {
    match find(sql, blobs, hash)? {
        Lookup::Missing => Ok(None),
        // Erased since its row was read.
        Lookup::FileLost if is_erased(sql, hash)? => Ok(None),
        Lookup::FileLost => Err(Error::corrupt(format!("the file of payload {hash} is gone"))),
        Lookup::Here { salt, bytes } if salted(&salt, &bytes) == *hash => Ok(Some((salt, bytes))),
        Lookup::Here { .. } => Err(Error::corrupt(format!("payload {hash} is not what was bound"))),
    }
}
