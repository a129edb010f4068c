//! Reading beside the writer, on threads of its own: whatever hangs elsewhere in the process, a read does not wait for
//! it. Two sets of threads, so that reconcilers cannot keep people waiting; each read sees one moment of the database.
//!
//! ```text
//! Reader::read(|sql| …) ─> the set's bounded queue ─> a thread with a connection ─> answer
//! ```
//! Without threads (`Pace`) each read runs on its asker's own, one after another. A read must be short: a long one keeps the log from being moved into the database.
use crate::Error;
use crate::folder::Folder;
use crate::pace::Pace;
use crate::payload::{self, Blobs};
use crate::scrub::{Progress, ScrubState};
use crate::sql::{Sql, Sqlite};
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use tenure_core::bound::Hash;
use tenure_core::ledger::MacKey;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Threads, and so reads at the same time, of each set.
const THREADS: usize = 2;
/// Reads that may wait in each set's queue; more wait with their askers.
const QUEUE_MAX: usize = 256;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A handle on one set of threads; it is cheap to clone.
#[derive(Clone)]
pub struct Reader {
    sets: Arc<Sets>,
    set: Set,
}

#[derive(Debug, Clone, Copy)]
enum Set {
    Interactive,
    Background,
}

struct Sets {
    database: PathBuf,
    blobs: Blobs,
    macs: MacKey,
    scrub: Arc<Progress>,
    interactive: Arc<Queue>,
    background: Arc<Queue>,
    inline: Option<Inline>,
}

/// Instead of the sets' threads.
struct Inline {
    pace: Arc<dyn Pace>,
    connection: Mutex<Connection>,
}

impl Inline {
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sets {
    fn new(folder: &Folder, macs: MacKey, scrub: Arc<Progress>, inline: Option<Inline>) -> Arc<Sets> {
        Arc::new(Sets {
            database: folder.database(),
            blobs: Blobs::new(folder.blobs()),
            macs,
            scrub,
            interactive: Arc::new(Queue::new()),
            background: Arc::new(Queue::new()),
            inline,
        })
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("set", &self.set).finish_non_exhaustive()
    }
}

impl Reader {
    /// The threads end when `Threads` is dropped.
    pub(crate) fn start(folder: &Folder, macs: MacKey, scrub: Arc<Progress>) -> Result<(Reader, Threads), Error> {
        let sets = Sets::new(folder, macs, scrub, None);
        let mut threads = Threads { sets: Arc::clone(&sets), handles: Vec::new() };
        for (queue, name) in [(&sets.interactive, "reader"), (&sets.background, "reader-back")] {
            for _ in 0..THREADS {
                let (queue, mut connection) = (Arc::clone(queue), Connection::new(sets.database.clone()));
                let serve = move || {
                    while let Some(job) = queue.next() {
                        job(&mut connection);
                    }
                };
                let spawned = thread::Builder::new().name(name.to_string()).spawn(serve);
                threads.handles.push(spawned.map_err(|error| Error::file("starting a reader", &error))?);
            }
        }
        Ok((Reader { sets, set: Set::Interactive }, threads))
    }

    /// Without threads.
    pub(crate) fn inline(folder: &Folder, macs: MacKey, scrub: Arc<Progress>, pace: Arc<dyn Pace>) -> Reader {
        let inline = Inline { pace, connection: Mutex::new(Connection::new(folder.database())) };
        Reader { sets: Sets::new(folder, macs, scrub, Some(inline)), set: Set::Interactive }
    }

    /// For what a person or program waits for.
    pub fn interactive(&self) -> Reader {
        Reader { sets: Arc::clone(&self.sets), set: Set::Interactive }
    }

    /// For what the daemon does on its own.
    pub fn background(&self) -> Reader {
        Reader { sets: Arc::clone(&self.sets), set: Set::Background }
    }

    /// What rows that grant authority are checked by.
    pub fn macs(&self) -> &MacKey {
        &self.sets.macs
    }

    /// What the look that follows each start has come to so far.
    pub fn scrub_state(&self) -> ScrubState {
        self.sets.scrub.state()
    }

    fn queue(&self) -> &Queue {
        match self.set {
            Set::Interactive => &self.sets.interactive,
            Set::Background => &self.sets.background,
        }
    }

    /// Runs a reading closure on a thread of this set. What it sees does not change while it runs. If the future is
    /// dropped before the closure began, it does not run.
    ///
    /// # Errors
    /// The closure's, and the database's; `Stopped` once the store is closed.
    pub async fn read<R, F>(&self, job: F) -> Result<R, Error>
    where
        R: Send + 'static,
        F: FnOnce(&mut dyn Sql) -> Result<R, Error> + Send + 'static,
    {
        if let Some(inline) = &self.sets.inline {
            inline.pace.turn().await;
            return inline.lock().read_caught(job);
        }
        let (reply, answer) = oneshot::channel();
        let job = move |connection: &mut Connection| {
            if !reply.is_closed() {
                // Nobody waits any more where the asker was dropped meanwhile.
                let _ = reply.send(connection.read_caught(job));
            }
        };
        self.queue().push(Box::new(job)).await?;
        answer.await.unwrap_or(Err(Error::Stopped))
    }

    /// The same on the caller's own thread, at once, and a connection of its own; takes no place in a queue.
    ///
    /// # Errors
    /// The closure's, and the database's.
    pub fn read_blocking<R>(&self, job: impl FnOnce(&mut dyn Sql) -> Result<R, Error>) -> Result<R, Error> {
        if let Some(inline) = &self.sets.inline {
            return inline.lock().read(job);
        }
        Connection::new(self.sets.database.clone()).read(job)
    }

    /// The bytes that an event bound by this hash; none where there are none of that hash.
    ///
    /// # Errors
    /// `Corrupt` where the bytes are not those that were bound.
    pub async fn payload(&self, hash: Hash) -> Result<Option<Vec<u8>>, Error> {
        let blobs = self.sets.blobs.clone();
        self.read(move |sql| payload::payload(sql, &blobs, &hash)).await
    }
}

/// The running threads of both sets; dropping it lets running reads finish and answers the waiting ones `Stopped`.
pub(crate) struct Threads {
    sets: Arc<Sets>,
    handles: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").field("count", &self.handles.len()).finish_non_exhaustive()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.sets.interactive.close();
        self.sets.background.close();
        for handle in self.handles.drain(..) {
            // A read that panicks is caught; a thread that panicked all the same holds nothing.
            let _ = handle.join();
        }
    }
}

/// Opened at its first read, and anew after a failure.
struct Connection {
    database: PathBuf,
    open: Option<Sqlite>,
}

impl Connection {
    fn new(database: PathBuf) -> Connection {
        Connection { database, open: None }
    }

    fn read<R>(&mut self, job: impl FnOnce(&mut dyn Sql) -> Result<R, Error>) -> Result<R, Error> {
        let mut sql = match self.open.take() {
            Some(sql) => sql,
            None => Sqlite::open_reader(&self.database)?,
        };
        sql.execute("BEGIN", &[])?;
        let result = job(&mut sql);
        sql.execute("COMMIT", &[])?;
        self.open = Some(sql);
        result
    }

    fn read_caught<R>(&mut self, job: impl FnOnce(&mut dyn Sql) -> Result<R, Error>) -> Result<R, Error> {
        let result = catch_unwind(AssertUnwindSafe(|| self.read(job)));
        result.unwrap_or_else(|_| Err(Error::invariant("a read panicked")))
    }
}

/// What waits for a set's threads.
struct Queue {
    places: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

struct Waiting {
    jobs: VecDeque<(Job, OwnedSemaphorePermit)>,
    closed: bool,
}

impl Queue {
    fn new() -> Queue {
        let waiting = Mutex::new(Waiting { jobs: VecDeque::new(), closed: false });
        Queue { places: Arc::new(Semaphore::new(QUEUE_MAX)), waiting, changed: Condvar::new() }
    }

    async fn push(&self, job: Job) -> Result<(), Error> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| Error::Stopped)?;
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(Error::Stopped);
        }
        waiting.jobs.push_back((job, place));
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// Blocks until there is a job; none once closed.
    fn next(&self) -> Option<Job> {
        let idle = |waiting: &mut Waiting| waiting.jobs.is_empty() && !waiting.closed;
        let woken = self.changed.wait_while(self.lock(), idle);
        woken.unwrap_or_else(PoisonError::into_inner).jobs.pop_front().map(|(job, _)| job)
    }

    fn close(&self) {
        self.places.close();
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.jobs.clear();
        drop(waiting);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
