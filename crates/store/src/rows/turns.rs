//! Model turns, and the notes that the model is told before a turn.
use crate::Error;
use crate::sql::{Cell, Columns, Sql};
use tenure_core::id::ExecutionId;
use tenure_core::row::{Note, TurnRow};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteEntry {
    pub turn: u32,
    /// A word of `core::row::Note`.
    pub note: String,
}

pub(crate) fn write(sql: &mut dyn Sql, row: &TurnRow) -> Result<(), Error> {
    let text = "INSERT INTO turns (execution, iteration, turn, delta, output, model, input_tokens, output_tokens, \
        cached_tokens, micro_usd, took_ms, cassette, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    let cells = [
        Cell::Text(&row.execution.to_string()),
        Cell::Int(row.iteration.into()),
        Cell::Int(row.turn.into()),
        Cell::Bytes(&row.delta.0),
        row.output.as_ref().map(|hash| hash.0.as_slice()).into(),
        Cell::Text(&row.model),
        Cell::count(row.input_tokens),
        Cell::count(row.output_tokens),
        Cell::count(row.cached_tokens),
        row.micro_usd.map_or(Cell::Null, Cell::count),
        Cell::count(row.took_ms),
        Cell::truth(row.cassette),
        Cell::Int(row.at.millis()),
    ];
    sql.execute(text, &cells).map(|_| ())
}

pub(crate) fn write_note(
    sql: &mut dyn Sql,
    execution: ExecutionId,
    iteration: u32,
    turn: u32,
    note: Note,
) -> Result<(), Error> {
    let text = "INSERT INTO notes (execution, iteration, turn, note) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (execution, iteration, turn, note) DO NOTHING";
    let execution = execution.to_string();
    let cells = [Cell::Text(&execution), Cell::Int(iteration.into()), Cell::Int(turn.into()), Cell::Text(note.word())];
    sql.execute(text, &cells).map(|_| ())
}

/// The answered turns of an iteration, in order.
///
/// # Errors
/// The database's.
pub fn of(sql: &mut dyn Sql, execution: ExecutionId, iteration: u32, limit: u32) -> Result<Vec<TurnRow>, Error> {
    page(sql, execution, iteration, 0, limit)
}

/// The answered turns of an iteration with a number of at least `from`, in order.
///
/// # Errors
/// The database's.
pub fn page(
    sql: &mut dyn Sql,
    execution: ExecutionId,
    iteration: u32,
    from: u32,
    limit: u32,
) -> Result<Vec<TurnRow>, Error> {
    let text = "SELECT turn, delta, output, model, input_tokens, output_tokens, cached_tokens, micro_usd, took_ms, \
        cassette, at FROM turns WHERE execution = $1 AND iteration = $2 AND turn >= $3 ORDER BY turn LIMIT $4";
    let execution_text = execution.to_string();
    let cells =
        [Cell::Text(&execution_text), Cell::Int(iteration.into()), Cell::Int(from.into()), Cell::Int(limit.into())];
    sql.all(text, &cells, |row: &Columns<'_>| {
        Ok(TurnRow {
            execution,
            iteration,
            turn: row.count(0)?,
            delta: row.hash(1)?,
            output: row.hash_or_null(2)?,
            model: row.text(3)?.to_string(),
            input_tokens: row.count(4)?,
            output_tokens: row.count(5)?,
            cached_tokens: row.count(6)?,
            micro_usd: row.int_or_null(7)?.map(|_| row.count(7)).transpose()?,
            took_ms: row.count(8)?,
            cassette: row.truth(9)?,
            at: row.time(10)?,
        })
    })
}

/// The notes of an iteration, in the order of the turns that they come before.
///
/// # Errors
/// The database's.
pub fn notes_of(
    sql: &mut dyn Sql,
    execution: ExecutionId,
    iteration: u32,
    limit: u32,
) -> Result<Vec<NoteEntry>, Error> {
    let text = "SELECT turn, note FROM notes WHERE execution = $1 AND iteration = $2 ORDER BY turn, note LIMIT $3";
    let cells = [Cell::Text(&execution.to_string()), Cell::Int(iteration.into()), Cell::Int(limit.into())];
    sql.all(text, &cells, |row: &Columns<'_>| Ok(NoteEntry { turn: row.count(0)?, note: row.text(1)?.to_string() }))
}
