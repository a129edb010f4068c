//! Bodies of records: in the ledger's row itself, or in a sealed file that a stub in the row names. All that reads a body
//! does so here. Must never: give a body whose leaf hash is not the one that the chain has.
//!
//! ```text
//! a body     {"actor":…}                                                     canonical JSON
//! a stub     0x00 ‖ leaf (32) ‖ SHA-256 of the file (32) ‖ where its line is (8) ‖ how long (4)
//! the file   sealed/SHA256.jsonl: an export; sealed/SHA256.next between its writing and the commit that names it
//! ```
use crate::Error;
use crate::folder::{Folder, sync_folder};
use crate::sql::{Cell, Sql};
use std::borrow::Cow;
use std::cell::RefCell;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tenure_core::bound::Hash;
use tenure_core::ledger;
use tenure_core::ledger::export::Line;

/// No JSON begins so.
const MARK: u8 = 0;
const STUB_BYTES: usize = 1 + 32 + 32 + 8 + 4;
/// The condition that a row's body is a stub.
pub(crate) const IS_STUB: &str = "substr(body, 1, 1) = X'00'";
/// Of a file that is written.
pub(crate) const PART: &str = "writing.part";

/// Where the body of a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stub {
    pub leaf: Hash,
    pub file: Hash,
    pub offset: u64,
    pub length: u32,
}

impl Stub {
    /// None where the stored bytes are a body.
    pub(crate) fn read(stored: &[u8]) -> Result<Option<Stub>, Error> {
        if !is_stub(stored) {
            return Ok(None);
        }
        let bytes = <&[u8; STUB_BYTES]>::try_from(stored)
            .map_err(|_| Error::corrupt(format!("the stub of a sealed record is {} bytes long", stored.len())))?;
        let part = |from: usize| Hash(bytes[from..from + 32].try_into().unwrap_or_default());
        let number = |from: usize, length: usize| {
            bytes[from..from + length].iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let length = u32::try_from(number(73, 4)).unwrap_or(u32::MAX);
        Ok(Some(Stub { leaf: part(1), file: part(33), offset: number(65, 8), length }))
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = vec![MARK];
        bytes.extend_from_slice(&self.leaf.0);
        bytes.extend_from_slice(&self.file.0);
        bytes.extend_from_slice(&self.offset.to_be_bytes());
        bytes.extend_from_slice(&self.length.to_be_bytes());
        bytes
    }
}

pub(crate) fn is_stub(stored: &[u8]) -> bool {
    stored.first() == Some(&MARK)
}

/// The leaf hash of a record, wherever its body is.
pub(crate) fn leaf(stored: &[u8]) -> Result<Hash, Error> {
    Ok(Stub::read(stored)?.map_or_else(|| ledger::leaf(stored), |stub| stub.leaf))
}

pub(crate) fn file_name(file: &Hash) -> String {
    format!("{file}.jsonl")
}

fn next_name(file: &Hash) -> String {
    format!("{file}.next")
}

/// Reads bodies. Keeps the file that it read from last open.
#[derive(Debug)]
pub(crate) struct Bodies {
    folder: Option<PathBuf>,
    open: RefCell<Option<(Hash, File)>>,
}

impl Bodies {
    /// Of the ledger in this database.
    pub(crate) fn of(sql: &dyn Sql) -> Bodies {
        Bodies { folder: sql.folder().map(|folder| folder.join("sealed")), open: RefCell::new(None) }
    }

    /// # Errors
    /// `Sealed` where its file is not here; `Corrupt` where the file does not hold it.
    pub(crate) fn read<'a>(&self, stored: &'a [u8]) -> Result<Cow<'a, [u8]>, Error> {
        let Some(stub) = Stub::read(stored)? else { return Ok(Cow::Borrowed(stored)) };
        let name = file_name(&stub.file);
        let damaged =
            |why: String| Error::corrupt(format!("sealed/{name} does not hold the record at {}: {why}", stub.offset));
        let mut open = self.open.borrow_mut();
        if open.as_ref().is_none_or(|(file, _)| *file != stub.file) {
            *open = Some((stub.file, self.open(&stub.file)?));
        }
        let Some((_, file)) = open.as_ref() else { return Err(Error::invariant("a sealed file was not kept")) };
        let length = usize::try_from(stub.length).map_err(|error| damaged(error.to_string()))?;
        if file.metadata().map_err(|error| damaged(error.to_string()))?.len()
            < stub.offset.saturating_add(length as u64)
        {
            return Err(damaged("it is too short".to_string()));
        }
        let mut line = vec![0; length];
        file.read_exact_at(&mut line, stub.offset).map_err(|error| damaged(error.to_string()))?;
        match serde_json::from_slice(&line) {
            Ok(Line::Record(record)) if ledger::leaf(record.bytes.as_bytes()) == stub.leaf => {
                Ok(Cow::Owned(record.bytes.into_bytes()))
            }
            Ok(_) => Err(damaged("it was changed".to_string())),
            Err(error) => Err(damaged(error.to_string())),
        }
    }

    fn open(&self, file: &Hash) -> Result<File, Error> {
        let gone = || Error::Sealed { file: file_name(file) };
        let folder = self.folder.as_deref().ok_or_else(gone)?;
        for name in [file_name(file), next_name(file)] {
            match File::open(folder.join(name)) {
                Ok(file) => return Ok(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::file("opening a sealed file", &error)),
            }
        }
        Err(gone())
    }

    /// Whether the file lies where it is read.
    pub(crate) fn has(&self, file: &Hash) -> bool {
        let names = [file_name(file), next_name(file)];
        self.folder.as_deref().is_some_and(|folder| names.iter().any(|name| folder.join(name).is_file()))
    }
}

/// The sealed files that rows name, with how many records each holds for them.
pub(crate) fn named(sql: &mut dyn Sql) -> Result<Vec<(Hash, u64)>, Error> {
    let indexed = "SELECT 1 FROM sqlite_master WHERE name = 'ledger_sealed'";
    if sql.first(indexed, &[], |row| row.int(0))?.is_none() {
        return Ok(Vec::new());
    }
    // One of another length is none that this program wrote, and is found where it is read.
    let text = format!(
        "SELECT substr(body, 34, 32), COUNT(*) FROM ledger WHERE {IS_STUB} AND length(body) = {STUB_BYTES} \
         GROUP BY 1 ORDER BY 1"
    );
    sql.all(&text, &[], |row| Ok((row.hash(0)?, row.count(1)?)))
}

/// Ends what a kill cut short: a file that rows name is put into its place, and one that is only half written, or that no row
/// names, goes. Must never run where an older database may have been put back: a newer one may name it.
pub(crate) fn settle(folder: &Folder, sql: &mut dyn Sql) -> Result<(), Error> {
    const DOING: &str = "settling sealed files";
    let failed = |error: io::Error| Error::file(DOING, &error);
    let root = folder.sealed();
    let entries = match fs::read_dir(&root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let mut known = None;
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name == PART {
            fs::remove_file(&path).map_err(failed)?;
        }
        let Some(file) = name.strip_suffix(".next").and_then(|name| name.parse::<Hash>().ok()) else { continue };
        if known.is_none() {
            known = Some(named(sql)?);
        }
        if known.iter().flatten().any(|(named, _)| *named == file) {
            place(&root, &file)?;
        } else {
            fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}

/// Gives a file the name under which it is kept. Its rows are committed.
pub(crate) fn place(root: &Path, file: &Hash) -> Result<(), Error> {
    const DOING: &str = "putting a sealed file into its place";
    fs::rename(root.join(next_name(file)), root.join(file_name(file))).map_err(|error| Error::file(DOING, &error))?;
    sync_folder(root, DOING)
}

/// Gives a written file the name under which a commit may name it.
pub(crate) fn offer(root: &Path, file: &Hash) -> Result<(), Error> {
    const DOING: &str = "naming a sealed file";
    fs::rename(root.join(PART), root.join(next_name(file))).map_err(|error| Error::file(DOING, &error))?;
    sync_folder(root, DOING)
}

/// The stub of a row, for whoever writes it.
pub(crate) fn replace(sql: &mut dyn Sql, project: &str, index: u64, stub: Stub) -> Result<(), Error> {
    let text = "UPDATE ledger SET body = $1 WHERE project = $2 AND idx = $3";
    match sql.execute(text, &[Cell::Bytes(&stub.to_bytes()), Cell::Text(project), Cell::count(index)])? {
        1 => Ok(()),
        _ => Err(Error::corrupt(format!("record {index} is missing"))),
    }
}
