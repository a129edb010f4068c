//! Owed Sweep: a lapsed connection gives back its executions; some at a time, so that others act in between.
use crate::audit::Checked;
use crate::storage::Storage;
use crate::world::World;
use tenure_core::actor::Actor;
use tenure_core::aggregate::Command;
use tenure_core::id::{ConnectionId, WorkerId};
use tenure_core::time::Run;
use tenure_core::{execution, fleet};

pub(super) fn sweep<S: Storage>(
    world: &mut World<S>,
    worker: WorkerId,
    connection: ConnectionId,
    since: Run,
) -> Checked {
    let bound = world.storage.bound_to(connection);
    if let Some(id) = world.random.pick(&bound).copied() {
        let unbind = execution::Command::Unbind { connection, since, why: "lapsed".into() };
        return world.command(Actor::Daemon, Command::Execution(id, unbind)).map(drop);
    }
    let finish = fleet::Command::FinishSweep { connection };
    world.command(Actor::Daemon, Command::Worker(worker, finish)).map(drop)
}
