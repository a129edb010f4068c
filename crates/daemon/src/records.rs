//! What reconcilers read of one execution: rows, payloads and manifests, in one look at the database. A look sees one
//! moment, so it must be short; it runs on a thread of the store.
use serde::de::DeserializeOwned;
use tenure_core::bound::Hash;
use tenure_core::fold::Stream;
use tenure_core::id::{AgentId, CallId, ExecutionId, SessionId};
use tenure_core::manifest::Manifest;
use tenure_core::owed::{Deed, Kind};
use tenure_core::row::{TurnRow, ValidationRow};
use tenure_core::time::Time;
use tenure_store as store;
use tenure_store::rows::{calls, executions, iterations, turns};
use tenure_store::sql::Sql;
use tenure_store::{Blobs, Reader};

/// Rows of one kind that one look takes of one iteration.
const ROWS_MAX: u32 = 100_000;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the {0} is not in the store")]
    Gone(&'static str),
    #[error("stored bytes are no JSON: {0}")]
    Payload(serde_json::Error),
    #[error("a stored manifest cannot be read: {0}")]
    Manifest(String),
}

#[derive(Clone)]
pub struct Records {
    reader: Reader,
    blobs: Blobs,
}

/// One look at the database.
pub struct Look<'a> {
    sql: &'a mut dyn Sql,
    blobs: &'a Blobs,
}

/// What a reconciler owes now, and when the next deed is due.
pub struct OwedPage {
    pub due: Vec<(Stream, Deed)>,
    pub next: Option<Time>,
}

impl Records {
    pub fn new(reader: Reader, blobs: Blobs) -> Records {
        Records { reader, blobs }
    }

    /// The same for what a person or program waits for.
    pub fn interactive(&self) -> Records {
        Records { reader: self.reader.interactive(), blobs: self.blobs.clone() }
    }

    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// # Errors
    /// The closure's, and the store's.
    pub async fn look<R: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Look<'_>) -> Result<R, Error> + Send + 'static,
    ) -> Result<R, Error> {
        let blobs = self.blobs.clone();
        self.reader.read(move |sql| Ok(look(&mut Look { sql, blobs: &blobs }))).await?
    }

    /// # Errors
    /// The store's.
    pub async fn owed(&self, kind: Kind, now: Time, limit: u32) -> Result<OwedPage, store::Error> {
        self.reader
            .read(move |sql| {
                let due = store::owed_now(sql, kind, now, limit)?;
                let next = store::next_owed(sql, kind, now)?;
                Ok(OwedPage { due: due.into_iter().map(|row| (row.stream, row.deed)).collect(), next })
            })
            .await
    }

    /// # Errors
    /// The store's.
    pub async fn bound_to(&self, session: SessionId, limit: u32) -> Result<Vec<ExecutionId>, store::Error> {
        self.reader.read(move |sql| executions::ids_bound_to(sql, session, limit)).await
    }

    /// # Errors
    /// The store's.
    pub async fn count_bound(&self, session: SessionId) -> Result<u64, store::Error> {
        self.reader.read(move |sql| executions::bound_to(sql, session)).await
    }

    /// # Errors
    /// The store's.
    pub async fn open_of(&self, agent: AgentId, limit: u32) -> Result<Vec<ExecutionId>, store::Error> {
        self.reader.read(move |sql| executions::open_ids_of(sql, agent, None, limit)).await
    }
}

impl Look<'_> {
    /// For queries of the store that take both.
    pub fn parts(&mut self) -> (&mut dyn Sql, &Blobs) {
        (&mut *self.sql, self.blobs)
    }

    /// # Errors
    /// `Gone` where there is none.
    pub fn execution(&mut self, id: ExecutionId) -> Result<executions::ExecutionEntry, Error> {
        executions::get(self.sql, id)?.ok_or(Error::Gone("execution"))
    }

    /// # Errors
    /// `Gone` where there is none.
    pub fn call(&mut self, id: CallId) -> Result<calls::CallEntry, Error> {
        calls::get(self.sql, id)?.ok_or(Error::Gone("call"))
    }

    /// # Errors
    /// The store's.
    pub fn calls(&mut self, id: ExecutionId, iteration: u32) -> Result<Vec<calls::CallEntry>, Error> {
        Ok(calls::of_iteration(self.sql, id, iteration, ROWS_MAX)?)
    }

    /// # Errors
    /// The store's.
    pub fn turns(&mut self, id: ExecutionId, iteration: u32) -> Result<Vec<TurnRow>, Error> {
        Ok(turns::of(self.sql, id, iteration, ROWS_MAX)?)
    }

    /// # Errors
    /// The store's.
    pub fn notes(&mut self, id: ExecutionId, iteration: u32) -> Result<Vec<turns::NoteEntry>, Error> {
        Ok(turns::notes_of(self.sql, id, iteration, ROWS_MAX)?)
    }

    /// # Errors
    /// The store's.
    pub fn iteration(&mut self, id: ExecutionId, number: u32) -> Result<Option<iterations::IterationEntry>, Error> {
        Ok(iterations::of(self.sql, id, number, 1)?.into_iter().find(|row| row.number == number))
    }

    /// # Errors
    /// The store's.
    pub fn validations(&mut self, id: ExecutionId, number: u32) -> Result<Vec<ValidationRow>, Error> {
        let rows = iterations::validations_of(self.sql, id, number, 64)?;
        Ok(rows.into_iter().filter(|row| row.iteration == number).collect())
    }

    /// # Errors
    /// `Gone` where the bytes are not there; `Corrupt` where they are not those that were bound.
    pub fn bytes(&mut self, hash: Hash) -> Result<Vec<u8>, Error> {
        store::payload(self.sql, self.blobs, &hash)?.ok_or(Error::Gone("payload"))
    }

    /// # Errors
    /// As `bytes`.
    pub fn text(&mut self, hash: Hash) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&self.bytes(hash)?).into_owned())
    }

    /// # Errors
    /// As `bytes`, and where they are no JSON of this shape.
    pub fn json<T: DeserializeOwned>(&mut self, hash: Hash) -> Result<T, Error> {
        serde_json::from_slice(&self.bytes(hash)?).map_err(Error::Payload)
    }

    /// The manifest of a revision, read back from its bound bytes.
    ///
    /// # Errors
    /// As `bytes`, and where they are no manifest.
    pub fn manifest(&mut self, agent: AgentId, revision: u32) -> Result<Manifest, Error> {
        let row = store::rows::agents::revision(self.sql, agent, revision)?.ok_or(Error::Gone("revision"))?;
        let bytes = self.bytes(row.manifest)?;
        Manifest::parse_bytes(&bytes)
            .map_err(|problems| Error::Manifest(problems.first().map(ToString::to_string).unwrap_or_default()))
    }
}
