//! Sessions: agents that are, or were, connected from outside.
use super::{Match, Page, Table, as_short};
use crate::Error;
use crate::sql::stored::table;
use crate::sql::{Cell, Sql};
use tenure_core::id::{AgentId, ConnectionId, SessionId};
use tenure_core::session::SessionRow;

table!(SessionRow in "sessions", key "id", keeps [], {
    id: "id",
    agent: "agent",
    agent_name: "agent_name",
    opener: "key",
    opened_at: "opened_at",
    heard_at: "heard_at",
    invocations: "invocations",
    ending: "ending",
    ended_at: "ended_at",
    calls: "calls",
    waiting_since: "waiting_since",
    jails: "jails",
    revision: "revision",
    connection: "connection",
    jail_ends: "jail_ends",
    kept_bytes: "kept_bytes",
    erased_at: "erased_at",
});

/// # Errors
/// The database's.
pub fn get(sql: &mut dyn Sql, id: SessionId) -> Result<Option<SessionRow>, Error> {
    sql.first(&SessionRow::select("WHERE id = $1"), &[Cell::Text(&id.to_string())], SessionRow::read)
}

/// The session of this id or short id.
///
/// # Errors
/// The database's.
pub fn find(sql: &mut dyn Sql, wanted: &str) -> Result<Match<SessionRow>, Error> {
    let by = |sql: &mut dyn Sql, which: &str, value: &str| {
        sql.all(&SessionRow::select(&format!("WHERE {which} = $1 LIMIT 8")), &[Cell::Text(value)], SessionRow::read)
    };
    let mut found = by(sql, "id", wanted)?;
    if let (true, Some(letters)) = (found.is_empty(), as_short(wanted, SessionId::PREFIX)) {
        found = by(sql, "substr(id, 23)", letters)?;
    }
    Ok(Match::of(found))
}

/// The newest session of an agent that has not ended.
///
/// # Errors
/// The database's.
pub fn live_of(sql: &mut dyn Sql, agent: AgentId) -> Result<Option<SessionRow>, Error> {
    let text = SessionRow::select(
        "WHERE agent = $1 AND ended_at IS NULL AND key NOT LIKE 'ins%' ORDER BY agent, id DESC LIMIT 1",
    );
    sql.first(&text, &[Cell::Text(&agent.to_string())], SessionRow::read)
}

/// The newest session of an agent, ended or not.
///
/// # Errors
/// The database's.
pub fn last_of(sql: &mut dyn Sql, agent: AgentId) -> Result<Option<SessionRow>, Error> {
    let text = SessionRow::select("WHERE agent = $1 ORDER BY agent, id DESC LIMIT 1");
    sql.first(&text, &[Cell::Text(&agent.to_string())], SessionRow::read)
}

/// A page of the agents with sessions whose calls wait for a worker, in the order of their ids, of those after one.
///
/// # Errors
/// The database's.
pub fn agents_waiting(sql: &mut dyn Sql, after: Option<AgentId>, limit: u32) -> Result<Vec<AgentId>, Error> {
    let text =
        "SELECT DISTINCT agent FROM sessions WHERE waiting_since IS NOT NULL AND agent > $1 ORDER BY agent LIMIT $2";
    let after = after.map(|after| after.to_string()).unwrap_or_default();
    sql.all(text, &[Cell::Text(&after), Cell::Int(limit.into())], |row| row.parse(0))
}

/// The sessions of an agent whose calls wait for a worker; an agent has few.
///
/// # Errors
/// The database's.
pub fn waiting_of(sql: &mut dyn Sql, agent: AgentId) -> Result<Vec<SessionRow>, Error> {
    let text = SessionRow::select("WHERE agent = $1 AND waiting_since IS NOT NULL ORDER BY id");
    sql.all(&text, &[Cell::Text(&agent.to_string())], SessionRow::read)
}

/// A page of the sessions that are bound to this connection.
///
/// # Errors
/// The database's.
pub fn ids_bound_to(sql: &mut dyn Sql, connection: ConnectionId, limit: u32) -> Result<Vec<SessionId>, Error> {
    let text = "SELECT id FROM sessions WHERE connection = $1 LIMIT $2";
    sql.all(text, &[Cell::Text(&connection.to_string()), Cell::Int(limit.into())], |row| row.parse(0))
}

/// Of which jails are looked at: those of a connection, or of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum JailsOf {
    Connection(ConnectionId),
    Agent(AgentId),
}

impl JailsOf {
    fn condition(self) -> (&'static str, String) {
        match self {
            JailsOf::Connection(id) => ("connection = $1", id.to_string()),
            JailsOf::Agent(id) => ("agent = $1 AND connection IS NOT NULL", id.to_string()),
        }
    }
}

/// Sessions that have a jail which could make room, those in which nothing runs first, and then those that were heard of least
/// lately.
///
/// # Errors
/// The database's.
pub fn with_jails(sql: &mut dyn Sql, of: JailsOf, limit: u32) -> Result<Vec<SessionRow>, Error> {
    let (condition, id) = of.condition();
    let text = SessionRow::select(&format!(
        "WHERE {condition} AND jail_ends = 0 AND key NOT LIKE 'ins%' ORDER BY calls, heard_at, id LIMIT $2"
    ));
    sql.all(&text, &[Cell::Text(&id), Cell::Int(limit.into())], SessionRow::read)
}

/// How many sessions have a jail that is about to make room.
///
/// # Errors
/// The database's.
pub fn making_room(sql: &mut dyn Sql, of: JailsOf) -> Result<u64, Error> {
    let (condition, id) = of.condition();
    let text = format!("SELECT count(*) FROM sessions WHERE {condition} AND jail_ends = 1");
    Ok(sql.first(&text, &[Cell::Text(&id)], |row| row.count(0))?.unwrap_or(0))
}

/// Sessions, the newest first; of one agent, or of all.
///
/// # Errors
/// The database's.
pub fn list(
    sql: &mut dyn Sql,
    agent: Option<AgentId>,
    after: Option<SessionId>,
    limit: u32,
) -> Result<Page<SessionRow, SessionId>, Error> {
    // Above every id there is.
    let before = after.map_or_else(|| "t".to_string(), |id| id.to_string());
    let more = Cell::Int(i64::from(limit) + 1);
    let rows = match agent {
        Some(agent) => {
            let text = SessionRow::select("WHERE agent = $1 AND id < $2 ORDER BY agent, id DESC LIMIT $3");
            sql.all(&text, &[Cell::Text(&agent.to_string()), Cell::Text(&before), more], SessionRow::read)?
        }
        None => {
            let text = SessionRow::select("WHERE id < $1 ORDER BY id DESC LIMIT $2");
            sql.all(&text, &[Cell::Text(&before), more], SessionRow::read)?
        }
    };
    Ok(Page::of(rows, limit, |row| row.id))
}
