//! Conversations: executions that go on from each other, each a turn.
use super::{Page, Table};
use crate::Error;
use crate::sql::stored::table;
use crate::sql::{Cell, Sql};
use tenure_core::execution::ConversationRow;
use tenure_core::id::{AgentId, ExecutionId};

table!(ConversationRow in "conversation_turns", key "conversation, turn", keeps [], {
    conversation: "conversation",
    turn: "turn",
    execution: "execution",
    agent: "agent",
    agent_name: "agent_name",
    at: "at",
});

/// The place of an execution in its conversation, if it has one.
///
/// # Errors
/// The database's.
pub fn of_execution(sql: &mut dyn Sql, id: ExecutionId) -> Result<Option<ConversationRow>, Error> {
    let text = ConversationRow::select("WHERE execution = $1");
    sql.first(&text, &[Cell::Text(&id.to_string())], ConversationRow::read)
}

/// The last turns of a conversation before one, newest first.
///
/// # Errors
/// The database's.
pub fn turns_before(
    sql: &mut dyn Sql,
    conversation: ExecutionId,
    turn: u32,
    limit: u32,
) -> Result<Vec<ConversationRow>, Error> {
    let text =
        ConversationRow::select("WHERE conversation = $1 AND turn < $2 ORDER BY conversation, turn DESC LIMIT $3");
    let cells = [Cell::Text(&conversation.to_string()), Cell::Int(turn.into()), Cell::Int(limit.into())];
    sql.all(&text, &cells, ConversationRow::read)
}

/// The last turn of each conversation of an agent; the conversation that was begun last comes first.
///
/// # Errors
/// The database's.
pub fn list(
    sql: &mut dyn Sql,
    agent: AgentId,
    after: Option<ExecutionId>,
    limit: u32,
) -> Result<Page<ConversationRow, ExecutionId>, Error> {
    // Above every id there is.
    let before = after.map_or_else(|| "f".to_string(), |id| id.to_string());
    let text = ConversationRow::select(
        "WHERE turn = 1 AND agent = $1 AND conversation < $2 ORDER BY agent, conversation DESC LIMIT $3",
    );
    let cells = [Cell::Text(&agent.to_string()), Cell::Text(&before), Cell::Int(i64::from(limit) + 1)];
    let firsts = sql.all(&text, &cells, ConversationRow::read)?;
    let page = Page::of(firsts, limit, |row| row.conversation);
    let last = |row: ConversationRow| {
        let last = turns_before(sql, row.conversation, u32::MAX, 1)?.pop();
        Ok(last.unwrap_or(row))
    };
    let rows = page.rows.into_iter().map(last).collect::<Result<_, Error>>()?;
    Ok(Page { rows, next: page.next })
}
