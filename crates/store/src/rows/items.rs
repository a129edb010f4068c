//! Things of agents' that are listed one by one: schedules of their own, alerts, approvals, grants.
use super::{Match, Page, Table, as_short};
use crate::Error;
use crate::sql::stored::table;
use crate::sql::{Cell, Sql};
use tenure_core::id::AgentId;
use tenure_core::item::{Item, ItemChange, ItemKind};
use tenure_core::time::Time;

table!(Item in "items", key "kind, agent, id", keeps [], {
    kind: "kind",
    agent: "agent",
    key: "id",
    state: "state",
    data: "data",
    text: "text",
    detail: "detail",
    due: "due",
    at: "at",
    changed_at: "changed_at",
});

pub(super) fn change(
    sql: &mut dyn Sql,
    (kind, agent, key): (ItemKind, AgentId, &str),
    change: &ItemChange,
    at: Time,
) -> Result<(), Error> {
    let text = "UPDATE items SET state = $1, detail = $2, due = $3, changed_at = $4 \
        WHERE kind = $5 AND agent = $6 AND id = $7";
    let cells = [
        Cell::Text(change.state),
        change.detail.as_deref().map_or(Cell::Null, Cell::Text),
        change.due.map_or(Cell::Null, |due| Cell::Int(due.millis())),
        Cell::Int(at.millis()),
        Cell::Text(kind.as_str()),
        Cell::Text(&agent.to_string()),
        Cell::Text(key),
    ];
    sql.execute(text, &cells).map(|_| ())
}

pub(super) fn remove(sql: &mut dyn Sql, kind: ItemKind, agent: AgentId, key: &str) -> Result<(), Error> {
    let text = "DELETE FROM items WHERE kind = $1 AND agent = $2 AND id = $3";
    let cells = [Cell::Text(kind.as_str()), Cell::Text(&agent.to_string()), Cell::Text(key)];
    sql.execute(text, &cells).map(|_| ())
}

/// # Errors
/// The database's.
pub fn get(sql: &mut dyn Sql, kind: ItemKind, agent: AgentId, key: &str) -> Result<Option<Item>, Error> {
    let text = Item::select("WHERE kind = $1 AND agent = $2 AND id = $3");
    let cells = [Cell::Text(kind.as_str()), Cell::Text(&agent.to_string()), Cell::Text(key)];
    sql.first(&text, &cells, Item::read)
}

/// Those of an agent in this state, by their keys.
///
/// # Errors
/// The database's.
pub fn of_agent(
    sql: &mut dyn Sql,
    kind: ItemKind,
    agent: AgentId,
    state: &str,
    limit: u32,
) -> Result<Vec<Item>, Error> {
    let text = Item::select("WHERE kind = $1 AND agent = $2 AND state = $3 ORDER BY id LIMIT $4");
    let agent = agent.to_string();
    let cells = [Cell::Text(kind.as_str()), Cell::Text(&agent), Cell::Text(state), Cell::Int(limit.into())];
    sql.all(&text, &cells, Item::read)
}

/// What a list of them is held to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub agent: Option<AgentId>,
    pub state: Option<String>,
    /// From before this one.
    pub before: Option<String>,
    /// Without those that are over by then.
    pub due_after: Option<Time>,
}

/// Those of a kind whose key is an id, the newest first.
///
/// # Errors
/// The database's.
pub fn list(sql: &mut dyn Sql, kind: ItemKind, filter: &Filter, limit: u32) -> Result<Page<Item, String>, Error> {
    let agent = filter.agent.map(|id| id.to_string());
    let mut wheres = vec!["kind = $1".to_string()];
    let mut cells = vec![Cell::Text(kind.as_str())];
    let clauses =
        [("agent =", agent.as_deref()), ("state =", filter.state.as_deref()), ("id <", filter.before.as_deref())];
    for (clause, text) in clauses {
        if let Some(text) = text {
            cells.push(Cell::Text(text));
            wheres.push(format!("{clause} ${}", cells.len()));
        }
    }
    if let Some(moment) = filter.due_after {
        cells.push(Cell::Int(moment.millis()));
        wheres.push(format!("(due IS NULL OR due > ${})", cells.len()));
    }
    cells.push(Cell::Int(i64::from(limit) + 1));
    let text = Item::select(&format!("WHERE {} ORDER BY id DESC LIMIT ${}", wheres.join(" AND "), cells.len()));
    Ok(Page::of(sql.all(&text, &cells, Item::read)?, limit, |item| item.key.clone()))
}

/// The one of this id or short id, among those of a kind whose keys are ids with this prefix.
///
/// # Errors
/// The database's.
pub fn find(sql: &mut dyn Sql, kind: ItemKind, prefix: &str, wanted: &str) -> Result<Match<Item>, Error> {
    let kind = Cell::Text(kind.as_str());
    let mut found = sql.all(&Item::select("WHERE kind = $1 AND id = $2"), &[kind, Cell::Text(wanted)], Item::read)?;
    if let (true, Some(letters)) = (found.is_empty(), as_short(wanted, prefix)) {
        let text = Item::select("WHERE kind = $1 AND substr(id, 23) = $2 LIMIT 8");
        found = sql.all(&text, &[kind, Cell::Text(letters)], Item::read)?;
    }
    Ok(Match::of(found))
}
