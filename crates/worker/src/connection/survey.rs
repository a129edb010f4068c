//! Looks at what this host can do, when the daemon asks. Must never: hold up the connection, or run two looks at a time.
use crate::runtime::WorkerRuntime;
use std::sync::Arc;
use tenure_wire::frame::FromWorker;
use tokio::sync::mpsc;

/// Surveys that wait for the next look. One more is not answered; its asker gives up by itself.
const WAITING_MAX: usize = 64;

/// The number of a look that nobody asked for: what the greeting could not say yet.
const UNASKED: u64 = 0;

/// Asks for a look.
#[derive(Debug)]
pub(super) struct Surveys {
    counts: mpsc::Sender<u64>,
}

impl Surveys {
    /// The task must be spawned; it ends with the handle or the link.
    pub(super) fn new(
        runtime: Arc<WorkerRuntime>,
        answers: mpsc::Sender<FromWorker>,
    ) -> (Surveys, impl Future<Output = ()>) {
        let (counts, mut asked) = mpsc::channel(WAITING_MAX);
        if let Some(late) = runtime.late_engine() {
            let counts = counts.downgrade();
            tokio::spawn(async move {
                late.await;
                // A look that is asked for already will tell as much.
                let _ = counts.upgrade().map(|counts| counts.try_send(UNASKED));
            });
        }
        let looking = async move {
            while let Some(first) = asked.recv().await {
                // One look answers all who asked before it began.
                let mut waiting = vec![first];
                while let Ok(count) = asked.try_recv() {
                    waiting.push(count);
                }
                let host = Box::new(WorkerRuntime::survey(&runtime).await);
                for count in waiting {
                    if answers.send(FromWorker::Surveyed { count, host: host.clone() }).await.is_err() {
                        return;
                    }
                }
            }
        };
        (Surveys { counts }, looking)
    }

    pub(super) fn ask(&self, count: u64) {
        if self.counts.try_send(count).is_err() {
            tracing::warn!(count, "too many surveys wait; one is not answered");
        }
    }
}
