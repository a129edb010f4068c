//! Owed Place: queued and unbound executions are given to connected workers with free slots, an agent's home first: it is
//! the only one where its work folder lies. What lost its worker comes first; then each agent with a queue has its turn,
//! one execution a round, and no more at a time than its plan lets run, so that no long queue delays another's. What finds
//! no place waits, and comes again when a slot or a worker is free.
use crate::app::App;
use crate::fleet::Connection;
use crate::records::{Error, ReadTxn};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::execution::{self, ExecutionRow, Status};
use tenure_core::id::{AgentId, ExecutionId, WorkerId};
use tenure_core::owed::Obligation;
use tenure_store::rows::{agents, executions, workers};

/// Agents that one look goes through, of those that wait.
const AGENTS_MAX: usize = 16_384;
const AGENTS_PAGE: u32 = 256;

pub async fn place(app: Arc<App>, page: Vec<(Stream, Obligation)>) -> Result<(), Error> {
    let connections = app.fleet.connections();
    if connections.is_empty() {
        return Ok(());
    }
    let ids: Vec<ExecutionId> = page.iter().filter_map(|(stream, _)| execution_of(*stream)).collect();
    let last = app.fleet.placed_last();
    let chosen = app.records.read(move |txn| {
        let mut slots = Slots::free(txn, connections)?;
        let mut bindings = unbound(txn, &mut slots, ids)?;
        bindings.extend(in_turn(txn, &mut slots, last)?);
        Ok(bindings)
    });
    for Binding { id, queue, connection } in chosen.await? {
        let bind = execution::Command::Bind { worker: connection.worker, connection: connection.id };
        app.report(Actor::Daemon, Command::Execution(id, bind)).await;
        if let Some(agent) = queue {
            app.fleet.place(agent);
        }
    }
    Ok(())
}

/// Where an execution goes.
struct Binding {
    id: ExecutionId,
    /// The agent from whose queue it is taken.
    queue: Option<AgentId>,
    connection: Connection,
}

fn execution_of(stream: Stream) -> Option<ExecutionId> {
    if let Stream::Execution(id) = stream { Some(id) } else { None }
}

/// Those that have lost their worker in the midst of an iteration: they wait for one, not for others of their agent.
fn unbound(txn: &mut ReadTxn<'_>, slots: &mut Slots, ids: Vec<ExecutionId>) -> Result<Vec<Binding>, Error> {
    let mut bindings = Vec::new();
    for id in ids {
        if slots.are_taken() {
            break;
        }
        let lost = |row: &ExecutionRow| row.status != Status::Queued && row.connection.is_none();
        let Some(row) = executions::get(txn.parts().0, id)?.filter(lost) else { continue };
        let home = agents::get(txn.parts().0, row.agent)?.and_then(|agent| agent.standing.home);
        bindings.extend(slots.take(row.agent, home).map(|connection| Binding { id, queue: None, connection }));
    }
    Ok(bindings)
}

/// A round of the agents with queues, from the one after `last` around to it; then rounds of those that have more.
fn in_turn(txn: &mut ReadTxn<'_>, slots: &mut Slots, last: Option<AgentId>) -> Result<Vec<Binding>, Error> {
    let (mut bindings, mut more, mut looked) = (Vec::new(), VecDeque::new(), 0);
    let whole = [(last, None), (None, last)];
    for (mut after, until) in whole.into_iter().take(1 + usize::from(last.is_some())) {
        while !slots.are_taken() && looked < AGENTS_MAX {
            let mut page = executions::agents_queued(txn.parts().0, after, AGENTS_PAGE)?;
            page.retain(|agent| until.is_none_or(|until| *agent <= until));
            for agent in &page {
                if slots.are_taken() {
                    break;
                }
                let mut queue = Queue::of(txn, *agent, slots.count())?;
                bindings.extend(queue.next(slots));
                more.push_back(queue);
            }
            looked += page.len();
            if page.len() < AGENTS_PAGE as usize {
                break;
            }
            after = page.last().copied();
        }
    }
    while let Some(mut queue) = more.pop_front() {
        if let Some(binding) = queue.next(slots) {
            bindings.push(binding);
            more.push_back(queue);
        }
    }
    Ok(bindings)
}

/// What of an agent's queue may begin now.
struct Queue {
    agent: AgentId,
    home: Option<WorkerId>,
    ids: VecDeque<ExecutionId>,
}

impl Queue {
    /// Of its first `most`. What has not begun waits while its agent is paused: its bind would be refused.
    fn of(txn: &mut ReadTxn<'_>, agent: AgentId, most: u64) -> Result<Queue, Error> {
        let row = agents::get(txn.parts().0, agent)?;
        let home = row.as_ref().and_then(|row| row.standing.home);
        let mut queue = Queue { agent, home, ids: VecDeque::new() };
        let paused = row.is_some_and(|row| row.standing.state == "paused");
        let mut running = executions::running_of(txn.parts().0, agent)?;
        for row in executions::queued_of(txn.parts().0, agent, u32::try_from(most).unwrap_or(u32::MAX))? {
            if row.iterations == 0 {
                // Each of another revision may have another limit.
                if paused || running >= u64::from(txn.plan(agent, row.revision)?.concurrency) {
                    continue;
                }
                running += 1;
            }
            queue.ids.push_back(row.id);
        }
        Ok(queue)
    }

    /// The oldest, where a slot is free for it.
    fn next(&mut self, slots: &mut Slots) -> Option<Binding> {
        let id = *self.ids.front()?;
        let connection = slots.take(self.agent, self.home)?;
        self.ids.pop_front();
        Some(Binding { id, queue: Some(self.agent), connection })
    }
}

/// The free slots of each connected worker.
struct Slots {
    free: BTreeMap<WorkerId, (u64, Connection)>,
    /// The first binding of an agent makes its home, which the next must follow.
    homes: BTreeMap<AgentId, WorkerId>,
}

impl Slots {
    fn free(txn: &mut ReadTxn<'_>, connections: Vec<Connection>) -> Result<Slots, Error> {
        let mut slots = Slots { free: BTreeMap::new(), homes: BTreeMap::new() };
        for connection in connections {
            let bound = workers::bound_to(txn.parts().0, connection.id)?;
            let free = u64::from(connection.slots).saturating_sub(bound);
            slots.free.insert(connection.worker, (free, connection));
        }
        Ok(slots)
    }

    fn count(&self) -> u64 {
        self.free.values().map(|(slots, _)| slots).sum()
    }

    fn are_taken(&self) -> bool {
        self.count() == 0
    }

    /// The home where there is one, else the worker with the most free slots.
    fn take(&mut self, agent: AgentId, home: Option<WorkerId>) -> Option<Connection> {
        let (slots, connection) = match home.or_else(|| self.homes.get(&agent).copied()) {
            Some(home) => self.free.get_mut(&home)?,
            None => self.free.values_mut().max_by_key(|(slots, connection)| (*slots, connection.worker))?,
        };
        *slots = slots.checked_sub(1)?;
        self.homes.insert(agent, connection.worker);
        Some(connection.clone())
    }
}
