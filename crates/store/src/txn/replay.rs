//! Folds from what is stored: the snapshot, and the stream's records after it. One made by another version is dropped.
use super::{Entry, Error};
use crate::events::events_after;
use crate::sql::{Cell, Sql};
use std::sync::Arc;
use tenure_core::aggregate::{self, FOLD_VERSION, Fold, Stream};
use tenure_core::ledger::canonical;

/// Records read at a time.
const PAGE: u32 = 256;

/// # Errors
/// The database's; `Corrupt` where a snapshot or a record cannot be read.
pub(crate) fn load(sql: &mut dyn Sql, stream: Stream) -> Result<Entry, Error> {
    let text = "SELECT n, version, body FROM snapshots WHERE stream = $1";
    let row = sql.first(text, &[Cell::Text(&stream.to_string())], |row| {
        Ok((row.count::<u64>(0)?, row.int(1)?, row.bytes(2)?.to_vec()))
    })?;
    let mut entry = match row {
        Some((n, version, body)) if version == i64::from(FOLD_VERSION) => {
            let fold: Fold = serde_json::from_slice(&body)
                .map_err(|error| Error::corrupt(format!("the snapshot of {stream}: {error}")))?;
            Entry { fold: Some(Arc::new(fold)), n, snapped: n }
        }
        Some(_) | None => Entry::default(),
    };
    let mut fold = entry.fold.as_deref().cloned();
    loop {
        let page = events_after(sql, stream, entry.n, PAGE)?;
        for recorded in &page {
            if recorded.meta.n != entry.n + 1 {
                return Err(Error::corrupt(format!("{stream} has no event {}", entry.n + 1)));
            }
            aggregate::apply(&mut fold, &recorded.event, recorded.meta.stamp);
            entry.n += 1;
        }
        if page.len() < PAGE as usize {
            break;
        }
    }
    entry.fold = fold.map(Arc::new);
    Ok(entry)
}

/// Overwrites the stored snapshot with this one.
///
/// # Errors
/// The database's; `Invariant` where the fold holds a number that JSON would round.
pub(crate) fn snapshot(sql: &mut dyn Sql, stream: Stream, entry: &mut Entry) -> Result<(), Error> {
    let Some(fold) = entry.fold.as_deref() else { return Ok(()) };
    let body = canonical(fold).map_err(|error| Error::invariant(format!("the fold of {stream}: {error}")))?;
    let text = "INSERT INTO snapshots (stream, n, version, body) VALUES ($1, $2, $3, $4) ON CONFLICT (stream) \
        DO UPDATE SET n = excluded.n, version = excluded.version, body = excluded.body";
    let cells =
        [Cell::Text(&stream.to_string()), Cell::count(entry.n), Cell::Int(FOLD_VERSION.into()), Cell::Bytes(&body)];
    sql.execute(text, &cells)?;
    entry.snapped = entry.n;
    Ok(())
}
