//! Moments, handed in by whoever holds a clock. Nothing here reads one.
//!
//! There are two axes. `Time` is the wall clock: for people, schedules, expiries. `Run` is the daemon's own life by the
//! monotonic clock: for time-outs, retries and durations. It stands still while the daemon is down and never jumps.
use serde::{Deserialize, Serialize};
use std::fmt;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(i64);

impl Time {
    pub const fn from_millis(milliseconds: i64) -> Time {
        Time(milliseconds)
    }

    pub const fn millis(self) -> i64 {
        self.0
    }

    pub const fn plus_ms(self, milliseconds: u64) -> Time {
        Time(self.0.saturating_add_unsigned(milliseconds))
    }

    /// Milliseconds from `earlier` to this moment; 0 where `earlier` is later.
    pub const fn since_ms(self, earlier: Time) -> u64 {
        if self.0 > earlier.0 { self.0.abs_diff(earlier.0) } else { 0 }
    }
}

impl fmt::Display for Time {
    /// RFC 3339 in UTC, to the second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(stamp) => f.pad(&stamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// Milliseconds of daemon life, all its starts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Run(u64);

impl Run {
    pub const ZERO: Run = Run(0);

    pub const fn from_millis(milliseconds: u64) -> Run {
        Run(milliseconds)
    }

    pub const fn millis(self) -> u64 {
        self.0
    }

    pub const fn plus_ms(self, milliseconds: u64) -> Run {
        Run(self.0.saturating_add(milliseconds))
    }

    /// Milliseconds from `earlier` to this moment; 0 where `earlier` is later.
    pub const fn since_ms(self, earlier: Run) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// When an event happened, on both axes. Neither is below the last record's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stamp {
    pub at: Time,
    pub run: Run,
}

impl Stamp {
    /// This moment, or the earlier record's where a clock went back.
    pub fn clamp(self, last: Stamp) -> Stamp {
        Stamp { at: self.at.max(last.at), run: self.run.max(last.run) }
    }
}

/// From when something is owed, and by which clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    Run(Run),
    /// By the raw wall clock, which may jump.
    Wall(Time),
}

impl Due {
    pub const AT_ONCE: Due = Due::Run(Run::ZERO);
}

/// A stopwatch that can stand still: what it ran before, and since when it runs now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Clock {
    pub used_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Run>,
}

impl Clock {
    pub fn start(&mut self, run: Run) {
        self.stop(run);
        self.since = Some(run);
    }

    pub fn stop(&mut self, run: Run) {
        if let Some(since) = self.since.take() {
            self.used_ms = self.used_ms.saturating_add(run.since_ms(since));
        }
    }

    pub fn used_ms_at(&self, run: Run) -> u64 {
        self.used_ms.saturating_add(self.since.map_or(0, |since| run.since_ms(since)))
    }

    /// When `limit_ms` will be used up; none while it stands still.
    pub fn due(&self, limit_ms: u64) -> Option<Run> {
        self.since.map(|since| since.plus_ms(limit_ms.saturating_sub(self.used_ms)))
    }
}
