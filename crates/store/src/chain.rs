//! The end of the chain, held in memory by the writer and in one overwritten row by the database.
use crate::Error;
use crate::checkpoint::{Checkpoint, Restored};
use crate::sealed;
use crate::sql::{Cell, Sql};
use tenure_core::bound::Hash;
use tenure_core::id::ProjectId;
use tenure_core::ledger::{Frontier, Head, NOTHING_BEFORE, Signed, Signer, Verifier};
use tenure_core::time::Stamp;

/// Where the next record goes. Small, so that a job that fails takes it back by copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// None before the project is founded.
    pub project: Option<ProjectId>,
    pub size: u64,
    pub last: Hash,
    pub stamp: Stamp,
}

#[derive(Debug, Clone)]
pub(crate) struct Chain {
    pub end: End,
    pub frontier: Frontier,
}

impl Chain {
    /// Reads the end and holds it against the last record: a constant number of rows, however long the chain.
    pub(crate) fn load(sql: &mut dyn Sql, verifier: &Verifier) -> Result<Chain, Error> {
        let row = sql.first("SELECT size, frontier, signed FROM heads LIMIT 1", &[], |row| {
            Ok((row.count::<u64>(0)?, row.bytes(1)?.to_vec(), row.text(2)?.to_string()))
        })?;
        let Some((size, peaks, signed)) = row else {
            if sql.first("SELECT 1 FROM ledger LIMIT 1", &[], |row| row.int(0))?.is_some() {
                return Err(Error::corrupt("the ledger has records and no head"));
            }
            let end = End { project: None, size: 0, last: NOTHING_BEFORE, stamp: Stamp::default() };
            return Ok(Chain { end, frontier: Frontier::default() });
        };
        let signed: Signed =
            serde_json::from_str(&signed).map_err(|error| Error::corrupt(format!("the ledger's head: {error}")))?;
        let frontier = Frontier::from_bytes(size, &peaks);
        let head = signed.head;
        let frontier = frontier
            .filter(|frontier| head.size == size && frontier.root() == head.root)
            .ok_or_else(|| Error::corrupt("the ledger's head does not fit its tree"))?;
        if !verifier.holds(&signed) {
            return Err(Error::corrupt("the ledger's head is not signed by this ledger's key"));
        }
        let last = leaf_of(sql, head.project, size - 1)?;
        let beyond = leaf_of(sql, head.project, size)?;
        if last != Some(head.last) || beyond.is_some() {
            return Err(Error::corrupt(format!("the ledger does not end at record {} as its head says", size - 1)));
        }
        let end =
            End { project: Some(head.project), size, last: head.last, stamp: Stamp { at: head.at, run: head.run } };
        Ok(Chain { end, frontier })
    }

    /// The signed head of this end.
    pub(crate) fn sign(&self, project: ProjectId, signer: &Signer) -> Result<String, Error> {
        let End { size, last, stamp: Stamp { at, run }, .. } = self.end;
        let head = Head { project, size, root: self.frontier.root(), last, at, run };
        let signed = signer.sign(head).map_err(|error| Error::invariant(error.to_string()))?;
        serde_json::to_string(&signed).map_err(|error| Error::invariant(error.to_string()))
    }

    pub(crate) fn save(&self, sql: &mut dyn Sql, project: ProjectId, signed: &str) -> Result<(), Error> {
        let peaks = self.frontier.to_bytes();
        let text = "INSERT INTO heads (project, size, frontier, signed) VALUES ($1, $2, $3, $4) \
            ON CONFLICT (project) DO UPDATE SET size = excluded.size, frontier = excluded.frontier, signed = excluded.signed";
        let size = Cell::count(self.end.size);
        sql.execute(text, &[Cell::Text(&project.to_string()), size, Cell::Bytes(&peaks), Cell::Text(signed)])?;
        Ok(())
    }
}

/// Whether the database holds any record; one without tables holds none.
pub(crate) fn has_records(sql: &mut dyn Sql) -> Result<bool, Error> {
    let known = "SELECT 1 FROM sqlite_master WHERE name = 'ledger'";
    if sql.first(known, &[], |row| row.int(0))?.is_none() {
        return Ok(false);
    }
    Ok(sql.first("SELECT 1 FROM ledger LIMIT 1", &[], |row| row.int(0))?.is_some())
}

/// The public key that the newest head names, whether or not it holds.
pub(crate) fn signed_by(sql: &mut dyn Sql) -> Result<Option<String>, Error> {
    // A database of before the first release has other tables, and is refused later.
    if sql.first("SELECT 1 FROM sqlite_master WHERE name = 'heads'", &[], |row| row.int(0))?.is_none() {
        return Ok(None);
    }
    let signed = sql.first("SELECT signed FROM heads LIMIT 1", &[], |row| Ok(row.text(0)?.to_string()))?;
    Ok(signed.and_then(|signed| serde_json::from_str::<Signed>(&signed).ok()).map(|signed| signed.key))
}

fn leaf_of(sql: &mut dyn Sql, project: ProjectId, index: u64) -> Result<Option<Hash>, Error> {
    let cells = [Cell::Text(&project.to_string()), Cell::count(index)];
    sql.first("SELECT body FROM ledger WHERE project = $1 AND idx = $2", &cells, |row| sealed::leaf(row.bytes(0)?))
}

/// Holds the head outside against the chain, by its last record alone; verify compares the whole tree.
pub(crate) fn compare(sql: &mut dyn Sql, end: &End, checkpoint: Option<&Signed>) -> Result<Checkpoint, Error> {
    let Some(head) = checkpoint.map(|signed| signed.head) else { return Ok(Checkpoint::Missing) };
    let restored = Checkpoint::Restored(Restored { checkpoint_size: head.size, database_size: end.size });
    if head.size > end.size || end.project != Some(head.project) {
        return Ok(restored);
    }
    let leaf = leaf_of(sql, head.project, head.size - 1)?;
    Ok(if leaf == Some(head.last) { Checkpoint::OnChain { newer: end.size - head.size } } else { restored })
}
