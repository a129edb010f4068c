//! When a program that crashed is started again, and when its agent is put away for it (`spec.supervision`, SPEC 9).
use serde::{Deserialize, Serialize};

/// The longest wait before a restart.
const BACKOFF_MS_MAX: u64 = 5 * 60 * 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// So many within the window are borne; the next one puts its agent in quarantine.
    pub max_crashes: u32,
    pub window_ms: u64,
    pub auto_restart: bool,
    /// The first wait before a restart; it doubles with each crash in the window.
    pub backoff_ms: u64,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { max_crashes: 3, window_ms: 10 * 60 * 1000, auto_restart: true, backoff_ms: 1_000 }
    }
}

impl Rules {
    pub(crate) fn is_default(&self) -> bool {
        *self == Rules::default()
    }

    /// The wait after the `crashes`th crash of the window, from 1; `chance` spreads it by up to a fifth, so that what crashed
    /// together does not start together.
    pub(super) fn pause_ms(&self, crashes: usize, chance: u8) -> u64 {
        let doublings = u32::try_from(crashes.saturating_sub(1)).unwrap_or(u32::MAX).min(20);
        let pause = self.backoff_ms.saturating_mul(1 << doublings).min(BACKOFF_MS_MAX.max(self.backoff_ms));
        pause + pause / 5 * u64::from(chance) / 255
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_doubles_to_its_bound_and_spreads_by_a_fifth_at_most() {
        let rules = Rules::default();
        assert_eq!([1, 2, 3].map(|crash| rules.pause_ms(crash, 0)), [1_000, 2_000, 4_000]);
        assert_eq!(rules.pause_ms(1, 255), 1_200);
        assert_eq!(rules.pause_ms(1_000, 0), BACKOFF_MS_MAX);
        let slow = Rules { backoff_ms: 2 * BACKOFF_MS_MAX, ..rules };
        assert_eq!(slow.pause_ms(1, 0), 2 * BACKOFF_MS_MAX, "what the manifest says is never made shorter");
    }
}
