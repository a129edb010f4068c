//! Capability calls, one row each from proposal to end.
use crate::Error;
use crate::sql::{Cell, Columns, Sql};
use tenure_core::bound::Hash;
use tenure_core::id::{CallId, ExecutionId};
use tenure_core::row::CallRow;
use tenure_core::time::Time;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallEntry {
    pub id: CallId,
    pub execution: ExecutionId,
    pub iteration: u32,
    pub turn: u32,
    pub ordinal: u32,
    pub validator: bool,
    pub capability: String,
    pub arguments: Hash,
    pub path: Option<String>,
    pub command: Option<String>,
    pub host: Option<String>,
    pub bytes: Option<u64>,
    /// `proposed`, `called`, `ended` or `blocked`.
    pub state: String,
    pub rules: Option<String>,
    pub called_at: Option<Time>,
    pub ended_at: Option<Time>,
    /// For a blocked call, why: `policy`, `misfit` or `withdrawn`.
    pub outcome: Option<String>,
    pub exit_code: Option<i32>,
    pub result: Option<Hash>,
    pub level: Option<String>,
    pub sentence: Option<String>,
}

pub(crate) fn write(sql: &mut dyn Sql, row: &CallRow) -> Result<(), Error> {
    let text = "INSERT INTO calls (id, execution, iteration, turn, ordinal, validator, capability, arguments, path, \
        command, bytes, host, state) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'proposed')";
    let cells = [
        Cell::Text(&row.id.to_string()),
        Cell::Text(&row.execution.to_string()),
        Cell::Int(row.iteration.into()),
        Cell::Int(row.turn.into()),
        Cell::Int(row.ordinal.into()),
        Cell::truth(row.validator),
        Cell::Text(&row.capability),
        Cell::Bytes(&row.arguments.0),
        row.path.as_deref().into(),
        row.command.as_deref().into(),
        row.bytes.map_or(Cell::Null, Cell::count),
        row.host.as_deref().into(),
    ];
    sql.execute(text, &cells).map(|_| ())
}

pub(crate) fn write_called(sql: &mut dyn Sql, id: CallId, at: Time, rules: &str) -> Result<(), Error> {
    let text = "UPDATE calls SET state = 'called', called_at = $1, rules = $2 WHERE id = $3";
    sql.execute(text, &[Cell::Int(at.millis()), Cell::Text(rules), Cell::Text(&id.to_string())]).map(|_| ())
}

pub(crate) struct End<'a> {
    pub outcome: &'a str,
    pub exit_code: Option<i32>,
    pub result: Option<&'a Hash>,
    pub level: Option<&'a str>,
}

pub(crate) fn write_ended(sql: &mut dyn Sql, id: CallId, at: Time, end: &End<'_>) -> Result<(), Error> {
    let id = id.to_string();
    if end.outcome == "again" {
        let text = "UPDATE calls SET state = 'proposed' WHERE id = $1";
        return sql.execute(text, &[Cell::Text(&id)]).map(|_| ());
    }
    let text = "UPDATE calls SET state = 'ended', ended_at = $1, outcome = $2, exit_code = $3, result = $4, level = $5 \
        WHERE id = $6";
    let cells = [
        Cell::Int(at.millis()),
        Cell::Text(end.outcome),
        end.exit_code.map(i64::from).into(),
        end.result.map(|hash| hash.0.as_slice()).into(),
        end.level.into(),
        Cell::Text(&id),
    ];
    sql.execute(text, &cells).map(|_| ())
}

pub(crate) fn write_blocked(sql: &mut dyn Sql, id: CallId, at: Time, why: &str, sentence: &str) -> Result<(), Error> {
    let text = "UPDATE calls SET state = 'blocked', ended_at = $1, outcome = $2, sentence = $3 WHERE id = $4";
    let id = id.to_string();
    sql.execute(text, &[Cell::Int(at.millis()), Cell::Text(why), Cell::Text(sentence), Cell::Text(&id)]).map(|_| ())
}

const SELECT: &str = "SELECT id, execution, iteration, turn, ordinal, validator, capability, arguments, path, command, \
    bytes, state, rules, called_at, ended_at, outcome, exit_code, result, level, sentence, \
    host FROM calls";

fn read(row: &Columns<'_>) -> Result<CallEntry, Error> {
    let owned = |place| row.text_or_null(place).map(|text| text.map(str::to_string));
    Ok(CallEntry {
        id: row.parse(0)?,
        execution: row.parse(1)?,
        iteration: row.count(2)?,
        turn: row.count(3)?,
        ordinal: row.count(4)?,
        validator: row.truth(5)?,
        capability: row.text(6)?.to_string(),
        arguments: row.hash(7)?,
        path: owned(8)?,
        command: owned(9)?,
        bytes: row.int_or_null(10)?.map(|_| row.count(10)).transpose()?,
        state: row.text(11)?.to_string(),
        rules: owned(12)?,
        called_at: row.time_or_null(13)?,
        ended_at: row.time_or_null(14)?,
        outcome: owned(15)?,
        exit_code: row.int_or_null(16)?.and_then(|code| i32::try_from(code).ok()),
        result: row.hash_or_null(17)?,
        level: owned(18)?,
        sentence: owned(19)?,
        host: owned(20)?,
    })
}

/// # Errors
/// The database's.
pub fn get(sql: &mut dyn Sql, id: CallId) -> Result<Option<CallEntry>, Error> {
    sql.first(&format!("{SELECT} WHERE id = $1"), &[Cell::Text(&id.to_string())], read)
}

/// The calls of an iteration, in the order in which they were asked for.
///
/// # Errors
/// The database's.
pub fn of_iteration(
    sql: &mut dyn Sql,
    execution: ExecutionId,
    iteration: u32,
    limit: u32,
) -> Result<Vec<CallEntry>, Error> {
    let text = format!(
        "{SELECT} WHERE execution = $1 AND iteration = $2 ORDER BY execution, iteration, turn, ordinal LIMIT $3"
    );
    let cells = [Cell::Text(&execution.to_string()), Cell::Int(iteration.into()), Cell::Int(limit.into())];
    sql.all(&text, &cells, read)
}

/// The calls that the model asked for in one turn, in order; there are few.
///
/// # Errors
/// The database's.
pub fn of_turn(sql: &mut dyn Sql, execution: ExecutionId, iteration: u32, turn: u32) -> Result<Vec<CallEntry>, Error> {
    let text = format!(
        "{SELECT} WHERE execution = $1 AND iteration = $2 AND turn = $3 AND validator = 0 \
        ORDER BY execution, iteration, turn, ordinal"
    );
    let cells = [Cell::Text(&execution.to_string()), Cell::Int(iteration.into()), Cell::Int(turn.into())];
    sql.all(&text, &cells, read)
}

/// The calls of an iteration's validators, in order; each has at most one at a time.
///
/// # Errors
/// The database's.
pub fn of_validators(
    sql: &mut dyn Sql,
    execution: ExecutionId,
    iteration: u32,
    limit: u32,
) -> Result<Vec<CallEntry>, Error> {
    let text = format!(
        "{SELECT} WHERE execution = $1 AND iteration = $2 AND validator = 1 \
        ORDER BY execution, iteration, turn, ordinal LIMIT $3"
    );
    let cells = [Cell::Text(&execution.to_string()), Cell::Int(iteration.into()), Cell::Int(limit.into())];
    sql.all(&text, &cells, read)
}
