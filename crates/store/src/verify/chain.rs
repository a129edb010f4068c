//! The walk over the records of one moment in their order. It holds a page of records at a time, each page read in a
//! transaction of its own.
use super::findings::Findings;
use super::replay::Replay;
use super::{Between, Report, SealedFile, Witness};
use crate::Error;
use crate::sealed::{self, Bodies, Stub};
use crate::sql::{Cell, Sql, Walk};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;
use tenure_core::aggregate::{Event, Stream};
use tenure_core::bound::Hash;
use tenure_core::ledger::export::Seal;
use tenure_core::ledger::{self, Frontier, Head, Meta, NOTHING_BEFORE, Signed, Verifier};
use tenure_core::project;

/// What the chain comes to at the moment of the proof; records after that are of a daemon that runs.
pub(crate) struct Moment {
    /// The signed head in the database; none where the ledger is empty, or its head is broken.
    head: Option<Head>,
    peaks: Vec<u8>,
    outside: Option<Head>,
    /// Whose records end at `size`.
    project: String,
    size: u64,
}

impl Moment {
    /// Reads a few rows; they must be of one transaction.
    pub(crate) fn read(
        sql: &mut dyn Sql,
        verifier: &Verifier,
        outside: Option<Head>,
        findings: &mut Findings,
    ) -> Result<Moment, Error> {
        let mut moment = Moment { head: None, peaks: Vec::new(), outside, project: String::new(), size: 0 };
        if sql.first("SELECT 1 FROM sqlite_master WHERE name = 'heads'", &[], |row| row.int(0))?.is_none() {
            // A daemon was killed before it had made its tables.
            if outside.is_some() {
                let what = "the database has no ledger, and a head outside it says that there was one";
                findings.add(None, None, what);
                moment.outside = None;
            }
            return Ok(moment);
        }
        let head = sql.first("SELECT frontier, signed, project, size FROM heads LIMIT 1", &[], |row| {
            Ok((row.bytes(0)?.to_vec(), row.text(1)?.to_string(), row.text(2)?.to_string(), row.int(3)?))
        });
        let heads = sql.first("SELECT COUNT(*) FROM heads", &[], |row| row.count::<u64>(0))?.unwrap_or(0);
        if heads > 1 {
            findings.add(None, None, format!("the database has {heads} heads, and a ledger has one"));
        }
        let mut project = None;
        if let Some((peaks, text, named, size)) = findings.readable(head, "the head in the database")?.flatten() {
            let read = serde_json::from_str::<Signed>(&text).ok();
            let signed = read.filter(|signed| verifier.holds(signed) && is_as_written(&text, signed));
            if signed.is_none() {
                findings.add(None, None, "the head in the database is not signed by this ledger's key");
            }
            if signed.as_ref().is_some_and(|signed| i64::try_from(signed.head.size) != Ok(size)) {
                findings.add(None, None, format!("the head in the database is put down for {size} records"));
            }
            (moment.head, moment.peaks, project) = (signed.map(|signed| signed.head), peaks, Some(named));
        }
        let (any, own) =
            ("SELECT project FROM ledger ORDER BY project LIMIT 1", "SELECT 1 FROM ledger WHERE project = $1 LIMIT 1");
        if let Some(first) = sql.first(any, &[], |row| Ok(row.text(0)?.to_string()))? {
            let named = project.get_or_insert_with(|| first.clone());
            if sql.first(own, &[Cell::Text(named)], |row| row.int(0))?.is_none() {
                let what = "the head in the database is put down for another project than the records'";
                findings.add(None, None, what);
                *named = first;
            }
        }
        moment.project = project.unwrap_or_default();
        let last = "SELECT idx FROM ledger WHERE project = $1 ORDER BY idx DESC LIMIT 1";
        let last = sql.first(last, &[Cell::Text(&moment.project)], |row| row.count::<u64>(0));
        moment.size = findings.readable(last, "the last record")?.flatten().map_or(0, |last| last.saturating_add(1));
        Ok(moment)
    }

    fn has_records(&self) -> bool {
        !self.project.is_empty()
    }
}

/// A hash is written in one way: what reads the same and is written otherwise was changed.
fn is_as_written(text: &str, signed: &Signed) -> bool {
    let written = serde_json::to_value(signed).ok();
    written.is_some() && written == serde_json::from_str(text).ok()
}

/// Records read at a time, and the bytes after which a page ends.
const PAGE: usize = 512;
const PAGE_BYTES: usize = 1 << 20;

/// Some records, in order.
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
    /// Reads the records after its last one, up to the moment's. False where there are none.
    fn fill(&mut self, sql: &mut dyn Sql, moment: &Moment) -> Result<bool, Error> {
        let after = self.rows.last().map_or(-1, |row| i64::try_from(row.index).unwrap_or(i64::MAX));
        let Page { project, rows, bodies } = self;
        let before = std::mem::take(project);
        rows.clear();
        bodies.clear();
        let text = "SELECT project, idx, stream, n, kind, at, body FROM ledger WHERE (project, idx) > ($1, $2) \
            AND (idx < $3 OR project <> $4) ORDER BY project, idx LIMIT $5";
        let size = i64::try_from(moment.size).unwrap_or(i64::MAX);
        let cells = [
            Cell::Text(&before),
            Cell::Int(after),
            Cell::Int(size),
            Cell::Text(&moment.project),
            Cell::Int(PAGE as i64),
        ];
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
            Ok(if bodies.len() < PAGE_BYTES { Walk::On } else { Walk::Stop })
        })?;
        Ok(!rows.is_empty())
    }
}

pub(crate) struct Walker<'a> {
    sql: &'a mut dyn Sql,
    moment: Moment,
    findings: Findings,
    frontier: Frontier,
    /// Leaf hash and stream of the record before.
    last: (Hash, Option<Stream>),
    /// The index that the next record must have.
    next: u64,
    outside_met: bool,
    /// Sizes of outside heads that were given up by a recorded command.
    accepted: Vec<u64>,
    bodies: Bodies,
    /// Records whose bodies are in each sealed file, and the first of them.
    sealed: BTreeMap<Hash, (u64, u64)>,
    /// What records say of sealed files.
    seals: Vec<Seal>,
}

impl<'a> Walker<'a> {
    pub(crate) fn new(sql: &'a mut dyn Sql, moment: Moment, findings: Findings) -> Walker<'a> {
        Walker {
            bodies: Bodies::of(sql),
            sealed: BTreeMap::new(),
            seals: Vec::new(),
            sql,
            moment,
            findings,
            frontier: Frontier::default(),
            last: (NOTHING_BEFORE, None),
            next: 0,
            outside_met: false,
            accepted: Vec::new(),
        }
    }

    /// Follows the chain, and hands each record that can be read to `replay`.
    pub(crate) fn walk(mut self, mut replay: Option<&mut Replay>, between: Between<'_>) -> Result<Report, Error> {
        let mut page = Page::default();
        while self.moment.has_records() && page.fill(self.sql, &self.moment)? {
            for place in 0..page.rows.len() {
                let read = self.record(&page, &page.rows[place]);
                if let Some(replay) = &mut replay {
                    match read {
                        Some((meta, event)) => replay.record(&mut *self.sql, &meta, &event, &mut self.findings)?,
                        None => replay.give_up(&page.rows[place].stream),
                    }
                }
            }
            between(self.frontier.size())?;
        }
        self.close_chain();
        self.compare_outside();
        self.compare_seals();
        let sealed = self.sealed.iter().map(|(file, (records, _))| SealedFile {
            name: sealed::file_name(file),
            records: *records,
            is_here: self.bodies.has(file),
        });
        let sealed = sealed.collect();
        let replay = replay.map(|replay| replay.finish(&mut self.findings)).transpose()?;
        let witness = match self.moment.outside {
            None => Witness::None,
            Some(head) => Witness::Head { size: head.size, at: head.at },
        };
        Ok(Report {
            records: self.frontier.size(),
            root: self.frontier.root(),
            witness,
            replay,
            sealed,
            findings: self.findings,
            took: Duration::ZERO,
        })
    }

    fn record(&mut self, page: &Page, row: &Stored) -> Option<(Meta, Event)> {
        let (index, stored) = (row.index, &page.bodies[row.body.clone()]);
        let (leaf, body) = self.body(row, stored);
        let gap = index != self.next;
        if gap {
            let (at, what) = match index.saturating_sub(self.next) {
                0 => (index, format!("comes after record {}", self.next - 1)),
                1 => (self.next, "is missing".to_string()),
                more => (self.next, format!("and the {} after it are missing", more - 1)),
            };
            self.findings.add(Some(at), None, what);
        }
        let read = body.and_then(|body| match ledger::read(&body) {
            Ok((meta, event)) => {
                self.place(row, &page.project, &meta, gap);
                Some((meta, event))
            }
            Err(why) => {
                self.findings.add(Some(index), row.stream.parse().ok(), why);
                None
            }
        });
        self.frontier.push(leaf);
        self.next = index.saturating_add(1);
        self.last = (leaf, read.as_ref().map(|(meta, _)| meta.stream));
        if let Some(head) = self.moment.outside.filter(|head| head.size == self.frontier.size()) {
            self.outside_met = head.root == self.frontier.root() && head.last == leaf;
        }
        let (meta, event) = read?;
        if let Event::Project(project::Event::Sealed(seal)) = &event {
            self.seals.push(seal.clone());
        }
        if let Event::Project(project::Event::RestoreAccepted { checkpoint_size, .. }) = &event {
            self.accepted.push(*checkpoint_size);
        }
        Some((meta, event))
    }

    /// The leaf of a record, and its body where it is here.
    fn body<'p>(&mut self, row: &Stored, stored: &'p [u8]) -> (Hash, Option<Cow<'p, [u8]>>) {
        let stub = match Stub::read(stored) {
            Ok(None) => return (ledger::leaf(stored), Some(Cow::Borrowed(stored))),
            Ok(Some(stub)) => stub,
            Err(error) => {
                self.findings.add(Some(row.index), row.stream.parse().ok(), error.to_string());
                return (ledger::leaf(stored), None);
            }
        };
        let counted = self.sealed.entry(stub.file).or_insert((0, row.index));
        counted.0 += 1;
        match self.bodies.read(stored) {
            Ok(body) => (stub.leaf, Some(body)),
            Err(Error::Sealed { .. }) => (stub.leaf, None),
            Err(error) => {
                let what = match error {
                    Error::Corrupt { what } => what,
                    other => other.to_string(),
                };
                self.findings.add(Some(row.index), row.stream.parse().ok(), what);
                (stub.leaf, None)
            }
        }
    }

    /// Was each record that is said to be sealed sealed by a record after it, and are they as many as that says?
    fn compare_seals(&mut self) {
        for (file, (records, first)) in &self.sealed {
            let name = sealed::file_name(file);
            let what = match self.seals.iter().find(|seal| seal.file == *file) {
                Some(seal) if seal.records == *records && seal.first == *first => continue,
                Some(seal) => format!("{records} records are in {name}, and {} were sealed into it", seal.records),
                None => format!("stands as if it were sealed into {name}, and no record says so"),
            };
            self.findings.add(Some(*first), None, what);
        }
        for seal in self.seals.iter().filter(|seal| !self.sealed.contains_key(&seal.file)) {
            let what =
                format!("no record is in {}, and {} were sealed into it", sealed::file_name(&seal.file), seal.records);
            self.findings.add(Some(seal.first), None, what);
        }
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
        if self.moment.head.is_some_and(|head| head.project != project) {
            self.findings.add(Some(index), Some(meta.stream), "belongs to another project");
        }
    }

    fn close_chain(&mut self) {
        let size = self.frontier.size();
        let Some(head) = self.moment.head else {
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
        } else if self.moment.peaks != self.frontier.to_bytes() {
            self.findings.add(None, None, "the stored frontier of the tree is not the one of the records");
        }
    }

    fn compare_outside(&mut self) {
        let Some(head) = self.moment.outside else { return };
        if self.outside_met || self.accepted.contains(&head.size) {
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
