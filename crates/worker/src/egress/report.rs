//! What programs were kept from, aggregated for the ledger. Must never: grow with the number of attempts, or hold one back that
//! is the first of its kind while there is room.
use std::collections::HashMap;
use std::time::Duration;
use tenure_core::network::{REFUSALS_MAX, Refusal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Refusals that one jail puts into the ledger, and how many kinds of them are told apart; the rest is only counted.
const EVENTS_MAX: usize = 256;
/// Between two reports of repeats.
const EVERY: Duration = Duration::from_secs(10);
/// Attempts that wait to be folded; what comes faster is only counted.
pub(super) const WAITING_MAX: usize = 256;

/// One place that one rule stopped once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Attempt {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) rule: String,
}

/// The kinds that were seen, with how often each came since it was last reported.
#[derive(Debug, Default)]
struct RefusalLog {
    unreported: HashMap<Attempt, u32>,
    events: usize,
}

impl RefusalLog {
    /// The first of its kind is to be reported at once.
    fn take(&mut self, attempt: Attempt) -> Option<Refusal> {
        if let Some(count) = self.unreported.get_mut(&attempt) {
            *count = count.saturating_add(1);
            return None;
        }
        if self.events >= EVENTS_MAX {
            return None;
        }
        self.events += 1;
        let Attempt { host, port, rule } = attempt.clone();
        self.unreported.insert(attempt, 0);
        Some(Refusal { host, port, rule, count: 1 })
    }

    fn waits(&self) -> bool {
        self.events < EVENTS_MAX && self.unreported.values().any(|count| *count > 0)
    }

    /// The repeats, in reports of their bounded size.
    fn repeats(&mut self) -> Vec<Vec<Refusal>> {
        let room = EVENTS_MAX - self.events;
        let repeated = self.unreported.iter_mut().filter(|(_, count)| **count > 0).take(room);
        let mut refusals: Vec<Refusal> = repeated
            .map(|(Attempt { host, port, rule }, count)| {
                let (host, rule, count) = (host.clone(), rule.clone(), std::mem::take(count));
                Refusal { host, port: *port, rule, count }
            })
            .collect();
        self.events += refusals.len();
        refusals.sort_by(|a, b| (&a.host, a.port, &a.rule).cmp(&(&b.host, b.port, &b.rule)));
        refusals.chunks(REFUSALS_MAX).map(<[Refusal]>::to_vec).collect()
    }
}

/// Folds until it is told to end; then says what is left.
pub(super) async fn fold(
    mut attempts: mpsc::Receiver<Attempt>,
    reports: mpsc::Sender<Vec<Refusal>>,
    end: CancellationToken,
) {
    let (mut folded, mut taken, mut next) = (RefusalLog::default(), Vec::new(), Instant::now() + EVERY);
    loop {
        tokio::select! {
            () = end.cancelled(), if !attempts.is_closed() => attempts.close(),
            count = attempts.recv_many(&mut taken, REFUSALS_MAX) => {
                let first: Vec<Refusal> = taken.drain(..).filter_map(|attempt| folded.take(attempt)).collect();
                if !first.is_empty() && reports.send(first).await.is_err() {
                    return;
                }
                if count == 0 {
                    break;
                }
            }
            () = sleep_until(next), if folded.waits() => {
                next = Instant::now() + EVERY;
                send(&reports, folded.repeats()).await;
            }
        }
    }
    send(&reports, folded.repeats()).await;
}

async fn send(reports: &mpsc::Sender<Vec<Refusal>>, repeats: Vec<Vec<Refusal>>) {
    for report in repeats {
        // Nobody listens any more: the jail's task has ended with the connection.
        let _ = reports.send(report).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(number: usize) -> Attempt {
        Attempt { host: format!("h{number:04}.example"), port: 443, rule: "not on the allowlist".to_owned() }
    }

    #[test]
    fn repeats_fold_and_a_flood_of_kinds_ends_at_the_bound() {
        let mut folded = RefusalLog::default();
        assert_eq!(folded.take(attempt(1)).map(|first| first.count), Some(1));
        for _ in 0..1000 {
            assert_eq!(folded.take(attempt(1)), None);
        }
        assert!(folded.waits());
        assert_eq!(folded.repeats().concat().iter().map(|refusal| refusal.count).collect::<Vec<_>>(), [1000]);
        assert!(!folded.waits() && folded.repeats().is_empty());

        let reported = (2..5000).filter(|number| folded.take(attempt(*number)).is_some()).count();
        assert_eq!(reported, EVENTS_MAX - 2);
        folded.take(attempt(2));
        assert!(!folded.waits() && folded.repeats().is_empty() && folded.unreported.len() == EVENTS_MAX - 1);
    }

    #[test]
    fn a_report_of_many_kinds_is_cut_at_its_bound() {
        let mut folded = RefusalLog::default();
        for number in (0..100).chain(0..100) {
            folded.take(attempt(number));
        }
        assert_eq!(folded.repeats().iter().map(Vec::len).collect::<Vec<_>>(), [64, 36]);
    }
}
