//! Iterations of an execution, and what its validators found.
use crate::Error;
use crate::sql::{Cell, Columns, Sql};
use tenure_core::bound::Hash;
use tenure_core::id::ExecutionId;
use tenure_core::row::{IterationRow, ValidationRow};
use tenure_core::time::Time;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IterationEntry {
    pub number: u32,
    /// `running`, `completed` or `failed`.
    pub status: String,
    pub cause: Option<String>,
    pub turns: u32,
    pub used_ms: u64,
    pub output: Option<Hash>,
    pub started_at: Time,
    pub at: Time,
}

pub(crate) fn write(sql: &mut dyn Sql, row: &IterationRow) -> Result<(), Error> {
    let text = "INSERT INTO iterations (execution, number, status, cause, turns, used_ms, output, started_at, at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) ON CONFLICT (execution, number) DO UPDATE SET \
        status = excluded.status, cause = excluded.cause, turns = excluded.turns, used_ms = excluded.used_ms, \
        output = excluded.output, at = excluded.at";
    let cells = [
        Cell::Text(&row.execution.to_string()),
        Cell::Int(row.number.into()),
        Cell::Text(row.status),
        row.cause.as_deref().into(),
        Cell::Int(row.turns.into()),
        Cell::count(row.used_ms),
        row.output.as_ref().map(|hash| hash.0.as_slice()).into(),
        Cell::Int(row.at.millis()),
    ];
    sql.execute(text, &cells).map(|_| ())
}

pub(crate) fn write_validation(sql: &mut dyn Sql, row: &ValidationRow) -> Result<(), Error> {
    let text = "INSERT INTO validations (execution, iteration, place, validator, pass, score_milli, reasons, at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (execution, iteration, place) DO UPDATE SET \
        validator = excluded.validator, pass = excluded.pass, score_milli = excluded.score_milli, \
        reasons = excluded.reasons, at = excluded.at";
    let cells = [
        Cell::Text(&row.execution.to_string()),
        Cell::Int(row.iteration.into()),
        Cell::Int(row.index.into()),
        Cell::Text(&row.validator),
        Cell::truth(row.pass),
        Cell::Int(row.score_milli.into()),
        Cell::Bytes(&row.reasons.0),
        Cell::Int(row.at.millis()),
    ];
    sql.execute(text, &cells).map(|_| ())
}

/// The iterations of an execution with a number of at least `from`, in order.
///
/// # Errors
/// The database's.
pub fn of(sql: &mut dyn Sql, execution: ExecutionId, from: u32, limit: u32) -> Result<Vec<IterationEntry>, Error> {
    let text = "SELECT number, status, cause, turns, used_ms, output, started_at, at FROM iterations \
        WHERE execution = $1 AND number >= $2 ORDER BY number LIMIT $3";
    let cells = [Cell::Text(&execution.to_string()), Cell::Int(from.into()), Cell::Int(limit.into())];
    sql.all(text, &cells, |row: &Columns<'_>| {
        Ok(IterationEntry {
            number: row.count(0)?,
            status: row.text(1)?.to_string(),
            cause: row.text_or_null(2)?.map(str::to_string),
            turns: row.count(3)?,
            used_ms: row.count(4)?,
            output: row.hash_or_null(5)?,
            started_at: row.time(6)?,
            at: row.time(7)?,
        })
    })
}

/// What the validators found in iterations with a number of at least `from`, in order.
///
/// # Errors
/// The database's.
pub fn validations_of(
    sql: &mut dyn Sql,
    execution: ExecutionId,
    from: u32,
    limit: u32,
) -> Result<Vec<ValidationRow>, Error> {
    let text = "SELECT iteration, place, validator, pass, score_milli, reasons, at FROM validations \
        WHERE execution = $1 AND iteration >= $2 ORDER BY iteration, place LIMIT $3";
    let cells = [Cell::Text(&execution.to_string()), Cell::Int(from.into()), Cell::Int(limit.into())];
    sql.all(text, &cells, |row: &Columns<'_>| {
        Ok(ValidationRow {
            execution,
            iteration: row.count(0)?,
            index: row.count(1)?,
            validator: row.text(2)?.to_string(),
            pass: row.truth(3)?,
            score_milli: row.count(4)?,
            reasons: row.hash(5)?,
            at: row.time(6)?,
        })
    })
}
