//! Owed Release: a closing iteration's jail, or a session's, is destroyed, and only its proof of death ends the iteration.
use crate::storage::Storage;
use crate::worker::ToWorker;
use crate::world::World;
use tenure_core::call::Holder;
use tenure_core::id::ConnectionId;

/// True while the worker has it.
pub(super) fn release<S: Storage>(
    world: &mut World<S>,
    holder: Holder,
    iteration: u32,
    connection: ConnectionId,
) -> bool {
    let worker = world.workers.iter_mut().find(|worker| worker.connection() == Some(connection));
    let Some(process) = worker.and_then(|worker| worker.process.as_mut()) else { return false };
    process.to.push_back(ToWorker::Release { holder, iteration });
    true
}
