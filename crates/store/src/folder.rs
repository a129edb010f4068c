//! The data directory: whose it is, what lies where, and the key that signs heads.
use crate::Error;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tenure_core::ledger::{Signer, Verifier};

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

    /// Makes the directory, for its owner alone, where there is none.
    pub(crate) fn make(&self) -> Result<(), Error> {
        let make = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        make(&self.blobs()).map_err(|error| Error::file("making the data directory", &error))
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

    /// The key that signs heads; made at the first start.
    pub(crate) fn signer(&self) -> Result<Signer, Error> {
        let doing = "reading the ledger's key";
        match fs::read(self.seed()) {
            Ok(bytes) => signer(&bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.make_key(),
            Err(error) => Err(Error::file(doing, &error)),
        }
    }

    fn make_key(&self) -> Result<Signer, Error> {
        let doing = "making the ledger's key";
        let mut seed = [0u8; 32];
        getrandom::fill(&mut seed).map_err(|error| Error::Io { doing: doing.to_string(), why: error.to_string() })?;
        let signer = Signer::new(&seed);
        write_synced(&self.public(), signer.verifier().to_hex().as_bytes(), 0o644, doing)?;
        write_synced(&self.seed(), &seed, 0o600, doing)?;
        sync_folder(&self.root, doing)?;
        Ok(signer)
    }

    /// Gives the log its whole length at once: a commit into a file that grows waits for the file system's journal, too.
    /// Only for the writer, between transactions. What is added is zeros, which recovery takes for the log's end.
    pub(crate) fn lengthen_log(&self, bytes: u64) -> std::io::Result<()> {
        let mut file = OpenOptions::new().append(true).open(self.log())?;
        let missing = bytes.saturating_sub(file.metadata()?.len());
        std::io::copy(&mut std::io::repeat(0).take(missing), &mut file)?;
        file.sync_data()
    }

    /// Is there no room left for another page of the log? Some file systems report that as an error of the disk.
    pub(crate) fn is_full(&self) -> bool {
        const ROOM_BYTES: u64 = 64 * 1024;
        rustix::fs::statvfs(&self.root).is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) < ROOM_BYTES)
    }

    /// The public half, for whoever only checks; none where its file is missing.
    pub(crate) fn read_verifier(&self) -> Result<Option<Verifier>, Error> {
        let text = match fs::read_to_string(self.public()) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("reading the ledger's public key", &error)),
        };
        Verifier::from_hex(text.trim()).map(Some).map_err(|why| Error::corrupt(format!("ledger.pub: {why}")))
    }

    /// The key that signs heads, for whoever only checks; none where it is missing or is not theirs to read.
    pub(crate) fn read_signer(&self) -> Result<Option<Signer>, Error> {
        use std::io::ErrorKind::{NotFound, PermissionDenied};
        match fs::read(self.seed()) {
            Ok(bytes) => signer(&bytes).map(Some),
            Err(error) if matches!(error.kind(), NotFound | PermissionDenied) => Ok(None),
            Err(error) => Err(Error::file("reading the ledger's key", &error)),
        }
    }
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
