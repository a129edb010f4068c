//! Workers, their present connections, and how much of each is in use.
use super::{Table, facts};
use crate::Error;
use crate::sql::stored::table;
use crate::sql::{Cell, Sql};
use tenure_core::facts::Counter;
use tenure_core::fleet::WorkerRow;
use tenure_core::id::{ConnectionId, WorkerId};

table!(WorkerRow in "workers", key "id", keeps [], {
    id: "id",
    name: "name",
    fence: "fence",
    connection: "connection",
    slots: "slots",
    host: "host",
    at: "at",
});

/// # Errors
/// The database's.
pub fn list(sql: &mut dyn Sql, limit: u32) -> Result<Vec<WorkerRow>, Error> {
    sql.all(&WorkerRow::select("ORDER BY id LIMIT $1"), &[Cell::Int(limit.into())], WorkerRow::read)
}

/// # Errors
/// The database's.
pub fn get(sql: &mut dyn Sql, id: WorkerId) -> Result<Option<WorkerRow>, Error> {
    sql.first(&WorkerRow::select("WHERE id = $1"), &[Cell::Text(&id.to_string())], WorkerRow::read)
}

/// # Errors
/// The database's.
pub fn named(sql: &mut dyn Sql, name: &str) -> Result<Option<WorkerRow>, Error> {
    sql.first(&WorkerRow::select("WHERE name = $1 ORDER BY id LIMIT 1"), &[Cell::Text(name)], WorkerRow::read)
}

/// Executions and sessions bound to a connection.
///
/// # Errors
/// The database's.
pub fn bound_to(sql: &mut dyn Sql, connection: ConnectionId) -> Result<u64, Error> {
    let bound = facts::counted(sql, Counter::Bound, &connection.to_string(), 0)?;
    Ok(u64::try_from(bound).unwrap_or(0))
}
