//! Opening a data directory: the lock, the key, the tables, the end of the chain; then the writer and the readers.
use crate::ballast::{BALLAST_BYTES, Ballast};
use crate::cache::{Cache, Plans};
use crate::chain::{self, Chain, End};
use crate::checkpoint::{self, Checkpoint, HeadFile};
use crate::folder::Folder;
use crate::pace::Pace;
use crate::payload::Blobs;
use crate::reader::{Reader, Threads};
use crate::scrub::Scrub;
use crate::sql::Sqlite;
use crate::writer::{Hook, Writer, WriterState};
use crate::{Error, keys, migration, sealed};
use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Instant, SystemTime};
use tenure_core::id::ProjectId;
use tenure_core::ledger::{Signer, Verifier};
use tenure_core::time::Stamp;

/// Folds that the writer keeps at hand.
const FOLDS_MAX: usize = 4096;

/// Transactions that show that the daemon is at work, so that its log is worth its whole length.
const LENGTHEN_AFTER: u32 = 16;

pub struct Options {
    pub dir: PathBuf,
    /// Called on the writer's thread after each COMMIT that appended, before anyone is answered. It must not block.
    pub hook: Option<Hook>,
    pub folds_max: usize,
    pub ballast_bytes: u64,
    /// Holds the database to so many pages of 4 KiB, to see what a full disk does.
    pub pages_max: Option<u32>,
}

impl Options {
    pub fn new(dir: impl Into<PathBuf>) -> Options {
        Options { dir: dir.into(), hook: None, folds_max: FOLDS_MAX, ballast_bytes: BALLAST_BYTES, pages_max: None }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// An open data directory, held by this process alone.
#[derive(Debug)]
pub struct Store {
    writer: Writer,
    thread: Option<JoinHandle<()>>,
    sweep: Option<Sweep>,
    /// None only while it is dropped.
    scrub: Option<Scrub>,
    reader: Reader,
    _readers: Option<Threads>,
    blobs: Blobs,
    ballast: Ballast,
    checkpoint: Checkpoint,
    end: End,
    verifier: Verifier,
    mended: Vec<String>,
    _lock: File,
}

impl Store {
    /// Takes constant time, however long the ledger.
    ///
    /// # Errors
    /// `Held` where another daemon has the directory; `Foreign`; `Lost` and `KeyLost` where a part of it is gone; `Older`;
    /// `Newer`; `Corrupt` where the end of the ledger is not what its signed head says; the file system's. After any of
    /// these the ledger, its keys and its head are what they were.
    pub fn open(options: Options) -> Result<Store, Error> {
        Store::open_with(options, None)
    }

    /// The same without threads for reads and writes: each runs on its asker's own when `pace` gives it its turn. The sweep and
    /// the look after the start keep theirs; no read sees how far they are.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_inline(options: Options, pace: Arc<dyn Pace>) -> Result<Store, Error> {
        Store::open_with(options, Some(pace))
    }

    fn open_with(options: Options, pace: Option<Arc<dyn Pace>>) -> Result<Store, Error> {
        let folder = Folder { root: options.dir };
        let mut mended = folder.make()?;
        let lock = folder.hold()?;
        let (mut sql, signer) = begin(&folder)?;
        let verifier = signer.verifier();
        if let Some(pages) = options.pages_max {
            sql.limit_pages(pages)?;
        }
        let chain = Chain::load(&mut sql, &verifier)?;
        let signed = checkpoint::read(&folder.head(), &keys::follow(&mut sql, verifier)?)?;
        let checkpoint = chain::compare(&mut sql, &chain.end, signed.as_ref())?;
        if !matches!(checkpoint, Checkpoint::Restored(_)) {
            sealed::settle(&folder, &mut sql)?;
        }
        mended.extend(complete(&folder, &chain, &checkpoint, &verifier)?);
        let blobs = Blobs::new(folder.blobs());
        // What it removes is orphaned, and no read sees whether it is still there.
        let sweep = Sweep::start(&folder, &blobs)?;
        let scrub = Scrub::start(&folder, verifier)?;
        let end = chain.end;
        let ballast = Ballast::new(folder.ballast(), options.ballast_bytes);
        let (macs, progress) = (signer.macs().clone(), scrub.progress());
        let (reader, readers) = match &pace {
            Some(pace) => (Reader::inline(&folder, macs, progress, Arc::clone(pace)), None),
            None => Reader::start(&folder, macs, progress).map(|(reader, threads)| (reader, Some(threads)))?,
        };
        let head = HeadFile::new(folder.head(), &checkpoint);
        let state = WriterState {
            cache: Cache::new(options.folds_max),
            plans: Plans::default(),
            blobs: blobs.clone(),
            pending_head: None,
            published: Instant::now(),
            lengthen_after: Some(LENGTHEN_AFTER),
            has_erased: false,
            folder,
            sql,
            chain,
            signer,
            head,
            pace: pace.clone(),
        };
        let (writer, thread) = match pace {
            Some(pace) => (Writer::inline(state, options.hook, pace), None),
            None => Writer::start(state, options.hook).map(|(writer, thread)| (writer, Some(thread)))?,
        };
        Ok(Store {
            writer,
            thread,
            sweep,
            scrub: Some(scrub),
            reader,
            _readers: readers,
            blobs,
            ballast,
            checkpoint,
            end,
            verifier,
            mended,
            _lock: lock,
        })
    }

    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Room to give back when the disk is full, so that stopping can be recorded. Not held before it is made.
    pub fn ballast(&self) -> &Ballast {
        &self.ballast
    }

    /// What the head outside said of the database when it was opened. While it says `Restored`, that head is left as it
    /// is, until a `restore.accepted` with its size is appended.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Records when it was opened; 0 before the project is founded.
    pub fn size_at_open(&self) -> u64 {
        self.end.size
    }

    /// The project, and the moment of the last record, when it was opened.
    pub fn end_at_open(&self) -> (Option<ProjectId>, Stamp) {
        (self.end.project, self.end.stamp)
    }

    /// The public key of the ledger's heads.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// What was open to others, or missing, and is mended: for people.
    pub fn mended(&self) -> &[String] {
        &self.mended
    }

    /// Ends the writer once what waits is written, and gives the directory back.
    pub fn close(self) {}
}

/// The database, its tables made, and the key: both are made where a ledger begins, and neither where one was lost.
pub(crate) fn begin(folder: &Folder) -> Result<(Sqlite, Signer), Error> {
    if !folder.has_database()? {
        folder.make_database()?;
    }
    let mut sql = Sqlite::open(&folder.database())?;
    // What this program does not read it must not change.
    migration::check(&mut sql)?;
    folder.settle_next_key(chain::signed_by(&mut sql)?.as_deref())?;
    let key = folder.signer()?;
    match (chain::has_records(&mut sql)?, &key, folder.history()) {
        (true, None, _) => return Err(Error::KeyLost),
        (false, _, Some(beside)) => return Err(Error::Lost { what: "tenure.db holds no ledger", beside }),
        (true, Some(_), _) | (false, _, None) => {}
    }
    let mut sql = sql.into_writer()?;
    migration::run(&mut sql)?;
    // After the tables: where there is a key, there was a database.
    let signer = key.map_or_else(|| folder.make_key(), Ok)?;
    folder.make_blobs()?;
    Ok((sql, signer))
}

/// Makes anew what follows from the rest, and says what cannot be.
fn complete(
    folder: &Folder,
    chain: &Chain,
    checkpoint: &Checkpoint,
    verifier: &Verifier,
) -> Result<Vec<String>, Error> {
    let (old, published) = (chain.end.size > 0, folder.publish(verifier)?);
    let mut said = Vec::new();
    if old && published {
        said.push("ledger.pub was missing or another ledger's; it is made anew from ledger.key".to_string());
    }
    if old && *checkpoint == Checkpoint::Missing {
        said.push(
            "head.json is missing: that records were cut off, or an older database put back, would not show. The next commit \
             writes it anew"
                .to_string(),
        );
    }
    Ok(said)
}

/// Removes orphaned payloads beside the daemon's work: there may be too many files to wait for.
#[derive(Debug)]
struct Sweep {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Sweep {
    fn start(folder: &Folder, blobs: &Blobs) -> Result<Option<Sweep>, Error> {
        if blobs.is_empty() {
            return Ok(None);
        }
        let (folder, blobs, start) = (folder.clone(), blobs.clone(), SystemTime::now());
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let work = move || {
            // What is left is swept at the next start; an orphan takes room and harms nothing.
            let _ = Sqlite::open_reader(&folder.database()).and_then(|mut sql| blobs.sweep(&mut sql, start, &told));
        };
        let spawned = thread::Builder::new().name("sweep".to_string()).spawn(work);
        let thread = spawned.map_err(|error| Error::file("starting the sweep of payloads", &error))?;
        Ok(Some(Sweep { thread, stop }))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(sweep) = self.sweep.take() {
            sweep.stop.store(true, Ordering::Relaxed);
            let _ = sweep.thread.join();
        }
        // Only the last connection to be closed moves the log into the database, and that must be the writer's.
        drop(self.scrub.take());
        self.writer.stop();
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has left the directory as a killed daemon does.
            let _ = thread.join();
        }
    }
}
