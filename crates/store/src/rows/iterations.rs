//! Iterations of an execution, and what its validators found.
use crate::Error;
use crate::payload::{self, Blobs};
use crate::sql::{Cell, Columns, Sql, Walk};
use tenure_core::bound::{Hash, salted};
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

/// An iteration with what its turns and calls add up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IterationSummary {
    pub entry: IterationEntry,
    /// Answered turns; while it runs, its own row is behind.
    pub turns: u32,
    /// Calls that the model asked for.
    pub calls: u32,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cached_tokens: u64,
    pub micro_usd: u64,
}

/// What one validator found, with its reasons as text; none where they were erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationEntry {
    pub row: ValidationRow,
    pub reasons: Option<String>,
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
    sql.all(text, &cells, read)
}

fn read(row: &Columns<'_>) -> Result<IterationEntry, Error> {
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
}

/// The iterations from `first` to `last`, in order, each with its sums: one statement, however many there are.
///
/// # Errors
/// The database's.
pub fn summaries(
    sql: &mut dyn Sql,
    execution: ExecutionId,
    first: u32,
    last: u32,
) -> Result<Vec<IterationSummary>, Error> {
    let text = "SELECT i.number, i.status, i.cause, i.turns, i.used_ms, i.output, i.started_at, i.at, \
        COALESCE(t.turns, 0), COALESCE(c.calls, 0), COALESCE(t.input, 0), COALESCE(t.output, 0), \
        COALESCE(t.cached, 0), COALESCE(t.micro_usd, 0) FROM iterations i \
        LEFT JOIN (SELECT iteration, COUNT(*) AS turns, SUM(input_tokens) AS input, SUM(output_tokens) AS output, \
            SUM(cached_tokens) AS cached, SUM(micro_usd) AS micro_usd FROM turns \
            WHERE execution = $1 AND iteration BETWEEN $2 AND $3 GROUP BY iteration) t ON t.iteration = i.number \
        LEFT JOIN (SELECT iteration, COUNT(*) AS calls FROM calls \
            WHERE execution = $1 AND iteration BETWEEN $2 AND $3 AND validator = 0 GROUP BY iteration) c \
            ON c.iteration = i.number \
        WHERE i.execution = $1 AND i.number BETWEEN $2 AND $3 ORDER BY i.number";
    let cells = [Cell::Text(&execution.to_string()), Cell::Int(first.into()), Cell::Int(last.into())];
    sql.all(text, &cells, |row: &Columns<'_>| {
        Ok(IterationSummary {
            entry: read(row)?,
            turns: row.count(8)?,
            calls: row.count(9)?,
            input_tokens: row.count(10)?,
            output_tokens: row.count(11)?,
            cached_tokens: row.count(12)?,
            micro_usd: row.count(13)?,
        })
    })
}

/// What the validators found in the iterations from `first` to `last`, in order, with their reasons: one statement.
/// Reasons beyond `bytes_max` in all are given as `…`.
///
/// # Errors
/// The database's; `Corrupt` where reasons are not what was bound.
pub fn validations_with_reasons(
    sql: &mut dyn Sql,
    blobs: &Blobs,
    execution: ExecutionId,
    (first, last): (u32, u32),
    bytes_max: usize,
) -> Result<Vec<ValidationEntry>, Error> {
    let text = "SELECT v.iteration, v.place, v.validator, v.pass, v.score_milli, v.reasons, v.at, p.salt, p.bytes \
        FROM validations v LEFT JOIN payloads p ON p.hash = v.reasons \
        WHERE v.execution = $1 AND v.iteration BETWEEN $2 AND $3 ORDER BY v.iteration, v.place";
    let cells = [Cell::Text(&execution.to_string()), Cell::Int(first.into()), Cell::Int(last.into())];
    let (mut found, mut large, mut left) = (Vec::new(), Vec::new(), bytes_max);
    sql.each(text, &cells, &mut |columns| {
        let row = validation(execution, columns)?;
        let reasons = match (columns.bytes_or_null(7)?, columns.bytes_or_null(8)?) {
            (None, _) => None,
            (Some(_), None) => {
                large.push(found.len());
                None
            }
            (Some(_), Some(bytes)) if bytes.len() > left => Some("…".to_string()),
            (Some(salt), Some(bytes)) => {
                let salt = salt.try_into().map_err(|_| Error::corrupt("a payload's salt is not 16 bytes"))?;
                if salted(salt, bytes) != row.reasons {
                    return Err(Error::corrupt(format!("payload {} is not what was bound", row.reasons)));
                }
                left -= bytes.len();
                Some(String::from_utf8_lossy(bytes).into_owned())
            }
        };
        found.push(ValidationEntry { row, reasons });
        Ok(Walk::On)
    })?;
    for place in large {
        let bytes = payload::payload(sql, blobs, &found[place].row.reasons)?.unwrap_or_default();
        let whole = bytes.len() <= left;
        left = left.saturating_sub(bytes.len());
        found[place].reasons =
            Some(if whole { String::from_utf8_lossy(&bytes).into_owned() } else { "…".to_string() });
    }
    Ok(found)
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
    sql.all(text, &cells, |row: &Columns<'_>| validation(execution, row))
}

fn validation(execution: ExecutionId, row: &Columns<'_>) -> Result<ValidationRow, Error> {
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
}
