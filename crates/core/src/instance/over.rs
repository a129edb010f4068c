//! What ends: a hook, the program, its session, the instance. Whatever ends a program ends its session with it, and says to each
//! execution that waits for an answer whether it comes again.
use super::{
    Check, Event, HEALTH_EVERY_MS, HookName, Instance, Message, Phase, Program, Refusal, Stage, Why, begin, no,
};
use crate::agent::{self, Agent};
use crate::call::Outcome;
use crate::capability::hook::Hook;
use crate::draft::{Draft, Stop};
use crate::execution;
use crate::facts::Unread;
use crate::id::{CallId, InstanceId, SessionId};
use crate::session::{self, Ending};
use crate::time::{Run, Stamp};
use serde_json::json;

/// How a hook's call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Over {
    Ended(Outcome),
    /// It never began: its session ended first, or a rule forbids it.
    Blocked(&'static str),
}

impl Over {
    fn is_done(&self) -> bool {
        matches!(self, Over::Ended(Outcome::Done { .. }))
    }

    /// The program is gone without having ended by itself: with its worker, its daemon, or its session before it began.
    fn is_lost(&self) -> bool {
        match self {
            Over::Ended(Outcome::Lost { .. }) => true,
            Over::Ended(_) => false,
            Over::Blocked(why) => *why == "withdrawn",
        }
    }

    fn to_word(&self) -> String {
        match self {
            Over::Ended(outcome) => outcome.to_word(),
            Over::Blocked(why) => (*why).to_string(),
        }
    }
}

/// A hook's call has its end.
pub(crate) fn hook_over(
    draft: &mut Draft<'_>,
    id: InstanceId,
    (session, call, hook): (SessionId, CallId, Hook),
    over: &Over,
) -> Result<(), Unread> {
    let Some(instance) = draft.get::<Instance>(id)?.cloned() else { return Ok(()) };
    if let Some(message) = instance.messages.iter().find(|message| message.call == call).copied() {
        return message_over(draft, id, message, over);
    }
    match instance.phase {
        Phase::Starting { program, hook: asked, stage } if program.session == session => match hook {
            Hook::Run if over.is_lost() => lost(id, draft, program),
            Hook::Run => crashed(id, draft, program, (hook, call), over),
            Hook::Init | Hook::Start if asked == call && over.is_done() => {
                begin::go_on(id, draft, stage.hook(), program)
            }
            Hook::Init | Hook::Start if asked == call && over.is_lost() => lost(id, draft, program),
            Hook::Init | Hook::Start if asked == call => crashed(id, draft, program, (hook, call), over),
            Hook::Init
            | Hook::Start
            | Hook::Message
            | Hook::Health
            | Hook::Upgrade
            | Hook::Save
            | Hook::Restore
            | Hook::Error
            | Hook::Shutdown => Ok(()),
        },
        Phase::Ready { program, check, .. } if program.session == session => match (hook, check) {
            (Hook::Run, _) if over.is_lost() => lost(id, draft, program),
            (Hook::Run, _) => crashed(id, draft, program, (hook, call), over),
            (Hook::Health, Check::Asked { call: asked }) if asked == call => {
                draft.emit::<Instance>(id, Event::CheckOver { call, answered: over.is_done() })
            }
            (_, Check::None | Check::Asked { .. } | Check::Answered { .. }) => Ok(()),
        },
        Phase::Stopping { program, hook: asked, why } if program.session == session => {
            if hook == Hook::Run || asked == Some(call) {
                return end(id, draft, program, why);
            }
            Ok(())
        }
        Phase::Due { .. }
        | Phase::Starting { .. }
        | Phase::Ready { .. }
        | Phase::Stopping { .. }
        | Phase::Stopped { .. } => Ok(()),
    }
}

fn message_over(draft: &mut Draft<'_>, id: InstanceId, message: Message, over: &Over) -> Result<(), Unread> {
    draft.emit::<Instance>(id, Event::MessageOver { call: message.call })?;
    execution::heard(message.execution, draft, message.call, over.is_lost())
}

/// With its worker or its daemon: no fault of its own. What is lost again and again waits, as after a crash.
fn lost(id: InstanceId, draft: &mut Draft<'_>, program: Program) -> Result<(), Unread> {
    let Some((rules, losses)) = draft.get::<Instance>(id)?.map(|instance| (instance.rules, instance.losses)) else {
        return Ok(());
    };
    let chance = draft.mint.salt()[0];
    let pause_ms = if losses == 0 { 0 } else { rules.pause_ms(losses as usize, chance) };
    let restart_at = draft.stamp.run.plus_ms(pause_ms);
    draft.emit::<Instance>(id, Event::Lost { session: program.session, restart_at })?;
    session::end(program.session, draft, Ending::InstanceOver)
}

fn crashed(
    id: InstanceId,
    draft: &mut Draft<'_>,
    program: Program,
    (hook, call): (Hook, CallId),
    over: &Over,
) -> Result<(), Unread> {
    let Some(instance) = draft.get::<Instance>(id)?.cloned() else { return Ok(()) };
    if *over == Over::Blocked("policy") {
        return end(id, draft, program, Why::Forbidden);
    }
    let (rules, now) = (instance.rules, draft.stamp.run);
    let crashes = 1 + instance.crashes.iter().filter(|at| now.since_ms(**at) < rules.window_ms).count();
    let too_many = crashes > usize::try_from(rules.max_crashes).unwrap_or(usize::MAX);
    let restarts = rules.auto_restart && !too_many;
    let chance = draft.mint.salt()[0];
    let restart_at = restarts.then(|| now.plus_ms(rules.pause_ms(crashes, chance)));
    let (session, outcome) = (program.session, over.to_word());
    let told = outcome.clone();
    draft.emit::<Instance>(id, Event::Crashed { session, hook: HookName(hook), call, outcome, restart_at })?;
    session::end(session, draft, Ending::InstanceOver)?;
    if too_many && rules.auto_restart {
        let description =
            format!("its program crashed {crashes} times within its window; last: `{}` {told}", hook.as_str());
        stopped(id, draft, Why::Quarantined)?;
        return agent::put_away_for_crashes(instance.agent, draft, &description);
    }
    if restart_at.is_none() {
        stopped(id, draft, Why::Crashed)?;
    }
    Ok(())
}

/// Its session was ended: by people, or because nothing may run of its agent.
pub(crate) fn session_over(
    draft: &mut Draft<'_>,
    id: InstanceId,
    session: SessionId,
    ending: &Ending,
) -> Result<(), Unread> {
    let Some(instance) = draft.get::<Instance>(id)?.cloned() else { return Ok(()) };
    let Some(program) = instance.program().filter(|program| program.session == session) else { return Ok(()) };
    let why = match ending {
        Ending::Quarantined => Why::Quarantined,
        Ending::Killed => Why::Killed,
        Ending::KeyRevoked | Ending::AgentRevoked => Why::Revoked,
        Ending::AgentDeleted => Why::Deleted,
        Ending::Closed { by } => Why::Asked { by: *by },
        Ending::InstanceOver | Ending::Idle | Ending::Replaced => return Ok(()),
    };
    end(id, draft, program, why)
}

/// Nothing may run of its agent any more; its sessions have ended already.
pub(crate) fn shut(draft: &mut Draft<'_>, id: InstanceId, ending: &Ending) -> Result<(), Unread> {
    let why = match ending {
        Ending::Quarantined => Why::Quarantined,
        Ending::Killed => Why::Killed,
        Ending::AgentDeleted => Why::Deleted,
        Ending::AgentRevoked
        | Ending::KeyRevoked
        | Ending::Closed { .. }
        | Ending::Idle
        | Ending::Replaced
        | Ending::InstanceOver => Why::Revoked,
    };
    stopped(id, draft, why)
}

/// A person wants its end: the program is told, and has its time for it.
pub(super) fn stop(id: InstanceId, draft: &mut Draft<'_>) -> Result<(), Stop> {
    let instance = draft.get::<Instance>(id)?.ok_or_else(|| no(Refusal::Unknown {}))?.clone();
    let why = Why::Asked { by: draft.actor };
    match instance.phase {
        Phase::Stopped { .. } | Phase::Stopping { .. } => Err(no(Refusal::Stopped {})),
        Phase::Due { .. } => Ok(stopped(id, draft, why)?),
        // It has not begun what it would have to end.
        Phase::Starting { program, .. } => Ok(end(id, draft, program, why)?),
        Phase::Ready { program, .. } => {
            draft.emit::<Instance>(id, Event::Stopping { why })?;
            Ok(begin::ask(id, draft, program.session, Hook::Shutdown, &json!({"why": "stopped"}))?)
        }
    }
}

/// A later revision is wanted, and the program has nothing in hand.
pub(super) fn renew(id: InstanceId, draft: &mut Draft<'_>) -> Result<(), Stop> {
    let instance = draft.get::<Instance>(id)?.ok_or_else(|| no(Refusal::Unknown {}))?.clone();
    let newest = draft.get::<Agent>(instance.agent)?.map(|agent| agent.revision);
    match instance.phase {
        Phase::Ready { program, .. } if instance.messages.is_empty() && newest > Some(instance.revision) => {
            draft.emit::<Instance>(id, Event::Stopping { why: Why::Renewed })?;
            Ok(begin::ask(id, draft, program.session, Hook::Shutdown, &json!({"why": "renewed"}))?)
        }
        Phase::Ready { .. }
        | Phase::Due { .. }
        | Phase::Starting { .. }
        | Phase::Stopping { .. }
        | Phase::Stopped { .. } => Err(no(Refusal::NotDue {})),
    }
}

/// The program's session ends, and with it the program.
fn end(id: InstanceId, draft: &mut Draft<'_>, program: Program, why: Why) -> Result<(), Unread> {
    if why == Why::Renewed {
        draft.emit::<Instance>(id, Event::Renewed {})?;
    } else {
        stopped(id, draft, why)?;
    }
    session::end(program.session, draft, Ending::InstanceOver)
}

pub(super) fn stopped(id: InstanceId, draft: &mut Draft<'_>, why: Why) -> Result<(), Unread> {
    let Some(instance) = draft.get::<Instance>(id)?.filter(|instance| !instance.is_over()) else { return Ok(()) };
    let (agent, held) = (instance.agent, why.holds());
    draft.emit::<Instance>(id, Event::Stopped { why })?;
    draft.emit::<Agent>(agent, agent::Event::InstanceEnded { instance: id, held })
}

impl Stage {
    fn hook(self) -> Hook {
        match self {
            Stage::Init => Hook::Init,
            Stage::Start => Hook::Start,
        }
    }
}

pub(super) fn apply(instance: &mut Instance, event: &Event, stamp: Stamp) {
    match event {
        Event::Starting { revision, rules, session, run, init } => {
            (instance.revision, instance.rules) = (*revision, *rules);
            instance.starts = instance.starts.saturating_add(1);
            instance.last = Some(*session);
            let program = Program { session: *session, run: *run };
            instance.phase = Phase::Starting { program, hook: *init, stage: Stage::Init };
        }
        Event::HookAsked { hook, call } => instance.asked(hook.0, *call),
        Event::Ready { .. } => {
            if let Some(program) = instance.program() {
                let next_check = stamp.run.plus_ms(HEALTH_EVERY_MS);
                instance.phase =
                    Phase::Ready { program, since: stamp.at, next_check, check: Check::None, health: None };
            }
        }
        Event::Told { message } => instance.messages.push(*message),
        Event::MessageOver { call } => instance.messages.retain(|message| message.call != *call),
        Event::CheckOver { call, answered } => instance.check_over(*call, *answered, stamp.run),
        Event::Checked { health: found } => {
            instance.losses = 0;
            if let Phase::Ready { next_check, check, health, .. } = &mut instance.phase {
                (*next_check, *check) = (stamp.run.plus_ms(HEALTH_EVERY_MS), Check::None);
                *health = Some(found.clone());
            }
        }
        Event::Crashed { restart_at, call, .. } => {
            instance.crashed_by = Some(*call);
            let window_ms = instance.rules.window_ms;
            instance.crashes.retain(|at| stamp.run.since_ms(*at) < window_ms);
            instance.crashes.push(stamp.run);
            instance.phase = Phase::Due { at: restart_at.unwrap_or(stamp.run) };
        }
        Event::Lost { restart_at, .. } => {
            instance.losses = instance.losses.saturating_add(1);
            instance.phase = Phase::Due { at: *restart_at };
        }
        Event::Renewed {} => instance.phase = Phase::Due { at: stamp.run },
        Event::Stopping { why } => {
            if let Some(program) = instance.program() {
                instance.phase = Phase::Stopping { program, hook: None, why: why.clone() };
            }
        }
        Event::Stopped { why } => instance.phase = Phase::Stopped { at: stamp.at, why: why.clone() },
        Event::Created { .. } | Event::Refused(_) => {}
    }
}

impl Instance {
    fn asked(&mut self, asked: Hook, call: CallId) {
        match (&mut self.phase, asked) {
            (Phase::Starting { hook, stage, .. }, Hook::Start) => (*hook, *stage) = (call, Stage::Start),
            (Phase::Ready { check, .. }, Hook::Health) => *check = Check::Asked { call },
            (Phase::Stopping { hook, .. }, Hook::Shutdown) => *hook = Some(call),
            (
                Phase::Due { .. }
                | Phase::Starting { .. }
                | Phase::Ready { .. }
                | Phase::Stopping { .. }
                | Phase::Stopped { .. },
                _,
            ) => {}
        }
    }

    /// One that was not answered is asked again at its next time.
    fn check_over(&mut self, call: CallId, answered: bool, now: Run) {
        if let Phase::Ready { check, next_check, .. } = &mut self.phase {
            *check = if answered { Check::Answered { call } } else { Check::None };
            *next_check = now.plus_ms(HEALTH_EVERY_MS);
        }
    }
}
