//! The session of an instance: opened by it, and asked the hooks of the program in its jail. Must never ask a hook of a session
//! that an agent's key opened.
use super::{Event, InFlight, Opener, Session, jail};
use crate::agent;
use crate::bound::Payload;
use crate::call::{Proposal, Proposed};
use crate::capability::hook::Hook;
use crate::draft::{Draft, Stop};
use crate::facts::Unread;
use crate::id::{AgentId, CallId, InstanceId, SessionId};
use crate::instance;
use serde_json::Value;

/// Opens one for a program that is about to be started.
pub(crate) fn open_for(
    draft: &mut Draft<'_>,
    instance: InstanceId,
    agent: AgentId,
    agent_name: String,
) -> Result<SessionId, Unread> {
    let (id, opener) = (SessionId::mint(&mut draft.mint), Opener::Instance(instance));
    draft.get::<Session>(id)?;
    draft.emit::<Session>(id, Event::Opened { agent, agent_name, opener })?;
    agent::session_opened(agent, draft, id, opener)?;
    Ok(id)
}

/// Asks a hook; its call ends within `timeout_ms` of its beginning. Nothing where the session has ended.
pub(crate) fn ask_hook(
    id: SessionId,
    draft: &mut Draft<'_>,
    (hook, call, arguments): (Hook, CallId, Payload),
    revision: u32,
    timeout_ms: u64,
) -> Result<(), Unread> {
    let session = draft.get::<Session>(id)?.filter(|session| session.ended.is_none() && session.instance().is_some());
    let Some(ordinal) = session.map(|session| session.invocations.saturating_add(1)) else { return Ok(()) };
    let attributes = Payload::new(draft.mint.salt(), b"{}".to_vec());
    let proposal = Proposal { capability: hook.capability().to_string(), arguments, attributes, misfit: None };
    let (proposed, _) = Proposed::of(call, proposal, draft);
    draft.emit::<Session>(id, Event::HookAsked { revision, ordinal, timeout_ms, call: proposed })?;
    jail::advance(id, draft)
}

/// A hook is not waited for any more; one that has ended is left alone.
pub(crate) fn take_back(id: SessionId, draft: &mut Draft<'_>, call: CallId) -> Result<(), Stop> {
    let Some(session) = draft.get::<Session>(id)?.cloned() else { return Ok(()) };
    if session.call(call).is_none() {
        return Ok(());
    }
    jail::cancel_call(id, draft, &session, call)
}

/// JSON for a hook.
pub(crate) fn told(draft: &mut Draft<'_>, arguments: &Value) -> Payload {
    Payload::new(draft.mint.salt(), arguments.to_string().into_bytes())
}

/// A call of the session is over: where it asked a hook, its instance hears of it.
pub(super) fn over(id: SessionId, draft: &mut Draft<'_>, held: &InFlight, over: &instance::Over) -> Result<(), Unread> {
    let Some(instance) = draft.get::<Session>(id)?.and_then(Session::instance) else { return Ok(()) };
    match Hook::of(&held.call.capability).filter(|_| held.hook) {
        Some(hook) => instance::hook_over(draft, instance, (id, held.call.id, hook), over),
        None => Ok(()),
    }
}
