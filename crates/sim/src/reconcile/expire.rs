//! Owed Expire: a clock has run out. The decision looks at the clocks itself.
use crate::audit::Checked;
use crate::storage::Storage;
use crate::world::World;
use tenure_core::actor::Actor;
use tenure_core::aggregate::Command;
use tenure_core::execution;
use tenure_core::id::ExecutionId;

pub(super) fn expire<S: Storage>(world: &mut World<S>, id: ExecutionId) -> Checked {
    world.command(Actor::Daemon, Command::Execution(id, execution::Command::Expire {})).map(drop)
}
