//! Reading records: a stream's, or the whole chain's from an index on.
use crate::Error;
use crate::sql::{Cell, Columns, Sql};
use tenure_core::aggregate::{Event, Stream};
use tenure_core::ledger::{self, Meta};

/// A record as read back: its bytes are those that were hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub meta: Meta,
    pub event: Event,
    pub bytes: Vec<u8>,
}

pub(crate) fn recorded(row: &Columns<'_>) -> Result<Recorded, Error> {
    let bytes = row.bytes(0)?.to_vec();
    let (meta, event) = ledger::read(&bytes).map_err(Error::corrupt)?;
    Ok(Recorded { meta, event, bytes })
}

/// Records of the whole chain with an index of at least `from`.
///
/// # Errors
/// The database's; `Corrupt` where a record cannot be read.
pub fn events_from(sql: &mut dyn Sql, from: u64, limit: u32) -> Result<Vec<Recorded>, Error> {
    let text = "SELECT body FROM ledger WHERE project = (SELECT project FROM heads LIMIT 1) AND idx >= $1 \
        ORDER BY idx LIMIT $2";
    sql.all(text, &[index(from), Cell::Int(limit.into())], recorded)
}

/// Of an index that a caller chose: beyond what a column can hold there is no record either way.
fn index(from: u64) -> Cell<'static> {
    Cell::Int(i64::try_from(from).unwrap_or(i64::MAX))
}

/// Records of one stream with an index of at least `from`.
///
/// # Errors
/// The database's; `Corrupt` where a record cannot be read.
pub fn events_of(sql: &mut dyn Sql, stream: Stream, from: u64, limit: u32) -> Result<Vec<Recorded>, Error> {
    let text = "SELECT body FROM ledger WHERE stream = $1 AND idx >= $2 ORDER BY n LIMIT $3";
    sql.all(text, &[Cell::Text(&stream.to_string()), index(from), Cell::Int(limit.into())], recorded)
}

/// Records of one stream after its `n`th.
pub(crate) fn events_after(sql: &mut dyn Sql, stream: Stream, n: u64, limit: u32) -> Result<Vec<Recorded>, Error> {
    let text = "SELECT body FROM ledger WHERE stream = $1 AND n > $2 ORDER BY n LIMIT $3";
    sql.all(text, &[Cell::Text(&stream.to_string()), Cell::count(n), Cell::Int(limit.into())], recorded)
}
