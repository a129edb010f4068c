//! The program's work: an execution's message, told once its program is ready, and again by the same id where the program was lost
//! in the midst of it.
use super::{Event, Instance, Message, Phase, Refusal, no};
use crate::agent::Agent;
use crate::bound::Payload;
use crate::capability::hook::Hook;
use crate::draft::{Draft, Stop};
use crate::facts::Unread;
use crate::id::{AgentId, CallId, ConnectionId, ExecutionId, InstanceId};
use crate::session::{self, Session};

/// Where the program of an agent runs, once it is ready; none until then.
fn ready(draft: &mut Draft<'_>, agent: AgentId) -> Result<Option<(InstanceId, Instance)>, Unread> {
    let Some(id) = draft.get::<Agent>(agent)?.and_then(|agent| agent.instance) else { return Ok(None) };
    Ok(draft.get::<Instance>(id)?.filter(|instance| instance.is_ready()).map(|instance| (id, instance.clone())))
}

/// The connection of the worker that has the agent's program, where an execution is to be bound to it.
pub(crate) fn want(draft: &mut Draft<'_>, agent: AgentId) -> Result<Option<ConnectionId>, Unread> {
    let Some((_, instance)) = ready(draft, agent)? else { return Ok(None) };
    let Some(program) = instance.program() else { return Ok(None) };
    Ok(draft.get::<Session>(program.session)?.and_then(|session| session.jail).map(|jail| jail.binding.connection))
}

/// Tells the program what an execution wants; the call that is to be answered.
pub(crate) fn tell(
    draft: &mut Draft<'_>,
    agent: AgentId,
    execution: ExecutionId,
    arguments: Payload,
    timeout_ms: u64,
) -> Result<Option<(InstanceId, CallId)>, Stop> {
    let Some((id, instance)) = ready(draft, agent)? else { return Ok(None) };
    let Phase::Ready { program, .. } = instance.phase else { return Err(no(Refusal::NotReady {})) };
    let call = CallId::mint(&mut draft.mint);
    draft.emit::<Instance>(id, Event::Told { message: Message { execution, call } })?;
    session::ask_hook(program.session, draft, (Hook::Message, call, arguments), instance.revision, timeout_ms)?;
    Ok(Some((id, call)))
}

/// An execution waits for its answer no more.
pub(crate) fn take_back(draft: &mut Draft<'_>, id: InstanceId, call: CallId) -> Result<(), Stop> {
    let Some(program) = draft.get::<Instance>(id)?.and_then(Instance::program) else { return Ok(()) };
    session::take_back(program.session, draft, call)
}
