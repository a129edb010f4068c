//! What decisions are made by, beside folds: holders of what is unique, and counters.
use crate::Error;
use crate::sql::{Cell, Sql};
use tenure_core::facts::{Counter, Namespace, PAGE_MAX};

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

/// A bucket that comes to 0 goes, and with the first count of a bucket in time the key's buckets that are kept no longer.
pub(super) fn count(sql: &mut dyn Sql, counter: Counter, key: &str, bucket: u64, by: i64) -> Result<(), Error> {
    if by == 0 {
        return Ok(());
    }
    let oldest = Cell::count((bucket + 1).saturating_sub(counter.buckets_kept()));
    let (counter, key) = (Cell::Text(counter.as_str()), Cell::Text(key));
    let text = "INSERT INTO counters (counter, key, bucket, value) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (counter, key, bucket) DO UPDATE SET value = value + excluded.value";
    sql.execute(text, &[counter, key, Cell::count(bucket), Cell::Int(by)])?;
    let text = "DELETE FROM counters WHERE counter = $1 AND key = $2 AND \
        ((value = 0 AND bucket = $3) OR (bucket > 0 AND bucket < $4))";
    sql.execute(text, &[counter, key, Cell::count(bucket), oldest]).map(|_| ())
}

pub fn counted(sql: &mut dyn Sql, counter: Counter, key: &str, bucket: u64) -> Result<i64, Error> {
    let text = "SELECT value FROM counters WHERE counter = $1 AND key = $2 AND bucket = $3";
    let cells = [Cell::Text(counter.as_str()), Cell::Text(key), Cell::count(bucket)];
    Ok(sql.first(text, &cells, |row| row.int(0))?.unwrap_or(0))
}

pub(crate) fn page(sql: &mut dyn Sql, counter: Counter) -> Result<Vec<(String, i64)>, Error> {
    let text = "SELECT key, value FROM counters WHERE counter = $1 AND bucket = 0 ORDER BY key LIMIT $2";
    let cells = [Cell::Text(counter.as_str()), Cell::Int(PAGE_MAX.into())];
    sql.all(text, &cells, |row| Ok((row.text(0)?.to_string(), row.int(1)?)))
}
