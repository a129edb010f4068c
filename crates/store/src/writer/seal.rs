//! Old records leave the database into a sealed file, while no daemon has the directory: those of executions and sessions that had
//! ended. What lives keeps its records, so that nothing that is at work ever needs such a file. A kill at any moment leaves each body in its row, or in a file that
//! is whole, synced and checked.
//!
//! ```text
//! writing.part is written and synced ─> SHA256.next ─> COMMIT of the record and the stubs ─> SHA256.jsonl ─> room is given back
//! killed before COMMIT: it goes at the next start; after it: the next start puts it into its place
//! ```
use super::batch::WriterState;
use crate::events::EachBody;
use crate::export::export_picked;
use crate::sealed::{self, IS_STUB, Stub};
use crate::sql::{Cell, Sql};
use crate::txn::{Batch, load, snapshot};
use crate::verify::streams::has_ended;
use crate::{Error, folder};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Fold, Stream};
use tenure_core::bound::Hash;
use tenure_core::execution::Payloads;
use tenure_core::ledger;
use tenure_core::ledger::export::{Check, Line, Seal};
use tenure_core::project;
use tenure_core::session::Session;
use tenure_core::time::Time;

/// Ids read at a time.
const PAGE: usize = 1024;

/// What was sealed, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub seal: Seal,
    pub file: PathBuf,
    pub file_bytes: u64,
    /// The record that says so.
    pub index: u64,
    /// Of the database's file, before and after.
    pub database_bytes: (u64, u64),
    /// Why room was not given back, where it was not; what comes goes into it.
    pub kept_room: Option<Error>,
}

/// How far a seal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The file is written, synced and checked.
    Written,
    /// It has the name that a commit may use.
    Offered,
    /// All is in the transaction.
    Replaced,
    Committed,
    Placed,
}

/// Seals what ended before `before` and is still in the ledger in `dir`; none where there is nothing of that kind. `at_step` is called
/// after each; an error of it ends the work there, as a kill would.
///
/// # Errors
/// `Held` while a daemon has it; what `rotate_key` refuses; the file system's. Then each record is where it was.
pub fn seal(
    dir: &Path,
    before: Time,
    (actor, at): (Actor, Time),
    at_step: &mut dyn FnMut(Step) -> Result<(), Error>,
) -> Result<Option<Sealed>, Error> {
    let (_lock, mut state) = WriterState::alone(dir)?;
    let Some(project) = state.chain.end.project else {
        return Err(Error::corrupt("the ledger is empty: there is nothing to seal"));
    };
    let over = state.over(before)?;
    if over.is_empty() {
        return Ok(None);
    }
    let root = state.folder.sealed();
    let Some((seal, file_bytes)) = state.write_sealed(&root, before, &over)? else {
        let _ = fs::remove_file(root.join(sealed::PART));
        return Ok(None);
    };
    at_step(Step::Written)?;
    sealed::offer(&root, &seal.file)?;
    at_step(Step::Offered)?;
    let index = state.chain.end.size;
    state.sql.execute("BEGIN IMMEDIATE", &[])?;
    let mut batch = Batch::new(state.chain.end);
    let command = Command::Project(project, project::Command::SealRecords { seal: seal.clone() });
    state.decide_alone(&mut batch, (actor, at), command)?;
    state.replace_bodies(&root, &seal, &over)?;
    at_step(Step::Replaced)?;
    let done = state.commit(&mut batch)?;
    state.committed(done, batch, &mut None);
    at_step(Step::Committed)?;
    sealed::place(&root, &seal.file)?;
    at_step(Step::Placed)?;
    let bytes = |state: &WriterState| fs::metadata(state.folder.database()).map_or(0, |found| found.len());
    let was = bytes(&state);
    let given = state.sql.give_room_back().and_then(|()| state.sql.empty_log());
    let kept_room = given.err();
    state.end();
    let file = root.join(sealed::file_name(&seal.file));
    Ok(Some(Sealed { file, file_bytes, index, database_bytes: (was, bytes(&state)), kept_room, seal }))
}

impl WriterState {
    /// The streams of what had ended before then, and changes no more by itself.
    fn over(&mut self, before: Time) -> Result<HashSet<String>, Error> {
        let mut over = HashSet::new();
        for table in ["executions", "sessions"] {
            let text = format!(
                "SELECT id FROM {table} WHERE ended_at < $1 AND id > $2 \
                 AND EXISTS (SELECT 1 FROM ledger WHERE stream = {table}.id AND at < $1 AND NOT {IS_STUB}) \
                 ORDER BY id LIMIT {PAGE}"
            );
            let mut after = String::new();
            loop {
                let cells = [Cell::Int(before.millis()), Cell::Text(&after)];
                let sql: &mut dyn Sql = &mut self.sql;
                let page = sql.all(&text, &cells, |row| Ok(row.text(0)?.to_string()))?;
                let Some(last) = page.last() else { break };
                after.clone_from(last);
                for id in page {
                    let stream = id.parse::<Stream>().map_err(|_| Error::corrupt(format!("{id} is no stream")))?;
                    if load(&mut self.sql, self.signer.macs(), stream)?.fold.as_deref().is_some_and(is_over) {
                        over.insert(id);
                    }
                }
            }
        }
        Ok(over)
    }

    /// Writes, syncs and checks the file; none where none of their records is in the database any more.
    fn write_sealed(
        &mut self,
        root: &Path,
        before: Time,
        over: &HashSet<String>,
    ) -> Result<Option<(Seal, u64)>, Error> {
        const DOING: &str = "writing a sealed file";
        let failed = |error: std::io::Error| Error::file(DOING, &error);
        DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(failed)?;
        folder::sync_folder(&self.folder.root, DOING)?;
        let part = root.join(sealed::PART);
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part).map_err(failed)?;
        let mut out = BufWriter::new(file);
        let exported = export_picked(&self.folder, &mut self.sql, (before, &|stream| over.contains(stream)), &mut out);
        let exported = exported.map_err(|error| match error {
            Error::Out { .. } if self.folder.is_full() => Error::Full { doing: DOING.to_string() },
            error => error,
        })?;
        out.flush().and_then(|()| out.get_ref().sync_all()).map_err(failed)?;
        let (mut check, mut digest, mut bytes) = (Check::new(Some(self.signer.verifier())), Sha256::new(), 0);
        let (mut records, mut range) = (0, None);
        each_line(&part, &mut |offset, line| {
            check.line(line);
            digest.update(line);
            bytes = offset + line.len() as u64;
            if let Some((index, _)) = sealed_record(line, over)? {
                records += 1;
                range = Some((range.map_or(index, |(first, _)| first), index));
            }
            Ok(())
        })?;
        let checked = check.finish();
        if let Some(found) = checked.found.first() {
            return Err(Error::invariant(format!("a sealed file does not hold: {found}")));
        }
        let head = exported.head.head;
        let file = Hash(digest.finalize().into());
        Ok(range.map(|(first, through)| {
            (Seal { before, file, records, first, through, size: head.size, root: head.root }, bytes)
        }))
    }

    /// In the open transaction: a snapshot of each stream, so that it is read without the file, and a stub in the place of each body.
    fn replace_bodies(&mut self, root: &Path, seal: &Seal, over: &HashSet<String>) -> Result<(), Error> {
        for id in over {
            let stream = id.parse::<Stream>().map_err(|_| Error::corrupt(format!("{id} is no stream")))?;
            let mut entry = load(&mut self.sql, self.signer.macs(), stream)?;
            if entry.n > entry.snapped {
                snapshot(&mut self.sql, self.signer.macs(), stream, &mut entry)?;
            }
        }
        let project = self.chain.end.project.map(|project| project.to_string()).unwrap_or_default();
        let file = root.join(format!("{}.next", seal.file));
        each_line(&file, &mut |offset, line| {
            let Some((index, leaf)) = sealed_record(line, over)? else { return Ok(()) };
            let length = u32::try_from(line.len()).map_err(|_| Error::invariant("a record of 4 GiB"))?;
            sealed::replace(&mut self.sql, &project, index, Stub { leaf, file: seal.file, offset, length })
        })
    }
}

/// Nothing happens on its stream any more, but that what it bound is erased.
fn is_over(fold: &Fold) -> bool {
    let session = fold.as_a::<Session>().and_then(|session| session.ended.as_ref());
    let session =
        session.is_some_and(|ended| ended.settled_at.is_some() && !matches!(ended.payloads, Payloads::Erasing { .. }));
    (has_ended(Some(fold)) || session) && fold.owed().is_empty()
}

/// Index and leaf of a line's record, where it is of one of these streams.
fn sealed_record(line: &[u8], over: &HashSet<String>) -> Result<Option<(u64, Hash)>, Error> {
    let line = serde_json::from_slice(line).map_err(|error| Error::invariant(error.to_string()))?;
    let Line::Record(record) = line else { return Ok(None) };
    let (meta, _) = ledger::read_meta(record.bytes.as_bytes()).map_err(Error::corrupt)?;
    let leaf = ledger::leaf(record.bytes.as_bytes());
    Ok(over.contains(&meta.stream.to_string()).then_some((meta.index, leaf)))
}

/// Each line with its end, and where it begins.
fn each_line(path: &Path, each: &mut EachBody<'_>) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::file("reading a sealed file", &error);
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    let (mut offset, mut line) = (0, Vec::new());
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).map_err(failed)? == 0 {
            return Ok(());
        }
        each(offset, &line)?;
        offset += line.len() as u64;
    }
}
