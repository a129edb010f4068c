//! Owed FanOut, ExpireMessages and DeadLetterMessages. A message to many is for every agent that people made, two a page.
use crate::audit::Checked;
use crate::storage::Storage;
use crate::world::World;
use tenure_core::actor::Actor;
use tenure_core::agent::Command as Of;
use tenure_core::aggregate::Command;
use tenure_core::id::{AgentId, MessageId};

const PAGE: usize = 2;

pub(super) fn fan_out<S: Storage>(
    world: &mut World<S>,
    sender: AgentId,
    message: MessageId,
    after: Option<AgentId>,
) -> Checked {
    let mut agents = world.people.agents.clone();
    agents.sort();
    agents.dedup();
    agents.retain(|agent| after.is_none_or(|after| *agent > after));
    let scanned = agents.get(PAGE).and_then(|_| agents.get(PAGE - 1)).copied();
    agents.truncate(PAGE);
    let page = Of::FanOut { message, after, recipients: agents, scanned };
    world.command(Actor::Daemon, Command::Agent(sender, page)).map(drop)
}

pub(super) fn expire<S: Storage>(world: &mut World<S>, agent: AgentId) -> Checked {
    world.command(Actor::Daemon, Command::Agent(agent, Of::ExpireMessages {})).map(drop)
}

pub(super) fn dead_letter<S: Storage>(world: &mut World<S>, agent: AgentId) -> Checked {
    world.command(Actor::Daemon, Command::Agent(agent, Of::DeadLetterMessages {})).map(drop)
}
