//! Folds from what is stored: the snapshot, and the stream's records after it. One made by another version is dropped,
//! and one that bears no MAC of this ledger, with a word in the log.
use super::{Entry, Error};
use crate::events::events_after;
use crate::sql::{Cell, Sql};
use std::sync::Arc;
use tenure_core::aggregate::{self, FOLD_VERSION, Fold, Stream};
use tenure_core::ledger::{MacKey, canonical};

/// Records read at a time.
const PAGE: u32 = 256;

/// # Errors
/// The database's; `Corrupt` where a snapshot or a record cannot be read.
pub(crate) fn load(sql: &mut dyn Sql, macs: &MacKey, stream: Stream) -> Result<Entry, Error> {
    let text = "SELECT n, version, body, mac FROM snapshots WHERE stream = $1";
    let row = sql.first(text, &[Cell::Text(&stream.to_string())], |row| {
        let (n, version): (u64, i64) = (row.count(0)?, row.int(1)?);
        let (Ok(body), Ok(mac)) = (row.bytes(2), row.bytes(3)) else { return Ok((n, version, None)) };
        let holds = snapshot_holds(macs, stream, (n, version), body, mac);
        Ok((n, version, holds.then(|| body.to_vec())))
    })?;
    let mut entry = match row {
        Some((n, version, Some(body))) if version == i64::from(FOLD_VERSION) => {
            let fold: Fold = serde_json::from_slice(&body)
                .map_err(|error| Error::corrupt(format!("the snapshot of {stream}: {error}")))?;
            Entry { fold: Some(Arc::new(fold)), n, snapped: n }
        }
        Some((n, _, None)) => {
            tracing::error!(
                %stream, n,
                "a snapshot was not written by this ledger and is dropped: all records of its stream are read instead; \
                 run `tenure audit verify`"
            );
            Entry::default()
        }
        Some((_, _, Some(_))) | None => Entry::default(),
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
pub(crate) fn snapshot(sql: &mut dyn Sql, macs: &MacKey, stream: Stream, entry: &mut Entry) -> Result<(), Error> {
    let Some(fold) = entry.fold.as_deref() else { return Ok(()) };
    let body = canonical(fold).map_err(|error| Error::invariant(format!("the fold of {stream}: {error}")))?;
    let mac = snapshot_mac(macs, stream, entry.n, &body);
    let text = "INSERT INTO snapshots (stream, n, version, body, mac) VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT (stream) DO UPDATE SET n = excluded.n, version = excluded.version, body = excluded.body, \
        mac = excluded.mac";
    let stream = stream.to_string();
    let cells = [
        Cell::Text(&stream),
        Cell::count(entry.n),
        Cell::Int(FOLD_VERSION.into()),
        Cell::Bytes(&body),
        Cell::Bytes(&mac),
    ];
    sql.execute(text, &cells)?;
    entry.snapped = entry.n;
    Ok(())
}

/// Makes the MACs of all snapshots anew. One that does not hold is left as it is, and dropped where it is read.
pub(crate) fn rekey_snapshots(sql: &mut dyn Sql, old: &MacKey, new: &MacKey) -> Result<(), Error> {
    let text = "SELECT stream, n, version, body, mac FROM snapshots WHERE stream > $1 ORDER BY stream LIMIT 64";
    let mut after = String::new();
    loop {
        let page = sql.all(text, &[Cell::Text(&after)], |row| {
            let (stream, n, version): (Stream, u64, i64) = (row.parse(0)?, row.count(1)?, row.int(2)?);
            let holds = snapshot_holds(old, stream, (n, version), row.bytes(3)?, row.bytes(4)?);
            Ok((
                stream,
                holds.then(|| with_parts(stream, n, version, row.bytes(3).unwrap_or_default(), |parts| new.mac(parts))),
            ))
        })?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = last.to_string();
        for (stream, mac) in page.iter().filter_map(|(stream, mac)| Some((stream, mac.as_ref()?))) {
            let text = "UPDATE snapshots SET mac = $1 WHERE stream = $2";
            sql.execute(text, &[Cell::Bytes(mac), Cell::Text(&stream.to_string())])?;
        }
    }
}

/// Of a snapshot by this version.
pub(crate) fn snapshot_mac(macs: &MacKey, stream: Stream, n: u64, body: &[u8]) -> [u8; 32] {
    with_parts(stream, n, FOLD_VERSION.into(), body, |parts| macs.mac(parts))
}

/// Did this ledger make a snapshot of event `n` by this version so?
pub(crate) fn snapshot_holds(macs: &MacKey, stream: Stream, (n, version): (u64, i64), body: &[u8], mac: &[u8]) -> bool {
    with_parts(stream, n, version, body, |parts| macs.holds(parts, mac))
}

fn with_parts<T>(stream: Stream, n: u64, version: i64, body: &[u8], over: impl FnOnce(&[&[u8]]) -> T) -> T {
    over(&[b"snapshots", stream.to_string().as_bytes(), &n.to_be_bytes(), &version.to_be_bytes(), body])
}
