//! The binding of what holds calls (an iteration, a session) to one connection of one worker, and where it may go: a free slot
//! of a connected worker, the agent's home, as many of one agent at a time as its plan lets run. Must never know what for.
use crate::agent::{self, Agent};
use crate::call::Fence;
use crate::draft::Draft;
use crate::facts::{Counter, Unread};
use crate::fleet::Worker;
use crate::id::{AgentId, ConnectionId, WorkerId};
use crate::row::Row;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    pub worker: WorkerId,
    pub connection: ConnectionId,
    pub fence: Fence,
}

/// Why a worker cannot take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unplaced {
    NotConnected,
    SlotsFull,
    /// As much of its agent runs as its plan lets run at a time.
    AgentBusy,
    /// Its agent's work folder lies with another worker.
    NotHome,
    PlanLost,
}

/// What is to be bound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub agent: AgentId,
    pub revision: u32,
    /// It counts among what runs of its agent already.
    pub begun: bool,
    /// Its agent's program runs by an instance already, so that it takes up no slot of its own.
    pub hosted: bool,
    pub worker: WorkerId,
    pub connection: ConnectionId,
}

/// Makes the worker the agent's home, where it had none.
///
/// # Errors
/// `Unread`; inside, why it cannot go there.
pub(crate) fn bind(draft: &mut Draft<'_>, wanted: Wanted) -> Result<Result<Binding, Unplaced>, Unread> {
    let Wanted { agent, revision, begun, hosted, worker, connection } = wanted;
    let known = draft.get::<Worker>(worker)?;
    let open =
        known.and_then(|known| Some((known.connection.clone().filter(|open| open.id == connection)?, known.fence)));
    let Some((open, fence)) = open else { return Ok(Err(Unplaced::NotConnected)) };
    if !hosted && draft.count(Counter::Bound, &connection.to_string())? >= i64::from(open.slots) {
        return Ok(Err(Unplaced::SlotsFull));
    }
    if !begun {
        let Some(plan) = draft.plan(agent, revision)? else { return Ok(Err(Unplaced::PlanLost)) };
        if draft.count(Counter::Running, &agent.to_string())? >= i64::from(plan.concurrency) {
            return Ok(Err(Unplaced::AgentBusy));
        }
    }
    match draft.get::<Agent>(agent)?.and_then(|agent| agent.home) {
        Some(home) if home != worker => return Ok(Err(Unplaced::NotHome)),
        Some(_) => {}
        None => draft.emit::<Agent>(agent, agent::Event::Homed { worker })?,
    }
    Ok(Ok(Binding { worker, connection, fence }))
}

/// What a holder takes up: a slot of a connection, and its place among what runs of its agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Use {
    pub connection: Option<ConnectionId>,
    pub runs: bool,
}

/// The sums that follow from a change of it.
pub(crate) fn counted(agent: AgentId, before: Use, after: Use) -> Vec<Row> {
    let mut rows = Vec::new();
    if before.connection != after.connection {
        let slot = |connection: ConnectionId, by| Row::Counted {
            counter: Counter::Bound,
            key: connection.to_string(),
            bucket: 0,
            by,
        };
        rows.extend(before.connection.map(|connection| slot(connection, -1)));
        rows.extend(after.connection.map(|connection| slot(connection, 1)));
    }
    if before.runs != after.runs {
        let (counter, key) = (Counter::Running, agent.to_string());
        rows.push(Row::Counted { counter, key, bucket: 0, by: i64::from(after.runs) - i64::from(before.runs) });
    }
    rows
}
