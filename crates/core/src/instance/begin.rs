//! How a program comes up: its session, `run` and `init`, then `start`; and how it is asked for its health.
use super::{Check, Event, Health, HookName, Instance, Phase, Program, Refusal, Why, no, over};
use crate::agent::{self, Agent};
use crate::capability::hook::Hook;
use crate::draft::{Draft, Stop, refuse};
use crate::facts::Unread;
use crate::id::{AgentId, CallId, InstanceId, SessionId};
use crate::manifest::AgentKind;
use crate::session::{self, Session};
use serde_json::{Value, json};

/// A person wants it, or an execution that finds none.
pub(super) fn start(id: InstanceId, draft: &mut Draft<'_>, agent: AgentId) -> Result<(), Stop> {
    if draft.get::<Instance>(id)?.is_some() {
        return Err(no(Refusal::Stale {}));
    }
    let known = draft.get::<Agent>(agent)?.ok_or_else(|| refuse::<Agent>(agent::Refusal::Unknown {}))?;
    known.may_begin()?;
    if let Some(instance) = known.instance {
        return Err(no(Refusal::Running { instance }));
    }
    let (agent_name, revision) = (known.name.clone(), known.revision);
    match draft.plan(agent, revision)?.map(|plan| plan.kind()) {
        Some(AgentKind::Hooks | AgentKind::Acp) => {}
        Some(AgentKind::Llm | AgentKind::Command) | None => return Err(no(Refusal::NoProgram {})),
    }
    let by = draft.actor;
    draft.emit::<Instance>(id, Event::Created { agent, agent_name, by })?;
    draft.emit::<Agent>(agent, agent::Event::InstanceStarted { instance: id })?;
    Ok(program(id, draft)?)
}

pub(super) fn begin(id: InstanceId, draft: &mut Draft<'_>) -> Result<(), Stop> {
    let now = draft.stamp.run;
    let instance = draft.get::<Instance>(id)?.ok_or_else(|| no(Refusal::Unknown {}))?.clone();
    let has_jail = |session: &Session| session.jail.is_some();
    if let Some(last) = instance.last
        && draft.get::<Session>(last)?.is_some_and(has_jail)
    {
        return Err(no(Refusal::NotDue {}));
    }
    match instance.phase {
        Phase::Due { at } if at <= now => Ok(program(id, draft)?),
        Phase::Due { .. }
        | Phase::Starting { .. }
        | Phase::Ready { .. }
        | Phase::Stopping { .. }
        | Phase::Stopped { .. } => Err(no(Refusal::NotDue {})),
    }
}

/// The newest revision's program.
fn program(id: InstanceId, draft: &mut Draft<'_>) -> Result<(), Unread> {
    let Some(instance) = draft.get::<Instance>(id)?.cloned() else { return Ok(()) };
    let agent = instance.agent;
    let Some(revision) = draft.get::<Agent>(agent)?.map(|agent| agent.revision) else { return Ok(()) };
    let plan = draft.plan(agent, revision)?;
    let protocol = match plan.as_ref().map(|plan| plan.kind()) {
        Some(AgentKind::Hooks) => "hooks",
        Some(AgentKind::Acp) => "acp",
        Some(AgentKind::Llm | AgentKind::Command) | None => return over::stopped(id, draft, Why::PlanLost),
    };
    let Some(plan) = plan else { return over::stopped(id, draft, Why::PlanLost) };
    let (command, rules, release) = (plan.command().to_vec(), plan.supervision, plan.release.clone());
    let provides = plan.provides.clone();
    let task_ms = plan.limits.iteration_timeout_ms;
    let session = session::open_for(draft, id, agent, instance.agent_name.clone())?;
    let (run, init) = (CallId::mint(&mut draft.mint), CallId::mint(&mut draft.mint));
    draft.emit::<Instance>(id, Event::Starting { revision, rules, session, run, init })?;
    let running = session::told(draft, &json!({"protocol": protocol, "command": command}));
    session::ask_hook(session, draft, (Hook::Run, run, running), revision, Hook::Run.timeout_ms(0))?;
    let deadlines = json!({"message_ms": task_ms, "health_ms": Hook::Health.timeout_ms(task_ms)});
    let told = session::told(
        draft,
        &json!({
            "agent": instance.agent_name, "version": release, "instance": id, "provides": provides, "deadlines": deadlines,
        }),
    );
    session::ask_hook(session, draft, (Hook::Init, init, told), revision, Hook::Init.timeout_ms(0))
}

/// Asks the program, where its session is still open.
pub(super) fn ask(
    id: InstanceId,
    draft: &mut Draft<'_>,
    session: SessionId,
    hook: Hook,
    arguments: &Value,
) -> Result<(), Unread> {
    let Some(revision) = draft.get::<Instance>(id)?.map(|instance| instance.revision) else { return Ok(()) };
    let arguments = session::told(draft, arguments);
    let call = CallId::mint(&mut draft.mint);
    // Known before it is asked: what ends it in the same decision finds it.
    draft.emit::<Instance>(id, Event::HookAsked { hook: HookName(hook), call })?;
    session::ask_hook(session, draft, (hook, call, arguments), revision, hook.timeout_ms(0))
}

/// `init` or `start` was answered.
pub(super) fn go_on(id: InstanceId, draft: &mut Draft<'_>, answered: Hook, program: Program) -> Result<(), Unread> {
    let Some((agent, revision)) = draft.get::<Instance>(id)?.map(|instance| (instance.agent, instance.revision)) else {
        return Ok(());
    };
    if answered == Hook::Init {
        let plan = draft.plan(agent, revision)?;
        let is_acp = plan.as_ref().is_some_and(|plan| plan.kind() == AgentKind::Acp);
        let mode = plan.as_ref().and_then(|plan| plan.mode());
        // An agent of others is offered the governed capabilities by MCP; what it said before it is told again.
        let told = if is_acp { json!({"session": null, "mode": mode, "mcp": true}) } else { json!({}) };
        return ask(id, draft, program.session, Hook::Start, &told);
    }
    let provides = draft.plan(agent, revision)?.map(|plan| plan.provides.clone()).unwrap_or_default();
    draft.emit::<Instance>(id, Event::Ready { provides })
}

pub(super) fn check(id: InstanceId, draft: &mut Draft<'_>) -> Result<(), Stop> {
    let instance = draft.get::<Instance>(id)?.ok_or_else(|| no(Refusal::Unknown {}))?;
    match instance.phase {
        Phase::Ready { program, check: Check::None, .. } => {
            Ok(ask(id, draft, program.session, Hook::Health, &json!({}))?)
        }
        Phase::Ready { .. } => Err(no(Refusal::NotDue {})),
        Phase::Due { .. } | Phase::Starting { .. } | Phase::Stopping { .. } | Phase::Stopped { .. } => {
            Err(no(Refusal::NotReady {}))
        }
    }
}

pub(super) fn report(id: InstanceId, draft: &mut Draft<'_>, health: Health) -> Result<(), Stop> {
    let instance = draft.get::<Instance>(id)?.ok_or_else(|| no(Refusal::Unknown {}))?;
    match instance.phase {
        Phase::Ready { check: Check::Answered { call }, .. } if call == health.call => {
            let errors = crate::capability::clip(&health.errors);
            Ok(draft.emit::<Instance>(id, Event::Checked { health: Health { errors, ..health } })?)
        }
        Phase::Ready { .. }
        | Phase::Due { .. }
        | Phase::Starting { .. }
        | Phase::Stopping { .. }
        | Phase::Stopped { .. } => Err(no(Refusal::Stale {})),
    }
}
