//! Agents, with the figures that tell whether they are at work, and their revisions.
use super::macs::{Authority, Unverified};
use super::{Match, Page, Table, as_short};
use crate::Error;
use crate::sql::stored::{Stored, table};
use crate::sql::{Cell, Columns, Sql};
use tenure_core::agent::{AgentRow, Listed, RevisionRow, Standing, Status};
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
    let (id, folded, listed_cell) = (agent.to_string(), name.to_ascii_lowercase(), listed.value());
    let cells = [Cell::Text(&id), Cell::Text(name), Cell::Text(&folded), listed_cell.cell(), Cell::Int(at.millis())];
    sql.execute(text, &cells)?;
    sql.execute("DELETE FROM agent_labels WHERE agent = $1", &[Cell::Text(&id)])?;
    let provided = listed.provides.iter().map(|word| (provided(word), String::new()));
    for (key, value) in listed.labels.iter().cloned().chain(provided) {
        let text = "INSERT INTO agent_labels (agent, key, value, folded) VALUES ($1, $2, $3, $4)";
        sql.execute(text, &[Cell::Text(&id), Cell::Text(&key), Cell::Text(&value), Cell::Text(&folded)])?;
    }
    Ok(())
}

/// What an agent provides is indexed as labels are; no label's key has a colon.
fn provided(word: &str) -> String {
    format!("provides:{word}")
}

pub(super) fn write_standing(sql: &mut dyn Sql, agent: AgentId, standing: &Standing) -> Result<(), Error> {
    let text = "UPDATE agents SET state = $1, revision = $2, home = $3, open = $4, last_started_at = $5, \
        last_ended_at = $6, supervised = $7, next_run_at = $8, last_woken_at = $9, sessions = $10, \
        last_session_at = $11, status = $12, messages_waiting = $13 WHERE id = $14";
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
        Cell::Text(standing.status.as_str()),
        Cell::Int(standing.messages_waiting.into()),
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
    last_ended_at, supervised, next_run_at, last_woken_at, sessions, last_session_at, status, messages_waiting \
    FROM agents";

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
            status: Stored::read(row, 16)?,
            messages_waiting: row.count(17)?,
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
pub fn name_of(sql: &mut dyn Sql, id: AgentId) -> Result<Option<String>, Error> {
    let text = "SELECT name FROM agents WHERE id = $1";
    sql.first(text, &[Cell::Text(&id.to_string())], |row| Ok(row.text(0)?.to_string()))
}

/// # Errors
/// The database's.
pub fn get(sql: &mut dyn Sql, id: AgentId) -> Result<Option<AgentRow>, Error> {
    sql.first(&format!("{SELECT} WHERE id = $1"), &[Cell::Text(&id.to_string())], read)
}

/// What a list of agents is held to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Any of these; none lists all that are not deleted.
    pub statuses: Option<&'static [Status]>,
    /// All of these: a key, with a value or with any.
    pub labels: Vec<(String, Option<String>)>,
    /// From after this place, which is a page's `next`.
    pub after: Option<String>,
}

impl Filter {
    /// Those alone that provide this.
    #[must_use]
    pub fn providing(mut self, word: Option<&str>) -> Filter {
        self.labels.extend(word.map(|word| (provided(word), None)));
        self
    }
}

/// A part of a query, with a `?` for each cell, in order.
#[derive(Clone)]
struct Part<'f> {
    text: String,
    cells: Vec<Cell<'f>>,
}

impl<'f> Part<'f> {
    fn new(text: impl Into<String>, cells: impl IntoIterator<Item = Cell<'f>>) -> Part<'f> {
        Part { text: text.into(), cells: cells.into_iter().collect() }
    }

    fn push(&mut self, part: Part<'f>) {
        self.text.push_str(&part.text);
        self.cells.extend(part.cells);
    }

    /// The text with its places numbered.
    fn numbered(&self) -> String {
        let mut text = String::with_capacity(self.text.len() + 8);
        for (place, piece) in self.text.split('?').enumerate() {
            if place > 0 {
                text.push_str(&format!("${place}"));
            }
            text.push_str(piece);
        }
        text
    }
}

/// Walks of indexes in a list's order, and what is asked of each agent besides.
struct Query<'f> {
    walks: Vec<Walked<'f>>,
    wheres: Vec<Part<'f>>,
}

/// One walk of an index: the table that has the order, and its condition.
struct Walked<'f> {
    tables: &'static str,
    order: &'static str,
    condition: Part<'f>,
}

/// Of all agents that are not deleted.
const PRESENT: [Status; 6] =
    [Status::Registered, Status::Active, Status::Idle, Status::Paused, Status::Quarantined, Status::Revoked];

/// Agents that one index has are counted so far, to choose among several.
const COUNTED_MAX: u32 = 1000;

/// Agents by name.
///
/// # Errors
/// The database's.
pub fn list(sql: &mut dyn Sql, filter: &Filter, limit: u32) -> Result<Page<AgentRow, String>, Error> {
    let after = filter.after.as_deref().unwrap_or_default();
    let (name, id) = after.split_once('/').unwrap_or((after, ""));
    let name = name.to_ascii_lowercase();
    if filter.statuses.is_some_and(<[Status]>::is_empty) {
        return Ok(Page { rows: Vec::new(), next: None });
    }
    let found = page_of(query(sql, filter)?, [Cell::Text(&name), Cell::Text(id)], Cell::Int(i64::from(limit) + 1));
    let place = |row: &AgentRow| format!("{}/{}", row.name.to_ascii_lowercase(), row.id);
    Ok(Page::of(sql.all(&found.numbered(), &found.cells, read)?, limit, place))
}

/// What reads the agents after a place, so many of them.
fn page_of<'f>(Query { walks, wheres }: Query<'f>, after: [Cell<'f>; 2], most: Cell<'f>) -> Part<'f> {
    let mut found = Part::new(format!("{SELECT} JOIN ("), []);
    for (number, Walked { tables, order, condition }) in walks.into_iter().enumerate() {
        let union = if number > 0 { " UNION ALL " } else { "" };
        found.push(Part::new(format!("{union}SELECT * FROM (SELECT agents.id AS found FROM {tables} WHERE "), []));
        found.push(condition);
        found.push(Part::new(format!(" AND ({order}) > (?, ?)"), after));
        for condition in &wheres {
            found.push(Part::new(" AND ", []));
            found.push(condition.clone());
        }
        // Each walk ends with a page.
        found.push(Part::new(format!(" ORDER BY {order} LIMIT ?)"), [most]));
    }
    found.push(Part::new(") AS list ON list.found = agents.id ORDER BY folded, id LIMIT ?", [most]));
    found
}

/// The index that has the fewest of the wanted agents is walked.
fn query<'f>(sql: &mut dyn Sql, filter: &'f Filter) -> Result<Query<'f>, Error> {
    let mut query = Query { walks: Vec::new(), wheres: Vec::new() };
    let mut counted: Vec<(u32, usize)> = Vec::new();
    for (place, (key, value)) in filter.labels.iter().enumerate() {
        counted.push((labelled(sql, key, value.as_deref())?, place));
    }
    let fewest = counted.into_iter().min();
    let statuses = filter.statuses.unwrap_or(&PRESENT);
    let by_status = match fewest {
        None => true,
        Some((labelled, _)) => filter.statuses.is_some() && with_status(sql, statuses)? < labelled,
    };
    let walked = fewest.map(|(_, place)| place).filter(|_| !by_status);
    for (place, label) in filter.labels.iter().enumerate() {
        if walked == Some(place) {
            query.walks.push(Walked {
                tables: "agent_labels CROSS JOIN agents ON agents.id = agent_labels.agent",
                order: "agent_labels.folded, agent_labels.agent",
                condition: has_label("agent_labels", label),
            });
            continue;
        }
        let mut exists =
            Part::new("EXISTS (SELECT 1 FROM agent_labels AS other WHERE other.agent = agents.id AND ", []);
        exists.push(has_label("other", label));
        exists.push(Part::new(")", []));
        query.wheres.push(exists);
    }
    let of_agents = |condition| Walked { tables: "agents", order: "agents.folded, agents.id", condition };
    let is = |status: &Status| Part::new("agents.status = ?", [Cell::Text(status.as_str())]);
    if by_status {
        query.walks.extend(statuses.iter().map(is).map(of_agents));
    } else {
        let places = vec!["?"; statuses.len()].join(", ");
        let cells = statuses.iter().map(|status| Cell::Text(status.as_str()));
        query.wheres.push(Part::new(format!("agents.status IN ({places})"), cells));
    }
    Ok(query)
}

fn has_label<'f>(table: &str, (key, value): &'f (String, Option<String>)) -> Part<'f> {
    match value {
        Some(value) => {
            Part::new(format!("{table}.key = ? AND {table}.value = ?"), [Cell::Text(key), Cell::Text(value)])
        }
        None => Part::new(format!("{table}.key = ?"), [Cell::Text(key)]),
    }
}

fn labelled(sql: &mut dyn Sql, key: &str, value: Option<&str>) -> Result<u32, Error> {
    let (condition, mut cells) = match value {
        Some(_) => ("key = $1 AND value = $2 LIMIT $3", vec![Cell::Text(key)]),
        None => ("key = $1 LIMIT $2", vec![Cell::Text(key)]),
    };
    cells.extend(value.map(Cell::Text));
    cells.push(Cell::Int(COUNTED_MAX.into()));
    let text = format!("SELECT count(*) FROM (SELECT 1 FROM agent_labels WHERE {condition})");
    Ok(sql.first(&text, &cells, |row| row.count(0))?.unwrap_or(0))
}

fn with_status(sql: &mut dyn Sql, statuses: &[Status]) -> Result<u32, Error> {
    let mut sum = 0;
    for status in statuses {
        let text = "SELECT count(*) FROM (SELECT 1 FROM agents WHERE status = $1 LIMIT $2)";
        let cells = [Cell::Text(status.as_str()), Cell::Int(COUNTED_MAX.into())];
        sum += sql.first(text, &cells, |row| row.count::<u32>(0))?.unwrap_or(0);
    }
    Ok(sum)
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

/// The revisions of an agent as they stand, newest first, from before one, for showing them.
///
/// # Errors
/// The database's.
pub fn revisions(
    sql: &mut dyn Sql,
    agent: AgentId,
    before: Option<u32>,
    limit: u32,
) -> Result<Page<RevisionRow, u32>, Error> {
    let text = RevisionRow::select("WHERE agent = $1 AND number < $2 ORDER BY number DESC LIMIT $3");
    let before = before.map_or(i64::MAX, i64::from);
    let cells = [Cell::Text(&agent.to_string()), Cell::Int(before), Cell::Int(i64::from(limit) + 1)];
    Ok(Page::of(sql.all(&text, &cells, RevisionRow::read)?, limit, |row| row.number))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::Sqlite;

    /// How the database would read a page of this list.
    fn plan(sql: &mut dyn Sql, filter: &Filter) -> Vec<String> {
        let page = page_of(query(sql, filter).unwrap(), [Cell::Text("a"), Cell::Text("b")], Cell::Int(51));
        let text = format!("EXPLAIN QUERY PLAN {}", page.numbered());
        sql.all(&text, &page.cells, |row| Ok(row.text(3)?.to_string())).unwrap()
    }

    #[test]
    fn no_list_of_agents_walks_their_table_or_sorts_more_than_its_pages() {
        let mut sql = Sqlite::open_temporary().unwrap();
        crate::migration::run(&mut sql).unwrap();
        let label = |value: Option<&str>| vec![("team".to_string(), value.map(str::to_string))];
        let statuses: [Option<&'static [Status]>; 3] =
            [None, Some(&[Status::Paused]), Some(&[Status::Registered, Status::Active, Status::Idle])];
        for statuses in statuses {
            for labels in [Vec::new(), label(None), label(Some("a")), [label(Some("a")), label(None)].concat()] {
                let filter = Filter { statuses, labels, after: None };
                let plan = plan(&mut sql, &filter);
                let told = format!("{filter:?}: {plan:#?}");
                let walks = plan.iter().filter(|step| step.starts_with("SCAN ") && !step.contains("SCAN list"));
                let bare = walks.filter(|step| {
                    !step.contains("INDEX") && !step.contains("SUBQUERY") && !step.contains("(subquery")
                });
                assert_eq!(bare.count(), 0, "{told}");
                let sorts = plan.iter().filter(|step| step.contains("TEMP B-TREE FOR ORDER BY")).count();
                assert!(sorts <= 1, "only the pages are put in order again: {told}");
            }
        }
    }
}
