//! The index of what is owed: one row a deed, written with the events that owe or settle it.
use crate::Error;
use crate::sql::{Cell, Columns, Sql};
use tenure_core::fold::{Fold, Stream};
use tenure_core::owed::{Deed, Kind, Owed, owed};
use tenure_core::time::Time;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwedRow {
    pub stream: Stream,
    pub deed: Deed,
    pub at: Time,
}

/// What one stream's fold owes anew and no more.
#[derive(Debug, Default)]
pub(crate) struct Diff {
    pub gone: Vec<Owed>,
    pub come: Vec<Owed>,
}

pub(crate) fn diff(before: Option<&Fold>, after: Option<&Fold>) -> Diff {
    let mut gone = before.map(owed).unwrap_or_default();
    let mut come = after.map(owed).unwrap_or_default();
    gone.retain(|old| {
        let place = come.iter().position(|new| new == old);
        place.map(|place| come.swap_remove(place)).is_none()
    });
    Diff { gone, come }
}

impl Diff {
    pub(crate) fn write(&self, sql: &mut dyn Sql, stream: Stream) -> Result<(), Error> {
        if self.gone.is_empty() && self.come.is_empty() {
            return Ok(());
        }
        let stream = stream.to_string();
        let delete = "DELETE FROM owed WHERE kind = $1 AND at = $2 AND stream = $3 AND key = $4";
        let insert = "INSERT INTO owed (kind, at, stream, key) VALUES ($1, $2, $3, $4)";
        for (text, owed) in
            self.gone.iter().map(|owed| (delete, owed)).chain(self.come.iter().map(|owed| (insert, owed)))
        {
            let (kind, key) = (owed.deed.kind().word(), owed.deed.to_string());
            let cells = [Cell::Text(kind), Cell::Int(owed.at.millis()), Cell::Text(&stream), Cell::Text(&key)];
            sql.execute(text, &cells)?;
        }
        Ok(())
    }
}

pub(crate) fn row(columns: &Columns<'_>) -> Result<OwedRow, Error> {
    Ok(OwedRow { at: columns.time(0)?, stream: columns.parse(1)?, deed: columns.parse(2)? })
}

/// What is owed of a kind by `now`, the longest owed first.
///
/// # Errors
/// The database's.
pub fn owed_now(sql: &mut dyn Sql, kind: Kind, now: Time, limit: u32) -> Result<Vec<OwedRow>, Error> {
    let text = "SELECT at, stream, key FROM owed WHERE kind = $1 AND at <= $2 ORDER BY at, stream, key LIMIT $3";
    sql.all(text, &[Cell::Text(kind.word()), Cell::Int(now.millis()), Cell::Int(limit.into())], row)
}

/// The moment after `now` at which something of a kind will next be owed.
///
/// # Errors
/// The database's.
pub fn next_owed(sql: &mut dyn Sql, kind: Kind, now: Time) -> Result<Option<Time>, Error> {
    let text = "SELECT at FROM owed WHERE kind = $1 AND at > $2 ORDER BY at LIMIT 1";
    sql.first(text, &[Cell::Text(kind.word()), Cell::Int(now.millis())], |columns| columns.time(0))
}
