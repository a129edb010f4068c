//! The store on disk as a simulation's storage, through its own writer and readers.
use crate::reads::{Lives, Medium, ROWS_MAX, Reads, findings};
use crate::storage::{Failed, Fault, Injected, Request, Storage, decide};
use std::fs;
use tenure_core::aggregate::{Refusal, Stream};
use tenure_core::call::Holder;
use tenure_core::draft::Committed;
use tenure_core::id::{AgentId, ConnectionId, ExecutionId};
use tenure_core::owed::{Kind, Owed};
use tenure_core::time::Stamp;
use tenure_store::rows::{executions, sessions};
use tenure_store::sql::Sql;
use tenure_store::{Class, Error, Store, Txn, owed_now};
use tokio::runtime::Runtime;

pub struct DiskStorage {
    lives: Lives,
    store: Option<Store>,
    runtime: Runtime,
}

impl DiskStorage {
    /// # Panics
    /// Where the folder cannot be made or opened: nothing was simulated then.
    pub fn new() -> DiskStorage {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without IO starts");
        let mut storage = DiskStorage { lives: Lives::new(Medium::Memory), store: None, runtime };
        storage.store = Some(storage.open());
        storage
    }

    fn open(&self) -> Store {
        Store::open(self.lives.options()).expect("the data directory opens")
    }
}

impl Default for DiskStorage {
    fn default() -> DiskStorage {
        DiskStorage::new()
    }
}

impl Reads for DiskStorage {
    fn store(&self) -> &Store {
        self.store.as_ref().expect("invariant: it is open between kills")
    }

    fn read<R: Send + 'static>(&self, read: impl FnOnce(&mut dyn Sql) -> Result<R, Error> + Send + 'static) -> R {
        self.runtime.block_on(self.store().reader().background().read(read)).expect("the database can be read")
    }

    fn prove(&mut self) -> Vec<String> {
        // What is verified lies as a killed daemon leaves it.
        self.kill();
        findings(&self.lives.dir())
    }
}

impl Storage for DiskStorage {
    fn commit(&mut self, request: Request) -> Result<Result<Committed, Refusal>, Failed> {
        const ASKED: &str = "what the simulation asked for";
        let asked = || Error::Full { doing: ASKED.to_string() };
        let fails = request.fault == Some(Fault::Commit);
        let job = move |txn: &mut Txn<'_>| match decide(txn, request, None) {
            Ok(_) if fails => Err(asked()),
            Ok(decided) => Ok(decided),
            Err(Injected::Asked) => Err(asked()),
            Err(Injected::Own(error)) => Err(error),
        };
        self.store().writer().write_blocking(Class::Interactive, job).map_err(|error| match error {
            Error::Full { doing } if doing == ASKED => Failed { fault: None },
            error => Failed { fault: Some(error.to_string()) },
        })
    }

    fn due(&mut self, kind: Kind, now: Stamp) -> Vec<(Stream, Owed)> {
        let mut due = self.read(move |sql| owed_now(sql, kind, now, 0, ROWS_MAX));
        due.sort_by_cached_key(|(stream, owed)| (*stream, owed.obligation.to_key()));
        due
    }

    fn bound_to(&mut self, connection: ConnectionId) -> Vec<Holder> {
        let bound = self.read(move |sql| executions::ids_bound_to(sql, connection, ROWS_MAX));
        let sessions = self.read(move |sql| sessions::ids_bound_to(sql, connection, ROWS_MAX));
        let mut bound: Vec<Holder> =
            bound.into_iter().map(Holder::from).chain(sessions.into_iter().map(Holder::from)).collect();
        bound.sort();
        bound
    }

    fn open_of(&mut self, agent: AgentId) -> Vec<ExecutionId> {
        self.read(move |sql| executions::open_ids_of(sql, agent, ROWS_MAX))
    }

    fn kill(&mut self) {
        let killed = self.lives.kill();
        self.store = None;
        self.store = Some(self.open());
        fs::remove_dir_all(killed).expect("a data directory of its own can be removed");
    }
}
