//! Checking an export line by line, by nothing but its bytes and a key that is trusted. It must never believe a line because of
//! another that is not under a signature.
use super::{End, FORMAT, FORMAT_VERSION, Header, KEY_ROTATED, Line, PayloadLine, RecordLine, Rotation};
use crate::bound::{Hash, salted};
use crate::ledger::head::{Head, Verifier};
use crate::ledger::record::{Meta, read, read_meta};
use crate::ledger::{NOTHING_BEFORE, leaf};
use ct_merkle::{InclusionProof, RootHash};
use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt;

/// Findings kept word for word; more are counted.
const FOUND_MAX: usize = 1000;
/// The most records that a chain can have.
const SIZE_MAX: u64 = 1 << 53;
/// Payloads said to be erased by a record that is still to come; more are not held against it.
const CLAIMS_MAX: usize = 1 << 20;

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// From 1.
    pub line: u64,
    pub record: Option<u64>,
    pub what: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        match self.record {
            Some(record) => write!(f, ", record {record}: {}", self.what),
            None => write!(f, ": {}", self.what),
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    pub found: Vec<Found>,
    /// All findings, those not kept included.
    pub count: u64,
    pub header: Option<Header>,
    pub records: u64,
    /// The first and the last record.
    pub range: Option<(u64, u64)>,
    pub payloads: u64,
    pub erased: u64,
    /// Of the erased ones, those whose record is not in the file.
    pub erased_elsewhere: u64,
}

impl Checked {
    pub fn holds(&self) -> bool {
        self.count == 0
    }
}

/// The record before the line that is looked at.
struct Last {
    index: u64,
    leaf: Hash,
    bytes: String,
    /// What it binds and was not yet met; none where its kind is not known.
    unmet: Vec<Hash>,
}

pub struct Check {
    trusted: Option<Verifier>,
    digest: Sha256,
    line: u64,
    out: Checked,
    /// Of the newest key in the header.
    signer: Option<Verifier>,
    /// How many of the header's keys the records have named.
    named: usize,
    last: Option<Last>,
    /// A line that could not be read came after it.
    broken: bool,
    claims: HashMap<u64, Vec<Hash>>,
    claimed: usize,
    ended: bool,
}

impl Check {
    /// `trusted`: the ledger's key as the asker knows it. Without one the file vouches for itself.
    pub fn new(trusted: Option<Verifier>) -> Check {
        Check {
            trusted,
            digest: Sha256::new(),
            line: 0,
            out: Checked::default(),
            signer: None,
            named: 1,
            last: None,
            broken: false,
            claims: HashMap::new(),
            claimed: 0,
            ended: false,
        }
    }

    /// The next line, with its end.
    pub fn line(&mut self, bytes: &[u8]) {
        self.line += 1;
        if self.ended {
            self.find("comes after the end");
            return;
        }
        let read = bytes.strip_suffix(b"\n").ok_or_else(|| "it is cut off: no line end".to_string());
        let read = read.and_then(|text| {
            let line: Line = serde_json::from_slice(text).map_err(|error| error.to_string())?;
            let same = line.to_bytes().is_ok_and(|again| again == bytes);
            if same { Ok(line) } else { Err("it is not written as exports are".to_string()) }
        });
        match read {
            Err(why) => {
                self.broken = true;
                self.find(format!("is no line of an export: {why}"));
            }
            Ok(Line::End(end)) => return self.end(&end),
            Ok(line) => self.read(line),
        }
        self.digest.update(bytes);
    }

    /// All lines were given.
    pub fn finish(mut self) -> Checked {
        self.line += 1;
        self.close_record();
        if self.out.header.is_none() && self.line == 1 {
            self.find("the file is empty");
        } else if !self.ended {
            self.find("is missing: the end of the export was cut off");
        }
        if let Some(header) = &self.out.header {
            let missing = header.keys.len().saturating_sub(self.named);
            if missing > 0 {
                let what = format!("{missing} of the keys that the first line names are named by no record here");
                self.find(what);
            }
        }
        self.out.erased_elsewhere += self.claims.values().map(|claims| claims.len() as u64).sum::<u64>();
        self.out
    }

    fn find(&mut self, what: impl Into<String>) {
        self.find_at(None, what);
    }

    fn find_at(&mut self, record: Option<u64>, what: impl Into<String>) {
        self.out.count += 1;
        if self.out.found.len() < FOUND_MAX {
            self.out.found.push(Found { line: self.line, record, what: what.into() });
        }
    }

    fn read(&mut self, line: Line) {
        if self.line == 1 {
            match line {
                Line::Export(header) => self.header(header),
                Line::Record(_) | Line::Payload(_) | Line::Erased(_) | Line::End(_) => {
                    self.find("is not the first line of an export");
                }
            }
            return;
        }
        match line {
            Line::Export(_) => self.find("is a first line, and stands elsewhere"),
            Line::Record(record) => self.record(record),
            Line::Payload(payload) => self.payload(&payload),
            Line::Erased(erased) => self.erased(erased.hash, erased.by),
            Line::End(end) => self.end(&end),
        }
    }

    fn header(&mut self, header: Header) {
        if header.format != FORMAT || header.version != FORMAT_VERSION {
            let what =
                format!("is `{}` version {}, and this program reads `{FORMAT}` 1", header.format, header.version);
            self.find(what);
        }
        if header.head.head.project != header.project {
            self.find("the head is another project's");
        }
        let keys: Vec<Option<Verifier>> = header.keys.iter().map(|key| Verifier::from_hex(&key.key).ok()).collect();
        let newest = keys.last().copied().flatten();
        let signed = newest.is_some_and(|key| key.holds(&header.head));
        if !signed {
            self.find("the head is not signed by the newest key that is named");
        }
        if let Some(trusted) = self.trusted
            && !keys.contains(&Some(trusted))
        {
            self.find("the key that you trust is none of this ledger's: it is another ledger, or a forged one");
        }
        let ordered = header.keys.windows(2).all(|pair| pair[0].from < pair[1].from);
        if !ordered || header.keys.first().is_none_or(|first| first.from != 0) || keys.contains(&None) {
            self.find("the keys are no history of a ledger's keys");
        }
        self.signer = newest;
        self.out.header = Some(header);
    }

    fn record(&mut self, line: RecordLine) {
        self.close_record();
        let leaf = leaf(line.bytes.as_bytes());
        let (meta, rotation) = match read_meta(line.bytes.as_bytes()) {
            Ok((meta, data)) => {
                let rotation = (meta.kind == KEY_ROTATED).then(|| data.get().to_string());
                (meta, rotation)
            }
            Err(why) => {
                self.broken = true;
                let after = self.last.as_ref().map_or(String::new(), |last| format!(", after record {}", last.index));
                return self.find(format!("{why}{after}"));
            }
        };
        let index = Some(meta.index);
        self.follows(&meta);
        if let Some(head) = self.out.header.as_ref().map(|header| header.head.head) {
            if meta.project != head.project {
                self.find_at(index, "belongs to another project");
            }
            if let Some(what) = misplaced(&head, &meta, &line, leaf) {
                self.find_at(index, what);
            }
        }
        if let Some(data) = rotation {
            self.rotated(&meta, &data);
        }
        self.settle(meta.index, &line.bytes);
        self.out.records += 1;
        self.out.range = Some((self.out.range.map_or(meta.index, |(first, _)| first), meta.index));
        let unmet = self.bound(&line.bytes);
        (self.last, self.broken) = (Some(Last { index: meta.index, leaf, bytes: line.bytes, unmet }), false);
    }

    /// Does it come after the one before it, and name it where it is its neighbour?
    fn follows(&mut self, meta: &Meta) {
        let index = meta.index;
        let Some(last) = &self.last else {
            if index == 0 && meta.prev != NOTHING_BEFORE {
                self.find_at(Some(index), "names a record before it, and is the first");
            }
            return;
        };
        let (before, linked) = (last.index, last.leaf == meta.prev);
        if index == before {
            self.find_at(Some(index), "is here twice");
        } else if index < before {
            self.find_at(Some(index), format!("comes after record {before}"));
        } else if index == before + 1 && !linked && !self.broken {
            self.find_at(Some(index), format!("does not follow record {before}: one of them was changed"));
        }
    }

    /// What the record binds, where payloads are in the file and its kind is known.
    fn bound(&self, bytes: &str) -> Vec<Hash> {
        let mut hashes = Vec::new();
        if self.out.header.as_ref().is_some_and(|header| header.payloads)
            && let Ok((_, event)) = read(bytes.as_bytes())
        {
            event.binds(&mut |hash| hashes.push(*hash));
        }
        hashes
    }

    /// No more lines of the record before come.
    fn close_record(&mut self) {
        let Some(last) = &mut self.last else { return };
        let (index, unmet) = (last.index, std::mem::take(&mut last.unmet));
        for hash in unmet {
            self.find_at(Some(index), format!("binds payload {hash}, which is not here"));
        }
    }

    /// Takes a hash off those that the record before binds.
    fn met(&mut self, hash: &Hash) -> Option<u64> {
        let last = self.last.as_mut()?;
        last.unmet.retain(|unmet| unmet != hash);
        last.bytes.contains(&hash.to_string()).then_some(last.index)
    }

    fn payload(&mut self, line: &PayloadLine) {
        self.out.payloads += 1;
        let Some(index) = self.met(&line.hash) else {
            return self.find(format!("payload {} is bound by no record before it", line.hash));
        };
        let salt = HEXLOWER.decode(line.salt.as_bytes()).ok().and_then(|salt| <[u8; 16]>::try_from(salt).ok());
        let bytes = BASE64.decode(line.base64.as_bytes()).ok();
        let holds = salt.zip(bytes).is_some_and(|(salt, bytes)| salted(&salt, &bytes) == line.hash);
        if !holds {
            self.find_at(
                Some(index),
                format!("payload {} is not what was bound: it or its salt was changed", line.hash),
            );
        }
    }

    fn erased(&mut self, hash: Hash, by: Option<u64>) {
        self.out.erased += 1;
        let Some(index) = self.met(&hash) else {
            return self.find(format!("payload {hash}, said to be erased, is bound by no record before it"));
        };
        match by {
            Some(by) if by <= index => {
                self.find_at(Some(index), format!("payload {hash} is said to be erased by record {by}, before it"));
            }
            Some(by) if self.claimed < CLAIMS_MAX => {
                self.claimed += 1;
                self.claims.entry(by).or_default().push(hash);
            }
            Some(_) | None => self.out.erased_elsewhere += 1,
        }
    }

    /// A record that is said to tell of erased payloads must name them.
    fn settle(&mut self, index: u64, bytes: &str) {
        for hash in self.claims.remove(&index).unwrap_or_default() {
            self.claimed -= 1;
            if !bytes.contains(&hash.to_string()) {
                self.find_at(Some(index), format!("does not say that payload {hash} is erased, as is told of it"));
            }
        }
    }

    fn rotated(&mut self, meta: &Meta, data: &str) {
        let keys = self.out.header.as_ref().map(|header| header.keys.clone()).unwrap_or_default();
        let Some([old, new]) = keys.get(self.named - 1..=self.named) else {
            return self.find_at(Some(meta.index), "names a key that is not in the first line");
        };
        let (old_key, rotation) = (Verifier::from_hex(&old.key), serde_json::from_str::<Rotation>(data));
        let holds = match (old_key, rotation) {
            (Ok(old_key), Ok(rotation)) => {
                rotation.verified(&old_key, meta.project).is_some()
                    && rotation.new == new.key
                    && (new.from, rotation.size) == (meta.index, meta.index)
            }
            (Err(_), _) | (_, Err(_)) => false,
        };
        self.named += 1;
        if !holds {
            self.find_at(
                Some(meta.index),
                "does not hand over to the next key of the first line under both signatures",
            );
        }
    }

    fn end(&mut self, end: &End) {
        self.close_record();
        self.ended = true;
        if Hash(self.digest.clone().finalize().into()) != end.checksum {
            self.find("the checksum is not that of the lines before it: some line was changed, put in or left out");
        }
        if end.records != self.out.records {
            self.find(format!("the export has {} records, and {} are here", end.records, self.out.records));
        }
        let project = self.out.header.as_ref().map(|header| header.project);
        let signed = self.signer.zip(project).is_some_and(|(key, project)| end.holds(&key, project));
        if !signed {
            self.find("the end is not signed by this ledger's key: checksum or count were made by another hand");
        }
    }
}

/// Why a record is not in the tree under the head, at the place that it names.
fn misplaced(head: &Head, meta: &Meta, line: &RecordLine, leaf: Hash) -> Option<String> {
    // No record has a greater place, and the tree's arithmetic must not be led beyond it.
    if head.size > SIZE_MAX {
        return Some("lies under a head that no ledger has".to_string());
    }
    if meta.index >= head.size {
        return Some(format!("lies beyond the head, which is over {} records", head.size));
    }
    let path = line.path.iter().flat_map(|hash| hash.0).collect();
    let root = RootHash::<Sha256>::new(head.root.0.into(), head.size);
    let included = InclusionProof::<Sha256>::try_from_bytes(path)
        .and_then(|path| root.verify_inclusion(&line.bytes.as_bytes(), meta.index, &path));
    if included.is_err() {
        return Some("is not in the tree under the signed head: it or its path was changed".to_string());
    }
    let last = meta.index + 1 == head.size && leaf != head.last;
    last.then(|| "is not the last record that the head names".to_string())
}
