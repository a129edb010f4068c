//! Owed Release: a closing iteration's jail is destroyed, and only its proof of death ends the iteration.
use crate::storage::Storage;
use crate::worker::ToWorker;
use crate::world::World;
use tenure_core::id::{ConnectionId, ExecutionId};

/// True while the worker has it.
pub(super) fn release<S: Storage>(
    world: &mut World<S>,
    execution: ExecutionId,
    iteration: u32,
    connection: ConnectionId,
) -> bool {
    let worker = world.workers.iter_mut().find(|worker| worker.connection() == Some(connection));
    let Some(process) = worker.and_then(|worker| worker.process.as_mut()) else { return false };
    process.to.push_back(ToWorker::Release { execution, iteration });
    true
}
