//! Writing an export: the records that are wanted, each with its path in the tree under the newest signed head. It reads the data
//! directory itself, beside a running daemon or without one, changes nothing, and holds a page of records in memory.
mod paths;

use crate::events::selected_after;
use crate::folder::Folder;
use crate::payload::{self, Blobs, find, is_erased};
use crate::rows::{Match, agents, executions};
use crate::sealed::Bodies;
use crate::select::Selection;
use crate::sql::{Cell, Sql, Sqlite, Walk};
use crate::{Error, chain, keys, migration, sealed};
use paths::{Builder, Paths};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::Path;
use tenure_core::bound::{Hash, salted};
use tenure_core::id::{AgentId, ExecutionId};
use tenure_core::ledger::export::{
    End, ErasedLine, FORMAT, FORMAT_VERSION, Header, KEY_ROTATED, KeyFrom, Line, PayloadLine, RecordLine,
};
use tenure_core::ledger::{self, Frontier, Meta, Signed, Signer};
use tenure_core::time::Time;

/// Records read at a time.
const PAGE: u32 = 256;

/// What is to be in the file.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub selection: Selection,
    /// The selection in the words that it was asked for with.
    pub words: Vec<String>,
    /// And what the records bind.
    pub payloads: bool,
}

/// What is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    pub records: u64,
    pub payloads: u64,
    pub erased: u64,
    pub head: Signed,
    pub checksum: Hash,
}

/// Writes an export of the ledger in `dir`. `between` is called between pages, as by `verify`.
///
/// # Errors
/// Where there is no ledger or none of its keys may be read; `Corrupt` where it does not hold; those of `out` and `between`.
pub fn export(
    dir: &Path,
    wanted: &Wanted,
    out: &mut dyn Write,
    between: &mut dyn FnMut(u64) -> Result<(), Error>,
) -> Result<Exported, Error> {
    let folder = Folder { root: dir.to_path_buf() };
    folder.exists()?;
    let mut sql = Sqlite::open_reader(&folder.database())?;
    let (mut export, signer) = begin(&folder, &mut sql, (wanted.words.clone(), wanted.payloads), out, between)?;
    export.records(&mut sql, wanted, between)?;
    export.end(&signer)
}

/// The same of records that are still in the ledger's rows: those before `before` of streams that are `picked`, with the ledger's
/// changes of keys.
pub(crate) fn export_picked(
    folder: &Folder,
    sql: &mut dyn Sql,
    (before, picked): (Time, &dyn Fn(&str) -> bool),
    out: &mut dyn Write,
) -> Result<Exported, Error> {
    let between = &mut |_| Ok(());
    let words = vec!["--sealed".to_string(), format!("--until {before}")];
    let (mut export, signer) = begin(folder, sql, (words, false), out, between)?;
    let text = "SELECT idx, stream, kind, at, body FROM ledger WHERE project = (SELECT project FROM heads LIMIT 1) \
        AND idx >= $1 AND idx < $2 ORDER BY idx LIMIT $3";
    let (mut from, end) = (0, export.exported.head.head.size);
    while from < end {
        let cells = [Cell::count(from), Cell::count(end), Cell::Int(PAGE.into())];
        let mut page = Vec::new();
        sql.each(text, &cells, &mut |row| {
            from = row.count::<u64>(0)? + 1;
            let (body, is_old) = (row.bytes(4)?, row.int(3)? < before.millis());
            if row.text(2)? == KEY_ROTATED || (is_old && picked(row.text(1)?) && !sealed::is_stub(body)) {
                page.push((from - 1, body.to_vec()));
            }
            Ok(Walk::On)
        })?;
        for (index, body) in page {
            export.record(sql, false, index, &body)?;
        }
    }
    export.end(&signer)
}

/// Writes the first line, with all paths at hand.
fn begin<'a>(
    folder: &Folder,
    sql: &mut dyn Sql,
    (selection, payloads): (Vec<String>, bool),
    out: &'a mut dyn Write,
    between: &mut dyn FnMut(u64) -> Result<(), Error>,
) -> Result<(Export<'a>, Signer), Error> {
    sql.execute("BEGIN", &[])?;
    migration::check(sql)?;
    let signed_by = chain::signed_by(sql)?.ok_or_else(|| Error::corrupt("the ledger is empty"))?;
    let signer = folder.read_signer_of(&signed_by)?.ok_or(Error::KeyLost)?;
    let head = head(sql, &signer)?;
    let keys = key_history(sql, &head)?;
    sql.execute("COMMIT", &[])?;
    let paths = tree(sql, &head, between)?;
    let (blobs, digest) = (Blobs::new(folder.blobs()), Sha256::new());
    let exported = Exported { records: 0, payloads: 0, erased: 0, head: head.clone(), checksum: Hash::of(&[]) };
    let mut export = Export { out, digest, paths, blobs, exported };
    let (format, version, project) = (FORMAT.to_string(), FORMAT_VERSION, head.head.project);
    export.line(&Line::Export(Header { format, version, project, selection, payloads, keys, head }))?;
    Ok((export, signer))
}

/// What a name of a ledger's stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup<T> {
    None,
    One(T),
    /// Ids that a short one fits.
    Many(Vec<String>),
}

impl<T: ToString> Lookup<T> {
    fn of<R>(found: Match<R>, id: impl Fn(&R) -> T) -> Lookup<T> {
        match found {
            Match::None => Lookup::None,
            Match::One(row) => Lookup::One(id(&row)),
            Match::Many(rows) => Lookup::Many(rows.iter().map(|row| id(row).to_string()).collect()),
        }
    }
}

/// The agent of this name, id or short id, in the ledger of `dir`.
///
/// # Errors
/// Where there is no ledger; the database's.
pub fn find_agent(dir: &Path, wanted: &str) -> Result<Lookup<AgentId>, Error> {
    Ok(Lookup::of(agents::find(&mut open(dir)?, wanted)?, |row| row.id))
}

/// # Errors
/// As `find_agent`.
pub fn find_execution(dir: &Path, wanted: &str) -> Result<Lookup<ExecutionId>, Error> {
    Ok(Lookup::of(executions::find(&mut open(dir)?, wanted)?, |row| row.id))
}

fn open(dir: &Path) -> Result<Sqlite, Error> {
    let folder = Folder { root: dir.to_path_buf() };
    folder.exists()?;
    let mut sql = Sqlite::open_reader(&folder.database())?;
    migration::check(&mut sql)?;
    Ok(sql)
}

/// The newest head, signed by the key that is at hand.
fn head(sql: &mut dyn Sql, signer: &Signer) -> Result<Signed, Error> {
    let signed = sql.first("SELECT signed FROM heads LIMIT 1", &[], |row| Ok(row.text(0)?.to_string()))?;
    let signed = signed.ok_or_else(|| Error::corrupt("the ledger is empty: there is nothing to export"))?;
    let signed: Signed =
        serde_json::from_str(&signed).map_err(|error| Error::corrupt(format!("the ledger's head: {error}")))?;
    if !signer.verifier().holds(&signed) {
        return Err(Error::corrupt("the ledger's head is not signed by ledger.key"));
    }
    Ok(signed)
}

/// All keys that the ledger had, oldest first.
fn key_history(sql: &mut dyn Sql, head: &Signed) -> Result<Vec<KeyFrom>, Error> {
    let rotations = keys::rotations(sql)?;
    let first = rotations.first().map_or(&head.key, |(_, _, rotation)| &rotation.old).clone();
    let rotated = rotations.into_iter().map(|(_, from, rotation)| KeyFrom { key: rotation.new, from });
    Ok([KeyFrom { key: first, from: 0 }].into_iter().chain(rotated).collect())
}

/// A pass over all leaves under the head.
fn tree(sql: &mut dyn Sql, head: &Signed, between: &mut dyn FnMut(u64) -> Result<(), Error>) -> Result<Paths, Error> {
    let head = head.head;
    let frontier = Frontier::default();
    let mut next = frontier.size();
    let mut builder = Builder::new(head.size, &frontier)?;
    let text = "SELECT idx, body FROM ledger WHERE project = $1 AND idx >= $2 AND idx < $3 ORDER BY idx LIMIT $4";
    let project = head.project.to_string();
    while next < head.size {
        let cells = [Cell::Text(&project), Cell::count(next), Cell::count(head.size), Cell::Int(i64::from(PAGE))];
        let before = next;
        sql.each(text, &cells, &mut |row| {
            if row.count::<u64>(0)? != next {
                return Err(Error::corrupt(format!("record {next} is missing")));
            }
            builder.push(sealed::leaf(row.bytes(1)?)?)?;
            next += 1;
            Ok(Walk::On)
        })?;
        if next == before {
            return Err(Error::corrupt(format!("record {next} is missing")));
        }
        between(next)?;
    }
    let paths = builder.finish()?;
    if paths.root()? != head.root {
        return Err(Error::corrupt("the root over all records is not the one that the head was signed over"));
    }
    Ok(paths)
}

/// The first record of the stream after this one that names the hash.
fn named_after(sql: &mut dyn Sql, meta: &Meta, hash: &Hash) -> Result<Option<u64>, Error> {
    let text = "SELECT idx, body FROM ledger WHERE stream = $1 AND n > $2 ORDER BY n";
    let (stream, named) = (meta.stream.to_string(), hash.to_string());
    let (bodies, mut by) = (Bodies::of(sql), None);
    sql.each(text, &[Cell::Text(&stream), Cell::count(meta.n)], &mut |row| {
        let names = bodies.read(row.bytes(1)?)?.windows(named.len()).any(|part| part == named.as_bytes());
        by = names.then(|| row.count(0)).transpose()?;
        Ok(if names { Walk::Stop } else { Walk::On })
    })?;
    Ok(by)
}

struct Export<'a> {
    out: &'a mut dyn Write,
    digest: Sha256,
    paths: Paths,
    blobs: Blobs,
    exported: Exported,
}

impl Export<'_> {
    fn line(&mut self, line: &Line) -> Result<(), Error> {
        let bytes = line.to_bytes().map_err(|error| Error::invariant(error.to_string()))?;
        self.digest.update(&bytes);
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(|error| Error::out(&error))
    }

    fn records(
        &mut self,
        sql: &mut dyn Sql,
        wanted: &Wanted,
        between: &mut dyn FnMut(u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (mut from, end) = (0, self.exported.head.head.size);
        loop {
            let page = selected_after(sql, &wanted.selection, Some(KEY_ROTATED), from..end, PAGE)?;
            for (index, body) in &page {
                self.record(sql, wanted.payloads, *index, body)?;
            }
            let Some((last, _)) = page.last() else { return Ok(()) };
            from = last + 1;
            between(from)?;
        }
    }

    fn record(&mut self, sql: &mut dyn Sql, payloads: bool, index: u64, body: &[u8]) -> Result<(), Error> {
        let bytes = std::str::from_utf8(body).map_err(|_| Error::corrupt(format!("record {index} is no text")))?;
        let path = self.paths.path(index)?;
        self.line(&Line::Record(RecordLine { bytes: bytes.to_string(), path }))?;
        self.exported.records += 1;
        if !payloads {
            return Ok(());
        }
        let (meta, event) = ledger::read(body).map_err(Error::corrupt)?;
        let mut bound = Vec::new();
        event.binds(&mut |hash| bound.push(*hash));
        for hash in bound {
            self.payload(sql, &meta, hash)?;
        }
        Ok(())
    }

    fn payload(&mut self, sql: &mut dyn Sql, meta: &Meta, hash: Hash) -> Result<(), Error> {
        let index = meta.index;
        match find(sql, &self.blobs, &hash)? {
            payload::Lookup::Here { salt, bytes } if salted(&salt, &bytes) == hash => {
                self.exported.payloads += 1;
                self.line(&Line::Payload(PayloadLine::new(hash, &salt, &bytes)))
            }
            payload::Lookup::Here { .. } => {
                Err(Error::corrupt(format!("payload {hash} of record {index} was changed")))
            }
            payload::Lookup::Missing | payload::Lookup::FileLost if is_erased(sql, &hash)? => {
                self.exported.erased += 1;
                let by = named_after(sql, meta, &hash)?;
                self.line(&Line::Erased(ErasedLine { by, hash }))
            }
            payload::Lookup::Missing | payload::Lookup::FileLost => {
                Err(Error::corrupt(format!("payload {hash} of record {index} is missing")))
            }
        }
    }

    fn end(mut self, signer: &Signer) -> Result<Exported, Error> {
        let checksum = Hash(self.digest.clone().finalize().into());
        let end = End::sign(signer, self.exported.head.head.project, checksum, self.exported.records);
        let line = end.and_then(|end| Line::End(end).to_bytes());
        let line = line.map_err(|error| Error::invariant(error.to_string()))?;
        self.write(&line)?;
        self.out.flush().map_err(|error| Error::out(&error))?;
        Ok(Exported { checksum, ..self.exported })
    }
}
