//! Agents, with the figures that tell whether they are at work, and their revisions.
use super::{Match, Page, as_short, short};
use crate::Error;
use crate::sql::{Cell, Columns, Sql};
use tenure_core::bound::Hash;
use tenure_core::id::AgentId;
use tenure_core::row::{AgentRow, RevisionRow};
use tenure_core::time::Time;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentEntry {
    pub id: AgentId,
    pub name: String,
    /// `deployed`, `leaving` or `archived`.
    pub state: String,
    pub revision: u32,
    pub runtime: String,
    pub labels: Vec<(String, String)>,
    pub model: String,
    pub version: Option<String>,
    pub created_at: Time,
    pub at: Time,
    /// Executions that have not ended.
    pub open_executions: u64,
    pub last_ended_at: Option<Time>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionEntry {
    pub number: u32,
    pub version: Option<String>,
    pub digest: Hash,
    pub manifest: Hash,
    pub at: Time,
}

pub(crate) fn write(sql: &mut dyn Sql, row: &AgentRow) -> Result<(), Error> {
    let (id, at, revision) = (row.id.to_string(), Cell::Int(row.at.millis()), Cell::Int(row.revision.into()));
    let Some(deployed) = &row.deployed else {
        let text = "UPDATE agents SET state = $1, revision = $2, at = $3 WHERE id = $4";
        return sql.execute(text, &[Cell::Text(row.state), revision, at, Cell::Text(&id)]).map(|_| ());
    };
    let labels = serde_json::to_string(&deployed.labels).map_err(|error| Error::invariant(error.to_string()))?;
    let text = "INSERT INTO agents (id, short, name, folded, state, revision, runtime, labels, model, version, \
        created_at, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (id) DO UPDATE SET \
        state = excluded.state, revision = excluded.revision, runtime = excluded.runtime, labels = excluded.labels, \
        model = excluded.model, version = excluded.version, at = excluded.at";
    let cells = [
        Cell::Text(&id),
        Cell::Text(short(&id)),
        Cell::Text(&row.name),
        Cell::Text(&row.name.to_ascii_lowercase()),
        Cell::Text(row.state),
        revision,
        Cell::Text(&deployed.runtime),
        Cell::Text(&labels),
        Cell::Text(&deployed.model),
        deployed.version.as_deref().into(),
        at,
        at,
    ];
    sql.execute(text, &cells).map(|_| ())
}

pub(crate) fn write_revision(sql: &mut dyn Sql, row: &RevisionRow) -> Result<(), Error> {
    let text = "INSERT INTO revisions (agent, number, version, digest, manifest, at) VALUES ($1, $2, $3, $4, $5, $6)";
    let cells = [
        Cell::Text(&row.agent.to_string()),
        Cell::Int(row.number.into()),
        row.version.as_deref().into(),
        Cell::Bytes(&row.digest.0),
        Cell::Bytes(&row.manifest.0),
        Cell::Int(row.at.millis()),
    ];
    sql.execute(text, &cells).map(|_| ())
}

/// The agent that holds this name, archived ones included; case does not matter.
///
/// # Errors
/// The database's.
pub fn named(sql: &mut dyn Sql, name: &str) -> Result<Option<AgentId>, Error> {
    let text = "SELECT id FROM agents WHERE folded = $1";
    sql.first(text, &[Cell::Text(&name.to_ascii_lowercase())], |row| row.parse(0))
}

const SELECT: &str = "SELECT id, name, state, revision, runtime, labels, model, version, created_at, at, \
    (SELECT count(*) FROM executions WHERE agent = agents.id AND ended_at IS NULL), \
    (SELECT max(ended_at) FROM executions WHERE agent = agents.id) FROM agents";

fn read(row: &Columns<'_>) -> Result<AgentEntry, Error> {
    let labels = row.text(5)?;
    Ok(AgentEntry {
        id: row.parse(0)?,
        name: row.text(1)?.to_string(),
        state: row.text(2)?.to_string(),
        revision: row.count(3)?,
        runtime: row.text(4)?.to_string(),
        labels: serde_json::from_str(labels).map_err(|error| Error::corrupt(format!("labels of an agent: {error}")))?,
        model: row.text(6)?.to_string(),
        version: row.text_or_null(7)?.map(str::to_string),
        created_at: row.time(8)?,
        at: row.time(9)?,
        open_executions: row.count(10)?,
        last_ended_at: row.time_or_null(11)?,
    })
}

/// The agent of this name, id or short id.
///
/// # Errors
/// The database's.
pub fn find(sql: &mut dyn Sql, wanted: &str) -> Result<Match<AgentEntry>, Error> {
    let by = |sql: &mut dyn Sql, column: &str, value: &str| {
        sql.all(&format!("{SELECT} WHERE {column} = $1 LIMIT 8"), &[Cell::Text(value)], read)
    };
    let mut found = by(sql, "folded", &wanted.to_ascii_lowercase())?;
    if found.is_empty() {
        found = by(sql, "id", wanted)?;
    }
    if let (true, Some(letters)) = (found.is_empty(), as_short(wanted, AgentId::PREFIX)) {
        found = by(sql, "short", letters)?;
    }
    Ok(Match::of(found))
}

/// Agents by name, from after the name `after`; none of `state` lists all but the archived.
///
/// # Errors
/// The database's.
pub fn list(
    sql: &mut dyn Sql,
    state: Option<&str>,
    after: Option<&str>,
    limit: u32,
) -> Result<Page<AgentEntry, String>, Error> {
    let which = match state {
        Some(_) => "state = $2 ORDER BY folded LIMIT $3",
        None => "state <> 'archived' ORDER BY folded LIMIT $2",
    };
    let text = format!("{SELECT} WHERE folded > $1 AND {which}");
    let after = after.unwrap_or_default().to_ascii_lowercase();
    let mut cells = vec![Cell::Text(&after)];
    cells.extend(state.map(Cell::Text));
    cells.push(Cell::Int(i64::from(limit) + 1));
    let mut rows = sql.all(&text, &cells, read)?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = if more { rows.last().map(|row| row.name.to_ascii_lowercase()) } else { None };
    Ok(Page { rows, next })
}

/// How many agents there are, but for the archived.
///
/// # Errors
/// The database's.
pub fn count(sql: &mut dyn Sql) -> Result<u64, Error> {
    let count = sql.first("SELECT count(*) FROM agents WHERE state <> 'archived'", &[], |row| row.count(0))?;
    Ok(count.unwrap_or(0))
}

/// The revisions of an agent, newest first.
///
/// # Errors
/// The database's.
pub fn revisions(sql: &mut dyn Sql, agent: AgentId, limit: u32) -> Result<Vec<RevisionEntry>, Error> {
    let text = "SELECT number, version, digest, manifest, at FROM revisions WHERE agent = $1 \
        ORDER BY number DESC LIMIT $2";
    sql.all(text, &[Cell::Text(&agent.to_string()), Cell::Int(limit.into())], read_revision)
}

/// One revision of an agent.
///
/// # Errors
/// The database's.
pub fn revision(sql: &mut dyn Sql, agent: AgentId, number: u32) -> Result<Option<RevisionEntry>, Error> {
    let text = "SELECT number, version, digest, manifest, at FROM revisions WHERE agent = $1 AND number = $2";
    sql.first(text, &[Cell::Text(&agent.to_string()), Cell::Int(number.into())], read_revision)
}

fn read_revision(row: &Columns<'_>) -> Result<RevisionEntry, Error> {
    Ok(RevisionEntry {
        number: row.count(0)?,
        version: row.text_or_null(1)?.map(str::to_string),
        digest: row.hash(2)?,
        manifest: row.hash(3)?,
        at: row.time(4)?,
    })
}
