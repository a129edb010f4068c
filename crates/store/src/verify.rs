//! The proof that the store holds: walks the whole chain beside a running daemon or without one, and changes nothing.
//!
//! ```text
//! chain     each record follows the one before it; columns are what the body says; indexes and stream counts have no gap
//! heads     the root over all records is the signed head's, and the one kept outside is on this chain
//! folds     replayed from the first event; equal to snapshots and to what is owed; each call and model call ends once
//! rows      made again from the events beside the database; equal to the stored ones, none missing, none made up
//! payloads  all that events bind is there, and is what was bound
//! ```
//! Memory is bounded by what is open, a counter for each stream, and 8 MiB of cache for the rows that are made again:
//! those lie in a temporary file, which needs as much room as the database has rows beside its records.
mod chain;
mod findings;
mod rows;
mod streams;

pub use findings::{Finding, Findings};

use crate::folder::Folder;
use crate::payload::Blobs;
use crate::sql::{Sql, Sqlite};
use crate::{Error, checkpoint, migration};
use chain::{Heads, Walker};
use std::path::Path;
use std::time::{Duration, Instant};
use tenure_core::bound::Hash;
use tenure_core::ledger::{Frontier, Verifier};
use tenure_core::time::Time;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Chain, heads, folds and rows.
    Folds,
    /// And the bytes of every payload.
    Payloads,
}

/// The head outside the database that the chain was held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Witness {
    /// There was none: a cut tail would not show.
    None,
    Head {
        size: u64,
        at: Time,
    },
}

#[derive(Debug, Clone)]
pub struct Report {
    pub records: u64,
    pub streams: u64,
    /// Rows of lists and facts.
    pub rows: u64,
    pub payloads: u64,
    /// Of the tree over all records.
    pub root: Hash,
    pub witness: Witness,
    pub findings: Findings,
    pub took: Duration,
}

impl Report {
    pub fn holds(&self) -> bool {
        self.findings.count() == 0
    }
}

/// Checks the data directory `dir`, by the public key that lies in it.
///
/// # Errors
/// Where it cannot be read at all; what is wrong with its content is a finding.
pub fn verify(dir: &Path, depth: Depth) -> Result<Report, Error> {
    let folder = Folder { root: dir.to_path_buf() };
    let verifier = folder.verifier()?;
    verify_with(dir, depth, &verifier)
}

/// The same, by a public key that is known from elsewhere.
///
/// # Errors
/// As `verify`.
pub fn verify_with(dir: &Path, depth: Depth, verifier: &Verifier) -> Result<Report, Error> {
    let start = Instant::now();
    let folder = Folder { root: dir.to_path_buf() };
    let mut findings = Findings::default();
    // Read before the database's moment is fixed: a daemon that runs is never behind its head outside.
    let checkpoint = match checkpoint::read(&folder.head(), verifier) {
        Ok(checkpoint) => checkpoint.map(|signed| signed.head),
        Err(error) => {
            findings.add(None, None, error.to_string());
            None
        }
    };
    let mut reader = Sqlite::open_reader(&folder.database())?;
    let sql: &mut dyn Sql = &mut reader;
    sql.execute("BEGIN", &[])?;
    match migration::check(sql) {
        Err(Error::Corrupt { what }) => findings.add(None, None, what),
        known => drop(known?),
    }
    if sql.first("SELECT 1 FROM sqlite_master WHERE name = 'heads'", &[], |row| row.int(0))?.is_none() {
        return Ok(nothing(checkpoint.is_some(), findings, start));
    }
    let blobs = Blobs::new(folder.blobs());
    let heads = Heads::read(sql, verifier, checkpoint, &mut findings)?;
    let mut report = Walker::new(sql, &blobs, depth, heads, findings)?.walk()?;
    report.took = start.elapsed();
    Ok(report)
}

/// Of a database that a daemon was killed in before it had made its tables.
fn nothing(witnessed: bool, mut findings: Findings, start: Instant) -> Report {
    if witnessed {
        findings.add(None, None, "the database has no ledger, and a head outside it says that there was one");
    }
    let (root, witness) = (Frontier::default().root(), Witness::None);
    Report { records: 0, streams: 0, rows: 0, payloads: 0, root, witness, findings, took: start.elapsed() }
}
