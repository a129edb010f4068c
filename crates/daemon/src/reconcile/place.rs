//! Owed Place: queued and unbound executions, and sessions whose calls wait, are given to connected workers with free slots, an
//! agent's home first: it is the only one where its work folder lies. What lost its worker comes first; then each agent with a queue
//! has its turn, one a round, and no more at a time than its plan lets run, so that no long queue delays another's. What finds no
//! place waits, and comes again when a slot or a worker is free; a session's jail makes room for it.
mod hosted;
mod room;
mod waits;

pub use waits::waits_for;

use crate::app::App;
use crate::fleet::Connection;
use crate::records::{Error, ReadTxn};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::call::Holder;
use tenure_core::execution::{self, ExecutionRow, Status};
use tenure_core::id::{AgentId, ConnectionId, WorkerId};
use tenure_core::instance;
use tenure_core::owed::Obligation;
use tenure_core::session;
use tenure_core::time::Time;
use tenure_store::rows::{agents, executions, sessions, workers};

/// Agents that one look goes through, of those that wait.
const AGENTS_MAX: usize = 16_384;
const AGENTS_PAGE: u32 = 256;

pub async fn place(app: Arc<App>, page: Vec<(Stream, Obligation)>) -> Result<(), Error> {
    let connections = app.fleet.connections();
    if connections.is_empty() {
        return Ok(());
    }
    let waiting: Vec<Holder> = page.iter().filter_map(|(stream, _)| Holder::of(*stream)).collect();
    let last = app.fleet.placed_last();
    let macs = app.records.reader().macs().clone();
    let chosen = app.records.read(move |txn| {
        let hosted = hosted::split(txn, &macs, &connections, waiting)?;
        let waiting = hosted.others;
        let mut slots = Slots::free(txn, connections)?;
        let mut bindings = unbound(txn, &mut slots, &waiting)?;
        bindings.extend(in_turn(txn, &mut slots, last)?);
        let placed: BTreeSet<Holder> = bindings.iter().map(|binding| binding.holder).collect();
        let left = waiting.into_iter().filter(|holder| !placed.contains(holder));
        let yields = room::wanted(txn, &slots, left)?;
        bindings.extend(hosted.bindings);
        Ok((bindings, yields, (hosted.start, hosted.renew, hosted.gone)))
    });
    let (bindings, yields, (start, renew, gone)) = chosen.await?;
    for id in gone {
        let why = "its agent is no program that is kept running any more".to_string();
        app.report(Actor::Daemon, Command::Execution(id, execution::Command::Cancel { why })).await;
    }
    for instance in renew {
        app.report(Actor::Daemon, Command::Instance(instance, instance::Command::Renew {})).await;
    }
    for agent in start {
        let instance = app.committer.mint_instance();
        app.report(Actor::Daemon, Command::Instance(instance, instance::Command::Start { agent })).await;
    }
    for Binding { holder, queue, connection } in bindings {
        let (worker, connection) = (connection.worker, connection.id);
        let bind = match holder {
            Holder::Execution(id) => Command::Execution(id, execution::Command::Bind { worker, connection }),
            Holder::Session(id) => Command::Session(id, session::Command::Bind { worker, connection }),
        };
        app.report(Actor::Daemon, bind).await;
        if let Some(agent) = queue {
            app.fleet.place(agent);
        }
    }
    for (id, jail) in yields {
        app.report(Actor::Daemon, Command::Session(id, session::Command::Yield { jail })).await;
    }
    Ok(())
}

/// Where an execution or a session goes.
struct Binding {
    holder: Holder,
    /// The agent from whose queue it is taken.
    queue: Option<AgentId>,
    connection: Connection,
}

/// Those that have lost their worker in the midst of an iteration: they wait for one, not for others of their agent.
fn unbound(txn: &mut ReadTxn<'_>, slots: &mut Slots, waiting: &[Holder]) -> Result<Vec<Binding>, Error> {
    let mut bindings = Vec::new();
    let ids = waiting.iter().filter_map(|holder| holder.execution());
    for id in ids {
        if slots.are_taken() {
            break;
        }
        let Some(row) = executions::get(txn.parts().0, id)?.filter(lost_its_worker) else { continue };
        let home = agents::get(txn.parts().0, row.agent)?.and_then(|agent| agent.standing.home);
        let holder = Holder::Execution(id);
        bindings.extend(slots.take(row.agent, home).map(|connection| Binding { holder, queue: None, connection }));
    }
    Ok(bindings)
}

fn lost_its_worker(row: &ExecutionRow) -> bool {
    row.status != Status::Queued && row.connection.is_none()
}

/// A page of the agents that have something queued, in the order of their ids, of those after one.
fn agents_queued(txn: &mut ReadTxn<'_>, after: Option<AgentId>) -> Result<Vec<AgentId>, Error> {
    let mut page = executions::agents_queued(txn.parts().0, after, AGENTS_PAGE)?;
    page.extend(sessions::agents_waiting(txn.parts().0, after, AGENTS_PAGE)?);
    page.sort_unstable();
    page.dedup();
    page.truncate(AGENTS_PAGE as usize);
    Ok(page)
}

/// A round of the agents with queues, from the one after `last` around to it; then rounds of those that have more.
fn in_turn(txn: &mut ReadTxn<'_>, slots: &mut Slots, last: Option<AgentId>) -> Result<Vec<Binding>, Error> {
    let (mut bindings, mut more, mut looked) = (Vec::new(), VecDeque::new(), 0);
    let whole = [(last, None), (None, last)];
    for (mut after, until) in whole.into_iter().take(1 + usize::from(last.is_some())) {
        while !slots.are_taken() && looked < AGENTS_MAX {
            let mut page = agents_queued(txn, after)?;
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

/// What of one agent may go now, the longest waiting first.
struct Queue {
    agent: AgentId,
    home: Option<WorkerId>,
    holders: VecDeque<Holder>,
}

impl Queue {
    fn of(txn: &mut ReadTxn<'_>, agent: AgentId, most: u64) -> Result<Queue, Error> {
        let row = agents::get(txn.parts().0, agent)?;
        let home = row.as_ref().and_then(|row| row.standing.home);
        let mut queue = Queue { agent, home, holders: VecDeque::new() };
        let paused = row.is_some_and(|row| row.standing.state == "paused");
        let mut running = executions::running_of(txn.parts().0, agent)?;
        let mut waiting: Vec<(Time, Holder, Option<u32>)> = Vec::new();
        for row in executions::queued_of(txn.parts().0, agent, u32::try_from(most).unwrap_or(u32::MAX))? {
            // Where its program is kept running, it goes there and nowhere else.
            if txn.plan(agent, row.revision)?.kind().is_hosted() {
                continue;
            }
            // One that has begun counts already.
            let (begins, at, holder) = (row.iterations == 0, row.started_at, Holder::Execution(row.id));
            if !(begins && paused) {
                waiting.push((at, holder, begins.then_some(row.revision)));
            }
        }
        for row in sessions::waiting_of(txn.parts().0, agent)? {
            let (Some(since), Some(revision)) = (row.waiting_since, row.revision) else { continue };
            // An instance's program takes nobody's place among what its agent does.
            let begins = Some(revision).filter(|_| row.opener.instance().is_none());
            waiting.push((since, Holder::Session(row.id), begins));
        }
        waiting.sort_unstable();
        for (_, holder, begins) in waiting {
            if let Some(revision) = begins {
                // Each of another revision may have another limit.
                if running >= u64::from(txn.plan(agent, revision)?.concurrency) {
                    continue;
                }
                running += 1;
            }
            queue.holders.push_back(holder);
        }
        Ok(queue)
    }

    /// The oldest, where a slot is free for it.
    fn next(&mut self, slots: &mut Slots) -> Option<Binding> {
        let holder = *self.holders.front()?;
        let connection = slots.take(self.agent, self.home)?;
        self.holders.pop_front();
        Some(Binding { holder, queue: Some(self.agent), connection })
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

    /// The connection without a free slot on which one must be made; none where the home is away, or has one.
    fn full(&self, home: Option<WorkerId>) -> Option<ConnectionId> {
        let is_full = |worker: &WorkerId| self.free.get(worker).filter(|(slots, _)| *slots == 0);
        let full = match home {
            Some(home) => is_full(&home),
            None => self.free.keys().find_map(is_full),
        };
        full.map(|(_, connection)| connection.id)
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
