//! Owed Delete and RemoveHome: a deleted agent's executions are cancelled, and its home removed once its grace is over.
use crate::audit::Checked;
use crate::storage::Storage;
use crate::worker::ToWorker;
use crate::world::World;
use tenure_core::actor::Actor;
use tenure_core::aggregate::Command;
use tenure_core::execution;
use tenure_core::id::{AgentId, WorkerId};

pub(super) fn delete<S: Storage>(world: &mut World<S>, agent: AgentId) -> Checked {
    for id in world.storage.open_of(agent) {
        let cancel = execution::Command::Cancel { why: "its agent was deleted".into() };
        world.command(Actor::Daemon, Command::Execution(id, cancel))?;
    }
    Ok(())
}

/// True while the worker has it.
pub(super) fn remove_home<S: Storage>(world: &mut World<S>, agent: AgentId, worker: WorkerId) -> bool {
    let worker = world.workers.iter_mut().find(|known| known.id == worker);
    let Some(process) = worker.and_then(|worker| worker.process.as_mut()) else { return false };
    process.to.push_back(ToWorker::RemoveHome { agent });
    true
}
