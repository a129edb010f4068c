//! Iterations of an execution, and what its validators found.
use super::Table;
use crate::Error;
use crate::sql::stored::table;
use crate::sql::{Cell, Sql};
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

/// The iterations of an execution with a number of at least `from`, in order.
///
/// # Errors
/// The database's.
pub fn of(sql: &mut dyn Sql, execution: ExecutionId, from: u32, limit: u32) -> Result<Vec<IterationRow>, Error> {
    let text = IterationRow::select("WHERE execution = $1 AND number >= $2 ORDER BY number LIMIT $3");
    let cells = [Cell::Text(&execution.to_string()), Cell::Int(from.into()), Cell::Int(limit.into())];
    sql.all(&text, &cells, IterationRow::read)
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
