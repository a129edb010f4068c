//! What an iteration's programs did over the network, and what they were kept from. Must never: hold what was sent.
pub mod host;
pub mod entry;
pub mod url;

use serde::{Deserialize, Serialize};
use std::ops::Add;

/// Most refusals that one report names; the rest is counted in [`Traffic::refused`].
pub const REFUSALS_MAX: usize = 64;

/// Attempts to reach one place that one rule stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// As the program named it; at most 256 bytes, printable.
    pub host: String,
    /// 0 where it named none.
    pub port: u16,
    /// Which rule, with the entry that made it, as in `blocklist: evil.example.com`.
    pub rule: String,
    /// How often, since the last report that named it.
    pub count: u32,
}

/// All that went through the proxy for one jail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    pub connections: u64,
    /// HTTP requests that the proxy could see; inside TLS it sees none.
    pub requests: u64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub refused: u64,
}

impl Traffic {
    /// A worker's numbers as a record can hold them.
    pub fn recordable(self) -> Traffic {
        const MOST: u64 = 1 << 52;
        Traffic {
            connections: self.connections.min(MOST),
            requests: self.requests.min(MOST),
            sent_bytes: self.sent_bytes.min(MOST),
            received_bytes: self.received_bytes.min(MOST),
            refused: self.refused.min(MOST),
        }
    }
}

impl Add for Traffic {
    type Output = Traffic;

    fn add(self, other: Traffic) -> Traffic {
        Traffic {
            connections: self.connections.saturating_add(other.connections),
            requests: self.requests.saturating_add(other.requests),
            sent_bytes: self.sent_bytes.saturating_add(other.sent_bytes),
            received_bytes: self.received_bytes.saturating_add(other.received_bytes),
            refused: self.refused.saturating_add(other.refused),
        }
    }
}
