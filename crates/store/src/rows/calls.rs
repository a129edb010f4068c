//! Capability calls, one row each from proposal to end.
use super::Table;
use crate::Error;
use crate::sql::stored::{Stored, table};
use crate::sql::{Cell, Sql};
use tenure_core::call::{CallRow, Holder};
use tenure_core::capability::mcp::{Method, PREFIX};
use tenure_core::id::{CallId, ExecutionId, SessionId};
use tenure_core::row::CallChange;
use tenure_core::time::Time;

table!(CallRow in "calls", key "id", keeps [], {
    id: "id",
    holder: "holder",
    iteration: "iteration",
    turn: "turn",
    ordinal: "ordinal",
    validator: "validator",
    capability: "capability",
    arguments: "arguments",
    attributes: "attributes",
    shown: "shown",
    state: "state",
    rules: "rules",
    called_at: "called_at",
    ended_at: "ended_at",
    outcome: "outcome",
    exit_code: "exit_code",
    result: "result",
    detail: "detail",
    level: "level",
    sentence: "sentence",
});

pub(super) fn change(sql: &mut dyn Sql, id: CallId, change: &CallChange, at: Time) -> Result<(), Error> {
    let (id, at) = (id.to_string(), Cell::Int(at.millis()));
    match change {
        CallChange::Called { rules } => {
            let text = "UPDATE calls SET state = 'called', called_at = $1, rules = $2, sentence = NULL WHERE id = $3";
            sql.execute(text, &[at, Cell::Text(rules), Cell::Text(&id)])
        }
        CallChange::Held { rules, sentence } => {
            let text = "UPDATE calls SET state = 'waiting', rules = $1, sentence = $2 WHERE id = $3";
            sql.execute(text, &[Cell::Text(rules), Cell::Text(sentence), Cell::Text(&id)])
        }
        CallChange::Recalled { rules, sentence } => {
            let text = "UPDATE calls SET rules = $1, sentence = $2 WHERE id = $3";
            sql.execute(text, &[Cell::Text(rules), Cell::Text(sentence), Cell::Text(&id)])
        }
        CallChange::Edited { arguments, attributes, shown } => {
            let shown = serde_json::to_string(shown).map_err(|error| Error::corrupt(error.to_string()))?;
            let text = "UPDATE calls SET arguments = $1, attributes = $2, shown = $3 WHERE id = $4";
            let (arguments, attributes) = (arguments.value(), attributes.value());
            sql.execute(text, &[arguments.cell(), attributes.cell(), Cell::Text(&shown), Cell::Text(&id)])
        }
        CallChange::Again { attributes } => {
            let text = "UPDATE calls SET state = 'proposed', sentence = NULL, attributes = COALESCE($1, attributes) \
                WHERE id = $2";
            sql.execute(text, &[attributes.value().cell(), Cell::Text(&id)])
        }
        CallChange::Ended(end) => {
            let text = "UPDATE calls SET state = 'ended', ended_at = $1, outcome = $2, exit_code = $3, result = $4, \
                detail = $5, level = $6 WHERE id = $7";
            let (exit_code, result, detail, level) =
                (end.exit_code.value(), end.result.value(), end.detail.value(), end.level.value());
            let cells = [
                at,
                Cell::Text(&end.outcome),
                exit_code.cell(),
                result.cell(),
                detail.cell(),
                level.cell(),
                Cell::Text(&id),
            ];
            sql.execute(text, &cells)
        }
        CallChange::Blocked { why, sentence } => {
            let text = "UPDATE calls SET state = 'blocked', ended_at = $1, outcome = $2, sentence = $3 WHERE id = $4";
            sql.execute(text, &[at, Cell::Text(why), Cell::Text(sentence), Cell::Text(&id)])
        }
    }
    .map(|_| ())
}

/// # Errors
/// The database's.
pub fn get(sql: &mut dyn Sql, id: CallId) -> Result<Option<CallRow>, Error> {
    sql.first(&CallRow::select("WHERE id = $1"), &[Cell::Text(&id.to_string())], CallRow::read)
}

/// Calls of all holders from one on, in the order in which they were asked for.
///
/// # Errors
/// The database's.
pub fn from(sql: &mut dyn Sql, first: CallId, limit: u32) -> Result<Vec<CallRow>, Error> {
    let text = CallRow::select("WHERE id >= $1 ORDER BY id LIMIT $2");
    sql.all(&text, &[Cell::Text(&first.to_string()), Cell::Int(limit.into())], CallRow::read)
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
) -> Result<Vec<CallRow>, Error> {
    let text =
        CallRow::select("WHERE holder = $1 AND iteration = $2 ORDER BY holder, iteration, turn, ordinal LIMIT $3");
    let cells = [Cell::Text(&execution.to_string()), Cell::Int(iteration.into()), Cell::Int(limit.into())];
    sql.all(&text, &cells, CallRow::read)
}

/// The calls that the model asked for in one turn, in order; there are few.
///
/// # Errors
/// The database's.
pub fn of_turn(sql: &mut dyn Sql, execution: ExecutionId, iteration: u32, turn: u32) -> Result<Vec<CallRow>, Error> {
    let text = CallRow::select(
        "WHERE holder = $1 AND iteration = $2 AND turn = $3 AND validator = 0 \
        ORDER BY holder, iteration, turn, ordinal",
    );
    let cells = [Cell::Text(&execution.to_string()), Cell::Int(iteration.into()), Cell::Int(turn.into())];
    sql.all(&text, &cells, CallRow::read)
}

/// The calls by which a holder's MCP servers were asked what they have, the newest first; `iteration` of an execution.
///
/// # Errors
/// The database's.
pub fn of_lists(sql: &mut dyn Sql, holder: Holder, iteration: Option<u32>, limit: u32) -> Result<Vec<CallRow>, Error> {
    let text = CallRow::select(
        // A server's name has no dot: what comes after the second is what it was asked, and a tool's name may end as a list's does.
        &format!(
            "WHERE holder = $1 AND iteration = $2 AND substr(capability, 1, 4) = '{PREFIX}' \
             AND substr(capability, 5 + instr(substr(capability, 5), '.')) IN ('{}') AND state IN ('ended', 'blocked') \
             ORDER BY id DESC LIMIT $3",
            Method::LISTS.map(Method::as_str).join("', '")
        ),
    );
    let cells = [Cell::Text(&holder.to_string()), Cell::Int(iteration.unwrap_or(0).into()), Cell::Int(limit.into())];
    sql.all(&text, &cells, CallRow::read)
}

/// The newest calls of a session, the latest first.
///
/// # Errors
/// The database's.
pub fn last_of_session(sql: &mut dyn Sql, session: SessionId, limit: u32) -> Result<Vec<CallRow>, Error> {
    let text = CallRow::select("WHERE holder = $1 AND iteration = 0 AND turn = 0 ORDER BY ordinal DESC LIMIT $2");
    sql.all(&text, &[Cell::Text(&session.to_string()), Cell::Int(limit.into())], CallRow::read)
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
) -> Result<Vec<CallRow>, Error> {
    let text = CallRow::select(
        "WHERE holder = $1 AND iteration = $2 AND validator = 1 ORDER BY holder, iteration, turn, ordinal LIMIT $3",
    );
    let cells = [Cell::Text(&execution.to_string()), Cell::Int(iteration.into()), Cell::Int(limit.into())];
    sql.all(&text, &cells, CallRow::read)
}
