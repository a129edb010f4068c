//! Owed Place: queued and unbound executions go to connected workers with free slots, an agent's home first.
use crate::audit::Checked;
use crate::storage::Storage;
use crate::world::World;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::execution;
use tenure_core::facts::Counter;
use tenure_core::owed::Obligation;

pub(super) fn place<S: Storage>(world: &mut World<S>, page: Vec<(Stream, Obligation)>) -> Checked {
    let open = world.workers.iter().filter_map(|worker| Some((worker.id, worker.connection()?)));
    let mut free = Vec::new();
    for (worker, connection) in open.collect::<Vec<_>>() {
        let bound = world.storage.count(Counter::Bound, &connection.to_string());
        free.push((i64::from(crate::worker::SLOTS) - bound, worker, connection));
    }
    for (stream, _) in page {
        let Stream::Execution(id) = stream else { continue };
        let Some(row) = world.storage.execution_row(id) else { continue };
        let home = world.storage.standing(row.agent).and_then(|standing| standing.home);
        let chosen = free.iter_mut().filter(|(_, worker, _)| home.is_none_or(|home| home == *worker));
        let Some((slots, worker, connection)) = chosen.max_by_key(|(slots, worker, _)| (*slots, *worker)) else {
            continue;
        };
        if *slots < 1 {
            continue;
        }
        *slots -= 1;
        let bind = execution::Command::Bind { worker: *worker, connection: *connection };
        world.command(Actor::Daemon, Command::Execution(id, bind))?;
    }
    Ok(())
}
