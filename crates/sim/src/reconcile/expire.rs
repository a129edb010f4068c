//! Owed Expire, EndKey, EndPause, SweepState, Retain and Erase: a clock has run out. The decision looks at the clocks itself.
use crate::audit::Checked;
use crate::storage::Storage;
use crate::world::World;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::id::{AgentId, ExecutionId, ProjectId, SessionId};
use tenure_core::{agent, execution, project, session};

pub(super) fn expire<S: Storage>(world: &mut World<S>, id: ExecutionId) -> Checked {
    world.command(Actor::Daemon, Command::Execution(id, execution::Command::Expire {})).map(drop)
}

pub(super) fn expire_session<S: Storage>(world: &mut World<S>, id: SessionId) -> Checked {
    world.command(Actor::Daemon, Command::Session(id, session::Command::Expire {})).map(drop)
}

/// The time of a call is over, or a jail is idle.
pub(super) fn expire_calls<S: Storage>(world: &mut World<S>, id: SessionId) -> Checked {
    world.command(Actor::Daemon, Command::Session(id, session::Command::ExpireCalls {})).map(drop)
}

/// A call has waited too long for a person.
pub(super) fn expire_approvals<S: Storage>(world: &mut World<S>, stream: Stream) -> Checked {
    let command = match stream {
        Stream::Execution(id) => Command::Execution(id, execution::Command::ExpireApprovals {}),
        Stream::Session(id) => Command::Session(id, session::Command::ExpireApprovals {}),
        Stream::Project(_)
        | Stream::Agent(_)
        | Stream::Worker(_)
        | Stream::Secret(_)
        | Stream::Package(_)
        | Stream::Instance(_) => {
            return Ok(());
        }
    };
    world.command(Actor::Daemon, command).map(drop)
}

pub(super) fn end_key<S: Storage>(world: &mut World<S>, agent: AgentId) -> Checked {
    world.command(Actor::Daemon, Command::Agent(agent, agent::Command::EndKey {})).map(drop)
}

pub(super) fn end_pause<S: Storage>(world: &mut World<S>, agent: AgentId) -> Checked {
    world.command(Actor::Daemon, Command::Agent(agent, agent::Command::EndPause {})).map(drop)
}

pub(super) fn sweep_state<S: Storage>(world: &mut World<S>, agent: AgentId) -> Checked {
    world.command(Actor::Daemon, Command::Agent(agent, agent::Command::SweepState {})).map(drop)
}

/// What ended executions bound is too old or too much, or more of one is to go.
pub(super) fn retain<S: Storage>(world: &mut World<S>, stream: Stream) -> Checked {
    let command = match stream {
        Stream::Agent(id) => Command::Agent(id, agent::Command::Retain {}),
        Stream::Project(id) => Command::Project(id, project::Command::Retain {}),
        Stream::Execution(id) => Command::Execution(id, execution::Command::EraseRest {}),
        Stream::Session(id) => Command::Session(id, session::Command::EraseRest {}),
        Stream::Worker(_) | Stream::Secret(_) | Stream::Package(_) | Stream::Instance(_) => return Ok(()),
    };
    world.command(Actor::Daemon, command).map(drop)
}

pub(super) fn sweep_shared<S: Storage>(world: &mut World<S>, project: ProjectId) -> Checked {
    world.command(Actor::Daemon, Command::Project(project, project::Command::SweepShared {})).map(drop)
}
