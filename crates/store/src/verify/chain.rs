//! The walk over all records in their order. It holds one record at a time and a counter a stream.
use super::findings::Findings;
use super::rows::Rebuilt;
use super::streams::Streams;
use super::{Depth, Report, Witness};
use crate::Error;
use crate::payload::{Blobs, Lookup, find};
use crate::sql::{Cell, Sql, Walk};
use std::ops::Range;
use std::time::Duration;
use tenure_core::aggregate::{Event, Stream};
use tenure_core::bound::{Hash, salted};
use tenure_core::ledger::{self, Frontier, Head, Meta, NOTHING_BEFORE, Signed, Verifier};
use tenure_core::project;

/// What the chain must come to.
pub(super) struct Heads {
    /// The signed head in the database; none where the ledger is empty, or its head is broken.
    database: Option<Head>,
    peaks: Vec<u8>,
    checkpoint: Option<Head>,
}

impl Heads {
    pub(super) fn read(
        sql: &mut dyn Sql,
        verifier: &Verifier,
        checkpoint: Option<Head>,
        findings: &mut Findings,
    ) -> Result<Heads, Error> {
        let row = sql.first("SELECT frontier, signed FROM heads LIMIT 1", &[], |row| {
            Ok((row.bytes(0)?.to_vec(), row.text(1)?.to_string()))
        })?;
        let Some((peaks, text)) = row else {
            return Ok(Heads { database: None, peaks: Vec::new(), checkpoint });
        };
        let signed = serde_json::from_str::<Signed>(&text).ok().filter(|signed| verifier.holds(signed));
        if signed.is_none() {
            findings.add(None, None, "the head in the database is not signed by this ledger's key");
        }
        Ok(Heads { database: signed.map(|signed| signed.head), peaks, checkpoint })
    }
}

/// Records read at a time.
const PAGE: usize = 512;

/// Some records, in order. Read in pages on one connection, so that all of verify sees one moment of the database.
#[derive(Default)]
struct Page {
    /// Of its last row.
    project: String,
    rows: Vec<Stored>,
    bodies: Vec<u8>,
}

struct Stored {
    index: u64,
    stream: String,
    n: i64,
    kind: String,
    at: i64,
    body: Range<usize>,
}

impl Page {
    /// Reads the records after its last one. False where there are none.
    fn fill(&mut self, sql: &mut dyn Sql) -> Result<bool, Error> {
        let after = self.rows.last().map_or(-1, |row| i64::try_from(row.index).unwrap_or(i64::MAX));
        let Page { project, rows, bodies } = self;
        let before = std::mem::take(project);
        rows.clear();
        bodies.clear();
        let text = "SELECT project, idx, stream, n, kind, at, body FROM ledger WHERE (project, idx) > ($1, $2) \
            ORDER BY project, idx LIMIT $3";
        let cells = [Cell::Text(&before), Cell::Int(after), Cell::Int(PAGE as i64)];
        sql.each(text, &cells, &mut |row| {
            let body = row.bytes(6)?;
            let (stream, kind) = (row.text(2)?.to_string(), row.text(4)?.to_string());
            if *project != row.text(0)? {
                if !rows.is_empty() {
                    return Ok(Walk::Stop);
                }
                *project = row.text(0)?.to_string();
            }
            let place = bodies.len()..bodies.len() + body.len();
            rows.push(Stored { index: row.count(1)?, stream, n: row.int(3)?, kind, at: row.int(5)?, body: place });
            bodies.extend_from_slice(body);
            Ok(Walk::On)
        })?;
        Ok(!rows.is_empty())
    }
}

pub(super) struct Walker<'a> {
    sql: &'a mut dyn Sql,
    blobs: &'a Blobs,
    depth: Depth,
    heads: Heads,
    findings: Findings,
    streams: Streams,
    rebuilt: Rebuilt,
    frontier: Frontier,
    /// Leaf hash and stream of the record before.
    last: (Hash, Option<Stream>),
    /// The index that the next record must have.
    next: u64,
    payloads: u64,
    checkpoint_met: bool,
    /// Sizes of outside heads that were given up by a recorded command.
    accepted: Vec<u64>,
}

impl<'a> Walker<'a> {
    pub(super) fn new(
        sql: &'a mut dyn Sql,
        blobs: &'a Blobs,
        depth: Depth,
        heads: Heads,
        findings: Findings,
    ) -> Result<Walker<'a>, Error> {
        Ok(Walker {
            sql,
            blobs,
            depth,
            heads,
            findings,
            streams: Streams::default(),
            rebuilt: Rebuilt::new()?,
            frontier: Frontier::default(),
            last: (NOTHING_BEFORE, None),
            next: 0,
            payloads: 0,
            checkpoint_met: false,
            accepted: Vec::new(),
        })
    }

    pub(super) fn walk(mut self) -> Result<Report, Error> {
        self.streams.load_snapshots(self.sql, &mut self.findings)?;
        let mut page = Page::default();
        while page.fill(self.sql)? {
            for place in 0..page.rows.len() {
                self.record(&page, &page.rows[place])?;
            }
        }
        self.close_chain();
        self.compare_checkpoint();
        self.streams.finish(self.sql, &mut self.findings)?;
        for (index, stream, row) in self.streams.state_rows() {
            self.rebuilt.write(index, stream, &row, &mut self.findings)?;
        }
        let is_unread = |stream| self.streams.is_broken(stream);
        let rows = self.rebuilt.compare(self.sql, &is_unread, &mut self.findings)?;
        let witness = match self.heads.checkpoint {
            None => Witness::None,
            Some(head) => Witness::Head { size: head.size, at: head.at },
        };
        Ok(Report {
            records: self.frontier.size(),
            streams: self.streams.count(),
            rows,
            payloads: self.payloads,
            root: self.frontier.root(),
            witness,
            findings: self.findings,
            took: Duration::ZERO,
        })
    }

    fn record(&mut self, page: &Page, row: &Stored) -> Result<(), Error> {
        let (index, body) = (row.index, &page.bodies[row.body.clone()]);
        let leaf = ledger::leaf(body);
        let gap = index != self.next;
        if gap {
            let missing = self.next..index;
            let what = match missing.end - missing.start {
                1 => "is missing".to_string(),
                more => format!("and the {} after it are missing", more - 1),
            };
            self.findings.add(Some(self.next), None, what);
        }
        let read = ledger::read(body);
        match &read {
            Ok((meta, _)) => self.place(row, &page.project, meta, gap),
            Err(why) => {
                let stream = row.stream.parse().ok();
                self.findings.add(Some(index), stream, why.clone());
                stream.into_iter().for_each(|stream| self.streams.give_up(stream));
            }
        }
        self.frontier.push(leaf);
        self.next = index + 1;
        self.last = (leaf, read.as_ref().ok().map(|(meta, _)| meta.stream));
        if let Some(head) = self.heads.checkpoint.filter(|head| head.size == self.frontier.size()) {
            self.checkpoint_met = head.root == self.frontier.root() && head.last == leaf;
        }
        let Ok((meta, event)) = read else { return Ok(()) };
        if let Event::Project(project::Event::RestoreAccepted { checkpoint_size, .. }) = &event {
            self.accepted.push(*checkpoint_size);
        }
        self.streams.record(&meta, &event, &mut self.findings);
        for (index, stream, row) in self.streams.take_rows() {
            self.rebuilt.write(index, stream, &row, &mut self.findings)?;
        }
        self.streams.compare_when_many(self.sql, &mut self.findings)?;
        self.bound(index, &meta, &event)
    }

    /// Does the record stand where its own bytes say, after the record that they name?
    fn place(&mut self, row: &Stored, column: &str, meta: &Meta, gap: bool) {
        let (index, project) = (row.index, meta.project);
        let told = column == project.to_string()
            && index == meta.index
            && row.stream == meta.stream.to_string()
            && row.n == i64::try_from(meta.n).unwrap_or(-1)
            && row.kind == meta.kind
            && row.at == meta.stamp.at.millis();
        if !told {
            let what = format!("stands under columns that are not its own; its bytes say record {}", meta.index);
            self.findings.add(Some(index), Some(meta.stream), what);
        }
        if meta.prev != self.last.0 && !gap {
            match index.checked_sub(1) {
                None => self.findings.add(Some(index), Some(meta.stream), "names a record before it, and is the first"),
                Some(before) => {
                    let what = format!("is not the one that record {index} follows: it was changed, put in or moved");
                    self.findings.add(Some(before), self.last.1, what);
                }
            }
        }
        if self.heads.database.is_some_and(|head| head.project != project) {
            self.findings.add(Some(index), Some(meta.stream), "belongs to another project");
        }
    }

    fn bound(&mut self, index: u64, meta: &Meta, event: &Event) -> Result<(), Error> {
        if self.depth < Depth::Payloads {
            return Ok(());
        }
        let mut hashes = Vec::new();
        event.binds(&mut |hash| hashes.push(*hash));
        for hash in hashes {
            self.payloads += 1;
            let what = match find(self.sql, self.blobs, &hash)? {
                Lookup::Missing => format!("binds payload {hash}, which is missing; no event says that it was erased"),
                Lookup::FileLost => format!("binds payload {hash}, whose file is gone"),
                Lookup::Here { salt, bytes } if salted(&salt, &bytes) == hash => continue,
                Lookup::Here { .. } => format!("binds payload {hash}, whose bytes were changed"),
            };
            self.findings.add(Some(index), Some(meta.stream), what);
        }
        Ok(())
    }

    fn close_chain(&mut self) {
        let size = self.frontier.size();
        let Some(head) = self.heads.database else {
            if size > 0 {
                self.findings.add(None, None, "the ledger has records and no head that holds");
            }
            return;
        };
        if head.size > self.next {
            let what = format!("and all after it are missing: the head in the database is over {} records", head.size);
            self.findings.add(Some(self.next), None, what);
        } else if head.size < self.next {
            let what = format!("is not under the head in the database, which is over {} records", head.size);
            self.findings.add(Some(head.size), None, what);
        } else if head.last != self.last.0 {
            let what = "is not the record that the head in the database was signed over";
            self.findings.add(Some(self.next.saturating_sub(1)), self.last.1, what);
        } else if head.root != self.frontier.root() {
            self.findings.add(None, None, "the root over all records is not the one that the head was signed over");
        } else if self.heads.peaks != self.frontier.to_bytes() {
            self.findings.add(None, None, "the stored frontier of the tree is not the one of the records");
        }
    }

    fn compare_checkpoint(&mut self) {
        let Some(head) = self.heads.checkpoint else { return };
        if self.checkpoint_met || self.accepted.contains(&head.size) {
            return;
        }
        let size = self.frontier.size();
        let what = if head.size > size {
            format!(
                "and all after it are missing: the head outside the database is over {} records; the tail was cut, or \
                 an older copy put back",
                head.size
            )
        } else {
            format!("the head outside the database, over {} records, is not on this chain", head.size)
        };
        self.findings.add((head.size > size).then_some(size), None, what);
    }
}
