//! Workers and their present sessions.
use crate::Error;
use crate::sql::{Cell, Columns, Sql};
use tenure_core::id::{SessionId, WorkerId};
use tenure_core::row::WorkerRow;
use tenure_core::time::Time;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerEntry {
    pub id: WorkerId,
    pub name: String,
    pub fence: u64,
    pub session: Option<SessionId>,
    pub slots: u32,
    pub at: Time,
    /// Executions bound to its session.
    pub bound: u64,
}

pub(crate) fn write(sql: &mut dyn Sql, row: &WorkerRow) -> Result<(), Error> {
    let text = "INSERT INTO workers (id, name, fence, session, slots, at) VALUES ($1, $2, $3, $4, $5, $6) \
        ON CONFLICT (id) DO UPDATE SET fence = excluded.fence, session = excluded.session, slots = excluded.slots, \
        at = excluded.at";
    let session = row.session.map(|session| session.to_string());
    let cells = [
        Cell::Text(&row.id.to_string()),
        Cell::Text(&row.name),
        Cell::count(row.fence),
        session.as_deref().into(),
        Cell::Int(row.slots.into()),
        Cell::Int(row.at.millis()),
    ];
    sql.execute(text, &cells).map(|_| ())
}

fn read(row: &Columns<'_>) -> Result<WorkerEntry, Error> {
    Ok(WorkerEntry {
        id: row.parse(0)?,
        name: row.text(1)?.to_string(),
        fence: row.count(2)?,
        session: row.parse_or_null(3)?,
        slots: row.count(4)?,
        at: row.time(5)?,
        bound: row.count(6)?,
    })
}

const SELECT: &str = "SELECT id, name, fence, session, slots, at, \
    (SELECT count(*) FROM executions WHERE executions.session = workers.session) FROM workers";

/// # Errors
/// The database's.
pub fn list(sql: &mut dyn Sql, limit: u32) -> Result<Vec<WorkerEntry>, Error> {
    sql.all(&format!("{SELECT} ORDER BY id LIMIT $1"), &[Cell::Int(limit.into())], read)
}

/// # Errors
/// The database's.
pub fn named(sql: &mut dyn Sql, name: &str) -> Result<Option<WorkerEntry>, Error> {
    sql.first(&format!("{SELECT} WHERE name = $1 ORDER BY id LIMIT 1"), &[Cell::Text(name)], read)
}
