//! The store on disk as a simulation's storage, through its own writer and readers. A kill is a copy of the data directory
//! as it lies there, opened anew: what the writer had not yet put into files is lost.
use crate::storage::{Failed, Fault, Injected, Request, Storage, decide};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strum::IntoEnumIterator;
use tempfile::TempDir;
use tenure_core::agent::Standing;
use tenure_core::aggregate::{Fold, Refusal, Stream};
use tenure_core::bound::{Hash, Payload};
use tenure_core::draft::Committed;
use tenure_core::execution::ExecutionRow;
use tenure_core::facts::{Counter, Facts};
use tenure_core::fleet::WorkerRow;
use tenure_core::id::{AgentId, ConnectionId, ExecutionId, WorkerId};
use tenure_core::owed::{Kind, Owed};
use tenure_core::time::{Run, Stamp, Time};
use tenure_store::rows::{agents, executions, workers};
use tenure_store::sql::Sql;
use tenure_store::verify::{Depth, verify};
use tenure_store::{Class, Error, Options, Store, Txn, bound_payload, events_from, owed_now};
use tokio::runtime::Runtime;

/// More than any page that a simulation reads.
const ROWS_MAX: u32 = 100_000;
/// A cache so small that folds leave it and are replayed.
const FOLDS_MAX: usize = 8;
/// Room that no simulated ledger needs.
const BALLAST_BYTES: u64 = 4096;

pub struct DiskStorage {
    root: TempDir,
    lives: u32,
    store: Option<Store>,
    runtime: Runtime,
}

impl DiskStorage {
    /// In the machine's memory where it has files there: a simulated kill loses no page of the kernel's.
    ///
    /// # Panics
    /// Where the folder cannot be made or opened: nothing was simulated then.
    pub fn new() -> DiskStorage {
        let in_memory = Path::new("/dev/shm");
        let root = if in_memory.is_dir() { tempfile::tempdir_in(in_memory) } else { tempfile::tempdir() };
        let root = root.expect("a folder of its own can be made");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without IO starts");
        let mut storage = DiskStorage { root, lives: 0, store: None, runtime };
        storage.store = Some(storage.open());
        storage
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join(self.lives.to_string())
    }

    fn open(&self) -> Store {
        let options = Options { folds_max: FOLDS_MAX, ballast_bytes: BALLAST_BYTES, ..Options::new(self.dir()) };
        Store::open(options).expect("the data directory opens")
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("invariant: it is open between kills")
    }

    fn read<R, F>(&self, read: F) -> R
    where
        R: Send + 'static,
        F: FnOnce(&mut dyn Sql) -> Result<R, Error> + Send + 'static,
    {
        self.runtime.block_on(self.store().reader().background().read(read)).expect("the database can be read")
    }
}

impl Default for DiskStorage {
    fn default() -> DiskStorage {
        DiskStorage::new()
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
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

    fn records(&mut self, from: u64) -> Vec<Vec<u8>> {
        let records = self.read(move |sql| events_from(sql, from, ROWS_MAX));
        records.into_iter().map(|record| record.bytes).collect()
    }

    fn fold(&mut self, stream: Stream) -> Option<Arc<Fold>> {
        let job = move |txn: &mut Txn<'_>| Ok(txn.fold(stream));
        self.store().writer().write_blocking(Class::Interactive, job).ok()?.ok()?
    }

    fn due(&mut self, kind: Kind, now: Stamp) -> Vec<(Stream, Owed)> {
        let mut due = self.read(move |sql| owed_now(sql, kind, now, 0, ROWS_MAX));
        due.sort_by_cached_key(|(stream, owed)| (*stream, owed.obligation.to_key()));
        due
    }

    fn owed(&mut self) -> Vec<(Stream, Owed)> {
        let end = Stamp { at: Time::from_millis(1 << 52), run: Run::from_millis(1 << 52) };
        self.read(move |sql| {
            let mut owed = Vec::new();
            for kind in Kind::iter() {
                owed.extend(owed_now(sql, kind, end, 0, ROWS_MAX)?);
            }
            Ok(owed)
        })
    }

    fn payload(&mut self, hash: &Hash) -> Option<Payload> {
        let (hash, blobs) = (*hash, self.store().blobs().clone());
        self.read(move |sql| bound_payload(sql, &blobs, &hash))
    }

    fn execution_row(&mut self, id: ExecutionId) -> Option<ExecutionRow> {
        self.read(move |sql| executions::get(sql, id))
    }

    fn worker_row(&mut self, id: WorkerId) -> Option<WorkerRow> {
        self.read(move |sql| workers::get(sql, id))
    }

    fn standing(&mut self, id: AgentId) -> Option<Standing> {
        self.read(move |sql| agents::get(sql, id)).map(|row| row.standing)
    }

    fn bound_to(&mut self, connection: ConnectionId) -> Vec<ExecutionId> {
        let mut bound = self.read(move |sql| executions::ids_bound_to(sql, connection, ROWS_MAX));
        bound.sort();
        bound
    }

    fn open_of(&mut self, agent: AgentId) -> Vec<ExecutionId> {
        self.read(move |sql| executions::open_ids_of(sql, agent, ROWS_MAX))
    }

    fn count(&mut self, counter: Counter, key: &str) -> i64 {
        let key = key.to_string();
        let job = move |txn: &mut Txn<'_>| Ok(txn.count(counter, &key, 0).unwrap_or_default());
        self.store().writer().write_blocking(Class::Interactive, job).unwrap_or_default()
    }

    fn kill(&mut self) {
        let killed = self.dir();
        self.lives += 1;
        copy(&killed, &self.dir()).expect("a data directory can be copied");
        self.store = None;
        self.store = Some(self.open());
        fs::remove_dir_all(killed).expect("a data directory of its own can be removed");
    }

    fn verify(&mut self) -> Vec<String> {
        // What is verified lies as a killed daemon leaves it.
        self.kill();
        match verify(&self.dir(), Depth::Whole) {
            Ok(report) => report.findings.kept().iter().map(ToString::to_string).collect(),
            Err(error) => vec![error.to_string()],
        }
    }
}
