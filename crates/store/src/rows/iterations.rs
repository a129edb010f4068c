//! Iterations of an execution, and what its validators found.
use super::Table;
use crate::Error;
use crate::payload::{self, Blobs};
use crate::sql::stored::table;
use crate::sql::{Cell, Columns, Sql, Walk};
use tenure_core::bound::salted;
use tenure_core::execution::{IterationRow, ValidationRow};
use tenure_core::id::ExecutionId;

table!(IterationRow in "iterations", key "execution, number", keeps ["started_at"], {
    execution: "execution",
    number: "number",
    status: "status",
    cause: "cause",
    turns: "turns",
    clock: "clock",
    output: "output",
    told: "told",
    started_at: "started_at",
    ended_at: "ended_at",
});

table!(ValidationRow in "validations", key "execution, iteration, place", keeps [], {
    execution: "execution",
    iteration: "iteration",
    index: "place",
    validator: "validator",
    pass: "pass",
    score_milli: "score_milli",
    reasons: "reasons",
    at: "at",
});

/// An iteration with what its turns and calls add up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IterationSummary {
    pub row: IterationRow,
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

/// The iterations of an execution with a number of at least `from`, in order.
///
/// # Errors
/// The database's.
pub fn of(sql: &mut dyn Sql, execution: ExecutionId, from: u32, limit: u32) -> Result<Vec<IterationRow>, Error> {
    let text = IterationRow::select("WHERE execution = $1 AND number >= $2 ORDER BY number LIMIT $3");
    let cells = [Cell::Text(&execution.to_string()), Cell::Int(from.into()), Cell::Int(limit.into())];
    sql.all(&text, &cells, IterationRow::read)
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
    let columns = IterationRow::COLUMNS.iter().map(|column| format!("i.{column}")).collect::<Vec<_>>().join(", ");
    let text = format!(
        "SELECT {columns}, COALESCE(t.turns, 0), COALESCE(c.calls, 0), COALESCE(t.input, 0), COALESCE(t.output, 0), \
        COALESCE(t.cached, 0), COALESCE(t.micro_usd, 0) FROM iterations i \
        LEFT JOIN (SELECT iteration, COUNT(*) AS turns, SUM(input_tokens) AS input, SUM(output_tokens) AS output, \
            SUM(cached_tokens) AS cached, SUM(micro_usd) AS micro_usd FROM turns \
            WHERE execution = $1 AND iteration BETWEEN $2 AND $3 GROUP BY iteration) t ON t.iteration = i.number \
        LEFT JOIN (SELECT iteration, COUNT(*) AS calls FROM calls \
            WHERE holder = $1 AND iteration BETWEEN $2 AND $3 AND validator = 0 GROUP BY iteration) c \
            ON c.iteration = i.number \
        WHERE i.execution = $1 AND i.number BETWEEN $2 AND $3 ORDER BY i.number"
    );
    let cells = [Cell::Text(&execution.to_string()), Cell::Int(first.into()), Cell::Int(last.into())];
    let sums = IterationRow::COLUMNS.len();
    sql.all(&text, &cells, |columns: &Columns<'_>| {
        Ok(IterationSummary {
            row: IterationRow::read(columns)?,
            turns: columns.count(sums)?,
            calls: columns.count(sums + 1)?,
            input_tokens: columns.count(sums + 2)?,
            output_tokens: columns.count(sums + 3)?,
            cached_tokens: columns.count(sums + 4)?,
            micro_usd: columns.count(sums + 5)?,
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
    let columns = ValidationRow::COLUMNS.iter().map(|column| format!("v.{column}")).collect::<Vec<_>>().join(", ");
    let text = format!(
        "SELECT {columns}, p.salt, p.bytes FROM validations v LEFT JOIN payloads p ON p.hash = v.reasons \
        WHERE v.execution = $1 AND v.iteration BETWEEN $2 AND $3 ORDER BY v.iteration, v.place"
    );
    let (salt, bytes) = (ValidationRow::COLUMNS.len(), ValidationRow::COLUMNS.len() + 1);
    let cells = [Cell::Text(&execution.to_string()), Cell::Int(first.into()), Cell::Int(last.into())];
    let (mut found, mut large, mut left) = (Vec::new(), Vec::new(), bytes_max);
    sql.each(&text, &cells, &mut |columns| {
        let row = ValidationRow::read(columns)?;
        let reasons = match (columns.bytes_or_null(salt)?, columns.bytes_or_null(bytes)?) {
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
    let text = ValidationRow::select("WHERE execution = $1 AND iteration >= $2 ORDER BY iteration, place LIMIT $3");
    let cells = [Cell::Text(&execution.to_string()), Cell::Int(from.into()), Cell::Int(limit.into())];
    sql.all(&text, &cells, ValidationRow::read)
}
