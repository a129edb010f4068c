//! Executions as lists show them, and the idempotency keys that started them.
use super::{Match, Page, as_short, short};
use crate::Error;
use crate::sql::{Cell, Columns, Sql};
use tenure_core::bound::Hash;
use tenure_core::id::{AgentId, ExecutionId, SessionId, WorkerId};
use tenure_core::row::ExecutionRow;
use tenure_core::time::Time;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionEntry {
    pub id: ExecutionId,
    pub agent: AgentId,
    pub agent_name: String,
    pub revision: u32,
    pub status: String,
    pub waiting_for: Option<String>,
    pub cancel_requested: bool,
    pub reason: Option<String>,
    pub detail: Option<String>,
    pub iterations: u32,
    pub max_iterations: u32,
    pub tool_calls: u32,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub micro_usd: u64,
    pub unpriced: u32,
    pub session: Option<SessionId>,
    pub worker: Option<WorkerId>,
    pub wall_used_ms: u64,
    pub input: Hash,
    pub output: Option<Hash>,
    pub started_at: Time,
    pub ended_at: Option<Time>,
    pub at: Time,
}

pub(crate) fn write(sql: &mut dyn Sql, row: &ExecutionRow) -> Result<(), Error> {
    match &row.started {
        Some(input) => insert(sql, row, input),
        None => update(sql, row),
    }
}

fn insert(sql: &mut dyn Sql, row: &ExecutionRow, input: &Hash) -> Result<(), Error> {
    let text = "INSERT INTO executions (id, short, agent, revision, status, cancel_requested, iterations, \
        max_iterations, tool_calls, input_tokens, output_tokens, micro_usd, unpriced, wall_used_ms, input, started_at, \
        at) VALUES ($1, $2, $3, $4, $5, 0, 0, $6, 0, 0, 0, 0, 0, 0, $7, $8, $8)";
    let id = row.id.to_string();
    let cells = [
        Cell::Text(&id),
        Cell::Text(short(&id)),
        Cell::Text(&row.agent.to_string()),
        Cell::Int(row.revision.into()),
        Cell::Text(row.status),
        Cell::Int(row.max_iterations.into()),
        Cell::Bytes(&input.0),
        Cell::Int(row.at.millis()),
    ];
    sql.execute(text, &cells).map(|_| ())
}

fn update(sql: &mut dyn Sql, row: &ExecutionRow) -> Result<(), Error> {
    // An ended execution has no iteration any more; the last one's number stays.
    let text = "UPDATE executions SET status = $1, waiting_for = $2, cancel_requested = $3, reason = $4, detail = $5, \
        iterations = CASE WHEN $6 > iterations THEN $6 ELSE iterations END, tool_calls = $7, input_tokens = $8, \
        output_tokens = $9, micro_usd = $10, unpriced = $11, session = $12, worker = $13, wall_used_ms = $14, \
        output = $15, ended_at = $16, at = $17 WHERE id = $18";
    let (session, worker) = (row.session.map(|id| id.to_string()), row.worker.map(|id| id.to_string()));
    let cells = [
        Cell::Text(row.status),
        row.waiting_for.into(),
        Cell::truth(row.cancel_requested),
        row.reason.into(),
        row.detail.as_deref().into(),
        Cell::Int(row.iterations.into()),
        Cell::Int(row.tool_calls.into()),
        Cell::count(row.input_tokens),
        Cell::count(row.output_tokens),
        Cell::count(row.micro_usd),
        Cell::Int(row.unpriced.into()),
        session.as_deref().into(),
        worker.as_deref().into(),
        Cell::count(row.wall_used_ms),
        row.output.as_ref().map(|hash| hash.0.as_slice()).into(),
        row.ended.then_some(row.at.millis()).into(),
        Cell::Int(row.at.millis()),
        Cell::Text(&row.id.to_string()),
    ];
    sql.execute(text, &cells).map(|_| ())
}

pub(crate) fn write_twin(sql: &mut dyn Sql, agent: AgentId, key: &Hash, execution: ExecutionId) -> Result<(), Error> {
    let text = "INSERT INTO twins (agent, key, execution) VALUES ($1, $2, $3)";
    let (agent, execution) = (agent.to_string(), execution.to_string());
    sql.execute(text, &[Cell::Text(&agent), Cell::Bytes(&key.0), Cell::Text(&execution)]).map(|_| ())
}

/// The execution that this idempotency key of the agent started.
///
/// # Errors
/// The database's.
pub fn twin(sql: &mut dyn Sql, agent: AgentId, key: Hash) -> Result<Option<ExecutionId>, Error> {
    let text = "SELECT execution FROM twins WHERE agent = $1 AND key = $2";
    sql.first(text, &[Cell::Text(&agent.to_string()), Cell::Bytes(&key.0)], |row| row.parse(0))
}

/// Executions of the agent that have not ended.
///
/// # Errors
/// The database's.
pub fn open_of(sql: &mut dyn Sql, agent: AgentId) -> Result<u64, Error> {
    let text = "SELECT count(*) FROM executions WHERE agent = $1 AND ended_at IS NULL";
    Ok(sql.first(text, &[Cell::Text(&agent.to_string())], |row| row.count(0))?.unwrap_or(0))
}

/// A page of those, oldest first.
///
/// # Errors
/// The database's.
pub fn open_ids_of(
    sql: &mut dyn Sql,
    agent: AgentId,
    after: Option<ExecutionId>,
    limit: u32,
) -> Result<Vec<ExecutionId>, Error> {
    let text = "SELECT id FROM executions WHERE agent = $1 AND ended_at IS NULL AND id > $2 ORDER BY id LIMIT $3";
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    sql.all(text, &[Cell::Text(&agent.to_string()), Cell::Text(&after), Cell::Int(limit.into())], |row| row.parse(0))
}

/// Executions bound to this session.
///
/// # Errors
/// The database's.
pub fn bound_to(sql: &mut dyn Sql, session: SessionId) -> Result<u64, Error> {
    let text = "SELECT count(*) FROM executions WHERE session = $1";
    Ok(sql.first(text, &[Cell::Text(&session.to_string())], |row| row.count(0))?.unwrap_or(0))
}

/// A page of those.
///
/// # Errors
/// The database's.
pub fn ids_bound_to(sql: &mut dyn Sql, session: SessionId, limit: u32) -> Result<Vec<ExecutionId>, Error> {
    let text = "SELECT id FROM executions WHERE session = $1 LIMIT $2";
    sql.all(text, &[Cell::Text(&session.to_string()), Cell::Int(limit.into())], |row| row.parse(0))
}

/// Executions that have not ended, of all agents.
///
/// # Errors
/// The database's.
pub fn open_count(sql: &mut dyn Sql) -> Result<u64, Error> {
    let text = "SELECT count(*) FROM executions WHERE status IN ('queued', 'running', 'waiting')";
    Ok(sql.first(text, &[], |row| row.count(0))?.unwrap_or(0))
}

const SELECT: &str = "SELECT executions.id, agent, agents.name, executions.revision, status, waiting_for, \
    cancel_requested, reason, detail, iterations, max_iterations, tool_calls, input_tokens, output_tokens, micro_usd, \
    unpriced, session, worker, wall_used_ms, input, output, started_at, ended_at, executions.at \
    FROM executions JOIN agents ON agents.id = executions.agent";

fn read(row: &Columns<'_>) -> Result<ExecutionEntry, Error> {
    let owned = |text: Option<&str>| text.map(str::to_string);
    Ok(ExecutionEntry {
        id: row.parse(0)?,
        agent: row.parse(1)?,
        agent_name: row.text(2)?.to_string(),
        revision: row.count(3)?,
        status: row.text(4)?.to_string(),
        waiting_for: owned(row.text_or_null(5)?),
        cancel_requested: row.truth(6)?,
        reason: owned(row.text_or_null(7)?),
        detail: owned(row.text_or_null(8)?),
        iterations: row.count(9)?,
        max_iterations: row.count(10)?,
        tool_calls: row.count(11)?,
        input_tokens: row.count(12)?,
        output_tokens: row.count(13)?,
        micro_usd: row.count(14)?,
        unpriced: row.count(15)?,
        session: row.parse_or_null(16)?,
        worker: row.parse_or_null(17)?,
        wall_used_ms: row.count(18)?,
        input: row.hash(19)?,
        output: row.hash_or_null(20)?,
        started_at: row.time(21)?,
        ended_at: row.time_or_null(22)?,
        at: row.time(23)?,
    })
}

/// The execution of this id or short id.
///
/// # Errors
/// The database's.
pub fn find(sql: &mut dyn Sql, wanted: &str) -> Result<Match<ExecutionEntry>, Error> {
    let mut found = sql.all(&format!("{SELECT} WHERE executions.id = $1"), &[Cell::Text(wanted)], read)?;
    if let (true, Some(letters)) = (found.is_empty(), as_short(wanted, ExecutionId::PREFIX)) {
        let text = format!("{SELECT} WHERE executions.short = $1 LIMIT 8");
        found = sql.all(&text, &[Cell::Text(letters)], read)?;
    }
    Ok(Match::of(found))
}

/// # Errors
/// The database's.
pub fn get(sql: &mut dyn Sql, id: ExecutionId) -> Result<Option<ExecutionEntry>, Error> {
    sql.first(&format!("{SELECT} WHERE executions.id = $1"), &[Cell::Text(&id.to_string())], read)
}

/// What a list of executions is held to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub agent: Option<AgentId>,
    /// A status (`failed` is every reason's), or one reason of failure.
    pub status: Option<String>,
    pub since: Option<Time>,
    /// From before this one.
    pub before: Option<ExecutionId>,
}

const STATUSES: [&str; 6] = ["queued", "running", "waiting", "completed", "failed", "cancelled"];

/// Executions, the latest started first.
///
/// # Errors
/// The database's.
pub fn list(sql: &mut dyn Sql, filter: &Filter, limit: u32) -> Result<Page<ExecutionEntry, ExecutionId>, Error> {
    let (agent, before) = (filter.agent.map(|id| id.to_string()), filter.before.map(|id| id.to_string()));
    let mut wheres: Vec<String> = Vec::new();
    let mut cells: Vec<Cell<'_>> = Vec::new();
    let (status, reason) = match filter.status.as_deref() {
        Some(status) if STATUSES.contains(&status) => (Some(status), None),
        reason => (None, reason),
    };
    let clauses = [
        ("agent =", agent.as_deref().map(Cell::Text)),
        ("status =", status.map(Cell::Text)),
        ("status = 'failed' AND reason =", reason.map(Cell::Text)),
        ("started_at >=", filter.since.map(|since| Cell::Int(since.millis()))),
        ("executions.id <", before.as_deref().map(Cell::Text)),
    ];
    for (clause, cell) in clauses {
        if let Some(cell) = cell {
            cells.push(cell);
            wheres.push(format!("{clause} ${}", cells.len()));
        }
    }
    let wheres = if wheres.is_empty() { String::new() } else { format!("WHERE {}", wheres.join(" AND ")) };
    cells.push(Cell::Int(i64::from(limit) + 1));
    let text = format!("{SELECT} {wheres} ORDER BY executions.id DESC LIMIT ${}", cells.len());
    let mut rows = sql.all(&text, &cells, read)?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = if more { rows.last().map(|row| row.id) } else { None };
    Ok(Page { rows, next })
}
