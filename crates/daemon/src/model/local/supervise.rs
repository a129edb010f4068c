//! The one task that owns the program of the local model.
//!
//! ```text
//! asleep --request---> starting --hello--> serving --idle--> asleep
//!    ^                    |                   |
//!    +--- wait, growing --+------- dies ------+
//! ```

use super::program::{End, Program};
use super::{QueuedRequest, Settings};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The wait after the first death; each further one without an answer in between doubles it.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

pub(super) async fn supervise(settings: Arc<Settings>, mut requests: mpsc::Receiver<QueuedRequest>) {
    let mut crashes = Crashes::default();
    while let Some(queued) = requests.recv().await {
        tokio::select! {
            () = queued.gone.cancelled() => continue,
            () = tokio::time::sleep_until(crashes.start_at()) => {}
        }
        match Program::start(&settings).await {
            Err(failure) => {
                tracing::warn!(%failure, "the local model does not start");
                if failure.retryable() {
                    crashes.count();
                }
                let _ = queued.outcome.send(Err(failure));
            }
            Ok(program) => match program.serve(queued, &mut requests, settings.idle).await {
                End::Idle => crashes = Crashes::default(),
                End::Closed => return,
                End::Died { answered } => {
                    if answered {
                        crashes = Crashes::default();
                    }
                    crashes.count();
                }
            },
        }
    }
}

#[derive(Default)]
struct Crashes {
    count: u32,
    last: Option<Instant>,
}

impl Crashes {
    fn count(&mut self) {
        self.count = self.count.saturating_add(1);
        self.last = Some(Instant::now());
    }

    fn start_at(&self) -> Instant {
        match self.last {
            None => Instant::now(),
            Some(last) => last + wait(self.count),
        }
    }
}

fn wait(crashes: u32) -> Duration {
    let doublings = crashes.saturating_sub(1).min(10);
    BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_before_a_restart_grows_and_is_bounded() {
        let waits: Vec<u128> = [1, 2, 3, 7, 8, u32::MAX].into_iter().map(|count| wait(count).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 30_000, 30_000, 30_000]);
    }
}
