//! The look at what is stored that follows each start: the chain page by page, API keys, each table by SQLite's own check,
//! on a thread and a connection of its own. It works a fifth of the time at most, holds no transaction for longer than a
//! page or [`TABLE_TIME`], and never keeps the writer waiting. What it finds it says in the log, and keeps to be asked for.
//! The head outside was compared when the store was opened.
use crate::Error;
use crate::events::events_of;
use crate::folder::Folder;
use crate::rows::keys;
use crate::sql::{Sql, Sqlite};
use crate::verify::Findings;
use crate::verify::chain::{Moment, Walker};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tenure_core::aggregate::{Stream, event_rows};
use tenure_core::id::KeyId;
use tenure_core::ledger::Verifier;
use tenure_core::project::KeyRow;
use tenure_core::row::Row;

/// How long SQLite's check of one table may take; a table that takes longer is left to `tenure audit verify`.
const TABLE_TIME: Duration = Duration::from_secs(2);
/// How long it rests after each piece of work, in times of that work.
const REST: u32 = 4;
/// Findings that are kept and logged; more are counted.
const KEPT_MAX: usize = 20;
/// Lines of SQLite's own check of one table that are told.
const FAULTS_MAX: usize = 5;

/// How far it is, and what it came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScrubState {
    Running {
        records: u64,
    },
    /// Nothing was found. `unfinished` tables were too large to look at.
    Clean {
        records: u64,
        unfinished: Vec<String>,
    },
    /// The first findings, and how many there are in all.
    Damaged {
        records: u64,
        findings: Vec<String>,
        count: u64,
    },
    /// It could not read the database.
    Failed {
        why: String,
    },
}

#[derive(Debug)]
pub(crate) struct Scrub {
    thread: Option<JoinHandle<()>>,
    progress: Arc<Progress>,
}

/// Shared with whoever asks how far it is.
#[derive(Debug)]
pub(crate) struct Progress {
    state: Mutex<ScrubState>,
    over: AtomicBool,
    ended: Condvar,
}

impl Scrub {
    pub(crate) fn start(folder: &Folder, verifier: Verifier) -> Result<Scrub, Error> {
        let state = Mutex::new(ScrubState::Running { records: 0 });
        let progress = Arc::new(Progress { state, over: AtomicBool::new(false), ended: Condvar::new() });
        let (folder, told) = (folder.clone(), Arc::clone(&progress));
        let work = move || match look(&folder, &verifier, &told) {
            Ok(outcome) => told.settle(outcome),
            Err(Error::Stopped) => {}
            Err(Error::Corrupt { what }) => {
                told.settle(ScrubState::Damaged { records: 0, findings: vec![what], count: 1 });
            }
            Err(error) => told.settle(ScrubState::Failed { why: error.to_string() }),
        };
        let spawned = thread::Builder::new().name("scrub".to_string()).spawn(work);
        let thread = spawned.map_err(|error| Error::file("starting the look at what is stored", &error))?;
        Ok(Scrub { thread: Some(thread), progress })
    }

    pub(crate) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }
}

impl Drop for Scrub {
    fn drop(&mut self) {
        self.progress.stop();
        if let Some(thread) = self.thread.take() {
            // It only reads; one that panicked holds nothing.
            let _ = thread.join();
        }
    }
}

impl Progress {
    pub(crate) fn state(&self) -> ScrubState {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, ScrubState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    fn stop(&self) {
        // Held, so that a thread that is about to rest sees it.
        let _state = self.lock();
        self.over.store(true, Ordering::Release);
        self.ended.notify_all();
    }

    fn settle(&self, outcome: ScrubState) {
        match &outcome {
            ScrubState::Damaged { findings, count, .. } => {
                for finding in findings {
                    tracing::error!(finding, "the ledger does not hold; run `tenure audit verify`");
                }
                tracing::error!(count, "the ledger was looked at and does not hold; run `tenure audit verify`");
            }
            ScrubState::Failed { why } => tracing::error!(why, "the ledger could not be looked at"),
            ScrubState::Clean { records, unfinished } => {
                tracing::info!(records, ?unfinished, "the ledger was looked at and holds");
            }
            ScrubState::Running { .. } => {}
        }
        *self.lock() = outcome;
    }

    /// Rests after work that began at `begun`; `Stopped` once the store is closed.
    fn rest(&self, begun: Instant) -> Result<(), Error> {
        let end = Instant::now() + begun.elapsed() * REST;
        let mut state = self.lock();
        while let (false, left) = (self.is_stopped(), end.saturating_duration_since(Instant::now())) {
            if left.is_zero() {
                return Ok(());
            }
            state = self.ended.wait_timeout(state, left).map_or_else(|broken| broken.into_inner().0, |woken| woken.0);
        }
        Err(Error::Stopped)
    }
}

fn look(folder: &Folder, verifier: &Verifier, progress: &Arc<Progress>) -> Result<ScrubState, Error> {
    let mut findings = Findings::default();
    let mut sql = Sqlite::open_reader(&folder.database())?;
    sql.execute("BEGIN", &[])?;
    let moment = Moment::read(&mut sql, verifier, None, &mut findings)?;
    sql.execute("COMMIT", &[])?;
    let mut begun = Instant::now();
    let mut between = |records| {
        *progress.lock() = ScrubState::Running { records };
        progress.rest(begun)?;
        begun = Instant::now();
        Ok(())
    };
    let report = Walker::new(&mut sql, moment, findings).walk(None, &mut between)?;
    let mut findings = report.findings;
    let keys = check_keys(&mut sql, progress, &mut findings);
    if !sql.is_idle() {
        sql.execute("ROLLBACK", &[])?;
    }
    findings.readable(keys, "API keys and their records")?;
    let unfinished = check_tables(&mut sql, progress, &mut findings)?;
    if findings.count() == 0 {
        return Ok(ScrubState::Clean { records: report.records, unfinished });
    }
    let kept = findings.kept().iter().take(KEPT_MAX).map(ToString::to_string).collect();
    Ok(ScrubState::Damaged { records: report.records, findings: kept, count: findings.count() })
}

/// Records of the project read at a time.
const PAGE: u32 = 256;

/// Holds the API keys against the project's records: a row that was put back whole, as it once was, bears a MAC that holds.
fn check_keys(sql: &mut Sqlite, progress: &Arc<Progress>, findings: &mut Findings) -> Result<(), Error> {
    let project = "SELECT project FROM heads LIMIT 1";
    let Some(project) = (sql as &mut dyn Sql).first(project, &[], |row| row.parse(0))? else { return Ok(()) };
    let stream = Stream::Project(project);
    let (mut told, mut from) = (HashMap::new(), 0);
    loop {
        let begun = Instant::now();
        sql.execute("BEGIN", &[])?;
        let page = events_of(sql, stream, from, PAGE)?;
        for recorded in &page {
            from = recorded.meta.index + 1;
            for row in event_rows(stream, None, &recorded.event, recorded.meta.stamp) {
                take_in(&mut told, row);
            }
        }
        let is_last = page.len() < PAGE as usize;
        if is_last {
            // In the transaction that saw the last record, so that no row is newer.
            keys::each(sql, &mut |row| {
                let id = row.id;
                match told.remove(&id) {
                    Some(by_records) if by_records == row => {}
                    Some(_) => findings.add(None, None, format!("the row {id} of `keys` is not what the records say")),
                    None => {
                        findings.add(None, None, format!("the row {id} of `keys` is there, and no record implies it"))
                    }
                }
            })?;
        }
        sql.execute("COMMIT", &[])?;
        if is_last {
            break;
        }
        progress.rest(begun)?;
    }
    told.keys().for_each(|id| findings.add(None, None, format!("the row {id} of `keys` is missing")));
    Ok(())
}

fn take_in(keys: &mut HashMap<KeyId, KeyRow>, row: Row) {
    match row {
        Row::Key(row) => drop(keys.insert(row.id, row)),
        Row::KeyRevoked { id, at } => {
            if let Some(row) = keys.get_mut(&id) {
                row.revoked_at = Some(at);
            }
        }
        _ => {}
    }
}

/// Gives the tables that took too long.
fn check_tables(sql: &mut Sqlite, progress: &Arc<Progress>, findings: &mut Findings) -> Result<Vec<String>, Error> {
    let text = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name";
    let tables = (sql as &mut dyn Sql).all(text, &[], |row| Ok(row.text(0)?.to_string()))?;
    let mut unfinished = Vec::new();
    for table in tables {
        let begun = Instant::now();
        let stop = Arc::clone(progress);
        sql.interrupt_when(Some(move || stop.is_stopped() || begun.elapsed() > TABLE_TIME))?;
        let text = format!("PRAGMA quick_check(\"{}\")", table.replace('"', "\"\""));
        let mut faults = Vec::new();
        let checked = sql.each(&text, &[], &mut |row| {
            faults.push(row.text(0)?.to_string());
            Ok(crate::sql::Walk::On)
        });
        sql.interrupt_when(None::<fn() -> bool>)?;
        match checked {
            Err(Error::Interrupted) if progress.is_stopped() => return Err(Error::Stopped),
            Err(Error::Interrupted) => unfinished.push(table.clone()),
            checked => drop(findings.readable(checked, &format!("the table `{table}`"))?),
        }
        for fault in faults.iter().filter(|fault| *fault != "ok").take(FAULTS_MAX) {
            findings.add(None, None, format!("the table `{table}` is damaged: {fault}"));
        }
        progress.rest(begun)?;
    }
    Ok(unfinished)
}
