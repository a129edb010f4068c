//! Owed Expire: a clock has run out. The decision looks at the clocks itself.
use crate::audit::Checked;
use crate::storage::Storage;
use crate::world::World;
use tenure_core::actor::Actor;
use tenure_core::aggregate::Command;
use tenure_core::id::{AgentId, ExecutionId, SessionId};
use tenure_core::{agent, execution, session};

pub(super) fn expire<S: Storage>(world: &mut World<S>, id: ExecutionId) -> Checked {
    world.command(Actor::Daemon, Command::Execution(id, execution::Command::Expire {})).map(drop)
}

pub(super) fn expire_session<S: Storage>(world: &mut World<S>, id: SessionId) -> Checked {
    world.command(Actor::Daemon, Command::Session(id, session::Command::Expire {})).map(drop)
}

pub(super) fn end_key<S: Storage>(world: &mut World<S>, agent: AgentId) -> Checked {
    world.command(Actor::Daemon, Command::Agent(agent, agent::Command::EndKey {})).map(drop)
}
