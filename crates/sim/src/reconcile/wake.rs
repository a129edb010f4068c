//! Owed Wake: the clock has come to a time of an agent's schedule. What becomes of it is decided.
use crate::audit::Checked;
use crate::storage::Storage;
use crate::world::World;
use tenure_core::actor::Actor;
use tenure_core::agent::{self, Waking};
use tenure_core::aggregate::Command;
use tenure_core::id::AgentId;

pub(super) fn wake<S: Storage>(world: &mut World<S>, agent: AgentId, waking: Waking) -> Checked {
    let input = world.payload("null");
    world.command(Actor::Daemon, Command::Agent(agent, agent::Command::Wake { waking, input })).map(drop)
}
