//! What follows from the records, held against what is stored: folds, what is owed, rows and payloads. All but payloads'
//! bytes is looked at in a copy of the database's one moment. It must never write to that copy.
use super::ReplaySummary;
use super::findings::Findings;
use super::rows::Rebuilt;
use super::streams::Streams;
use crate::Error;
use crate::payload::{Blobs, Lookup, find, is_erased};
use crate::sql::{Sql, Sqlite};
use tenure_core::aggregate::{Event, Stream};
use tenure_core::bound::salted;
use tenure_core::ledger::{MacKey, Meta};

pub(crate) struct Replay {
    copy: Sqlite,
    blobs: Blobs,
    streams: Streams,
    rebuilt: Rebuilt,
    payloads: u64,
    /// A record could not be read, so that what it binds is not known.
    gave_up: bool,
    macs: bool,
    /// The copy has the tables that rows, folds and what is owed are read from.
    readable: bool,
}

impl Replay {
    pub(super) fn new(
        mut copy: Sqlite,
        blobs: Blobs,
        macs: Option<MacKey>,
        findings: &mut Findings,
    ) -> Result<Replay, Error> {
        let mut streams = Streams::new(macs.clone());
        let checked = macs.is_some();
        let rebuilt = Rebuilt::new(macs)?;
        let readable = rebuilt.compare_tables(&mut copy, findings)?;
        if readable {
            streams.load_snapshots(&mut copy, findings)?;
        }
        Ok(Replay { copy, blobs, streams, rebuilt, payloads: 0, gave_up: false, macs: checked, readable })
    }

    /// Takes in the next record; `live` has its payloads.
    pub(super) fn record(
        &mut self,
        live: &mut dyn Sql,
        meta: &Meta,
        event: &Event,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        self.streams.record(live, meta, event, findings)?;
        for (index, stream, row) in self.streams.take_rows() {
            self.rebuilt.write(index, stream, &row, findings)?;
        }
        self.streams.compare_when_many(&mut self.copy, findings)?;
        self.bound(live, meta, event, findings)
    }

    /// A record of this stream could not be read.
    pub(super) fn give_up(&mut self, stream: &str) {
        self.gave_up = true;
        if let Ok(stream) = stream.parse::<Stream>() {
            self.streams.give_up(stream);
        }
    }

    fn bound(&mut self, live: &mut dyn Sql, meta: &Meta, event: &Event, findings: &mut Findings) -> Result<(), Error> {
        let mut hashes = Vec::new();
        event.binds(&mut |hash| hashes.push(*hash));
        for hash in hashes {
            self.payloads += 1;
            self.rebuilt.bind(&hash)?;
            let found = match find(live, &self.blobs, &hash) {
                Err(Error::Corrupt { what }) => Err(what),
                found => Ok(found?),
            };
            let what = match found {
                Err(what) => format!("binds payload {hash}, which cannot be read: {what}"),
                // The row that says so is one of those that are made again and compared.
                Ok(Lookup::Missing) if is_erased(live, &hash)? => continue,
                Ok(Lookup::Missing) => format!("binds payload {hash}, which is missing"),
                // It was erased between the two looks.
                Ok(Lookup::FileLost) if is_erased(live, &hash)? => continue,
                Ok(Lookup::FileLost) => format!("binds payload {hash}, whose file is gone"),
                Ok(Lookup::Here { salt, bytes }) if salted(&salt, &bytes) == hash => continue,
                Ok(Lookup::Here { .. }) => format!("binds payload {hash}, whose bytes were changed"),
            };
            findings.add(Some(meta.index), Some(meta.stream), what);
        }
        Ok(())
    }

    /// All records were taken in.
    pub(super) fn finish(&mut self, findings: &mut Findings) -> Result<ReplaySummary, Error> {
        let mut replay =
            ReplaySummary { streams: self.streams.count(), rows: 0, payloads: self.payloads, macs: self.macs };
        if !self.readable {
            return Ok(replay);
        }
        self.streams.finish(&mut self.copy, findings)?;
        for (index, stream, row) in self.streams.state_rows() {
            self.rebuilt.write(index, stream, &row, findings)?;
        }
        let streams = &self.streams;
        if !self.gave_up {
            self.rebuilt.compare_payloads(&mut self.copy, findings)?;
        }
        replay.rows = self.rebuilt.compare(&mut self.copy, &|stream| streams.is_broken(stream), findings)?;
        Ok(replay)
    }
}
