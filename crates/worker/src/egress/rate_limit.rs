//! The bandwidth of one jail, shared by all its connections. Must never: let more through over time than the rate, however
//! many share it.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// What may pass at once after a silence.
const BURST: Duration = Duration::from_millis(250);
const NANOS: u128 = 1_000_000_000;

/// A bucket that is kept as the one moment at which all that has passed is paid for.
#[derive(Debug)]
pub(super) struct RateLimiter {
    bytes_per_second: u64,
    began: Instant,
    /// Nanoseconds since `began`.
    paid_at: AtomicU64,
}

impl RateLimiter {
    pub(super) fn new(bytes_per_second: u64) -> RateLimiter {
        RateLimiter { bytes_per_second: bytes_per_second.max(1), began: Instant::now(), paid_at: AtomicU64::new(0) }
    }

    /// Most bytes that one connection moves before others have their turn.
    pub(super) fn portion(&self) -> usize {
        usize::try_from(self.bytes_per_second / 8).unwrap_or(usize::MAX).clamp(256, 64 << 10)
    }

    /// Books bytes that have moved; the moment before which no more may, if that is still to come.
    pub(super) fn charge(&self, bytes: usize, now: Instant) -> Option<Instant> {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let price = u64::try_from(bytes as u128 * NANOS / u128::from(self.bytes_per_second)).unwrap_or(u64::MAX);
        let now = nanos(now.saturating_duration_since(self.began));
        let earliest = now.saturating_sub(nanos(BURST));
        let pay = |paid_at: u64| paid_at.max(earliest).saturating_add(price);
        let before = self.paid_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |paid_at| Some(pay(paid_at)));
        let paid_at = pay(before.unwrap_or(0));
        (paid_at > now).then(|| self.began + Duration::from_nanos(paid_at))
    }
}
