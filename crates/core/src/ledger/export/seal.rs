//! What the record says by which others left the database into a sealed file: an export whose bytes have this hash.
use crate::bound::Hash;
use crate::time::Time;
use serde::{Deserialize, Serialize};

/// The kind of that record.
pub const SEALED: &str = "ledger.sealed";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// They are of before then, of executions and sessions that had ended.
    pub before: Time,
    /// SHA-256 of the file.
    pub file: Hash,
    pub records: u64,
    /// The first and the last of them.
    pub first: u64,
    pub through: u64,
    /// Of the head that the file was written under.
    pub size: u64,
    pub root: Hash,
}

impl Seal {
    /// Can there be such a file?
    pub fn fits(&self) -> bool {
        let room = self.through.checked_sub(self.first).map(|more| more + 1);
        self.records > 0 && room.is_some_and(|room| self.records <= room) && self.through < self.size
    }
}
