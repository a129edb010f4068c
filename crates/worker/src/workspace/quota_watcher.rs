//! The looking itself: one task a jail, which every call of the jail asks. Must never: look twice at once, or let looking take more
//! than its part of the time while a program runs.

use super::quota::{Allowance, Baseline, LimitReached, Measurement};
use super::reserve::{RESERVE_PERIOD, Reserve, RunningProgram};
use super::unlinked::JailProcesses;
use rustix::io::Errno;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Looking may take this part of the time at most.
const PART: u32 = 10;
/// The times between two looks while a program runs: the shortest after growth, the longest after none for a while.
const PERIOD_MIN: Duration = Duration::from_millis(20);
const PERIOD_MAX: Duration = Duration::from_millis(250);
/// The longest after a look that took long.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Looks in a row that may fail, such as for want of descriptors, while a program runs.
const UNSEEN_MAX: u32 = 8;
const REQUESTS_MAX: usize = 64;

/// Asks how much an agent has left. Handles of one jail share its looks.
#[derive(Debug, Clone)]
pub(crate) struct QuotaWatcher {
    allowance: Arc<Allowance>,
    /// None where the file system sees to everything.
    requests: Option<mpsc::Sender<QuotaRequest>>,
}

enum QuotaRequest {
    FileOps {
        share: usize,
        bytes: u64,
        files: u64,
        answer: oneshot::Sender<Result<Option<LimitReached>, Errno>>,
    },
    /// `recent`: one that somebody else asked for just now will do.
    Look {
        recent: bool,
        answer: oneshot::Sender<Result<Arc<Measurement>, Errno>>,
    },
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Unavailable {
    /// The folder cannot be looked at now.
    Unseen(Errno),
    /// Nobody looks any more.
    Gone,
}

impl QuotaWatcher {
    /// The task must be spawned; it ends with the last handle.
    pub(crate) fn new(allowance: Allowance, processes: JailProcesses) -> (QuotaWatcher, impl Future<Output = ()>) {
        let allowance = Arc::new(allowance);
        let (requests, wanted) = mpsc::channel(REQUESTS_MAX);
        let task = QuotaTask { allowance: Arc::clone(&allowance), processes, last: None };
        let requests = allowance.is_looked_after().then_some(requests);
        (QuotaWatcher { allowance, requests }, task.serve(wanted))
    }

    /// Whether a file call may add so much at `path`, absolute. None: it may.
    pub(crate) async fn room(&self, path: &str, bytes: u64, files: u64) -> Result<Option<LimitReached>, Unavailable> {
        let Some(requests) = &self.requests else { return Ok(None) };
        let Some(share) = self.allowance.share(Path::new(path)) else { return Ok(None) };
        if let Some(taken) = self.allowance.reserve().and_then(|reserve| reserve.would_take(bytes)) {
            return Ok(Some(taken));
        }
        let (answer, answered) = oneshot::channel();
        requests.send(QuotaRequest::FileOps { share, bytes, files, answer }).await.map_err(|_| Unavailable::Gone)?;
        answered.await.map_err(|_| Unavailable::Gone)?.map_err(Unavailable::Unseen)
    }

    async fn look(&self, recent: bool) -> Result<Option<Arc<Measurement>>, Unavailable> {
        let Some(requests) = &self.requests else { return Ok(None) };
        let (answer, answered) = oneshot::channel();
        requests.send(QuotaRequest::Look { recent, answer }).await.map_err(|_| Unavailable::Gone)?;
        answered.await.map_err(|_| Unavailable::Gone)?.map(Some).map_err(Unavailable::Unseen)
    }

    /// Before a program starts: what it may not exceed. Err within: too much is there for any program.
    pub(crate) async fn begin(&self) -> Result<Result<Option<Baseline>, LimitReached>, Unavailable> {
        if let Some(taken) = self.allowance.reserve().and_then(|reserve| reserve.would_take(0)) {
            return Ok(Err(taken));
        }
        let Some(seen) = self.look(false).await? else { return Ok(Ok(None)) };
        Ok(self.allowance.baseline(&seen).map(Some))
    }

    /// Ends when a running program is over: its limit, or what was there when it began. Never where the kernel sees to it.
    pub(crate) async fn watch(&self, baseline: Option<&Baseline>) -> Result<LimitReached, Unavailable> {
        let Some(baseline) = baseline else { return std::future::pending().await };
        let held = self.allowance.reserve().map(Reserve::begin);
        tokio::select! {
            over = self.watch_folders(baseline, held.as_ref()) => over,
            low = watch_reserve(held.as_ref()) => Ok(low),
        }
    }

    async fn watch_folders(
        &self,
        baseline: &Baseline,
        held: Option<&RunningProgram<'_>>,
    ) -> Result<LimitReached, Unavailable> {
        let (mut period, mut before, mut unseen) = (PERIOD_MIN, None::<Arc<Measurement>>, 0);
        loop {
            tokio::time::sleep(period).await;
            let seen = match self.look(true).await {
                Ok(Some(seen)) => seen,
                Ok(None) => return std::future::pending().await,
                Err(Unavailable::Unseen(errno)) if unseen < UNSEEN_MAX => {
                    tracing::warn!(%errno, "an agent's folders could not be looked at; trying again");
                    unseen += 1;
                    continue;
                }
                Err(unavailable) => return Err(unavailable),
            };
            if let Some(reached) = self.allowance.over(&seen, baseline) {
                return Ok(reached);
            }
            if let Some(held) = held {
                held.saw(seen.all_bytes());
            }
            let grows = before.is_none_or(|before| seen.has_grown_since(&before));
            period =
                if grows { PERIOD_MIN } else { (period * 2).min(PERIOD_MAX) }.max((seen.took * PART).min(PAUSE_MAX));
            before = Some(seen);
            unseen = 0;
        }
    }

    /// After a program has ended: what it left too much of, or what it failed for want of.
    pub(crate) async fn end(
        &self,
        baseline: Option<&Baseline>,
        well: bool,
    ) -> Result<Option<LimitReached>, Unavailable> {
        if let Some(baseline) = baseline
            && let Some(seen) = self.look(false).await?
        {
            if let Some(reached) = self.allowance.over(&seen, baseline) {
                return Ok(Some(reached));
            }
            // The kernel may have ended it at the limit itself: no file may be larger.
            let full = self.allowance.reached(&seen, None, 0, 0);
            if let Some(full) = full.or_else(|| self.allowance.fullest(&seen)).filter(|_| !well) {
                return Ok(Some(full));
            }
        }
        Ok(if well { None } else { self.allowance.refused_by_kernel(0) })
    }

    /// Why a write of so many bytes, the jail's own, found no space.
    pub(crate) fn no_space(&self, asked: u64) -> Option<LimitReached> {
        self.allowance.refused_by_kernel(asked)
    }
}

/// Ends when too little of the disk is free and this program is the one to go.
async fn watch_reserve(held: Option<&RunningProgram<'_>>) -> LimitReached {
    let Some(held) = held else { return std::future::pending().await };
    loop {
        tokio::time::sleep(RESERVE_PERIOD).await;
        if let Some(low) = held.must_end() {
            return low;
        }
    }
}

/// The one who looks, for all that ask.
struct QuotaTask {
    allowance: Arc<Allowance>,
    processes: JailProcesses,
    last: Option<(Arc<Measurement>, Instant)>,
}

impl QuotaTask {
    async fn serve(mut self, mut wanted: mpsc::Receiver<QuotaRequest>) {
        while let Some(want) = wanted.recv().await {
            // Whoever does not wait any more is gone.
            match want {
                QuotaRequest::Look { recent: true, answer } => drop(answer.send(self.recent().await)),
                QuotaRequest::Look { recent: false, answer } => drop(answer.send(self.look().await)),
                QuotaRequest::FileOps { share, bytes, files, answer } => {
                    let reached =
                        self.look().await.map(|seen| self.allowance.reached(&seen, Some(share), bytes, files));
                    drop(answer.send(reached));
                }
            }
        }
    }

    /// The last look while it is fresh, so that several programs cost no more than one.
    async fn recent(&mut self) -> Result<Arc<Measurement>, Errno> {
        match &self.last {
            Some((seen, at)) if at.elapsed() < seen.took * PART => Ok(Arc::clone(seen)),
            Some(_) | None => self.look().await,
        }
    }

    async fn look(&mut self) -> Result<Arc<Measurement>, Errno> {
        let (allowance, processes) = (Arc::clone(&self.allowance), self.processes.clone());
        let looked = tokio::task::spawn_blocking(move || allowance.look(&processes)).await;
        let seen = Arc::new(looked.unwrap_or(Err(Errno::IO))?);
        self.last = Some((Arc::clone(&seen), Instant::now()));
        Ok(seen)
    }
}
