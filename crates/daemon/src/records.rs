//! What reconcilers and faces read of the store: rows, payloads and plans, in one read transaction. It sees one moment, so it
//! must be short, and must compute nothing.
use serde::de::DeserializeOwned;
use std::sync::{Arc, Mutex, PoisonError};
use tenure_core::agent::RevisionRow;
use tenure_core::aggregate::Stream;
use tenure_core::bound::{Hash, Payload};
use tenure_core::call::CallRow;
use tenure_core::execution::{ExecutionRow, IterationRow, TurnRow, ValidationRow};
use tenure_core::id::{AgentId, CallId, ConnectionId, ExecutionId, SessionId};
use tenure_core::ledger::MacKey;
use tenure_core::owed::{Kind, Obligation, Owed};
use tenure_core::plan::Plan;
use tenure_core::secret::BindingRow;
use tenure_core::session::SessionRow;
use tenure_core::time::Stamp;
use tenure_store as store;
use tenure_store::rows::{agents, calls, executions, iterations, secrets, sessions, turns};
use tenure_store::sql::Sql;
use tenure_store::{Blobs, Plans, Reader};

/// Rows of one kind that are read of one iteration.
const ROWS_MAX: u32 = 100_000;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the {0} is not in the store")]
    Gone(&'static str),
    #[error("stored bytes are no JSON: {0}")]
    Payload(serde_json::Error),
}

/// None where the bytes are gone or are not those that were bound: no later try finds them.
///
/// # Errors
/// What may pass.
pub fn found<T>(read: Result<T, Error>) -> Result<Option<T>, Error> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(Error::Gone(_) | Error::Payload(_) | Error::Store(store::Error::Corrupt { .. })) => Ok(None),
        Err(error @ Error::Store(_)) => Err(error),
    }
}

#[derive(Clone)]
pub struct Records {
    reader: Reader,
    blobs: Blobs,
    /// Held while one plan is looked up, never across an await.
    plans: Arc<Mutex<Plans>>,
}

/// One read transaction.
pub struct ReadTxn<'a> {
    sql: &'a mut dyn Sql,
    blobs: &'a Blobs,
    macs: &'a MacKey,
    plans: &'a Mutex<Plans>,
}

/// What is owed now of one kind, and for how long nothing more is.
pub struct OwedPage {
    pub due: Vec<(Stream, Obligation)>,
    pub next_ms: Option<u64>,
}

impl Records {
    pub fn new(reader: Reader, blobs: Blobs) -> Records {
        Records { reader, blobs, plans: Arc::default() }
    }

    /// The same by the readers that the API has for itself.
    pub fn interactive(&self) -> Records {
        Records { reader: self.reader.interactive(), ..self.clone() }
    }

    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// # Errors
    /// The closure's, and the store's.
    pub async fn read<R: Send + 'static>(
        &self,
        read: impl FnOnce(&mut ReadTxn<'_>) -> Result<R, Error> + Send + 'static,
    ) -> Result<R, Error> {
        let (blobs, macs, plans) = (self.blobs.clone(), self.reader.macs().clone(), Arc::clone(&self.plans));
        self.reader.read(move |sql| Ok(read(&mut ReadTxn { sql, blobs: &blobs, macs: &macs, plans: &plans }))).await?
    }

    /// A page of what is owed of a kind, after the first `skip`.
    ///
    /// # Errors
    /// The store's.
    pub async fn owed(&self, kind: Kind, now: Stamp, skip: u32, limit: u32) -> Result<OwedPage, store::Error> {
        self.reader
            .read(move |sql| {
                let due = store::owed_now(sql, kind, now, skip, limit)?;
                let next_ms = store::next_owed_ms(sql, kind, now)?;
                Ok(OwedPage { due: due.into_iter().map(|(stream, owed)| (stream, owed.obligation)).collect(), next_ms })
            })
            .await
    }

    /// What one stream owes of a kind, due or not.
    ///
    /// # Errors
    /// The store's.
    pub async fn owed_by(&self, kind: Kind, stream: Stream) -> Result<Vec<Owed>, store::Error> {
        self.reader.read(move |sql| store::owed_by(sql, kind, stream)).await
    }

    /// # Errors
    /// The store's.
    pub async fn bound_to(&self, connection: ConnectionId, limit: u32) -> Result<Vec<ExecutionId>, store::Error> {
        self.reader.read(move |sql| executions::ids_bound_to(sql, connection, limit)).await
    }

    /// # Errors
    /// The store's.
    pub async fn sessions_bound_to(
        &self,
        connection: ConnectionId,
        limit: u32,
    ) -> Result<Vec<SessionId>, store::Error> {
        self.reader.read(move |sql| sessions::ids_bound_to(sql, connection, limit)).await
    }

    /// # Errors
    /// The store's.
    pub async fn uncancelled_of(
        &self,
        agent: AgentId,
        after: Option<ExecutionId>,
        limit: u32,
    ) -> Result<Vec<ExecutionId>, store::Error> {
        self.reader.read(move |sql| agents::uncancelled_of(sql, agent, after, limit)).await
    }
}

impl ReadTxn<'_> {
    /// For queries of the store's own.
    pub fn parts(&mut self) -> (&mut dyn Sql, &Blobs) {
        (self.sql, self.blobs)
    }

    /// # Errors
    /// `Gone` where there is none.
    pub fn execution(&mut self, id: ExecutionId) -> Result<ExecutionRow, Error> {
        executions::get(self.sql, id)?.ok_or(Error::Gone("execution"))
    }

    /// # Errors
    /// `Gone` where there is none.
    pub fn session(&mut self, id: SessionId) -> Result<SessionRow, Error> {
        sessions::get(self.sql, id)?.ok_or(Error::Gone("session"))
    }

    /// # Errors
    /// `Gone` where there is none.
    pub fn call(&mut self, id: CallId) -> Result<CallRow, Error> {
        calls::get(self.sql, id)?.ok_or(Error::Gone("call"))
    }

    /// # Errors
    /// The store's.
    pub fn calls(&mut self, id: ExecutionId, iteration: u32) -> Result<Vec<CallRow>, Error> {
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
    pub fn iteration(&mut self, id: ExecutionId, number: u32) -> Result<Option<IterationRow>, Error> {
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

    /// Whether an event says that its bytes are gone.
    ///
    /// # Errors
    /// The store's.
    pub fn is_erased(&mut self, hash: Hash) -> Result<bool, Error> {
        Ok(store::is_erased(self.sql, &hash)?)
    }

    /// The bytes with their salt, to be brought to a decision.
    ///
    /// # Errors
    /// As `bytes`.
    pub fn payload(&mut self, hash: Hash) -> Result<Payload, Error> {
        store::bound_payload(self.sql, self.blobs, &hash)?.ok_or(Error::Gone("payload"))
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

    /// A revision, if this ledger wrote it so.
    ///
    /// # Errors
    /// `Gone` where there is none; `Corrupt` where another hand wrote it.
    pub fn revision(&mut self, agent: AgentId, number: u32) -> Result<RevisionRow, Error> {
        let row = agents::revision(self.sql, agent, number)?.ok_or(Error::Gone("revision"))?;
        Ok(row.verified(self.macs).map_err(store::Error::from)?)
    }

    /// What an agent may use of secrets, of rows that this ledger wrote so.
    ///
    /// # Errors
    /// The store's.
    pub fn secret_bindings(&mut self, agent: AgentId) -> Result<Vec<BindingRow>, Error> {
        Ok(secrets::of_agent(self.sql, self.macs, agent)?)
    }

    /// What a revision runs by.
    ///
    /// # Errors
    /// `Gone` where there is none; `Corrupt` where it cannot be read, or this ledger did not write the revision so.
    pub fn plan(&mut self, agent: AgentId, revision: u32) -> Result<Arc<Plan>, Error> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        plans.of(self.sql, (self.blobs, self.macs), agent, revision)?.ok_or(Error::Gone("plan"))
    }
}
