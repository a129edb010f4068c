//! Owed Sweep: a lapsed connection gives back its executions and sessions; some at a time, so that others act in between.
use crate::audit::Checked;
use crate::storage::Storage;
use crate::world::World;
use tenure_core::actor::Actor;
use tenure_core::aggregate::Command;
use tenure_core::call::Holder;
use tenure_core::id::{ConnectionId, WorkerId};
use tenure_core::time::Run;
use tenure_core::{execution, fleet, session};

pub(super) fn sweep<S: Storage>(
    world: &mut World<S>,
    worker: WorkerId,
    connection: ConnectionId,
    since: Run,
) -> Checked {
    let bound = world.storage.bound_to(connection);
    if let Some(holder) = world.random.pick(&bound).copied() {
        let why = "lapsed".to_string();
        let unbind = match holder {
            Holder::Execution(id) => Command::Execution(id, execution::Command::Unbind { connection, since, why }),
            Holder::Session(id) => Command::Session(id, session::Command::Unbind { connection, since, why }),
        };
        return world.command(Actor::Daemon, unbind).map(drop);
    }
    let finish = fleet::Command::FinishSweep { connection };
    world.command(Actor::Daemon, Command::Worker(worker, finish)).map(drop)
}
