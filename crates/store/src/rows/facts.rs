//! What decisions are made by, beside folds: holders of what is unique, counters, stored values.
use crate::Error;
use crate::sql::{Cell, Sql};
use tenure_core::bound::Bound;
use tenure_core::facts::{Counter, Entry, Namespace, PAGE_MAX};

pub(super) fn write_holder(
    sql: &mut dyn Sql,
    namespace: Namespace,
    key: &str,
    holder: Option<&str>,
) -> Result<(), Error> {
    let (namespace, key) = (Cell::Text(namespace.as_str()), Cell::Text(key));
    match holder {
        Some(holder) => {
            let text = "INSERT INTO holders (namespace, key, holder) VALUES ($1, $2, $3)";
            sql.execute(text, &[namespace, key, Cell::Text(holder)]).map(|_| ())
        }
        None => {
            let text = "DELETE FROM holders WHERE namespace = $1 AND key = $2";
            sql.execute(text, &[namespace, key]).map(|_| ())
        }
    }
}

pub(crate) fn holder(sql: &mut dyn Sql, namespace: Namespace, key: &str) -> Result<Option<String>, Error> {
    let text = "SELECT holder FROM holders WHERE namespace = $1 AND key = $2";
    sql.first(text, &[Cell::Text(namespace.as_str()), Cell::Text(key)], |row| Ok(row.text(0)?.to_string()))
}

/// A bucket that comes to 0 goes, and with the first count of a bucket in time the key's buckets before the last one.
pub(super) fn count(sql: &mut dyn Sql, counter: Counter, key: &str, bucket: u64, by: i64) -> Result<(), Error> {
    if by == 0 {
        return Ok(());
    }
    let (counter, key) = (Cell::Text(counter.as_str()), Cell::Text(key));
    let text = "INSERT INTO counters (counter, key, bucket, value) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (counter, key, bucket) DO UPDATE SET value = value + excluded.value";
    sql.execute(text, &[counter, key, Cell::count(bucket), Cell::Int(by)])?;
    let text = "DELETE FROM counters WHERE counter = $1 AND key = $2 AND \
        ((value = 0 AND bucket = $3) OR (bucket > 0 AND bucket < $4))";
    let oldest = Cell::count(bucket.saturating_sub(1));
    sql.execute(text, &[counter, key, Cell::count(bucket), oldest]).map(|_| ())
}

pub(crate) fn counted(sql: &mut dyn Sql, counter: Counter, key: &str, bucket: u64) -> Result<i64, Error> {
    let text = "SELECT value FROM counters WHERE counter = $1 AND key = $2 AND bucket = $3";
    let cells = [Cell::Text(counter.as_str()), Cell::Text(key), Cell::count(bucket)];
    Ok(sql.first(text, &cells, |row| row.int(0))?.unwrap_or(0))
}

pub(crate) fn page(sql: &mut dyn Sql, counter: Counter) -> Result<Vec<(String, i64)>, Error> {
    let text = "SELECT key, value FROM counters WHERE counter = $1 AND bucket = 0 ORDER BY key LIMIT $2";
    let cells = [Cell::Text(counter.as_str()), Cell::Int(PAGE_MAX.into())];
    sql.all(text, &cells, |row| Ok((row.text(0)?.to_string(), row.int(1)?)))
}

pub(super) fn write_entry(sql: &mut dyn Sql, namespace: &str, key: &str, entry: &Entry) -> Result<(), Error> {
    let text = "INSERT INTO entries (namespace, key, version, value, size, owner, at) VALUES ($1, $2, $3, $4, $5, $6, $7) \
        ON CONFLICT (namespace, key) DO UPDATE SET version = excluded.version, value = excluded.value, \
        size = excluded.size, owner = excluded.owner, at = excluded.at";
    let cells = [
        Cell::Text(namespace),
        Cell::Text(key),
        Cell::count(entry.version),
        Cell::Bytes(&entry.value.hash.0),
        Cell::count(entry.value.size),
        Cell::Text(&entry.owner.to_string()),
        Cell::Int(entry.at.millis()),
    ];
    sql.execute(text, &cells).map(|_| ())
}

pub(crate) fn entry(sql: &mut dyn Sql, namespace: &str, key: &str) -> Result<Option<Entry>, Error> {
    let text = "SELECT version, value, size, owner, at FROM entries WHERE namespace = $1 AND key = $2";
    sql.first(text, &[Cell::Text(namespace), Cell::Text(key)], |row| {
        let value = Bound { hash: row.hash(1)?, size: row.count(2)? };
        Ok(Entry { version: row.count(0)?, value, owner: row.parse(3)?, at: row.time(4)? })
    })
}
