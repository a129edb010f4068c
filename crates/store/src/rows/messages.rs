//! Messages of agents: one row a recipient.
use super::{Match, Page, Table, as_short};
use crate::Error;
use crate::payload::{self, Blobs};
use crate::sql::stored::{Stored, Value, table};
use crate::sql::{Cell, Columns, Sql};
use tenure_core::actor::Actor;
use tenure_core::comms::{MessageChange, MessageRow, Priority, Spoken, State};
use tenure_core::facts::{Counter, Namespace};
use tenure_core::id::{AgentId, MessageId};
use tenure_core::time::Time;

table!(MessageRow in "messages", key "recipient, id", keeps [], {
    recipient: "recipient",
    id: "id",
    seq: "seq",
    priority: "priority",
    sender: "sender",
    sender_name: "sender_name",
    channel: "channel",
    body: "body",
    size: "size",
    correlation: "correlation",
    reply_to: "reply_to",
    deadline: "deadline",
    hop: "hop",
    state: "state",
    cause: "cause",
    holder: "holder",
    answer: "answer",
    expired: "expired",
    sent_at: "sent_at",
    changed_at: "changed_at",
});

/// As a number, so that the order of the index is the order in which they are taken.
impl Stored for Priority {
    fn value(&self) -> Value {
        Value::Int(match self {
            Priority::High => 0,
            Priority::Normal => 1,
            Priority::Low => 2,
        })
    }

    fn read(columns: &Columns<'_>, place: usize) -> Result<Priority, Error> {
        match columns.int(place)? {
            0 => Ok(Priority::High),
            1 => Ok(Priority::Normal),
            2 => Ok(Priority::Low),
            other => Err(Error::corrupt(format!("{other} is no priority of a message"))),
        }
    }
}

pub(super) fn change(
    sql: &mut dyn Sql,
    recipient: AgentId,
    id: MessageId,
    change: &MessageChange,
    at: Time,
) -> Result<(), Error> {
    let (sets, value) = match change {
        MessageChange::Received { holder } => ("state = 'received', holder = $1", holder.value()),
        MessageChange::Dead { cause } => ("state = 'dead', cause = $1", cause.value()),
        MessageChange::Unanswered => ("expired = $1", true.value()),
        MessageChange::Answered { by } => ("answer = COALESCE(answer, $1)", by.value()),
        MessageChange::Resent { seq } => ("state = 'waiting', cause = NULL, deadline = NULL, seq = $1", seq.value()),
        MessageChange::Dropped => ("state = $1", State::Dropped.value()),
    };
    let text = format!("UPDATE messages SET {sets}, changed_at = $2 WHERE recipient = $3 AND id = $4");
    let cells = [value.cell(), Cell::Int(at.millis()), Cell::Text(&recipient.to_string()), Cell::Text(&id.to_string())];
    sql.execute(&text, &cells).map(|_| ())
}

/// What waits for an agent, in the order in which it takes them.
///
/// # Errors
/// The database's.
pub fn waiting(sql: &mut dyn Sql, agent: AgentId, limit: u32) -> Result<Vec<MessageRow>, Error> {
    let text = MessageRow::select("WHERE recipient = $1 AND state = 'waiting' ORDER BY priority, seq LIMIT $2");
    sql.all(&text, &[Cell::Text(&agent.to_string()), Cell::Int(limit.into())], MessageRow::read)
}

/// Those whose answer has a deadline and has not come, the earliest deadline first.
///
/// # Errors
/// The database's.
pub fn unanswered(sql: &mut dyn Sql, agent: AgentId, limit: u32) -> Result<Vec<MessageRow>, Error> {
    let text = MessageRow::select(
        "WHERE recipient = $1 AND deadline IS NOT NULL AND answer IS NULL AND expired = 0 \
        AND state IN ('waiting', 'received') ORDER BY deadline, id LIMIT $2",
    );
    sql.all(&text, &[Cell::Text(&agent.to_string()), Cell::Int(limit.into())], MessageRow::read)
}

/// One message as its recipient has it.
///
/// # Errors
/// The database's.
pub fn get(sql: &mut dyn Sql, recipient: Actor, id: MessageId) -> Result<Option<MessageRow>, Error> {
    let text = MessageRow::select("WHERE recipient = $1 AND id = $2");
    sql.first(&text, &[Cell::Text(&recipient.to_string()), Cell::Text(&id.to_string())], MessageRow::read)
}

/// The message of this id or short id; several where several have it.
///
/// # Errors
/// The database's.
pub fn find(sql: &mut dyn Sql, wanted: &str) -> Result<Match<MessageRow>, Error> {
    let text = MessageRow::select("WHERE id = $1 ORDER BY recipient LIMIT 8");
    let mut found = sql.all(&text, &[Cell::Text(wanted)], MessageRow::read)?;
    if let (true, Some(letters)) = (found.is_empty(), as_short(wanted, MessageId::PREFIX)) {
        let text = MessageRow::select("WHERE substr(id, 23) = $1 ORDER BY id, recipient LIMIT 8");
        found = sql.all(&text, &[Cell::Text(letters)], MessageRow::read)?;
    }
    Ok(Match::of(found))
}

/// The first answer to a message, whoever has it.
///
/// # Errors
/// The database's.
pub fn answer_to(sql: &mut dyn Sql, id: MessageId) -> Result<Option<MessageRow>, Error> {
    let text = MessageRow::select("WHERE reply_to = $1 ORDER BY id LIMIT 1");
    sql.first(&text, &[Cell::Text(&id.to_string())], MessageRow::read)
}

/// An agent's messages in any state, the newest first, from before that place.
///
/// # Errors
/// The database's.
pub fn of_agent(
    sql: &mut dyn Sql,
    agent: AgentId,
    state: Option<State>,
    before: Option<MessageId>,
    limit: u32,
) -> Result<Page<MessageRow, MessageId>, Error> {
    let which = if state.is_some() { "AND state = $3 ORDER BY id DESC LIMIT $4" } else { "ORDER BY id DESC LIMIT $3" };
    let text = MessageRow::select(&format!("WHERE recipient = $1 AND id < $2 {which}"));
    // Every id is below this.
    let before = before.map_or_else(|| "msg_~".to_string(), |id| id.to_string());
    let recipient = agent.to_string();
    let mut cells = vec![Cell::Text(&recipient), Cell::Text(&before)];
    cells.extend(state.map(|state| Cell::Text(state.as_str())));
    cells.push(Cell::Int(i64::from(limit) + 1));
    Ok(Page::of(sql.all(&text, &cells, MessageRow::read)?, limit, |row| row.id))
}

/// Dead letters, the oldest first, from after that place.
///
/// # Errors
/// The database's.
pub fn dead(
    sql: &mut dyn Sql,
    after: Option<(MessageId, Actor)>,
    limit: u32,
) -> Result<Page<MessageRow, (MessageId, Actor)>, Error> {
    let text =
        MessageRow::select("WHERE state = 'dead' AND (id, recipient) > ($1, $2) ORDER BY id, recipient LIMIT $3");
    let (id, recipient) = after.map(|(id, recipient)| (id.to_string(), recipient.to_string())).unwrap_or_default();
    let cells = [Cell::Text(&id), Cell::Text(&recipient), Cell::Int(i64::from(limit) + 1)];
    Ok(Page::of(sql.all(&text, &cells, MessageRow::read)?, limit, |row| (row.id, row.recipient)))
}

/// The messages with what they say, where that is not erased.
///
/// # Errors
/// The database's; `Corrupt` where it is not what was bound.
pub fn spoken(sql: &mut dyn Sql, blobs: &Blobs, rows: Vec<MessageRow>) -> Result<Vec<Spoken>, Error> {
    let read = |row: MessageRow| Ok(Spoken { body: payload::payload(sql, blobs, &row.body)?, row });
    rows.into_iter().map(read).collect()
}

/// Channels with the number of agents that take from each, by name, from after that one.
///
/// # Errors
/// The database's.
pub fn channels(sql: &mut dyn Sql, after: &str, limit: u32) -> Result<Page<(String, u64), String>, Error> {
    let text = "SELECT key, value FROM counters WHERE counter = $1 AND bucket = 0 AND key > $2 ORDER BY key LIMIT $3";
    let cells = [Cell::Text(Counter::Subscribers.as_str()), Cell::Text(after), Cell::Int(i64::from(limit) + 1)];
    let found = sql.all(text, &cells, |row| Ok((row.text(0)?.to_string(), row.count(1)?)))?;
    Ok(Page::of(found, limit, |(name, _)| name.clone()))
}

/// The agents that take from a channel, in the order of their ids, from after that one.
///
/// # Errors
/// The database's.
pub fn subscribers(
    sql: &mut dyn Sql,
    channel: &str,
    after: Option<AgentId>,
    limit: u32,
) -> Result<Vec<AgentId>, Error> {
    let text = "SELECT holder FROM holders WHERE namespace = $1 AND key > $2 AND key < $3 ORDER BY key LIMIT $4";
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    // Ids are of letters and digits, and `~` stands behind them.
    let (from, to) = (format!("{channel}/{after}"), format!("{channel}/~"));
    let cells =
        [Cell::Text(Namespace::Subscriber.as_str()), Cell::Text(&from), Cell::Text(&to), Cell::Int(limit.into())];
    sql.all(text, &cells, |row| row.parse(0))
}

/// The agents with a label, in the order of their ids, from after that one.
///
/// # Errors
/// The database's.
pub fn labelled(
    sql: &mut dyn Sql,
    (key, value): (&str, &str),
    after: Option<AgentId>,
    limit: u32,
) -> Result<Vec<AgentId>, Error> {
    let text = "SELECT agent FROM agent_labels WHERE key = $1 AND value = $2 AND agent > $3 ORDER BY agent LIMIT $4";
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    let cells = [Cell::Text(key), Cell::Text(value), Cell::Text(&after), Cell::Int(limit.into())];
    sql.all(text, &cells, |row| row.parse(0))
}

/// How many dead letters there are.
///
/// # Errors
/// The database's.
pub fn count_dead(sql: &mut dyn Sql) -> Result<u64, Error> {
    let count = sql.first("SELECT count(*) FROM messages WHERE state = 'dead'", &[], |row| row.count(0))?;
    Ok(count.unwrap_or(0))
}
