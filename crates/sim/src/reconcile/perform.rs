//! Owed Perform: a call on our own rows is brought its arguments; now and then ones that were never bound.
use crate::audit::Checked;
use crate::storage::Storage;
use crate::world::World;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::execution::{self, Execution, Step};
use tenure_core::id::{CallId, ExecutionId};

pub(super) fn perform<S: Storage>(world: &mut World<S>, id: ExecutionId, call: CallId) -> Checked {
    let fold = world.storage.fold(Stream::Execution(id));
    let Some(iteration) = fold.as_ref().and_then(|fold| fold.as_a::<Execution>()?.iteration()) else { return Ok(()) };
    let Step::Acting { calls } = &iteration.step else { return Ok(()) };
    let Some(open) = calls.iter().find(|open| open.id == call) else { return Ok(()) };
    let Some(bound) = world.storage.payload(&open.arguments.hash) else { return Ok(()) };
    let arguments = if world.faulty && world.random.chance(20) { world.payload("{}") } else { bound };
    let perform = execution::Command::Perform { call, arguments, value: None };
    world.command(Actor::Daemon, Command::Execution(id, perform)).map(drop)
}
