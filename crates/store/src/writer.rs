//! The one writer. Jobs queue for it, each runs inside a transaction with whatever else waits, and nobody is answered before
//! COMMIT. It works on a thread of its own; or, where virtual time rules, on that of whoever's turn it is. No other
//! connection may write.
mod batch;
mod rotate;
mod seal;

use crate::Error;
use crate::pace::Pace;
use crate::txn::{Appended, Txn};
pub(crate) use batch::WriterState;
pub use rotate::{Rotated, rotate_key};
pub use seal::{Sealed, Step, seal};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use tokio::sync::{mpsc, oneshot};

/// Jobs that may wait in each queue; more wait with their askers.
const QUEUE_MAX: usize = 1024;

/// Interactive jobs go before wakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Interactive,
    /// What a reconciler does on its own.
    Wake,
}

/// What one transaction left behind, in the ledger's order.
#[derive(Debug, Clone)]
pub struct Commit {
    pub appended: Arc<[Appended]>,
}

/// Called on the writer's thread after COMMIT, before anyone is answered. It must not block.
pub type Hook = Box<dyn FnMut(&Commit) + Send>;

/// Something that waits for the writer.
trait Job: Send {
    /// Runs it; where it fails, what it made must be taken back.
    fn run(&mut self, txn: &mut Txn<'_>) -> Result<(), Error>;
    /// Tells its asker. `outcome` is the transaction's.
    fn answer(self: Box<Self>, outcome: Result<(), Error>);
}

struct Task<R, F> {
    job: Option<F>,
    result: Option<Result<R, Error>>,
    reply: oneshot::Sender<Result<R, Error>>,
}

impl<R, F> Job for Task<R, F>
where
    R: Send,
    F: FnOnce(&mut Txn<'_>) -> Result<R, Error> + Send,
{
    fn run(&mut self, txn: &mut Txn<'_>) -> Result<(), Error> {
        let Some(job) = self.job.take() else { return Err(Error::invariant("a job ran twice")) };
        let result = catch_unwind(AssertUnwindSafe(|| job(txn)));
        let result =
            result.unwrap_or_else(|panic| Err(Error::invariant(format!("a job panicked: {}", words(&*panic)))));
        self.result.insert(result).as_ref().map(|_| ()).map_err(Error::clone)
    }

    fn answer(self: Box<Self>, outcome: Result<(), Error>) {
        let answer = match (self.result, outcome) {
            (Some(Err(error)), _) | (Some(Ok(_)) | None, Err(error)) => Err(error),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => Err(Error::invariant("a job was answered before it ran")),
        };
        // Nobody waits any more where the asker was dropped; what it asked for stands all the same.
        let _ = self.reply.send(answer);
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_string())
}

struct Shared {
    interactive: Jobs,
    wakes: Jobs,
    hands: Hands,
}

/// Who does the work.
enum Hands {
    Thread {
        thread: Thread,
        stop: Arc<AtomicBool>,
    },
    /// Whoever asks, when it is its turn.
    Askers {
        pace: Arc<dyn Pace>,
        inline: Box<Mutex<Inline>>,
    },
}

/// A writer without a thread.
struct Inline {
    state: WriterState,
    queues: Queues,
    hook: Option<Hook>,
    ended: bool,
}

impl Inline {
    /// Does what waits.
    fn work(&mut self) {
        while let Some(first) = self.queues.next(true) {
            if self.ended {
                first.1.answer(Err(Error::Stopped));
            } else if !self.state.run_batch(first, &mut self.queues, &mut self.hook) {
                self.end();
            }
        }
    }

    /// Does one job before whatever waits.
    fn work_alone(&mut self, job: (Class, Box<dyn Job>)) {
        if self.ended {
            job.1.answer(Err(Error::Stopped));
        } else if !self.state.run_batch(job, &mut Queues::closed(), &mut self.hook) {
            self.end();
        }
    }

    fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.state.end();
            self.queues.close();
        }
    }
}

fn lock(inline: &Mutex<Inline>) -> MutexGuard<'_, Inline> {
    inline.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The way to the writer.
#[derive(Clone)]
pub struct Writer {
    shared: Arc<Shared>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    fn queue(&self, class: Class) -> &Jobs {
        match class {
            Class::Interactive => &self.shared.interactive,
            Class::Wake => &self.shared.wakes,
        }
    }

    /// Runs a job in the next transaction and gives its result after COMMIT. A job that fails changes nothing; if the
    /// future is dropped the job may run all the same.
    ///
    /// # Errors
    /// The job's own; the transaction's, which then kept nothing of any job; `Stopped`.
    pub async fn write<R, F>(&self, class: Class, job: F) -> Result<R, Error>
    where
        R: Send + 'static,
        F: FnOnce(&mut Txn<'_>) -> Result<R, Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let task = Box::new(Task { job: Some(job), result: None, reply });
        self.queue(class).send(task).await.map_err(|_| Error::Stopped)?;
        match &self.shared.hands {
            Hands::Thread { thread, .. } => thread.unpark(),
            Hands::Askers { pace, inline } => {
                pace.turn().await;
                lock(inline).work();
            }
        }
        answer.await.unwrap_or(Err(Error::Stopped))
    }

    /// The same for threads that are no async runtime's. Without a thread of its own the writer does it at once, before
    /// what waits.
    ///
    /// # Errors
    /// As `write`.
    pub fn write_blocking<R, F>(&self, class: Class, job: F) -> Result<R, Error>
    where
        R: Send + 'static,
        F: FnOnce(&mut Txn<'_>) -> Result<R, Error> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let task = Box::new(Task { job: Some(job), result: None, reply });
        match &self.shared.hands {
            Hands::Thread { thread, .. } => {
                self.queue(class).blocking_send(task).map_err(|_| Error::Stopped)?;
                thread.unpark();
                answer.blocking_recv().unwrap_or(Err(Error::Stopped))
            }
            Hands::Askers { inline, .. } => {
                let mut answer = answer;
                lock(inline).work_alone((class, task));
                answer.try_recv().unwrap_or(Err(Error::Stopped))
            }
        }
    }

    /// Resolves once the writer has ended; no write succeeds after it.
    pub async fn stopped(&self) {
        self.shared.interactive.closed().await;
    }

    /// Lets the writer finish what waits, and end.
    pub(crate) fn stop(&self) {
        match &self.shared.hands {
            Hands::Thread { thread, stop } => {
                stop.store(true, Ordering::Release);
                thread.unpark();
            }
            Hands::Askers { inline, .. } => {
                let mut inline = lock(inline);
                inline.work();
                inline.end();
            }
        }
    }

    pub(crate) fn start(state: WriterState, hook: Option<Hook>) -> Result<(Writer, JoinHandle<()>), Error> {
        let (interactive, wakes, queues) = Queues::open();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let spawned = thread::Builder::new().name("ledger".to_string()).spawn(move || run(state, queues, hook, &told));
        let handle = spawned.map_err(|error| Error::file("starting the ledger's writer", &error))?;
        let hands = Hands::Thread { thread: handle.thread().clone(), stop };
        Ok((Writer { shared: Arc::new(Shared { interactive, wakes, hands }) }, handle))
    }

    /// Without a thread: each asker does what waits when it is its turn.
    pub(crate) fn inline(state: WriterState, hook: Option<Hook>, pace: Arc<dyn Pace>) -> Writer {
        let (interactive, wakes, queues) = Queues::open();
        let inline = Inline { state, queues, hook, ended: false };
        let hands = Hands::Askers { pace, inline: Box::new(Mutex::new(inline)) };
        Writer { shared: Arc::new(Shared { interactive, wakes, hands }) }
    }
}

type Jobs = mpsc::Sender<Box<dyn Job>>;

struct Queues {
    interactive: mpsc::Receiver<Box<dyn Job>>,
    wakes: mpsc::Receiver<Box<dyn Job>>,
}

impl Queues {
    fn open() -> (Jobs, Jobs, Queues) {
        let (interactive, interactive_jobs) = mpsc::channel(QUEUE_MAX);
        let (wakes, wake_jobs) = mpsc::channel(QUEUE_MAX);
        (interactive, wakes, Queues { interactive: interactive_jobs, wakes: wake_jobs })
    }

    /// Nothing waits and nothing ever comes.
    fn closed() -> Queues {
        Queues::open().2
    }

    fn close(&mut self) {
        self.interactive.close();
        self.wakes.close();
    }

    fn next(&mut self, wakes_too: bool) -> Option<(Class, Box<dyn Job>)> {
        if let Ok(job) = self.interactive.try_recv() {
            return Some((Class::Interactive, job));
        }
        let job = wakes_too.then(|| self.wakes.try_recv().ok()).flatten();
        job.map(|job| (Class::Wake, job))
    }
}

fn run(mut state: WriterState, mut queues: Queues, mut hook: Option<Hook>, stop: &AtomicBool) {
    let mut closing = false;
    loop {
        match queues.next(true) {
            Some(first) => {
                if !state.run_batch(first, &mut queues, &mut hook) {
                    break;
                }
            }
            None if closing => break,
            None => {
                let idle = state.on_idle();
                if stop.load(Ordering::Acquire) {
                    queues.close();
                    closing = true;
                } else {
                    idle.map_or_else(thread::park, thread::park_timeout);
                }
            }
        }
    }
    state.end();
    queues.close();
    while let Some((_, job)) = queues.next(true) {
        job.answer(Err(Error::Stopped));
    }
}
