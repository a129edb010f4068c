//! Policies that were applied. Which one holds is said by the project's fold alone, and what one says must have its digest.
use super::{Page, Table};
use crate::Error;
use crate::sql::stored::table;
use crate::sql::{Cell, Sql};
use tenure_core::project::policy::PolicyRow;

table!(PolicyRow in "policies", key "number", keeps [], {
    number: "number",
    digest: "digest",
    bundle: "bundle",
    by: "author",
    note: "note",
    repeats: "repeats",
    at: "at",
});

/// # Errors
/// The database's.
pub fn get(sql: &mut dyn Sql, number: u32) -> Result<Option<PolicyRow>, Error> {
    sql.first(&PolicyRow::select("WHERE number = $1"), &[Cell::Int(number.into())], PolicyRow::read)
}

/// The newest first, from before this one.
///
/// # Errors
/// The database's.
pub fn list(sql: &mut dyn Sql, before: Option<u32>, limit: u32) -> Result<Page<PolicyRow, u32>, Error> {
    let text = PolicyRow::select("WHERE number < $1 ORDER BY number DESC LIMIT $2");
    let before = before.map_or(i64::MAX, i64::from);
    let rows = sql.all(&text, &[Cell::Int(before), Cell::Int(i64::from(limit) + 1)], PolicyRow::read)?;
    Ok(Page::of(rows, limit, |row| row.number))
}
