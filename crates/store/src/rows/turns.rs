//! Model turns, and the notes that the model is told before a turn.
use super::Table;
use crate::Error;
use crate::sql::stored::table;
use crate::sql::{Cell, Columns, Sql};
use tenure_core::execution::TurnRow;
use tenure_core::id::ExecutionId;
use tenure_core::row::Note;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteEntry {
    pub turn: u32,
    /// A word of `core::row::Note`.
    pub note: String,
}

table!(TurnRow in "turns", key "execution, iteration, turn", keeps [], {
    execution: "execution",
    iteration: "iteration",
    turn: "turn",
    delta: "delta",
    output: "output",
    model: "model",
    input_tokens: "input_tokens",
    output_tokens: "output_tokens",
    cached_tokens: "cached_tokens",
    micro_usd: "micro_usd",
    took_ms: "took_ms",
    cassette: "cassette",
    at: "at",
});

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
    let cells =
        [Cell::Text(&execution), Cell::Int(iteration.into()), Cell::Int(turn.into()), Cell::Text(note.as_str())];
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
    let text = TurnRow::select("WHERE execution = $1 AND iteration = $2 AND turn >= $3 ORDER BY turn LIMIT $4");
    let execution = execution.to_string();
    let cells = [Cell::Text(&execution), Cell::Int(iteration.into()), Cell::Int(from.into()), Cell::Int(limit.into())];
    sql.all(&text, &cells, TurnRow::read)
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
