//! The daemon's two clocks: the wall clock, which may be set, and its own life, which only goes on. The one place where the
//! daemon reads either for a decision.
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tenure_core::time::{Run, Stamp, Time};
use tokio::time::Instant;

/// A difference between the axes that is no drift but a step.
const STEP_MIN: Duration = Duration::from_secs(2);

/// Where the wall clock is read.
pub trait WallClock: Send + Sync {
    fn now(&self) -> Time;
}

/// The host's.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl WallClock for SystemClock {
    fn now(&self) -> Time {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        Time::from_millis(i64::try_from(since).unwrap_or(i64::MAX))
    }
}

#[derive(Clone)]
pub struct Clock {
    wall: Arc<dyn WallClock>,
    started: Instant,
    /// What the daemon had lived before this start.
    lived: Run,
}

impl Clock {
    pub fn new(wall: Arc<dyn WallClock>, lived: Run) -> Clock {
        Clock { wall, started: Instant::now(), lived }
    }

    /// This moment on both axes; the wall clock is raw.
    pub fn now(&self) -> Stamp {
        let passed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Stamp { at: self.wall.now(), run: self.lived.plus_ms(passed) }
    }
}

/// Finds steps of the wall clock: where it went on by another time than the daemon lived.
#[derive(Debug)]
pub struct StepWatcher {
    last: Stamp,
}

impl StepWatcher {
    pub fn new(now: Stamp) -> StepWatcher {
        StepWatcher { last: now }
    }

    /// Milliseconds that the clock was set forwards (or back, below 0) since the last look.
    pub fn step(&mut self, now: Stamp) -> Option<i64> {
        let lived = i64::try_from(now.run.since_ms(self.last.run)).unwrap_or(i64::MAX);
        let by = now.at.millis().saturating_sub(self.last.at.millis()).saturating_sub(lived);
        self.last = now;
        (by.unsigned_abs() >= STEP_MIN.as_secs() * 1000).then_some(by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_by_its_length_and_time_that_only_passes_is_none() {
        let at = |at, run| Stamp { at: Time::from_millis(at), run: Run::from_millis(run) };
        let mut watcher = StepWatcher::new(at(1_000_000, 5));
        assert_eq!(watcher.step(at(1_010_000, 10_005)), None);
        assert_eq!(watcher.step(at(1_010_900, 11_005)), None, "drift is no step");
        assert_eq!(watcher.step(at(1_011_900 - 3_600_000, 12_005)), Some(-3_600_000));
        assert_eq!(watcher.step(at(1_012_900 + 86_400_000, 13_005)), Some(86_400_000 + 3_600_000));
    }
}
