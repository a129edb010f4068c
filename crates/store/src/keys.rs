//! The keys that the ledger's records name, followed from one that is known.
use crate::Error;
use crate::sealed::Bodies;
use crate::sql::{Cell, Sql};
use tenure_core::ledger::export::{KEY_ROTATED, Rotation};
use tenure_core::ledger::{self, Keys, Verifier};

/// # Errors
/// The database's; `Corrupt` where a key was not handed over to, or `known` is none of them.
pub(crate) fn follow(sql: &mut dyn Sql, known: Verifier) -> Result<Keys, Error> {
    let rotations = rotations(sql)?;
    let Some((project, _, _)) = rotations.first() else { return Ok(Keys::one(known)) };
    let project = *project;
    let rotations: Vec<(u64, Rotation)> = rotations.into_iter().map(|(_, index, rotation)| (index, rotation)).collect();
    Keys::follow(known, project, &rotations).map_err(Error::corrupt)
}

/// The records that name another key, oldest first.
pub(crate) fn rotations(sql: &mut dyn Sql) -> Result<Vec<(tenure_core::id::ProjectId, u64, Rotation)>, Error> {
    if sql.first("SELECT 1 FROM sqlite_master WHERE name = 'heads'", &[], |row| row.int(0))?.is_none() {
        return Ok(Vec::new());
    }
    let text = "SELECT body FROM ledger WHERE stream = (SELECT project FROM heads LIMIT 1) AND kind = $1 ORDER BY n LIMIT 10000";
    let bodies = Bodies::of(sql);
    sql.all(text, &[Cell::Text(KEY_ROTATED)], |row| {
        let body = bodies.read(row.bytes(0)?)?;
        let (meta, data) = ledger::read_meta(&body).map_err(Error::corrupt)?;
        let rotation =
            serde_json::from_str(data.get()).map_err(|error| Error::corrupt(format!("a rotation of keys: {error}")))?;
        Ok((meta.project, meta.index, rotation))
    })
}
