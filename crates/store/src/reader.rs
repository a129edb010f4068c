//! Reading beside the writer: a few connections, each reader's closure sees one moment of the database.
use crate::Error;
use crate::folder::Folder;
use crate::payload::{self, Blobs};
use crate::sql::{Sql, Sqlite};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tenure_core::bound::Hash;
use tokio::sync::Semaphore;

/// Reads that run at the same time; more wait.
const READERS_MAX: usize = 3;

struct Pool {
    folder: Folder,
    idle: Mutex<Vec<Sqlite>>,
    places: Arc<Semaphore>,
    blobs: Blobs,
}

#[derive(Clone)]
pub struct Reader {
    pool: Arc<Pool>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    pub(crate) fn new(folder: Folder) -> Reader {
        let blobs = Blobs::new(folder.blobs());
        let places = Arc::new(Semaphore::new(READERS_MAX));
        Reader { pool: Arc::new(Pool { folder, idle: Mutex::new(Vec::new()), places, blobs }) }
    }

    /// Runs a reading closure on a blocking thread of the runtime. What it sees does not change while it runs, so it
    /// must be short: a long one keeps the log from being moved into the database.
    ///
    /// # Errors
    /// The closure's, and the database's.
    pub async fn read<R, F>(&self, job: F) -> Result<R, Error>
    where
        R: Send + 'static,
        F: FnOnce(&mut dyn Sql) -> Result<R, Error> + Send + 'static,
    {
        let places = Arc::clone(&self.pool.places);
        let place = places.acquire_owned().await.map_err(|_| Error::Stopped)?;
        let pool = Arc::clone(&self.pool);
        let done = tokio::task::spawn_blocking(move || {
            let result = pool.read(job);
            drop(place);
            result
        });
        done.await.unwrap_or_else(|error| Err(Error::invariant(format!("a read panicked: {error}"))))
    }

    /// The same for threads that are no async runtime's; takes no place in its queue.
    ///
    /// # Errors
    /// The closure's, and the database's.
    pub fn read_blocking<R>(&self, job: impl FnOnce(&mut dyn Sql) -> Result<R, Error>) -> Result<R, Error> {
        self.pool.read(job)
    }

    /// The bytes that an event bound by this hash; none where there are none of that hash.
    ///
    /// # Errors
    /// `Corrupt` where the bytes are not those that were bound.
    pub async fn payload(&self, hash: Hash) -> Result<Option<Vec<u8>>, Error> {
        let blobs = self.pool.blobs.clone();
        self.read(move |sql| payload::payload(sql, &blobs, &hash)).await
    }
}

impl Pool {
    fn read<R>(&self, job: impl FnOnce(&mut dyn Sql) -> Result<R, Error>) -> Result<R, Error> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut sql = match idle {
            Some(sql) => sql,
            None => Sqlite::open_reader(&self.folder.database())?,
        };
        sql.execute("BEGIN", &[])?;
        let result = job(&mut sql);
        sql.execute("COMMIT", &[])?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < READERS_MAX {
            idle.push(sql);
        }
        result
    }
}
