//! The data directory: whose it is, what lies where, and the key that signs heads. Must never: make a key or a database
//! where one was lost.
use crate::{Error, closed};
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tenure_core::ledger::{Signer, Verifier};

/// Of a key or a head.
const SMALL_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, Clone)]
pub(crate) struct Folder {
    pub root: PathBuf,
}

impl Folder {
    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("tenure.db")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("tenure.db-wal")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(crate) fn head(&self) -> PathBuf {
        self.root.join("head.json")
    }

    /// Of files with the bodies of old records.
    pub(crate) fn sealed(&self) -> PathBuf {
        self.root.join("sealed")
    }

    pub(crate) fn ballast(&self) -> PathBuf {
        self.root.join("ballast")
    }

    fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    fn seed(&self) -> PathBuf {
        self.root.join("ledger.key")
    }

    fn public(&self) -> PathBuf {
        self.root.join("ledger.pub")
    }

    /// For whoever only looks.
    pub(crate) fn exists(&self) -> Result<(), Error> {
        let missing = |what| Err(Error::NoLedger { dir: self.root.clone(), what });
        match (self.root.is_dir(), self.root.exists(), self.database().exists()) {
            (false, false, _) => missing("does not exist"),
            (false, true, _) => missing("is no directory"),
            (true, _, false) => missing("holds no ledger: there is no tenure.db in it"),
            (true, _, true) => Ok(()),
        }
    }

    /// Makes the directory, for its owner alone, where there is none, and closes one that was open. Returns what was open.
    pub(crate) fn make(&self) -> Result<Vec<String>, Error> {
        closed::close(&self.root)
    }

    pub(crate) fn make_blobs(&self) -> Result<(), Error> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(self.blobs());
        made.map_err(|error| Error::file("making the folder of payloads", &error))
    }

    /// Whether there is a database; one that is missing while something tells of one is lost, and none is made in its place.
    pub(crate) fn has_database(&self) -> Result<bool, Error> {
        let doing = "looking for the database";
        match fs::metadata(self.database()) {
            Ok(found) if found.len() > 0 => Ok(true),
            Ok(_) => self.refuse_lost("tenure.db is empty").map(|()| false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.refuse_lost("tenure.db is missing").map(|()| false)
            }
            Err(error) => Err(Error::file(doing, &error)),
        }
    }

    fn refuse_lost(&self, what: &'static str) -> Result<(), Error> {
        // The key is made after the database, so that it tells of one as well.
        let known = if self.seed().exists() { Some("ledger.key") } else { self.history() };
        known.map_or(Ok(()), |beside| Err(Error::Lost { what, beside }))
    }

    /// What tells that a project has been kept here, apart from database and key.
    pub(crate) fn history(&self) -> Option<&'static str> {
        let has_entries = |path: PathBuf| {
            fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some_and(|entry| entry.is_ok()))
        };
        if fs::metadata(self.head()).is_ok_and(|found| found.len() > 0) {
            return Some("head.json");
        }
        if has_entries(self.blobs()) {
            return Some("blobs");
        }
        has_entries(self.root.join("agents")).then_some("agents")
    }

    /// Makes an empty database that its owner alone may read: what the engine lays beside it takes this mode.
    pub(crate) fn make_database(&self) -> Result<(), Error> {
        let make = || {
            let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(self.database())?;
            file.set_permissions(Permissions::from_mode(0o600))
        };
        make().map_err(|error| Error::file("making the database", &error))
    }

    /// Holds the directory for this process until the file is dropped.
    pub(crate) fn hold(&self) -> Result<File, Error> {
        let doing = "locking the data directory";
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(self.lock());
        let mut file = open.map_err(|error| Error::file(doing, &error))?;
        match file.try_lock() {
            Ok(()) => {
                // Only a hint for people; a full disk must not keep the daemon from starting.
                let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
                Ok(file)
            }
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = (&file).take(32).read_to_string(&mut text);
                Err(Error::Held { dir: self.root.clone(), pid: text.trim().parse().ok() })
            }
            Err(TryLockError::Error(error)) => Err(Error::file(doing, &error)),
        }
    }

    /// The key that signs heads, if there is one.
    pub(crate) fn signer(&self) -> Result<Option<Signer>, Error> {
        match read_small(&self.seed()) {
            Ok(bytes) => signer(&bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file("reading the ledger's key", &error)),
        }
    }

    /// The key of a ledger that begins. Must never be called where a ledger has records, or had some.
    pub(crate) fn make_key(&self) -> Result<Signer, Error> {
        let doing = "making the ledger's key";
        let mut seed = [0u8; 32];
        getrandom::fill(&mut seed).map_err(|error| Error::Io { doing: doing.to_string(), why: error.to_string() })?;
        sync_folder(&self.root, doing)?;
        write_synced(&self.seed(), &seed, 0o600, doing)?;
        sync_folder(&self.root, doing)?;
        Ok(Signer::new(&seed))
    }

    fn next_seed(&self) -> PathBuf {
        self.root.join("ledger.key.next")
    }

    /// The key that the ledger is about to have. It is none before a committed record names it.
    pub(crate) fn make_next_key(&self) -> Result<Signer, Error> {
        let doing = "making the ledger's next key";
        let mut seed = [0u8; 32];
        getrandom::fill(&mut seed).map_err(|error| Error::Io { doing: doing.to_string(), why: error.to_string() })?;
        write_synced(&self.next_seed(), &seed, 0o600, doing)?;
        sync_folder(&self.root, doing)?;
        Ok(Signer::new(&seed))
    }

    /// Must never be called before the head in the database is signed by it.
    pub(crate) fn adopt_next_key(&self) -> Result<(), Error> {
        let doing = "putting the ledger's next key in place";
        fs::rename(self.next_seed(), self.seed()).map_err(|error| Error::file(doing, &error))?;
        sync_folder(&self.root, doing)
    }

    /// Ends a change of keys that was killed: by the key that the head in the database names.
    pub(crate) fn settle_next_key(&self, signed_by: Option<&str>) -> Result<(), Error> {
        let next = match read_small(&self.next_seed()) {
            Ok(bytes) => signer(&bytes).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::file("reading the ledger's next key", &error)),
        };
        if next.is_some_and(|next| Some(next.verifier().to_hex().as_str()) == signed_by) {
            return self.adopt_next_key();
        }
        let doing = "removing a key that signed nothing";
        fs::remove_file(self.next_seed()).map_err(|error| Error::file(doing, &error))
    }

    /// Writes the key's public half where it is missing or another's: whoever only checks reads it. True if it was written.
    pub(crate) fn publish(&self, verifier: &Verifier) -> Result<bool, Error> {
        let doing = "writing the ledger's public key";
        let text = verifier.to_hex();
        match read_small(&self.public()) {
            Ok(found) if found.trim_ascii() == text.as_bytes() => return Ok(false),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::file("reading the ledger's public key", &error));
            }
            Ok(_) | Err(_) => {}
        }
        write_synced(&self.public(), text.as_bytes(), 0o600, doing)?;
        sync_folder(&self.root, doing)?;
        Ok(true)
    }

    /// Gives the log its whole length at once: a commit into a file that grows waits for the file system's journal, too.
    /// Only for the writer, between transactions. What is added is zeros, which recovery takes for the log's end.
    pub(crate) fn lengthen_log(&self, bytes: u64) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).open(self.log())?;
        let missing = bytes.saturating_sub(file.metadata()?.len());
        io::copy(&mut io::repeat(0).take(missing), &mut file)?;
        file.sync_data()
    }

    /// Is there no room left for another page of the log? Some file systems report that as an error of the disk.
    pub(crate) fn is_full(&self) -> bool {
        const ROOM_BYTES: u64 = 64 * 1024;
        rustix::fs::statvfs(&self.root).is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) < ROOM_BYTES)
    }

    /// The public half, for whoever only checks; none where its file is missing.
    pub(crate) fn read_verifier(&self) -> Result<Option<Verifier>, Error> {
        let text = match read_small(&self.public()) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("reading the ledger's public key", &error)),
        };
        Verifier::from_hex(text.trim()).map(Some).map_err(|why| Error::corrupt(format!("ledger.pub: {why}")))
    }

    /// The key that signs heads, for whoever only checks; none where it is missing or is not theirs to read.
    pub(crate) fn read_signer(&self) -> Result<Option<Signer>, Error> {
        read_seed(&self.seed())
    }

    /// The same; where a change of keys was killed, the one that the head in the database names.
    pub(crate) fn read_signer_of(&self, signed_by: &str) -> Result<Option<Signer>, Error> {
        let next = read_seed(&self.next_seed()).ok().flatten();
        match next.filter(|next| next.verifier().to_hex() == signed_by) {
            Some(next) => Ok(Some(next)),
            None => self.read_signer(),
        }
    }
}

fn read_seed(path: &Path) -> Result<Option<Signer>, Error> {
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    match read_small(path) {
        Ok(bytes) => signer(&bytes).map(Some),
        Err(error) if matches!(error.kind(), NotFound | PermissionDenied) => Ok(None),
        Err(error) => Err(Error::file("reading the ledger's key", &error)),
    }
}

/// A small file of the directory, whole. Of a copy that somebody else made it may be anything: a pipe is not waited for, and no
/// more is read than such a file can have.
pub(crate) fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    let open =
        OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    if !open.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    open.take(SMALL_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SMALL_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {SMALL_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

fn signer(seed: &[u8]) -> Result<Signer, Error> {
    let seed = <[u8; 32]>::try_from(seed);
    seed.map(|seed| Signer::new(&seed)).map_err(|_| Error::corrupt("ledger.key is not 32 bytes long"))
}

/// Writes a file whole: after a crash it has its old bytes or these.
pub(crate) fn write_synced(path: &Path, bytes: &[u8], mode: u32, doing: &str) -> Result<(), Error> {
    let part = path.with_extension("part");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().map_err(|error| Error::file(doing, &error))
}

pub(crate) fn sync_folder(path: &Path, doing: &str) -> Result<(), Error> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|error| Error::file(doing, &error))
}
