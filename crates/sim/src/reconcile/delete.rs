//! Owed Delete, CancelChildren and RemoveHome: what an execution started is cancelled with it, a deleted agent's executions are cancelled, and its home removed once its grace is over.
use crate::audit::Checked;
use crate::storage::Storage;
use crate::worker::ToWorker;
use crate::world::World;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::execution::{self, Execution};
use tenure_core::id::{AgentId, ExecutionId, WorkerId};

pub(super) fn delete<S: Storage>(world: &mut World<S>, agent: AgentId) -> Checked {
    for id in world.storage.open_of(agent) {
        let cancel = execution::Command::Cancel { why: "its agent was deleted".into() };
        world.command(Actor::Daemon, Command::Execution(id, cancel))?;
    }
    Ok(())
}

pub(super) fn children<S: Storage>(world: &mut World<S>, parent: ExecutionId) -> Checked {
    let fold = world.storage.fold(Stream::Execution(parent));
    let children = fold.as_ref().and_then(|fold| fold.as_a::<Execution>()).map(|parent| parent.children.clone());
    for id in children.unwrap_or_default() {
        let cancel = execution::Command::Cancel { why: "the execution that started it was cancelled".into() };
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
