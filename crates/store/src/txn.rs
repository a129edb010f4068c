//! One job's view of the transaction: the window through which its decisions read, and the place where they are written.
//! What it appends is held back until the job has succeeded, so that a job that fails needs no savepoint; where it reads
//! after it appended, a savepoint is set and what is held back is written first.
mod replay;

pub(crate) use replay::{load, rekey_snapshots, snapshot, snapshot_holds, snapshot_mac};

use crate::cache::{Cache, Entry, Plans};
use crate::chain::End;
use crate::events::{events_after, events_before};
use crate::payload::{self, Blobs};
use crate::rows::{executions, facts, items, messages, secrets, state};
use crate::sql::{Cell, Sql};
use crate::{Error, owed, rows};
use std::collections::HashMap;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Event, Fold, Stream};
use tenure_core::bound::Hash;
use tenure_core::budget::Whose;
use tenure_core::capability::Attributes;
use tenure_core::comms::MessageRow;
use tenure_core::draft::{Decision, Ledger};
use tenure_core::facts::{Changed, Counter, Expiring, Facts, Namespace, Unread};
use tenure_core::id::{AgentId, MessageId, ProjectId};
use tenure_core::item::{Item, ItemKind};
use tenure_core::ledger::{Encoded, MacKey, Record};
use tenure_core::plan::Plan;
use tenure_core::retention::Retained;
use tenure_core::secret::BindingRow;
use tenure_core::state::{Acl, Home};
use tenure_core::time::{Stamp, Time};

/// A snapshot is written each time that so many more events are in a stream.
pub(crate) const SNAPSHOT_EVENTS: u64 = 64;

/// A decision of a committed transaction.
#[derive(Debug, Clone)]
pub struct Appended {
    /// Of its first record; the others follow.
    pub index: u64,
    pub stamp: Stamp,
    pub actor: Actor,
    pub decision: Arc<Decision>,
}

/// What the jobs of a transaction have made so far. None of it counts before COMMIT.
#[derive(Debug)]
pub(crate) struct Batch {
    pub end: End,
    pub leaves: Vec<Hash>,
    pub appended: Vec<Appended>,
    pub entries: HashMap<Stream, Entry>,
}

impl Batch {
    pub(crate) fn new(end: End) -> Batch {
        Batch { end, leaves: Vec::new(), appended: Vec::new(), entries: HashMap::new() }
    }
}

/// A decision that is yet to be written.
struct Held {
    records: Vec<Recorded>,
    decision: Arc<Decision>,
    /// Of each stream that it wrote: events now, and events that its snapshot holds.
    counts: HashMap<Stream, (u64, u64)>,
}

struct Recorded {
    index: u64,
    n: u64,
    at: Time,
    bytes: Vec<u8>,
}

pub struct Txn<'w> {
    sql: &'w mut dyn Sql,
    cache: &'w mut Cache,
    plans: &'w mut Plans,
    blobs: &'w Blobs,
    macs: &'w MacKey,
    batch: &'w mut Batch,
    /// Where the job found the batch: the chain's end, its leaves and decisions.
    start: (End, usize, usize),
    held: Vec<Held>,
    entries: HashMap<Stream, Entry>,
    /// Why a fact could not be read.
    error: Option<Error>,
    savepoint: bool,
}

impl<'w> Txn<'w> {
    pub(crate) fn new(
        sql: &'w mut dyn Sql,
        cache: &'w mut Cache,
        plans: &'w mut Plans,
        blobs: &'w Blobs,
        macs: &'w MacKey,
        batch: &'w mut Batch,
    ) -> Txn<'w> {
        let start = (batch.end, batch.leaves.len(), batch.appended.len());
        let (held, entries) = (Vec::new(), HashMap::new());
        Txn { sql, cache, plans, blobs, macs, batch, start, held, entries, error: None, savepoint: false }
    }

    /// Records in the chain so far, those of this transaction included.
    pub fn size(&self) -> u64 {
        self.batch.end.size
    }

    fn entry(&mut self, stream: Stream) -> Result<&Entry, Error> {
        if let Some(entry) = self.entries.get(&stream) {
            return Ok(entry);
        }
        if let Some(entry) = self.batch.entries.get(&stream) {
            return Ok(entry);
        }
        if self.cache.get(stream).is_none() {
            let entry = load(self.sql, self.macs, stream)?;
            self.cache.put(stream, entry);
        }
        self.cache.get(stream).ok_or_else(|| Error::invariant("a fold left the cache as it came"))
    }

    /// Keeps an error for whoever asked, and says only that there was one. What this job appended must show in rows.
    fn read<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Unread> {
        let flushed = if self.held.is_empty() { Ok(()) } else { self.flush() };
        flushed.and_then(|()| read(self)).map_err(|error| {
            self.error = Some(error);
            Unread
        })
    }

    fn flush(&mut self) -> Result<(), Error> {
        if !self.savepoint {
            self.sql.execute("SAVEPOINT job", &[])?;
            self.savepoint = true;
        }
        self.write()
    }

    fn write(&mut self) -> Result<(), Error> {
        for Held { records, decision, counts } in std::mem::take(&mut self.held) {
            let project = self.batch.end.project.map(|project| project.to_string()).unwrap_or_default();
            for (record, (stream, event)) in records.iter().zip(&decision.events) {
                insert_record(self.sql, &project, record, *stream, event.kind())?;
            }
            for payload in &decision.payloads {
                payload::write(self.sql, self.blobs, payload)?;
            }
            for row in &decision.rows {
                rows::write(self.sql, self.macs, row)?;
            }
            owed::write(self.sql, &decision)?;
            for (stream, (n, snapped)) in counts {
                let Some(entry) = self.entries.get_mut(&stream) else { continue };
                if n / SNAPSHOT_EVENTS > snapped / SNAPSHOT_EVENTS && entry.n == n {
                    snapshot(self.sql, self.macs, stream, entry)?;
                }
            }
        }
        Ok(())
    }

    /// The job succeeded: writes what it made. An error here is the whole transaction's.
    pub(crate) fn keep(mut self) -> Result<(), Error> {
        self.write()?;
        self.batch.entries.extend(std::mem::take(&mut self.entries));
        if self.savepoint {
            self.sql.execute("RELEASE job", &[])?;
        }
        Ok(())
    }

    /// The job failed: takes back what it made. An error here is the whole transaction's.
    pub(crate) fn undo(self) -> Result<(), Error> {
        let (end, leaves, appended) = self.start;
        self.batch.end = end;
        self.batch.leaves.truncate(leaves);
        self.batch.appended.truncate(appended);
        self.plans.forget_revisions();
        if self.savepoint {
            self.sql.execute("ROLLBACK TO job", &[])?;
            self.sql.execute("RELEASE job", &[])?;
        }
        Ok(())
    }
}

fn insert_record(sql: &mut dyn Sql, project: &str, record: &Recorded, stream: Stream, kind: &str) -> Result<(), Error> {
    let text = "INSERT INTO ledger (project, idx, stream, n, kind, at, body) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let stream = stream.to_string();
    let cells = [
        Cell::Text(project),
        Cell::count(record.index),
        Cell::Text(&stream),
        Cell::count(record.n),
        Cell::Text(kind),
        Cell::Int(record.at.millis()),
        Cell::Bytes(&record.bytes),
    ];
    sql.execute(text, &cells)?;
    Ok(())
}

impl Facts for Txn<'_> {
    fn fold(&mut self, stream: Stream) -> Result<Option<Arc<Fold>>, Unread> {
        let entry = self.entry(stream).map(|entry| entry.fold.clone());
        entry.map_err(|error| {
            self.error = Some(error);
            Unread
        })
    }

    fn plan(&mut self, agent: AgentId, revision: u32) -> Result<Option<Arc<Plan>>, Unread> {
        self.read(|txn| txn.plans.of(txn.sql, (txn.blobs, txn.macs), agent, revision))
    }

    fn attributes(&mut self, bound: &Hash) -> Result<Option<Attributes>, Unread> {
        self.read(|txn| {
            let Some(bytes) = payload::payload(txn.sql, txn.blobs, bound)? else { return Ok(None) };
            let read = serde_json::from_slice(&bytes);
            read.map(Some).map_err(|error| Error::corrupt(format!("what a judge saw cannot be read: {error}")))
        })
    }

    fn holder(&mut self, namespace: Namespace, key: &str) -> Result<Option<String>, Unread> {
        self.read(|txn| facts::holder(txn.sql, namespace, key))
    }

    fn count(&mut self, counter: Counter, key: &str, bucket: u64) -> Result<i64, Unread> {
        self.read(|txn| facts::counted(txn.sql, counter, key, bucket))
    }

    fn entry(&mut self, namespace: &str, key: &str) -> Result<Option<tenure_core::state::Entry>, Unread> {
        self.read(|txn| state::present(txn.sql, namespace, key))
    }

    fn versions(
        &mut self,
        namespace: &str,
        key: &str,
        at_most: u64,
        limit: u32,
    ) -> Result<Vec<tenure_core::state::Entry>, Unread> {
        self.read(|txn| state::versions(txn.sql, namespace, key, at_most, limit))
    }

    fn old_versions(
        &mut self,
        namespace: &str,
        limit: u32,
    ) -> Result<Vec<(String, tenure_core::state::Entry)>, Unread> {
        self.read(|txn| state::old_versions(txn.sql, namespace, limit))
    }

    fn entries(
        &mut self,
        namespace: &str,
        prefix: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<(String, tenure_core::state::Entry)>, Unread> {
        self.read(|txn| state::list(txn.sql, namespace, prefix, after, limit))
    }

    fn expiring(&mut self, home: Home, limit: u32) -> Result<Vec<Expiring>, Unread> {
        self.read(|txn| state::expiring(txn.sql, home, limit))
    }

    fn state_changes(&mut self, home: Home, after: Option<u64>, limit: u32) -> Result<Vec<Changed>, Unread> {
        self.read(|txn| Ok(state::changes(txn.sql, home, after, limit)?.into_iter().map(state::changed).collect()))
    }

    fn acls(&mut self) -> Result<Vec<Acl>, Unread> {
        self.read(|txn| state::acls(txn.sql, txn.macs))
    }

    fn page(&mut self, counter: Counter) -> Result<Vec<(String, i64)>, Unread> {
        self.read(|txn| facts::page(txn.sql, counter))
    }

    fn waiting(&mut self, agent: AgentId, limit: u32) -> Result<Vec<MessageRow>, Unread> {
        self.read(|txn| messages::waiting(txn.sql, agent, limit))
    }

    fn unanswered(&mut self, agent: AgentId, limit: u32) -> Result<Vec<MessageRow>, Unread> {
        self.read(|txn| messages::unanswered(txn.sql, agent, limit))
    }

    fn message(&mut self, agent: AgentId, message: MessageId) -> Result<Option<MessageRow>, Unread> {
        self.read(|txn| messages::get(txn.sql, Actor::Agent(agent), message))
    }

    fn item(&mut self, kind: ItemKind, agent: AgentId, key: &str) -> Result<Option<Item>, Unread> {
        self.read(|txn| items::get(txn.sql, kind, agent, key))
    }

    fn items(&mut self, kind: ItemKind, agent: AgentId, state: &str, limit: u32) -> Result<Vec<Item>, Unread> {
        self.read(|txn| items::of_agent(txn.sql, kind, agent, state, limit))
    }

    fn events_after(&mut self, stream: Stream, n: u64, limit: u32) -> Result<Vec<(u64, Event)>, Unread> {
        let read = self.read(|txn| events_after(txn.sql, stream, n, limit))?;
        Ok(read.into_iter().map(|record| (record.meta.n, record.event)).collect())
    }

    fn kept(&mut self, whose: Whose, limit: u32) -> Result<Vec<Retained>, Unread> {
        self.read(|txn| executions::kept(txn.sql, whose, limit))
    }

    fn happened(&mut self, stream: Stream, since: Option<Time>, limit: u32) -> Result<Vec<(Stamp, Event)>, Unread> {
        self.read(|txn| events_before(txn.sql, stream, since, limit))
    }

    fn secret_bindings(&mut self, agent: AgentId) -> Result<Vec<BindingRow>, Unread> {
        self.read(|txn| secrets::of_agent(txn.sql, txn.macs, agent))
    }

    fn project_stream(&mut self) -> Option<Stream> {
        self.batch.end.project.map(Stream::Project)
    }

    fn body(&mut self, bound: &Hash) -> Result<Option<Vec<u8>>, Unread> {
        self.read(|txn| payload::payload(txn.sql, txn.blobs, bound))
    }
}

impl Ledger for Txn<'_> {
    type Error = Error;

    fn project(&self) -> Option<ProjectId> {
        self.batch.end.project
    }

    fn clamp(&self, stamp: Stamp) -> Stamp {
        stamp.clamp(self.batch.end.stamp)
    }

    fn append(&mut self, actor: Actor, stamp: Stamp, decision: &Arc<Decision>) -> Result<u64, Error> {
        let index = self.batch.end.size;
        let mut records = Vec::with_capacity(decision.events.len());
        let mut counts: HashMap<Stream, (u64, u64)> = HashMap::with_capacity(decision.folds.len());
        for (stream, event) in &decision.events {
            let founded = if let Stream::Project(project) = stream { Some(*project) } else { None };
            let end = self.batch.end;
            let Some(project) = end.project.or(founded) else {
                return Err(Error::invariant("an event was appended before the project was founded"));
            };
            let (before, snapped) = match counts.get(stream) {
                Some(counted) => *counted,
                None => self.entry(*stream).map(|entry| (entry.n, entry.snapped))?,
            };
            let n = before + 1;
            let record = Record { project, index: end.size, stream: *stream, n, stamp, actor, event, prev: end.last };
            let Encoded { bytes, leaf } = record.encode().map_err(|error| Error::invariant(error.to_string()))?;
            counts.insert(*stream, (n, snapped));
            records.push(Recorded { index: end.size, n, at: stamp.at, bytes });
            self.batch.leaves.push(leaf);
            self.batch.end = End { project: Some(project), size: end.size + 1, last: leaf, stamp };
        }
        for (stream, fold) in &decision.folds {
            let (n, snapped) = counts.get(stream).copied().unwrap_or_default();
            self.entries.insert(*stream, Entry { fold: fold.clone(), n, snapped });
        }
        self.held.push(Held { records, decision: Arc::clone(decision), counts });
        if !decision.events.is_empty() {
            self.batch.appended.push(Appended { index, stamp, actor, decision: Arc::clone(decision) });
        }
        Ok(self.batch.end.size.saturating_sub(1))
    }

    fn unread(&mut self) -> Error {
        self.error.take().unwrap_or_else(|| Error::invariant("a fact was unread without an error"))
    }
}
