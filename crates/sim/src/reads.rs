//! A store on disk as the audit reads it, and what becomes of its folder when a daemon is killed: a copy of the data directory
//! as it lies there, opened anew. What the writer had not yet put into files is lost.
use crate::storage::View;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strum::IntoEnumIterator;
use tempfile::TempDir;
use tenure_core::agent::Standing;
use tenure_core::aggregate::{Fold, Stream};
use tenure_core::bound::{Hash, Payload};
use tenure_core::execution::ExecutionRow;
use tenure_core::facts::{Counter, Facts};
use tenure_core::fleet::WorkerRow;
use tenure_core::id::{AgentId, ExecutionId, WorkerId};
use tenure_core::owed::{Kind, Owed};
use tenure_core::time::{Run, Stamp, Time};
use tenure_store::rows::{agents, executions, workers};
use tenure_store::sql::Sql;
use tenure_store::verify::{Depth, verify};
use tenure_store::{Class, Error, Options, Store, Txn, bound_payload, events_from, owed_now};

/// More than any page that a simulation reads.
pub(crate) const ROWS_MAX: u32 = 100_000;
/// A cache so small that folds leave it and are replayed.
const FOLDS_MAX: usize = 8;
/// Room that no simulated ledger needs.
const BALLAST_BYTES: u64 = 4096;

/// A store that is open, however its reads are done.
pub(crate) trait Reads {
    fn store(&self) -> &Store;

    fn read<R: Send + 'static>(&self, read: impl FnOnce(&mut dyn Sql) -> Result<R, Error> + Send + 'static) -> R;

    fn prove(&mut self) -> Vec<String>;

    fn write<R: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Txn<'_>) -> Result<R, Error> + Send + 'static,
    ) -> Option<R> {
        self.store().writer().write_blocking(Class::Interactive, write).ok()
    }
}

impl<S: Reads> View for S {
    fn records(&mut self, from: u64) -> Vec<Vec<u8>> {
        let records = self.read(move |sql| events_from(sql, from, ROWS_MAX));
        records.into_iter().map(|record| record.bytes).collect()
    }

    fn fold(&mut self, stream: Stream) -> Option<Arc<Fold>> {
        self.write(move |txn| Ok(txn.fold(stream)))?.ok()?
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

    fn is_erased(&mut self, hash: &Hash) -> bool {
        let hash = *hash;
        self.read(move |sql| tenure_store::is_erased(sql, &hash))
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

    fn count(&mut self, counter: Counter, key: &str) -> i64 {
        let key = key.to_string();
        self.write(move |txn| Ok(txn.count(counter, &key, 0).unwrap_or_default())).unwrap_or_default()
    }

    fn verify(&mut self) -> Vec<String> {
        self.prove()
    }
}

/// What a folder holds against what its records say.
pub(crate) fn findings(dir: &Path) -> Vec<String> {
    match verify(dir, Depth::Whole) {
        Ok(report) => report.findings.kept().iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.to_string()],
    }
}

/// The data directory of a daemon, one for each of its lives.
#[derive(Debug)]
pub(crate) struct Lives {
    root: TempDir,
    lives: u32,
}

/// Where data directories lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// The machine's memory, where it has files there: a simulated kill loses no page of the kernel's.
    Memory,
    Disk,
}

impl Lives {
    /// # Panics
    /// Where the folder cannot be made: nothing was simulated then.
    pub(crate) fn new(medium: Medium) -> Lives {
        let in_memory = Path::new("/dev/shm");
        let in_memory = (medium == Medium::Memory && in_memory.is_dir()).then_some(in_memory);
        let root = in_memory.map_or_else(tempfile::tempdir, tempfile::tempdir_in);
        Lives { root: root.expect("a folder of its own can be made"), lives: 0 }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.root.path().join(self.lives.to_string())
    }

    pub(crate) fn options(&self) -> Options {
        Options { folds_max: FOLDS_MAX, ballast_bytes: BALLAST_BYTES, ..Options::new(self.dir()) }
    }

    /// The next life goes on from what lies there now. Gives the folder of the one that ended.
    ///
    /// # Panics
    /// Where it cannot be copied: nothing was simulated then.
    pub(crate) fn kill(&mut self) -> PathBuf {
        let killed = self.dir();
        self.lives += 1;
        copy(&killed, &self.dir()).expect("a data directory can be copied");
        killed
    }
}

pub(crate) fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
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
