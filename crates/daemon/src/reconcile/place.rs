//! Owed Place: queued and unbound executions are given to connected workers with free slots, an agent's home first: it is
//! the only one where its work folder lies, and no more of its executions than its plan lets run at a time. What finds no place waits,
//! and comes again when a slot or a worker is free.
use crate::app::App;
use crate::fleet::Connection;
use crate::records::Error;
use std::collections::BTreeMap;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::execution;
use tenure_core::id::{AgentId, ExecutionId, WorkerId};
use tenure_core::owed::Obligation;
use tenure_store::rows::{agents, executions, workers};

pub async fn place(app: Arc<App>, page: Vec<(Stream, Obligation)>) -> Result<(), Error> {
    let connections = app.fleet.connections();
    if connections.is_empty() {
        return Ok(());
    }
    let ids: Vec<ExecutionId> = page.iter().filter_map(|(stream, _)| execution_of(*stream)).collect();
    let read = app.records.read(move |txn| {
        let mut free = BTreeMap::new();
        for connection in connections {
            let bound = workers::bound_to(txn.parts().0, connection.id)?;
            free.insert(connection.worker, (u64::from(connection.slots).saturating_sub(bound), connection));
        }
        let (mut waiting, mut room) = (Vec::with_capacity(ids.len()), BTreeMap::new());
        if free.values().all(|(slots, _)| *slots == 0) {
            return Ok((free, waiting, room));
        }
        for id in ids {
            let Some(row) = executions::get(txn.parts().0, id)? else { continue };
            let agent = agents::get(txn.parts().0, row.agent)?;
            let begun = row.iterations > 0;
            // What has not begun waits while its agent is paused; its bind would be refused.
            let paused = agent.as_ref().is_some_and(|agent| agent.standing.state == "paused");
            if paused && !begun {
                continue;
            }
            let home = agent.and_then(|agent| agent.standing.home);
            if !begun && !room.contains_key(&row.agent) {
                let most = u64::from(txn.plan(row.agent, row.revision)?.concurrency);
                let running = executions::running_of(txn.parts().0, row.agent)?;
                room.insert(row.agent, most.saturating_sub(running));
            }
            waiting.push(Waiting { id, agent: row.agent, begun, home });
        }
        Ok((free, waiting, room))
    });
    let (mut free, waiting, mut room) = read.await?;
    // The first binding of this page makes an agent's home, which the next of its executions must follow.
    let mut made = BTreeMap::new();
    for Waiting { id, agent, begun, home } in waiting {
        if !begun && room.get(&agent) == Some(&0) {
            continue;
        }
        let Some(connection) = choose(&mut free, home.or_else(|| made.get(&agent).copied())) else { continue };
        if !begun && let Some(room) = room.get_mut(&agent) {
            *room -= 1;
        }
        made.insert(agent, connection.worker);
        let bind = execution::Command::Bind { worker: connection.worker, connection: connection.id };
        app.report(Actor::Daemon, Command::Execution(id, bind)).await;
    }
    Ok(())
}

/// An execution without a worker.
struct Waiting {
    id: ExecutionId,
    agent: AgentId,
    /// It has been at work before: it waits for a worker, not for others of its agent.
    begun: bool,
    home: Option<WorkerId>,
}

fn execution_of(stream: Stream) -> Option<ExecutionId> {
    if let Stream::Execution(id) = stream { Some(id) } else { None }
}

/// The home where there is one, else the worker with the most free slots; takes the slot.
fn choose(free: &mut BTreeMap<WorkerId, (u64, Connection)>, home: Option<WorkerId>) -> Option<Connection> {
    let (slots, connection) = match home {
        Some(home) => free.get_mut(&home)?,
        None => free.values_mut().max_by_key(|(slots, connection)| (*slots, connection.worker))?,
    };
    *slots = slots.checked_sub(1)?;
    Some(connection.clone())
}
