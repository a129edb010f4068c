//! Every stream replayed beside the walk. A stream that has ended keeps only its count, so that memory is bounded by
//! what is open, and by a counter for each stream. The rows that events and folds imply are handed on, not kept.
use super::findings::Findings;
use crate::Error;
use crate::events::events_after;
use crate::sql::{Cell, Sql, Walk};
use crate::txn::{snapshot_holds, snapshot_mac};
use std::collections::{HashMap, HashSet};
use tenure_core::aggregate::{self, Event, FOLD_VERSION, Fold, Stream};
use tenure_core::approval;
use tenure_core::execution::{self, Check, Execution, Payloads, Phase, Step, Turn};
use tenure_core::id::{CallId, LeaseId};
use tenure_core::ledger::{MacKey, Meta, canonical};
use tenure_core::model_call;
use tenure_core::owed::Owed;
use tenure_core::row::Row;

/// What may come after the end of a stream.
const REFUSED: &str = "command.refused";

#[derive(Debug)]
pub(super) struct Streams {
    /// What snapshots' MACs are checked by; none where the ledger's key may not be read.
    macs: Option<MacKey>,
    states: HashMap<Stream, State>,
    /// At which event of a stream its stored snapshot was made.
    snapshots: HashMap<Stream, u64>,
    /// Snapshots that the replay has reached, to be compared together with their bytes.
    reached: Vec<Reached>,
    /// Rows of the records since the last time that they were taken, each with its record's index.
    rows: Vec<(Option<u64>, Stream, Row)>,
}

/// A fold at the event after which its snapshot was made.
#[derive(Debug)]
struct Reached {
    stream: Stream,
    n: u64,
    index: u64,
    bytes: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Open(Box<Open>),
    /// Its fold changes no more.
    Ended {
        n: u64,
    },
    /// A record of it could not be read.
    Broken {
        n: u64,
    },
}

#[derive(Debug, Default)]
struct Open {
    n: u64,
    fold: Option<Fold>,
    calls: HashMap<CallId, Option<LeaseId>>,
    model: Option<Turn>,
    /// Model calls of programs.
    proxied: HashSet<CallId>,
}

impl Streams {
    pub(super) fn new(macs: Option<MacKey>) -> Streams {
        let (states, snapshots) = (HashMap::new(), HashMap::new());
        Streams { macs, states, snapshots, reached: Vec::new(), rows: Vec::new() }
    }

    pub(super) fn count(&self) -> u64 {
        self.states.len() as u64
    }

    pub(super) fn load_snapshots(&mut self, sql: &mut dyn Sql, findings: &mut Findings) -> Result<(), Error> {
        let text = "SELECT stream, n, version, body, mac FROM snapshots";
        sql.each(text, &[], &mut |row| {
            let read = row.parse(0).and_then(|stream: Stream| {
                Ok((stream, row.count::<u64>(1)?, row.int(2)?, row.bytes(3)?, row.bytes(4)?))
            });
            let Some((stream, n, version, body, mac)) = findings.readable(read, "a snapshot")? else {
                return Ok(Walk::On);
            };
            if version == i64::from(FOLD_VERSION) {
                self.snapshots.insert(stream, n);
            } else if self.macs.as_ref().is_some_and(|macs| !snapshot_holds(macs, stream, (n, version), body, mac)) {
                // Made by another version, it is never read, and no replay tells what it was.
                findings.add(None, Some(stream), "its snapshot by another version bears no MAC of this ledger");
            }
            Ok(Walk::On)
        })
    }

    pub(super) fn give_up(&mut self, stream: Stream) {
        let n = match self.states.get(&stream) {
            None => 0,
            Some(State::Open(open)) => open.n,
            Some(State::Ended { n } | State::Broken { n }) => *n,
        };
        self.states.insert(stream, State::Broken { n: n + 1 });
        self.snapshots.remove(&stream);
    }

    /// `records`: where those before this one are read from again.
    pub(super) fn record(
        &mut self,
        records: &mut dyn Sql,
        meta: &Meta,
        event: &Event,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        let stream = meta.stream;
        if let (
            Event::Execution(execution::Event::Erased { .. } | execution::Event::PayloadErased { .. }),
            Some(State::Ended { n }),
        ) = (event, self.states.get(&stream))
            && let Some(open) = findings.readable(Open::again(records, stream, *n), "an ended execution")?
        {
            self.states.insert(stream, State::Open(Box::new(open)));
        }
        let mut find = |what: String| findings.add(Some(meta.index), Some(stream), what);
        let state = self.states.entry(stream).or_insert_with(|| State::Open(Box::default()));
        let n = match state {
            State::Open(open) => &mut open.n,
            State::Ended { n } | State::Broken { n } => n,
        };
        if meta.n != *n + 1 {
            find(format!("is event {} of its stream, where event {} must come", meta.n, *n + 1));
        }
        *n = meta.n;
        let open = match state {
            State::Open(open) => open,
            State::Broken { .. } => return Ok(()),
            State::Ended { .. } => {
                if event.kind() != REFUSED {
                    find("comes after the end of its stream".to_string());
                }
                return Ok(());
            }
        };
        let rows = aggregate::event_rows(stream, open.fold.as_ref(), event, meta.stamp);
        self.rows.extend(rows.into_iter().map(|row| (Some(meta.index), stream, row)));
        aggregate::apply(&mut open.fold, event, meta.stamp);
        if let Event::Execution(event) = event {
            open.ends(event, &mut find);
        }
        if let (Some(n), Some(fold)) = (self.snapshots.get(&stream), &open.fold)
            && *n == meta.n
        {
            match canonical(fold) {
                Ok(bytes) => self.reached.push(Reached { stream, n: meta.n, index: meta.index, bytes }),
                Err(error) => find(error.to_string()),
            }
            self.snapshots.remove(&stream);
        }
        if has_ended(open.fold.as_ref()) && !self.snapshots.contains_key(&stream) {
            self.rows.extend(open.state_rows(stream));
            let n = meta.n;
            self.states.insert(stream, State::Ended { n });
        }
        Ok(())
    }

    pub(super) fn take_rows(&mut self) -> std::vec::Drain<'_, (Option<u64>, Stream, Row)> {
        self.rows.drain(..)
    }

    /// Rows of the folds that are still at hand when all records were read.
    pub(super) fn state_rows(&self) -> impl Iterator<Item = (Option<u64>, Stream, Row)> {
        self.states.iter().flat_map(|(stream, state)| match state {
            State::Open(open) => open.state_rows(*stream),
            State::Ended { .. } | State::Broken { .. } => Vec::new(),
        })
    }

    /// A record of it could not be read.
    pub(super) fn is_broken(&self, stream: Stream) -> bool {
        matches!(self.states.get(&stream), Some(State::Broken { .. }))
    }

    /// Keeps what waits to be compared small.
    pub(super) fn compare_when_many(&mut self, sql: &mut dyn Sql, findings: &mut Findings) -> Result<(), Error> {
        const WAITING_MAX: usize = 64;
        if self.reached.len() < WAITING_MAX { Ok(()) } else { self.compare(sql, findings) }
    }

    /// Holds snapshots reached since the last time against their stored bytes.
    fn compare(&mut self, sql: &mut dyn Sql, findings: &mut Findings) -> Result<(), Error> {
        for Reached { stream, n, index, bytes } in self.reached.drain(..) {
            let text = "SELECT body, mac FROM snapshots WHERE stream = $1";
            let mac = self.macs.as_ref().map(|macs| snapshot_mac(macs, stream, n, &bytes));
            let stored = sql.first(text, &[Cell::Text(&stream.to_string())], |row| {
                Ok((row.bytes(0)? == bytes, mac.is_none_or(|mac| row.bytes(1).is_ok_and(|stored| stored == mac))))
            });
            let what = match findings.readable(stored, "a snapshot")?.flatten() {
                Some((true, true)) => continue,
                Some((true, false)) => "the snapshot made after it bears no MAC of this ledger",
                Some((false, _)) | None => "the snapshot made after it is not what its replay gives",
            };
            findings.add(Some(index), Some(stream), what);
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, sql: &mut dyn Sql, findings: &mut Findings) -> Result<(), Error> {
        self.compare(sql, findings)?;
        for (stream, n) in &self.snapshots {
            findings.add(None, Some(*stream), format!("has a snapshot after event {n}, which it does not have"));
        }
        let mut rows: HashMap<Stream, Vec<Owed>> = HashMap::new();
        sql.each("SELECT axis, due, stream, key, kind FROM owed", &[], &mut |row| {
            let read = crate::owed::row(row).and_then(|read| Ok((read, row.text(3)?, row.text(4)?)));
            let Some(((stream, owed), key, kind)) = findings.readable(read, "a row of what is owed")? else {
                return Ok(Walk::On);
            };
            let obligation = &owed.obligation;
            if kind != obligation.kind().as_str() || key != obligation.to_key() {
                findings.add(None, Some(stream), format!("owes {key} in a row that is not its own, under `{kind}`"));
            }
            rows.entry(stream).or_default().push(owed);
            Ok(Walk::On)
        })?;
        for (stream, state) in &self.states {
            let State::Open(open) = state else { continue };
            let mut found = rows.remove(stream).unwrap_or_default();
            for due in open.fold.as_ref().map(Fold::owed).unwrap_or_default() {
                match found.iter().position(|row| *row == due) {
                    Some(place) => drop(found.swap_remove(place)),
                    None => {
                        let what = format!("owes {}, and no row says so", due.obligation.to_key());
                        findings.add(None, Some(*stream), what);
                    }
                }
            }
            rows.insert(*stream, found);
            open.compare_open(*stream, findings);
        }
        for (stream, row) in rows.into_iter().flat_map(|(stream, rows)| rows.into_iter().map(move |row| (stream, row)))
        {
            let what = format!("a row says that {} is owed, and it is not", row.obligation.to_key());
            findings.add(None, Some(stream), what);
        }
        Ok(())
    }
}

/// What it started may outlive it, and ends on its stream too; and what it bound may be erased by and by.
pub(crate) fn has_ended(fold: Option<&Fold>) -> bool {
    let Some(execution) = fold.and_then(Fold::as_a::<Execution>) else { return false };
    match execution.phase {
        Phase::Ended { payloads: Payloads::Erasing { .. }, .. } | Phase::Queued { .. } | Phase::Running(_) => false,
        Phase::Ended { .. } => execution.children.is_empty(),
    }
}

impl Open {
    /// As it was after the `n`th of its records, which were looked at before: what has ended is not kept in memory.
    fn again(sql: &mut dyn Sql, stream: Stream, n: u64) -> Result<Open, Error> {
        const PAGE: u32 = 256;
        let mut open = Open::default();
        while open.n < n {
            let page = events_after(sql, stream, open.n, PAGE)?;
            if page.is_empty() {
                return Err(Error::corrupt("records before it are gone"));
            }
            for record in page.into_iter().take_while(|record| record.meta.n <= n) {
                aggregate::apply(&mut open.fold, &record.event, record.meta.stamp);
                open.n = record.meta.n;
            }
        }
        Ok(open)
    }

    /// What follows from the fold alone. It is the sum of all its changes, for it depends on the fold and nothing else.
    fn state_rows(&self, stream: Stream) -> Vec<(Option<u64>, Stream, Row)> {
        let rows = self.fold.as_ref().map(|fold| aggregate::state_rows(stream, None, fold)).unwrap_or_default();
        rows.into_iter().map(|row| (None, stream, row)).collect()
    }

    /// Each call and each model call has exactly one terminal event.
    fn ends(&mut self, event: &execution::Event, find: &mut dyn FnMut(String)) {
        use execution::Event as E;
        match event {
            E::CallCalled(called) => {
                if self.calls.insert(called.call, called.lease.map(|held| held.lease)).is_some() {
                    find(format!("calls {} again, which has not ended", called.call));
                }
            }
            E::CallEnded(ended) => match self.calls.remove(&ended.call) {
                Some(lease) if lease == ended.lease => {}
                Some(_) => find(format!("ends {} under another lease", ended.call)),
                None => find(format!("ends {}, which is not open", ended.call)),
            },
            E::CallHeld(approval::Held { call, .. }) | E::CallBlocked { call, .. } => {
                if self.calls.contains_key(call) {
                    find(format!("holds or blocks {call}, which is in flight"));
                }
            }
            E::ModelCalled { turn, .. } => {
                if self.model.replace(*turn).is_some() {
                    find("calls the model while a model call is open".to_string());
                }
            }
            E::ModelAnswered { turn, .. } | E::ModelFailed { turn, .. } | E::ModelLost { turn, .. } => {
                if self.model.take() != Some(*turn) {
                    find("ends a model call that is not open".to_string());
                }
            }
            E::ProxyCalled(called) => {
                if !self.proxied.insert(called.call) {
                    find(format!("calls {} again, which has not ended", called.call));
                }
            }
            E::ProxyAnswered(model_call::Answered { call, .. })
            | E::ProxyFailed(model_call::Failed { call, .. })
            | E::ProxyLost(model_call::Lost { call, .. }) => {
                self.ends_proxied(*call, find);
            }
            E::Ended { .. } => self.ends_all(find),
            E::Erased { .. }
            | E::PayloadErased { .. }
            | E::Started { .. }
            | E::CancelRequested { .. }
            | E::IterationStarted { .. }
            | E::IterationBound { .. }
            | E::IterationUnbound { .. }
            | E::JailLost { .. }
            | E::NetworkRefused { .. }
            | E::BudgetWarned { .. }
            | E::ChildStarted { .. }
            | E::ChildEnded { .. }
            | E::Validated { .. }
            | E::IterationClosing { .. }
            | E::IterationReleased { .. }
            | E::IterationParked { .. }
            | E::ToolsAsked { .. }
            | E::ProgramAsked { .. }
            | E::ProgramTold { .. }
            | E::ProgramHeard { .. }
            | E::ProgramEnded { .. }
            | E::CallAllowed(_)
            | E::CallReleased(_)
            | E::CallRecalled(_)
            | E::IterationCompleted { .. }
            | E::IterationFailed { .. }
            | E::Refused(_) => {}
        }
    }

    fn ends_all(&self, find: &mut dyn FnMut(String)) {
        let open = self.calls.len() + self.proxied.len() + usize::from(self.model.is_some());
        if open > 0 {
            find(format!("ends the execution with {open} calls open"));
        }
    }

    fn ends_proxied(&mut self, call: CallId, find: &mut dyn FnMut(String)) {
        if !self.proxied.remove(&call) {
            find(format!("ends {call}, a program's model call that is not open"));
        }
    }

    /// What has no terminal event yet is what the fold holds open.
    fn compare_open(&self, stream: Stream, findings: &mut Findings) {
        let Some(execution) = self.fold.as_ref().and_then(Fold::as_a::<Execution>) else { return };
        let asked = &execution.model_calls.open;
        if asked.len() != self.proxied.len() || asked.iter().any(|open| !self.proxied.contains(&open.id)) {
            findings.add(None, Some(stream), "the model calls of programs are not those that its fold holds open");
        }
        let Some(iteration) = execution.iteration() else { return };
        let held = match &iteration.step {
            Step::Acting { calls } | Step::Closing { calls, .. } => calls.as_slice(),
            Step::Validating { check: Check::Open { call }, .. } => std::slice::from_ref(call),
            Step::Validating { check: Check::None | Check::Ended { .. }, .. }
            | Step::Thinking { .. }
            | Step::Program { .. }
            | Step::Told { .. } => &[],
        };
        let leased = || held.iter().filter_map(|call| Some((call.id, call.lease()?.lease)));
        let same = leased().count() == self.calls.len()
            && leased().all(|(call, lease)| self.calls.get(&call) == Some(&Some(lease)));
        if !same {
            findings.add(None, Some(stream), "the calls in flight are not those that its fold holds open");
        }
    }
}
