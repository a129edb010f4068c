//! One transaction: as many jobs as wait, one COMMIT, then the answers. A transaction that fails leaves nothing behind,
//! neither on disk nor here: the chain's end, the frontier and the folds are working copies until COMMIT.
use super::{Class, Commit, Hook, Job, Queues};
use crate::Error;
use crate::cache::{Cache, Plans};
use crate::chain::Chain;
use crate::checkpoint::HeadFile;
use crate::folder::Folder;
use crate::pace::Pace;
use crate::payload::Blobs;
use crate::sql::{LOG_BYTES, Sql, Sqlite};
use crate::txn::{Batch, Txn, snapshot};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tenure_core::aggregate::{Event, Stream};
use tenure_core::ledger::Signer;
use tenure_core::project;
use tenure_core::row::Row;

const JOBS_MAX: usize = 512;
/// How long the wakes of one transaction may take in all. Where virtual time rules they take none.
const WAKES_MAX: Duration = Duration::from_millis(5);
/// The head outside is at most this much older than the last commit. To write it after each would cost the file
/// system as much as the commit did.
const HEAD_AGE_MAX: Duration = Duration::from_millis(25);

/// What the writer's thread owns.
pub(crate) struct WriterState {
    pub folder: Folder,
    pub sql: Sqlite,
    pub chain: Chain,
    pub cache: Cache,
    pub plans: Plans,
    pub blobs: Blobs,
    pub signer: Signer,
    pub head: HeadFile,
    /// A signed head that is not yet outside, and when the last was put there.
    pub pending_head: Option<String>,
    pub published: Instant,
    /// Transactions before the log is given its whole length; none once it has it.
    pub lengthen_after: Option<u32>,
    /// The log may hold what was erased.
    pub has_erased: bool,
    /// Who rules the writer, where it has no thread.
    pub pace: Option<Arc<dyn Pace>>,
}

/// How a transaction ended.
pub(super) struct Done {
    chain: Chain,
    signed: Option<String>,
    left: Vec<Stream>,
}

impl WriterState {
    /// Runs one transaction beginning with `first`. False: the writer must end.
    pub(super) fn run_batch(
        &mut self,
        first: (Class, Box<dyn Job>),
        queues: &mut Queues,
        hook: &mut Option<Hook>,
    ) -> bool {
        let mut jobs = Vec::new();
        let mut batch = Batch::new(self.chain.end);
        let outcome = self.fill(first, queues, &mut batch, &mut jobs).and_then(|()| self.commit(&mut batch));
        let outcome = match outcome {
            Ok(done) => {
                self.committed(done, batch, hook);
                Ok(())
            }
            Err(error) => Err(self.abandon(error)),
        };
        let fatal = outcome.as_ref().is_err_and(Error::is_fatal);
        for job in jobs {
            job.answer(outcome.clone());
        }
        if self.published.elapsed() >= HEAD_AGE_MAX {
            self.publish_head();
        }
        !fatal
    }

    /// Nobody waits: does what can be done later. Says for how long there is nothing else to do.
    pub(super) fn on_idle(&mut self) -> Option<Duration> {
        if self.has_erased {
            // What was deleted is nowhere in the database itself; a log that cannot be cut now is cut later.
            self.has_erased = !self.sql.empty_log().unwrap_or(false);
            self.lengthen_after = self.lengthen_after.or(Some(0));
        }
        if self.lengthen_after == Some(0) {
            self.lengthen_after = None;
            // It only makes commits quicker, so that a full disk may refuse it.
            let _ = self.folder.lengthen_log(LOG_BYTES);
        }
        self.pending_head.as_ref()?;
        let left = HEAD_AGE_MAX.saturating_sub(self.published.elapsed());
        if left.is_zero() {
            self.publish_head();
        }
        (!left.is_zero()).then_some(left)
    }

    /// The last thing that the writer does.
    pub(in crate::writer) fn end(&mut self) {
        self.publish_head();
    }

    fn publish_head(&mut self) {
        let Some(signed) = self.pending_head.take() else { return };
        // It is only the younger of two witnesses: the database has the same head, and the next commit tries again.
        let _ = self.head.write(&signed);
        self.published = Instant::now();
    }

    fn fill(
        &mut self,
        first: (Class, Box<dyn Job>),
        queues: &mut Queues,
        batch: &mut Batch,
        jobs: &mut Vec<Box<dyn Job>>,
    ) -> Result<(), Error> {
        let mut next = Some(first);
        let begun = self.sql.execute("BEGIN IMMEDIATE", &[]);
        let mut wakes = Duration::ZERO;
        while let Some((class, mut job)) = next {
            let start = (class == Class::Wake && self.pace.is_none()).then(Instant::now);
            let outcome = match &begun {
                Ok(_) => self.run(&mut *job, batch),
                Err(error) => Err(error.clone()),
            };
            jobs.push(job);
            outcome?;
            wakes += start.map_or(Duration::ZERO, |start| start.elapsed());
            next = (jobs.len() < JOBS_MAX).then(|| queues.next(wakes < WAKES_MAX)).flatten();
        }
        Ok(())
    }

    fn run(&mut self, job: &mut dyn Job, batch: &mut Batch) -> Result<(), Error> {
        let mut txn = Txn::new(&mut self.sql, &mut self.cache, &mut self.plans, &self.blobs, self.signer.macs(), batch);
        let own = job.run(&mut txn);
        let result = if own.is_ok() { txn.keep() } else { txn.undo() };
        // After some failures the database ends the transaction by itself, and every job's part of it is gone.
        match (self.sql.is_idle(), own, result) {
            (false, _, result) => result,
            (true, Err(error), _) | (true, Ok(()), Err(error)) => Err(error),
            (true, Ok(()), Ok(())) => Err(Error::invariant("the transaction ended before its COMMIT")),
        }
    }

    pub(super) fn commit(&mut self, batch: &mut Batch) -> Result<Done, Error> {
        let mut chain = Chain { end: batch.end, frontier: self.chain.frontier.clone() };
        let mut left = Vec::new();
        let mut signed = None;
        if let (Some(project), false) = (chain.end.project, batch.leaves.is_empty()) {
            batch.leaves.iter().for_each(|leaf| chain.frontier.push(*leaf));
            let text = chain.sign(project, &self.signer)?;
            chain.save(&mut self.sql, project, &text)?;
            signed = Some(text);
        }
        let fresh = batch.entries.len();
        for (stream, mut entry) in self.cache.leaving(fresh) {
            if !batch.entries.contains_key(&stream) && entry.n > entry.snapped {
                snapshot(&mut self.sql, self.signer.macs(), stream, &mut entry)?;
            }
            left.push(stream);
        }
        if let Some(pace) = &self.pace {
            pace.before_commit()?;
        }
        self.sql.execute("COMMIT", &[])?;
        Ok(Done { chain, signed, left })
    }

    /// The transaction is on disk: what was a copy is the state now.
    pub(super) fn committed(&mut self, done: Done, batch: Batch, hook: &mut Option<Hook>) {
        self.chain = done.chain;
        self.lengthen_after = self.lengthen_after.map(|left| left.saturating_sub(1));
        for stream in done.left {
            self.cache.remove(stream);
        }
        for (stream, entry) in batch.entries {
            self.cache.put(stream, entry);
        }
        if done.signed.is_some() {
            self.pending_head = done.signed;
        }
        for (_, event) in batch.appended.iter().flat_map(|appended| &appended.decision.events) {
            if let Event::Project(project::Event::RestoreAccepted { checkpoint_size, .. }) = event {
                self.head.accept(*checkpoint_size);
            }
        }
        for row in batch.appended.iter().flat_map(|appended| &appended.decision.rows) {
            if let Row::EntryDropped { value: Some(hash), .. } | Row::Erased { hash } = row {
                self.blobs.remove(hash);
            }
            self.has_erased |= matches!(row, Row::Erased { .. });
        }
        if let (Some(hook), false) = (hook, batch.appended.is_empty()) {
            hook(&Commit { appended: batch.appended.into() });
        }
    }

    /// Nothing of the transaction stands. Says what became of it.
    fn abandon(&mut self, error: Error) -> Error {
        self.plans.forget_revisions();
        let undone = if self.sql.is_idle() { Ok(0) } else { self.sql.execute("ROLLBACK", &[]) };
        match (undone, error) {
            (Err(undoing), _) => Error::Io { doing: "undoing a transaction".to_string(), why: undoing.to_string() },
            (Ok(_), Error::Io { doing, .. }) if self.folder.is_full() => Error::Full { doing },
            (Ok(_), error) => error,
        }
    }
}
