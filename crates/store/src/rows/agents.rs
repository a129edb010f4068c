//! Agents, with the figures that tell whether they are at work, and their revisions.
use super::macs::{Authority, Unverified};
use super::{Match, Page, Table, as_short};
use crate::Error;
use crate::sql::stored::{Stored, table};
use crate::sql::{Cell, Columns, Sql};
use tenure_core::agent::{AgentRow, Listed, RevisionRow, Standing};
use tenure_core::id::{AgentId, ExecutionId};
use tenure_core::time::Time;

table!(RevisionRow in "revisions", key "agent, number", keeps [], {
    agent: "agent",
    number: "number",
    version: "version",
    digest: "digest",
    manifest: "manifest",
    plan: "plan",
    at: "at",
});

// Its plan says what the agent may do.
impl Authority for RevisionRow {}

pub(super) fn write_deployed(
    sql: &mut dyn Sql,
    agent: AgentId,
    name: &str,
    listed: &Listed,
    at: Time,
) -> Result<(), Error> {
    let text = "INSERT INTO agents (id, name, folded, listed, created_at, at, state, revision, open) \
        VALUES ($1, $2, $3, $4, $5, $5, 'deployed', 1, 0) ON CONFLICT (id) DO UPDATE SET listed = excluded.listed, \
        at = excluded.at";
    let (folded, listed) = (name.to_ascii_lowercase(), listed.value());
    let cells =
        [Cell::Text(&agent.to_string()), Cell::Text(name), Cell::Text(&folded), listed.cell(), Cell::Int(at.millis())];
    sql.execute(text, &cells).map(|_| ())
}

pub(super) fn write_standing(sql: &mut dyn Sql, agent: AgentId, standing: &Standing) -> Result<(), Error> {
    let text = "UPDATE agents SET state = $1, revision = $2, home = $3, open = $4, last_started_at = $5, \
        last_ended_at = $6, supervised = $7, next_run_at = $8, last_woken_at = $9, sessions = $10, \
        last_session_at = $11 WHERE id = $12";
    let (home, started, ended) =
        (standing.home.value(), standing.last_started_at.value(), standing.last_ended_at.value());
    let (supervised, session) = (standing.supervised.value(), standing.last_session_at.value());
    let (next, woken) = (standing.next_run_at.value(), standing.last_woken_at.value());
    let cells = [
        Cell::Text(&standing.state),
        Cell::Int(standing.revision.into()),
        home.cell(),
        Cell::Int(standing.open.into()),
        started.cell(),
        ended.cell(),
        supervised.cell(),
        next.cell(),
        woken.cell(),
        Cell::Int(standing.sessions.into()),
        session.cell(),
        Cell::Text(&agent.to_string()),
    ];
    sql.execute(text, &cells).map(|_| ())
}

/// The agent that has this name now, which no archived one has; case does not matter.
///
/// # Errors
/// The database's.
pub fn named(sql: &mut dyn Sql, name: &str) -> Result<Option<AgentRow>, Error> {
    sql.first(
        &format!("{SELECT} WHERE folded = $1 AND state <> 'archived'"),
        &[Cell::Text(&name.to_ascii_lowercase())],
        read,
    )
}

const SELECT: &str = "SELECT id, name, listed, created_at, at, state, revision, home, open, last_started_at, \
    last_ended_at, supervised, next_run_at, last_woken_at, sessions, last_session_at FROM agents";

fn read(row: &Columns<'_>) -> Result<AgentRow, Error> {
    Ok(AgentRow {
        id: row.parse(0)?,
        name: row.text(1)?.to_string(),
        listed: Stored::read(row, 2)?,
        created_at: row.time(3)?,
        at: row.time(4)?,
        standing: Standing {
            state: row.text(5)?.to_string(),
            revision: row.count(6)?,
            home: row.parse_or_null(7)?,
            open: row.count(8)?,
            last_started_at: row.time_or_null(9)?,
            last_ended_at: row.time_or_null(10)?,
            supervised: Stored::read(row, 11)?,
            next_run_at: row.time_or_null(12)?,
            last_woken_at: row.time_or_null(13)?,
            sessions: row.count(14)?,
            last_session_at: row.time_or_null(15)?,
        },
    })
}

/// The agent of this name, id or short id. Of several that had the name it is the one that has it now, else the last.
///
/// # Errors
/// The database's.
pub fn find(sql: &mut dyn Sql, wanted: &str) -> Result<Match<AgentRow>, Error> {
    let by = |sql: &mut dyn Sql, column: &str, value: &str| {
        sql.all(&format!("{SELECT} WHERE {column} = $1 LIMIT 8"), &[Cell::Text(value)], read)
    };
    let named = format!("{SELECT} WHERE folded = $1 ORDER BY state = 'archived', id DESC LIMIT 1");
    let mut found = sql.all(&named, &[Cell::Text(&wanted.to_ascii_lowercase())], read)?;
    if found.is_empty() {
        found = by(sql, "id", wanted)?;
    }
    if let (true, Some(letters)) = (found.is_empty(), as_short(wanted, AgentId::PREFIX)) {
        found = by(sql, "substr(id, 23)", letters)?;
    }
    Ok(Match::of(found))
}

/// # Errors
/// The database's.
pub fn get(sql: &mut dyn Sql, id: AgentId) -> Result<Option<AgentRow>, Error> {
    sql.first(&format!("{SELECT} WHERE id = $1"), &[Cell::Text(&id.to_string())], read)
}

/// Agents by name, from after that place; none of `state` lists all that are not deleted. One that is deleted and
/// whose executions still end counts as `archived`.
///
/// # Errors
/// The database's.
pub fn list(
    sql: &mut dyn Sql,
    state: Option<&str>,
    after: Option<&str>,
    limit: u32,
) -> Result<Page<AgentRow, String>, Error> {
    let which = match state {
        Some(_) => "CASE state WHEN 'deleting' THEN 'archived' ELSE state END = $3 ORDER BY folded, id LIMIT $4",
        None => "state NOT IN ('deleting', 'archived') ORDER BY folded, id LIMIT $3",
    };
    let text = format!("{SELECT} WHERE (folded, id) > ($1, $2) AND {which}");
    let (name, id) = after.unwrap_or_default().split_once('/').unwrap_or((after.unwrap_or_default(), ""));
    let name = name.to_ascii_lowercase();
    let mut cells = vec![Cell::Text(&name), Cell::Text(id)];
    cells.extend(state.map(Cell::Text));
    cells.push(Cell::Int(i64::from(limit) + 1));
    let place = |row: &AgentRow| format!("{}/{}", row.name.to_ascii_lowercase(), row.id);
    Ok(Page::of(sql.all(&text, &cells, read)?, limit, place))
}

/// How many agents there are, but for the deleted.
///
/// # Errors
/// The database's.
pub fn count(sql: &mut dyn Sql) -> Result<u64, Error> {
    let count =
        sql.first("SELECT count(*) FROM agents WHERE state NOT IN ('deleting', 'archived')", &[], |row| row.count(0))?;
    Ok(count.unwrap_or(0))
}

/// The revisions of an agent as they stand, newest first, for showing them.
///
/// # Errors
/// The database's.
pub fn revisions(sql: &mut dyn Sql, agent: AgentId, limit: u32) -> Result<Vec<RevisionRow>, Error> {
    let text = RevisionRow::select("WHERE agent = $1 ORDER BY number DESC LIMIT $2");
    sql.all(&text, &[Cell::Text(&agent.to_string()), Cell::Int(limit.into())], RevisionRow::read)
}

/// One revision of an agent.
///
/// # Errors
/// The database's.
pub fn revision(sql: &mut dyn Sql, agent: AgentId, number: u32) -> Result<Option<Unverified<RevisionRow>>, Error> {
    let text = RevisionRow::select_unverified("WHERE agent = $1 AND number = $2");
    sql.first(&text, &[Cell::Text(&agent.to_string()), Cell::Int(number.into())], RevisionRow::read_unverified)
}

/// A page of the open executions of an agent, from after `after`, that nobody has asked to cancel yet.
///
/// # Errors
/// The database's.
pub fn uncancelled_of(
    sql: &mut dyn Sql,
    agent: AgentId,
    after: Option<ExecutionId>,
    limit: u32,
) -> Result<Vec<ExecutionId>, Error> {
    let text = "SELECT id FROM executions WHERE agent = $1 AND ended_at IS NULL AND cancel_requested = 0 AND id > $2 \
        ORDER BY id LIMIT $3";
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    let cells = [Cell::Text(&agent.to_string()), Cell::Text(&after), Cell::Int(limit.into())];
    sql.all(text, &cells, |row| row.parse(0))
}
