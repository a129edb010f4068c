//! The program's work: an execution's message, told once its program is ready, and again by the same id where the program was lost
//! in the midst of it.
use super::{Event, Instance, MESSAGES_MAX, Message};
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

/// The connection of the worker that has the agent's program, where an execution is to be bound to it. One of a later revision
/// waits until the program is of that.
pub(crate) fn want(draft: &mut Draft<'_>, agent: AgentId, revision: u32) -> Result<Option<ConnectionId>, Unread> {
    let Some((_, instance)) = ready(draft, agent)? else { return Ok(None) };
    let Some(program) = instance.program().filter(|_| revision <= instance.revision) else { return Ok(None) };
    Ok(draft.get::<Session>(program.session)?.and_then(|session| session.jail).map(|jail| jail.binding.connection))
}

/// The program is to be told what an execution wants, by the call that is given; asked with [`ask`], once the execution knows it.
pub(crate) fn tell(
    draft: &mut Draft<'_>,
    agent: AgentId,
    execution: ExecutionId,
    revision: u32,
) -> Result<Option<(InstanceId, CallId)>, Unread> {
    let Some((id, instance)) = ready(draft, agent)? else { return Ok(None) };
    if instance.messages.len() >= MESSAGES_MAX || revision > instance.revision {
        return Ok(None);
    }
    let call = CallId::mint(&mut draft.mint);
    draft.emit::<Instance>(id, Event::Told { message: Message { execution, call } })?;
    Ok(Some((id, call)))
}

pub(crate) fn ask(
    draft: &mut Draft<'_>,
    id: InstanceId,
    call: CallId,
    arguments: Payload,
    timeout_ms: u64,
) -> Result<(), Unread> {
    let Some(instance) = draft.get::<Instance>(id)?.cloned() else { return Ok(()) };
    let Some(program) = instance.program() else { return Ok(()) };
    session::ask_hook(program.session, draft, (Hook::Message, call, arguments), instance.revision, timeout_ms)
}

/// An execution waits for its answer no more.
pub(crate) fn take_back(draft: &mut Draft<'_>, id: InstanceId, call: CallId) -> Result<(), Stop> {
    let Some(program) = draft.get::<Instance>(id)?.and_then(Instance::program) else { return Ok(()) };
    session::take_back(program.session, draft, call)
}
