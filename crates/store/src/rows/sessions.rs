//! Sessions: agents that are, or were, connected from outside.
use super::{Match, Page, Table, as_short};
use crate::Error;
use crate::sql::stored::table;
use crate::sql::{Cell, Sql};
use tenure_core::id::{AgentId, SessionId};
use tenure_core::session::SessionRow;

table!(SessionRow in "sessions", key "id", keeps [], {
    id: "id",
    agent: "agent",
    agent_name: "agent_name",
    key: "key",
    opened_at: "opened_at",
    heard_at: "heard_at",
    invocations: "invocations",
    ending: "ending",
    ended_at: "ended_at",
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
    let text = SessionRow::select("WHERE agent = $1 AND ended_at IS NULL ORDER BY agent, id DESC LIMIT 1");
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
