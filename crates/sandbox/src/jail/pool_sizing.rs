//! How many prewarmed jails wait for a claim. Pure: the clock is an argument.
//! Must never: ask for one more while claims come in, or hold more than its share of the host's memory.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What one prewarmed jail costs the host, in bytes: 100 to 220 KiB of its own and 310 to 360 KiB of the kernel's were measured,
/// most of it for the net namespace (`examples/jail_start`, `--half-made 200`).
const HALF_MADE_BYTES: u64 = 512 << 10;
/// As many jails wait as were claimed in this time.
const WINDOW: Duration = Duration::from_secs(10);
/// No jail is made until no order came for this long: making one keeps the zygote from the next order.
const QUIET: Duration = Duration::from_millis(2);
/// No waiting jail is ended until no claim came for this long, so that a steady demand does not make and end them in turns.
const IDLE: Duration = Duration::from_secs(1);
/// How long none is made after one died by itself or could not be made.
const HOLD: Duration = Duration::from_millis(500);

pub(super) struct PoolSizing {
    /// Most that may wait.
    cap: usize,
    /// When the newest claims came, oldest first; at most `cap`.
    claims: VecDeque<Instant>,
    not_before: Instant,
}

/// What the zygote is to do when no order is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PoolStep {
    Make,
    /// The newest waiting jail is to go.
    End,
    /// Look again after this time; None: when the next order came.
    Wait(Option<Duration>),
}

impl PoolSizing {
    /// One that may take up to `bytes` of the host's memory; 0: none ever waits.
    pub(super) fn new(bytes: u64, now: Instant) -> Self {
        let cap = usize::try_from(bytes / HALF_MADE_BYTES).unwrap_or(usize::MAX).min(super::zygote::JAILS_MAX / 2);
        Self { cap, claims: VecDeque::new(), not_before: now + QUIET }
    }

    pub(super) fn claimed(&mut self, now: Instant) {
        if self.claims.len() >= self.cap {
            self.claims.pop_front();
        }
        if self.cap > 0 {
            self.claims.push_back(now);
        }
    }

    /// An order came: whoever sent it may send the next one soon.
    pub(super) fn ordered(&mut self, now: Instant) {
        self.not_before = self.not_before.max(now + QUIET);
    }

    /// A waiting jail died unclaimed, or one could not be made.
    pub(super) fn failed(&mut self, now: Instant) {
        self.not_before = self.not_before.max(now + HOLD);
    }

    pub(super) fn tend(&mut self, now: Instant, waiting: usize) -> PoolStep {
        while self.claims.front().is_some_and(|claim| now.duration_since(*claim) >= WINDOW) {
            self.claims.pop_front();
        }
        let wanted = self.claims.len().clamp(self.cap.min(1), self.cap);
        if waiting < wanted {
            let left = self.not_before.saturating_duration_since(now);
            return if left.is_zero() { PoolStep::Make } else { PoolStep::Wait(Some(left)) };
        }
        if waiting > wanted && self.claims.back().is_none_or(|claim| now.duration_since(*claim) >= IDLE) {
            return PoolStep::End;
        }
        // More than wanted: until it is idle. Else until the oldest claim counts no more.
        let (since, after) = if waiting > wanted { (self.claims.back(), IDLE) } else { (self.claims.front(), WINDOW) };
        PoolStep::Wait(since.map(|claim| (*claim + after).saturating_duration_since(now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    /// Tends until there is nothing to do, for at most 1000 turns; how many wait then, and until when.
    fn settle(pool: &mut PoolSizing, now: Instant, mut waiting: usize) -> (usize, Option<Duration>) {
        for _ in 0..1000 {
            match pool.tend(now, waiting) {
                PoolStep::Make => waiting += 1,
                PoolStep::End => waiting -= 1,
                PoolStep::Wait(left) => return (waiting, left),
            }
        }
        panic!("it never settles");
    }

    #[test]
    fn as_many_wait_as_were_claimed_lately_but_one_at_least_and_never_more_than_the_memory_allows() {
        let start = Instant::now();
        let mut pool = PoolSizing::new(8 * HALF_MADE_BYTES, start);
        assert_eq!(settle(&mut pool, start, 0), (0, Some(QUIET)), "not before it is quiet");
        assert_eq!(settle(&mut pool, start + QUIET, 0), (1, None));
        for nth in 0..5 {
            pool.claimed(start + nth * MILLI);
        }
        assert_eq!(settle(&mut pool, start + 5 * MILLI, 0).0, 5);
        (0..100).for_each(|_| pool.claimed(start + 5 * MILLI));
        let now = start + 6 * MILLI;
        assert_eq!(settle(&mut pool, now, 3).0, 8);
        assert_eq!(settle(&mut pool, now + WINDOW, 8), (1, None), "idle again");
        assert_eq!(settle(&mut PoolSizing::new(0, start), now, 0), (0, None), "a pool of none");
    }

    #[test]
    fn none_is_made_while_orders_come_or_right_after_one_failed() {
        let start = Instant::now();
        let mut pool = PoolSizing::new(8 * HALF_MADE_BYTES, start);
        pool.ordered(start + 10 * MILLI);
        assert_eq!(settle(&mut pool, start + 11 * MILLI, 0), (0, Some(MILLI)));
        pool.failed(start + 20 * MILLI);
        assert_eq!(settle(&mut pool, start + 20 * MILLI, 0), (0, Some(HOLD)));
        assert_eq!(settle(&mut pool, start + 20 * MILLI + HOLD, 0).0, 1);
    }

    #[test]
    fn none_is_ended_while_claims_come() {
        let start = Instant::now();
        let mut pool = PoolSizing::new(8 * HALF_MADE_BYTES, start);
        let now = start + WINDOW;
        pool.claimed(now);
        assert_eq!(settle(&mut pool, now, 5), (5, Some(IDLE)));
        assert_eq!(settle(&mut pool, now + IDLE, 5).0, 1);
    }
}
