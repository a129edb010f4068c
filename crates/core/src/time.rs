//! A moment, handed in by whoever holds a clock. Nothing here reads one.
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

/// A stopwatch that can stand still: what it ran before, and since when it runs now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Clock {
    pub used_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

impl Clock {
    pub fn start(&mut self, at: Time) {
        self.stop(at);
        self.since = Some(at);
    }

    pub fn stop(&mut self, at: Time) {
        if let Some(since) = self.since.take() {
            self.used_ms = self.used_ms.saturating_add(at.since_ms(since));
        }
    }

    pub fn used_ms_at(&self, now: Time) -> u64 {
        self.used_ms.saturating_add(self.since.map_or(0, |since| now.since_ms(since)))
    }

    /// When `limit_ms` will be used up; none while it stands still.
    pub fn due(&self, limit_ms: u64) -> Option<Time> {
        self.since.map(|since| since.plus_ms(limit_ms.saturating_sub(self.used_ms)))
    }
}
