//! Executions as lists show them.
use super::{Match, Page, Table, as_short, facts};
use crate::Error;
use crate::sql::stored::table;
use crate::sql::{Cell, Columns, Sql};
use tenure_core::budget::Whose;
use tenure_core::execution::{ExecutionRow, Reason, Status};
use tenure_core::facts::Counter;
use tenure_core::id::{AgentId, ConnectionId, ExecutionId, WorkerId};
use tenure_core::retention::Retained;
use tenure_core::time::Time;

table!(ExecutionRow in "executions", key "id", keeps ["agent", "agent_name", "revision", "input", "briefing", "triggered_by", "parent", "started_at"], {
    id: "id",
    agent: "agent",
    agent_name: "agent_name",
    revision: "revision",
    status: "status",
    waiting_for: "waiting_for",
    cancel_requested: "cancel_requested",
    reason: "reason",
    detail: "detail",
    iterations: "iterations",
    max_iterations: "max_iterations",
    tool_calls: "tool_calls",
    input_tokens: "input_tokens",
    output_tokens: "output_tokens",
    micro_usd: "micro_usd",
    unpriced: "unpriced",
    tokens_estimated: "tokens_estimated",
    connection: "connection",
    worker: "worker",
    wall: "wall",
    input: "input",
    briefing: "briefing",
    output: "output",
    trigger: "triggered_by",
    parent: "parent",
    started_at: "started_at",
    ended_at: "ended_at",
    kept_bytes: "kept_bytes",
    erased_at: "erased_at",
});

/// A page of the executions of an agent that have not ended, oldest first.
///
/// # Errors
/// The database's.
pub fn open_ids_of(sql: &mut dyn Sql, agent: AgentId, limit: u32) -> Result<Vec<ExecutionId>, Error> {
    let text = "SELECT id FROM executions WHERE agent = $1 AND ended_at IS NULL ORDER BY id LIMIT $2";
    sql.all(text, &[Cell::Text(&agent.to_string()), Cell::Int(limit.into())], |row| row.parse(0))
}

/// What retention may take: counted, not erased, and of none that still runs.
const RETAINED: &str = "SELECT id, ended_at, kept_bytes FROM executions WHERE kept_bytes IS NOT NULL \
    AND (parent IS NULL OR EXISTS (SELECT 1 FROM executions AS whole WHERE whole.id = executions.parent \
    AND whole.ended_at IS NOT NULL))";
/// And of sessions, which count none while a call of theirs is open.
const RETAINED_SESSIONS: &str = "SELECT id, ended_at, kept_bytes FROM sessions WHERE kept_bytes IS NOT NULL";

/// Ended executions and sessions whose payloads are kept, the first that ended first, without those whose parent has not ended.
///
/// # Errors
/// The database's.
pub fn kept(sql: &mut dyn Sql, whose: Whose, limit: u32) -> Result<Vec<Retained>, Error> {
    let read = |row: &Columns<'_>| {
        Ok(Retained { holder: row.parse(0)?, ended_at: Time::from_millis(row.int(1)?), bytes: row.count(2)? })
    };
    let limit = Cell::Int(limit.into());
    match whose {
        Whose::Agent(agent) => {
            let text = format!(
                "{RETAINED} AND agent = $1 UNION ALL {RETAINED_SESSIONS} AND agent = $1 ORDER BY ended_at, id LIMIT $2"
            );
            sql.all(&text, &[Cell::Text(&agent.to_string()), limit], read)
        }
        Whose::Project => {
            let text = format!("{RETAINED} UNION ALL {RETAINED_SESSIONS} ORDER BY ended_at, id LIMIT $1");
            sql.all(&text, &[limit], read)
        }
    }
}

/// A page of the agents with queued executions, in the order of their ids, of those after one.
///
/// # Errors
/// The database's.
pub fn agents_queued(sql: &mut dyn Sql, after: Option<AgentId>, limit: u32) -> Result<Vec<AgentId>, Error> {
    // One seek an agent, however many of its executions wait.
    let text = "WITH RECURSIVE waiting (agent) AS (\
        SELECT min(agent) FROM executions WHERE status = 'queued' AND agent > $1 UNION ALL \
        SELECT (SELECT min(agent) FROM executions WHERE status = 'queued' AND agent > waiting.agent) \
        FROM waiting WHERE agent IS NOT NULL) \
        SELECT agent FROM waiting WHERE agent IS NOT NULL LIMIT $2";
    let after = after.map(|after| after.to_string()).unwrap_or_default();
    sql.all(text, &[Cell::Text(&after), Cell::Int(limit.into())], |row| row.parse(0))
}

/// A page of the queued executions of an agent that have begun, then one of those that have not, each oldest first.
///
/// # Errors
/// The database's.
pub fn queued_of(sql: &mut dyn Sql, agent: AgentId, limit: u32) -> Result<Vec<ExecutionRow>, Error> {
    let agent = agent.to_string();
    let mut rows = Vec::new();
    // Those that have begun hold a place among what runs of their agent, so that none that has not can go before them.
    for which in ["iterations > 0", "iterations = 0"] {
        let text =
            ExecutionRow::select(&format!("WHERE agent = $1 AND status = 'queued' AND {which} ORDER BY id LIMIT $2"));
        rows.extend(sql.all(&text, &[Cell::Text(&agent), Cell::Int(limit.into())], ExecutionRow::read)?);
    }
    Ok(rows)
}

/// How many executions of an agent are queued before one, as [`queued_of`] has them, counted up to 1,000.
///
/// # Errors
/// The database's.
pub fn queued_before(sql: &mut dyn Sql, agent: AgentId, id: ExecutionId) -> Result<u64, Error> {
    const COUNTED_MAX: u64 = 1_000;
    let cells = [agent.to_string(), id.to_string()];
    let (agent, id) = (Cell::Text(&cells[0]), Cell::Text(&cells[1]));
    let has_begun = "SELECT count(*) FROM executions WHERE id = $1 AND iterations > 0";
    let begun = sql.first(has_begun, &[id], |row| row.count(0))?.unwrap_or(0);
    let mut count = |which: &str, cells: &[Cell<'_>]| {
        let text = format!(
            "SELECT count(*) FROM (\
            SELECT 1 FROM executions WHERE agent = $1 AND status = 'queued' AND {which} LIMIT {COUNTED_MAX})"
        );
        Ok::<u64, Error>(sql.first(&text, cells, |row| row.count(0))?.unwrap_or(0))
    };
    if begun > 0 {
        return count("iterations > 0 AND id < $2", &[agent, id]);
    }
    let before = count("iterations > 0", &[agent])? + count("iterations = 0 AND id < $2", &[agent, id])?;
    Ok(before.min(COUNTED_MAX))
}

/// A page of the executions that one started, oldest first.
///
/// # Errors
/// The database's.
pub fn children_of(sql: &mut dyn Sql, parent: ExecutionId, limit: u32) -> Result<Vec<ExecutionRow>, Error> {
    let text = ExecutionRow::select("WHERE parent = $1 ORDER BY id LIMIT $2");
    sql.all(&text, &[Cell::Text(&parent.to_string()), Cell::Int(limit.into())], ExecutionRow::read)
}

/// Those of them that have not ended and that nobody has asked to end; one execution has few at a time.
///
/// # Errors
/// The database's.
pub fn uncancelled_children_of(sql: &mut dyn Sql, parent: ExecutionId, limit: u32) -> Result<Vec<ExecutionId>, Error> {
    let text = "SELECT id FROM executions WHERE parent = $1 AND ended_at IS NULL AND cancel_requested = 0 \
        ORDER BY id LIMIT $2";
    sql.all(text, &[Cell::Text(&parent.to_string()), Cell::Int(limit.into())], |row| row.parse(0))
}

/// Tokens and millionths of a dollar that all executions below one used up, or hold.
///
/// # Errors
/// The database's.
pub fn spent_below(sql: &mut dyn Sql, id: ExecutionId) -> Result<(u64, u64), Error> {
    let mut sum = |counter| facts::counted(sql, counter, &id.to_string(), 0);
    let (tokens, money) = (sum(Counter::TokensBelow)?, sum(Counter::MoneyBelow)?);
    Ok((u64::try_from(tokens).unwrap_or(0), u64::try_from(money).unwrap_or(0)))
}

/// How many executions of an agent have begun and not ended.
///
/// # Errors
/// The database's.
pub fn running_of(sql: &mut dyn Sql, agent: AgentId) -> Result<u64, Error> {
    let running = facts::counted(sql, Counter::Running, &agent.to_string(), 0)?;
    Ok(u64::try_from(running).unwrap_or(0))
}

/// A page of the executions that are bound to this connection.
///
/// # Errors
/// The database's.
pub fn ids_bound_to(sql: &mut dyn Sql, connection: ConnectionId, limit: u32) -> Result<Vec<ExecutionId>, Error> {
    let text = "SELECT id FROM executions WHERE connection = $1 LIMIT $2";
    sql.all(text, &[Cell::Text(&connection.to_string()), Cell::Int(limit.into())], |row| row.parse(0))
}

/// The worker where an agent's work folder lies, with its name; connected or not.
///
/// # Errors
/// The database's.
pub fn home(sql: &mut dyn Sql, agent: AgentId) -> Result<Option<(WorkerId, String)>, Error> {
    let text =
        "SELECT workers.id, workers.name FROM agents JOIN workers ON workers.id = agents.home WHERE agents.id = $1";
    sql.first(text, &[Cell::Text(&agent.to_string())], |row| Ok((row.parse(0)?, row.text(1)?.to_string())))
}

/// Executions that have not ended, of all agents.
///
/// # Errors
/// The database's.
pub fn open_count(sql: &mut dyn Sql) -> Result<u64, Error> {
    let text = "SELECT count(*) FROM executions WHERE status IN ('queued', 'running', 'waiting')";
    Ok(sql.first(text, &[], |row| row.count(0))?.unwrap_or(0))
}

/// The execution of this id or short id.
///
/// # Errors
/// The database's.
pub fn find(sql: &mut dyn Sql, wanted: &str) -> Result<Match<ExecutionRow>, Error> {
    let mut found = sql.all(&ExecutionRow::select("WHERE id = $1"), &[Cell::Text(wanted)], ExecutionRow::read)?;
    if let (true, Some(letters)) = (found.is_empty(), as_short(wanted, ExecutionId::PREFIX)) {
        let text = ExecutionRow::select("WHERE substr(id, 23) = $1 LIMIT 8");
        found = sql.all(&text, &[Cell::Text(letters)], ExecutionRow::read)?;
    }
    Ok(Match::of(found))
}

/// # Errors
/// The database's.
pub fn get(sql: &mut dyn Sql, id: ExecutionId) -> Result<Option<ExecutionRow>, Error> {
    sql.first(&ExecutionRow::select("WHERE id = $1"), &[Cell::Text(&id.to_string())], ExecutionRow::read)
}

/// What a list of executions is held to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub agent: Option<AgentId>,
    /// `failed` is every reason's.
    pub status: Option<Status>,
    pub reason: Option<Reason>,
    pub since: Option<Time>,
    /// From before this one.
    pub before: Option<ExecutionId>,
}

/// Executions, the latest started first.
///
/// # Errors
/// The database's.
pub fn list(sql: &mut dyn Sql, filter: &Filter, limit: u32) -> Result<Page<ExecutionRow, ExecutionId>, Error> {
    let (agent, before) = (filter.agent.map(|id| id.to_string()), filter.before.map(|id| id.to_string()));
    let mut wheres: Vec<String> = Vec::new();
    let mut cells: Vec<Cell<'_>> = Vec::new();
    let clauses = [
        ("agent =", agent.as_deref().map(Cell::Text)),
        ("status =", filter.status.map(|status| Cell::Text(status.as_str()))),
        ("status = 'failed' AND reason =", filter.reason.map(|reason| Cell::Text(reason.as_str()))),
        ("started_at >=", filter.since.map(|since| Cell::Int(since.millis()))),
        ("id <", before.as_deref().map(Cell::Text)),
    ];
    for (clause, cell) in clauses {
        if let Some(cell) = cell {
            cells.push(cell);
            wheres.push(format!("{clause} ${}", cells.len()));
        }
    }
    let wheres = if wheres.is_empty() { String::new() } else { format!("WHERE {}", wheres.join(" AND ")) };
    cells.push(Cell::Int(i64::from(limit) + 1));
    let text = ExecutionRow::select(&format!("{wheres} ORDER BY id DESC LIMIT ${}", cells.len()));
    Ok(Page::of(sql.all(&text, &cells, ExecutionRow::read)?, limit, |row| row.id))
}
