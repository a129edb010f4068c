//! The audit of a world with a real daemon: it reads the open store as it stands, and is told by models and workers what
//! they are asked and what they do, the moment it happens. What is found first is kept. It must never be asked from inside
//! a commit.
use super::fate::Fate;
use crate::audit::{Audit, Checked, Rule, Violation, broken};
use crate::reads::{Reads, findings};
use crate::storage::View;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tenure_core::aggregate::Stream;
use tenure_core::execution::Turn;
use tenure_core::id::{ExecutionId, LeaseId};
use tenure_core::time::{Run, Stamp};
use tenure_store::sql::Sql;
use tenure_store::{Class, Error, Store, Txn};

#[derive(Clone)]
pub(super) struct Book(Arc<Mutex<State>>);

struct State {
    audit: Audit,
    ledger: Option<Ledger>,
    fate: Fate,
    found: Option<Violation>,
}

/// The store of the daemon's present life.
struct Ledger {
    store: Arc<Store>,
    fate: Fate,
    dir: PathBuf,
}

impl Reads for Ledger {
    fn store(&self) -> &Store {
        &self.store
    }

    fn read<R: Send + 'static>(&self, read: impl FnOnce(&mut dyn Sql) -> Result<R, Error> + Send + 'static) -> R {
        self.store.reader().read_blocking(read).expect("the database can be read")
    }

    fn write<R: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Txn<'_>) -> Result<R, Error> + Send + 'static,
    ) -> Option<R> {
        self.fate.look(|| self.store.writer().write_blocking(Class::Interactive, write)).ok()
    }

    fn prove(&mut self) -> Vec<String> {
        let proof = self.dir.with_extension("proof");
        crate::reads::copy(&self.dir, &proof).expect("a data directory can be copied");
        findings(&proof)
    }
}

impl Book {
    pub(super) fn new(audit: Audit, fate: Fate) -> Book {
        Book(Arc::new(Mutex::new(State { audit, ledger: None, fate, found: None })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(&self, store: &Arc<Store>, dir: PathBuf) {
        let mut state = self.lock();
        let fate = state.fate.clone();
        state.ledger = Some(Ledger { store: Arc::clone(store), fate, dir });
    }

    pub(super) fn close(&self) {
        let ledger = self.lock().ledger.take();
        drop(ledger);
    }

    /// Takes in what was stored since, then looks.
    fn look(&self, look: impl FnOnce(&mut Audit, &mut Ledger) -> Checked) {
        let mut state = self.lock();
        let State { audit, ledger: Some(ledger), fate, found } = &mut *state else { return };
        if found.is_some() {
            return;
        }
        let looked = audit.take_in(ledger).and_then(|()| {
            if audit.size() == fate.appended() {
                return look(audit, ledger);
            }
            broken(Rule::Atomic, format!("{} records are stored of {} committed", audit.size(), fate.appended()))
        });
        *found = looked.err();
    }

    /// A model is asked, now.
    pub(super) fn asked(&self, id: ExecutionId, turn: Turn) {
        self.look(|audit, _| audit.ask(id, turn));
    }

    /// What a lease stands for is done, now.
    pub(super) fn performed(&self, lease: LeaseId) {
        self.look(|audit, _| audit.perform(lease));
    }

    pub(super) fn hear(&self, hear: impl FnOnce(&Audit) -> Checked) {
        self.look(|audit, _| hear(audit));
    }

    /// What must hold after each step.
    ///
    /// # Errors
    /// What was found first.
    pub(super) fn check(&self) -> Checked {
        self.look(|audit, ledger| audit.check(ledger));
        self.verdict()
    }

    /// What must hold at rest.
    ///
    /// # Errors
    /// What was found first.
    pub(super) fn finish(&self) -> Checked {
        self.look(|audit, ledger| audit.finish(ledger));
        self.verdict()
    }

    /// # Errors
    /// What was found first.
    pub(super) fn verdict(&self) -> Checked {
        self.lock().found.clone().map_or(Ok(()), Err)
    }

    /// What is due and waits for nobody.
    pub(super) fn due_alone(&self, now: Stamp) -> BTreeSet<(Stream, String)> {
        self.lock().audit.due_alone(now)
    }

    /// Something that is still to be done, if there is.
    pub(super) fn waits(&self) -> Option<String> {
        self.lock().audit.waits()
    }

    pub(super) fn last_run(&self) -> Run {
        self.lock().audit.last_run()
    }

    pub(super) fn counts(&self) -> (u64, u64) {
        let state = self.lock();
        (state.audit.executions().count() as u64, state.audit.calls())
    }

    /// All records, and the kinds of their events.
    ///
    /// # Errors
    /// Where the store is closed.
    pub(super) fn records(&self) -> Result<(Vec<Vec<u8>>, Vec<&'static str>), Violation> {
        let mut state = self.lock();
        let State { audit, ledger: Some(ledger), .. } = &mut *state else {
            return Err(Violation { rule: Rule::Fault, what: "the store is closed".to_string() });
        };
        Ok((ledger.records(0), audit.kinds().iter().copied().collect()))
    }
}
