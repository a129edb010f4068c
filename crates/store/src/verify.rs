//! The proof that the store holds: looks at all of it beside a running daemon or without one, and changes nothing.
//!
//! ```text
//! file      every page and index of the database is whole, and its tables are those that the migrations make
//! chain     each record follows the one before it; columns are what the body says; indexes have no gap
//! heads     the root over all records is the signed head's, and the one kept outside is on this chain
//! folds     replayed from the first event; equal to snapshots and to what is owed; each call and model call ends once
//! rows      made again from the events; equal to the stored ones, none missing, none made up, each with its MAC
//! payloads  all that events bind is there, and is what was bound
//! ```
//! The chain is read in pages, each in a transaction of its own, up to the size that it had at the moment of the proof: no
//! transaction holds the daemon's log back. What is not a record is looked at in a private copy of that moment, in a
//! temporary file that needs as much room as the database, beside another for the rows that are made again. Memory is
//! bounded by what is open, a counter for each stream, and 16 MiB of cache.
pub(crate) mod chain;
mod findings;
mod replay;
mod rows;
pub(crate) mod streams;

pub use crate::Error;
pub use findings::{Finding, Findings};

use crate::folder::Folder;
use crate::payload::Blobs;
use crate::sealed::Bodies;
use crate::sql::{Sql, Sqlite};
use crate::{chain as chain_of, checkpoint, keys as key_history, migration, sealed};
use chain::{Moment, Walker};
use replay::Replay;
use std::path::Path;
use std::time::{Duration, Instant};
use tenure_core::bound::Hash;
use tenure_core::ledger::{Keys, MacKey, Verifier};
use tenure_core::time::Time;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The chain and its heads alone: that no record was changed.
    Chain,
    /// And all that follows from the records.
    Whole,
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

/// What was looked at beside the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplaySummary {
    pub streams: u64,
    /// Rows of lists and facts.
    pub rows: u64,
    pub payloads: u64,
    /// Only who may read the ledger's key can tell whether MACs hold.
    pub macs: bool,
}

#[derive(Debug, Clone)]
pub struct Report {
    pub records: u64,
    /// Of the tree over all records.
    pub root: Hash,
    pub witness: Witness,
    /// None at `Depth::Chain`, and where a sealed file is not here.
    pub replay: Option<ReplaySummary>,
    /// Files that hold records in the place of the database.
    pub sealed: Vec<SealedFile>,
    pub findings: Findings,
    pub took: Duration,
}

/// A file that records were sealed into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedFile {
    /// Its name in the folder `sealed`.
    pub name: String,
    pub records: u64,
    /// It lies there. Of one that does not, the places of its records in the tree were checked, and nothing that follows
    /// from them.
    pub is_here: bool,
}

impl Report {
    pub fn holds(&self) -> bool {
        self.findings.count() == 0
    }
}

/// Called between pages, while no transaction is open, with the records read so far. An error ends the proof.
pub type Between<'a> = &'a mut dyn FnMut(u64) -> Result<(), Error>;

/// Checks the data directory `dir`, by the public key that lies in it.
///
/// # Errors
/// Where there is none, or it cannot be read at all; what is wrong with its content is a finding.
pub fn verify(dir: &Path, depth: Depth) -> Result<Report, Error> {
    verify_with(dir, depth, None, &mut |_| Ok(()))
}

/// The same by a public key that is known from elsewhere, if there is one, and with a look between the pages.
///
/// # Errors
/// As `verify`, and those of `between`.
pub fn verify_with(
    dir: &Path,
    depth: Depth,
    verifier: Option<&Verifier>,
    between: Between<'_>,
) -> Result<Report, Error> {
    let start = Instant::now();
    let folder = Folder { root: dir.to_path_buf() };
    folder.exists()?;
    let mut findings = Findings::default();
    // Read before the moment is fixed: a daemon that runs is never behind its head outside.
    let outside = checkpoint::read_unchecked(&folder.head());
    let mut live = Sqlite::open_reader(&folder.database())?;
    let (keys, macs) = keys(&folder, &mut live, verifier, &mut findings)?;
    let verifier = *keys.newest();
    let outside = outside.and_then(|signed| signed.map(|signed| checkpoint::checked(signed, &keys)).transpose());
    let outside = match outside {
        Ok(outside) => outside.map(|signed| signed.head),
        Err(error) => {
            findings.add(None, None, format!("the head outside the database cannot be read: {error}"));
            None
        }
    };
    let mut report = match depth {
        Depth::Chain => {
            live.execute("BEGIN", &[])?;
            check_tables(&mut live, &mut findings)?;
            let moment = Moment::read(&mut live, &verifier, outside, &mut findings)?;
            live.execute("COMMIT", &[])?;
            Walker::new(&mut live, moment, findings).walk(None, between)?
        }
        Depth::Whole => {
            let mut copy = live.copy(&mut *between)?;
            check_tables(&mut copy, &mut findings)?;
            check_file(&mut copy, &mut findings)?;
            let moment = Moment::read(&mut copy, &verifier, outside, &mut findings)?;
            let bodies = Bodies::of(&live);
            if sealed::named(&mut copy)?.iter().any(|(file, _)| !bodies.has(file)) {
                // What the records of that file say is not known, and so not what follows from all of them.
                Walker::new(&mut live, moment, findings).walk(None, between)?
            } else {
                let mut replay = Replay::new(copy, Blobs::new(folder.blobs()), macs, &mut findings)?;
                Walker::new(&mut live, moment, findings).walk(Some(&mut replay), between)?
            }
        }
    };
    report.took = start.elapsed();
    Ok(report)
}

/// The public key, from elsewhere or else from the directory; and what MACs are checked by, if it may be read.
fn keys(
    folder: &Folder,
    sql: &mut dyn Sql,
    known: Option<&Verifier>,
    findings: &mut Findings,
) -> Result<(Keys, Option<MacKey>), Error> {
    let signed_by = findings.readable(chain_of::signed_by(sql), "the head in the database")?.flatten();
    let signer = folder.read_signer_of(&signed_by.unwrap_or_default());
    let signer = findings.readable(signer, "ledger.key")?.flatten();
    let verifier = match (known, folder.read_verifier(), &signer) {
        (Some(known), _, _) => *known,
        (None, Ok(Some(verifier)), _) => verifier,
        (None, Ok(None), Some(signer)) => signer.verifier(),
        (None, Ok(None), None) => {
            let what = "has no key to verify by: neither ledger.pub nor a readable ledger.key is in it";
            return Err(Error::NoLedger { dir: folder.root.clone(), what });
        }
        (None, Err(error), _) => return Err(error),
    };
    let keys = findings.readable(key_history::follow(sql, verifier), "the history of keys")?;
    let keys = keys.unwrap_or_else(|| Keys::one(verifier));
    let macs = match signer {
        Some(signer) if signer.verifier() != *keys.newest() => {
            findings.add(None, None, "ledger.key is not the private half of the public key");
            None
        }
        signer => signer.map(|signer| signer.macs().clone()),
    };
    Ok((keys, macs))
}

fn check_tables(sql: &mut dyn Sql, findings: &mut Findings) -> Result<(), Error> {
    match migration::check(sql) {
        Err(Error::Corrupt { what }) => findings.add(None, None, what),
        known => drop(known?),
    }
    Ok(())
}

/// Lines of SQLite's own check that are told.
const FAULTS_MAX: usize = 100;

fn check_file(copy: &mut Sqlite, findings: &mut Findings) -> Result<(), Error> {
    let text = format!("PRAGMA integrity_check({FAULTS_MAX})");
    let faults = (copy as &mut dyn Sql).all(&text, &[], |row| Ok(row.text(0)?.to_string()));
    for fault in findings.readable(faults, "the database's file")?.unwrap_or_default() {
        if fault != "ok" {
            findings.add(None, None, format!("the database's file is damaged: {fault}"));
        }
    }
    Ok(())
}
