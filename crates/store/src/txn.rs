//! One job's view of the transaction. What it appends is held back until the job has succeeded, so that a job that fails
//! needs no savepoint; where the job reads rows after it appended, a savepoint is set and the rows are written first.
mod replay;

pub(crate) use replay::{load, snapshot};

use crate::cache::{Cache, Entry};
use crate::chain::End;
use crate::payload::{self, Blobs, INLINE_BYTES_MAX};
use crate::sql::{Cell, Sql};
use crate::writer::Committed;
use crate::{Error, owed, rows};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::bound::{Bound, Hash, Payload};
use tenure_core::fold::{self, Event, Fold, Stream};
use tenure_core::id::{AgentId, ExecutionId, SessionId};
use tenure_core::ledger::Record;
use tenure_core::owed::Kind;
use tenure_core::project;
use tenure_core::row::{self, Row};
use tenure_core::time::Time;

/// A snapshot is written each time that so many more events are in a stream.
pub(crate) const SNAPSHOT_EVENTS: u64 = 64;

/// What the jobs of a transaction have made so far. None of it counts before COMMIT.
#[derive(Debug)]
pub(crate) struct Batch {
    pub end: End,
    pub records: Vec<Committed>,
    pub entries: HashMap<Stream, Entry>,
    /// Kinds of which something new is owed, and the least moment of it.
    pub owed: BTreeMap<Kind, Time>,
}

impl Batch {
    pub(crate) fn new(end: End) -> Batch {
        Batch { end, records: Vec::new(), entries: HashMap::new(), owed: BTreeMap::new() }
    }
}

/// A stream that the job has appended to.
#[derive(Debug)]
struct Touched {
    entry: Entry,
    before: Option<Arc<Fold>>,
}

/// A payload whose row is yet to be written; a large one already lies in its file.
#[derive(Debug)]
struct Taken {
    bound: Bound,
    salt: [u8; 16],
    inline: Option<Vec<u8>>,
}

pub struct Txn<'w> {
    sql: &'w mut dyn Sql,
    cache: &'w mut Cache,
    blobs: &'w Blobs,
    batch: &'w mut Batch,
    /// Where the job found the chain.
    start: (End, usize),
    touched: BTreeMap<Stream, Touched>,
    rows: Vec<Row>,
    payloads: Vec<Taken>,
    /// Records of the batch that are written.
    written: usize,
    savepoint: bool,
}

impl<'w> Txn<'w> {
    pub(crate) fn new(sql: &'w mut dyn Sql, cache: &'w mut Cache, blobs: &'w Blobs, batch: &'w mut Batch) -> Txn<'w> {
        let start = (batch.end, batch.records.len());
        Txn {
            sql,
            cache,
            blobs,
            written: batch.records.len(),
            batch,
            start,
            touched: BTreeMap::new(),
            rows: Vec::new(),
            payloads: Vec::new(),
            savepoint: false,
        }
    }

    /// The moment that an event appended now will bear: `now`, or the last event's where the clock went back.
    pub fn clamp(&self, now: Time) -> Time {
        now.max(self.batch.end.at)
    }

    /// Records in the chain so far, those of this transaction included.
    pub fn size(&self) -> u64 {
        self.batch.end.size
    }

    /// # Errors
    /// The database's; `Corrupt` where the stream cannot be replayed.
    pub fn fold(&mut self, stream: Stream) -> Result<Option<&Fold>, Error> {
        Ok(self.entry(stream)?.fold.as_deref())
    }

    fn entry(&mut self, stream: Stream) -> Result<&Entry, Error> {
        if let Some(touched) = self.touched.get(&stream) {
            return Ok(&touched.entry);
        }
        if let Some(entry) = self.batch.entries.get(&stream) {
            return Ok(entry);
        }
        if self.cache.get(stream).is_none() {
            let entry = load(self.sql, stream)?;
            self.cache.put(stream, entry);
        }
        self.cache.get(stream).ok_or_else(|| Error::invariant("a fold left the cache as it came"))
    }

    /// Appends an event to its stream; gives its index. `now` is clamped.
    ///
    /// # Errors
    /// `Invariant` where the event cannot be recorded, or comes before the project is founded.
    pub fn append(&mut self, stream: Stream, actor: Actor, event: Event, now: Time) -> Result<u64, Error> {
        let (at, end) = (self.clamp(now), self.batch.end);
        let project = match (end.project, &event) {
            (Some(project), _) => project,
            (None, Event::Project(project::Event::Founded { project, .. })) => *project,
            (None, Event::Project(_) | Event::Agent(_) | Event::Execution(_) | Event::Worker(_)) => {
                return Err(Error::invariant("an event was appended before the project was founded"));
            }
        };
        let Entry { fold: before, n, snapped } = self.entry(stream)?.clone();
        let (n, index) = (n + 1, end.size);
        let record = Record { project, index, stream, n, at, actor, event: &event, prev: end.last };
        let record = record.encode().map_err(|error| Error::invariant(error.to_string()))?;
        let mut after = before.as_deref().cloned();
        fold::apply(&mut after, &event, at);
        self.rows.extend(row::rows(stream, before.as_deref(), after.as_ref(), &event, at));
        let entry = Entry { fold: after.map(Arc::new), n, snapped };
        self.touched
            .entry(stream)
            .and_modify(|touched| touched.entry = entry.clone())
            .or_insert(Touched { entry, before });
        self.batch.end = End { project: Some(project), size: index + 1, last: record.leaf, at };
        self.batch.records.push(Committed { index, stream, n, at, actor, event, record });
        Ok(index)
    }

    /// Takes the bytes that an event of this job binds. Call `Blobs::keep` with a large one before the job: here it
    /// would hold up everyone.
    ///
    /// # Errors
    /// Those of writing a large one that was not kept before.
    pub fn payload(&mut self, payload: Payload) -> Result<Bound, Error> {
        let bound = payload.bound();
        self.blobs.keep(&payload)?;
        let inline = (payload.bytes.len() <= INLINE_BYTES_MAX).then_some(payload.bytes);
        self.payloads.push(Taken { bound, salt: payload.salt, inline });
        Ok(bound)
    }

    /// The agent that holds this name, archived ones included; case does not matter.
    ///
    /// # Errors
    /// The database's.
    pub fn agent_named(&mut self, name: &str) -> Result<Option<AgentId>, Error> {
        self.settle()?;
        rows::agents::named(self.sql, name)
    }

    /// # Errors
    /// The database's.
    pub fn open_executions(&mut self, agent: AgentId) -> Result<u64, Error> {
        self.settle()?;
        rows::executions::open_of(self.sql, agent)
    }

    /// Executions bound to this session.
    ///
    /// # Errors
    /// The database's.
    pub fn bound_to(&mut self, session: SessionId) -> Result<u64, Error> {
        self.settle()?;
        rows::executions::bound_to(self.sql, session)
    }

    /// The execution that this idempotency key of the agent started.
    ///
    /// # Errors
    /// The database's.
    pub fn twin(&mut self, agent: AgentId, key: Hash) -> Result<Option<ExecutionId>, Error> {
        self.settle()?;
        rows::executions::twin(self.sql, agent, key)
    }

    /// Before rows are read: what this job has appended must show in them.
    fn settle(&mut self) -> Result<(), Error> {
        let pending = self.written < self.batch.records.len() || !self.rows.is_empty() || !self.payloads.is_empty();
        if !pending {
            return Ok(());
        }
        if !self.savepoint {
            self.sql.execute("SAVEPOINT job", &[])?;
            self.savepoint = true;
        }
        self.write()
    }

    fn write(&mut self) -> Result<(), Error> {
        for taken in self.payloads.drain(..) {
            payload::insert(self.sql, taken.bound, &taken.salt, taken.inline.as_deref())?;
        }
        for committed in &self.batch.records[self.written..] {
            insert_record(self.sql, self.batch.end.project.map(|project| project.to_string()), committed)?;
        }
        self.written = self.batch.records.len();
        for row in self.rows.drain(..) {
            rows::write(self.sql, &row)?;
        }
        Ok(())
    }

    /// The job succeeded: writes what it made. An error here is the whole transaction's.
    pub(crate) fn keep(mut self) -> Result<(), Error> {
        self.write()?;
        for (stream, Touched { mut entry, before }) in std::mem::take(&mut self.touched) {
            let diff = owed::diff(before.as_deref(), entry.fold.as_deref());
            diff.write(self.sql, stream)?;
            for owed in &diff.come {
                let least = self.batch.owed.entry(owed.deed.kind()).or_insert(owed.at);
                *least = owed.at.min(*least);
            }
            if entry.n / SNAPSHOT_EVENTS > entry.snapped / SNAPSHOT_EVENTS {
                snapshot(self.sql, stream, &mut entry)?;
            }
            self.batch.entries.insert(stream, entry);
        }
        if self.savepoint {
            self.sql.execute("RELEASE job", &[])?;
        }
        Ok(())
    }

    /// The job failed: takes back what it made. An error here is the whole transaction's.
    pub(crate) fn undo(self) -> Result<(), Error> {
        let (end, records) = self.start;
        self.batch.end = end;
        self.batch.records.truncate(records);
        if self.savepoint {
            self.sql.execute("ROLLBACK TO job", &[])?;
            self.sql.execute("RELEASE job", &[])?;
        }
        Ok(())
    }
}

fn insert_record(sql: &mut dyn Sql, project: Option<String>, committed: &Committed) -> Result<(), Error> {
    let project = project.ok_or_else(|| Error::invariant("a record belongs to no project"))?;
    let text = "INSERT INTO ledger (project, idx, stream, n, kind, at, body) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let stream = committed.stream.to_string();
    let cells = [
        Cell::Text(&project),
        Cell::count(committed.index),
        Cell::Text(&stream),
        Cell::count(committed.n),
        Cell::Text(committed.record.kind()),
        Cell::Int(committed.at.millis()),
        Cell::Bytes(&committed.record.bytes),
    ];
    sql.execute(text, &cells)?;
    Ok(())
}
