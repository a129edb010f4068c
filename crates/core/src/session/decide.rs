//! Decisions of a session. A call on our own rows is asked for, judged, done and ended in one: whoever asks brings its arguments.
//! One that needs a sandbox is asked for and judged here, and goes on in `jail`.
use super::{Command, Ending, Event, Invoke, Opener, Refusal, Session, erase, hosted, jail};
use crate::actor::Actor;
use crate::agent::{self, Agent, State};
use crate::approval::{self, Held, Rejudged};
use crate::bound::Payload;
use crate::call::{self, Blocked, Caller, Holder, Judged, May, Open, Proposed};
use crate::capability::{self, Place};
use crate::draft::{Draft, Stop, refuse};
use crate::facts::{Counter, Namespace, Unread};
use crate::id::{AgentId, CallId, KeyId, SessionId};
use crate::instance::{self, Instance};
use crate::state::{self, Space};

pub(super) fn decide(id: SessionId, draft: &mut Draft<'_>, command: Command) -> Result<(), Stop> {
    match command {
        Command::Open { agent, key } => open(id, draft, agent, key),
        Command::Invoke(asked) => invoke(id, draft, asked),
        Command::Touch { heard } => {
            let (session, now) = (live(id, draft)?, draft.stamp.run);
            if heard <= session.heard || heard > now {
                return Err(no(Refusal::NotDue {}));
            }
            Ok(draft.emit::<Session>(id, Event::Heard { heard })?)
        }
        Command::Close {} => {
            let session = live(id, draft)?;
            owns(draft, &session)?;
            // It ends with its program, which people stop.
            if session.instance().is_some() && draft.actor == Actor::Agent(session.agent) {
                return Err(no(Refusal::Unknown {}));
            }
            let by = draft.actor;
            Ok(end(id, draft, Ending::Closed { by })?)
        }
        Command::Bind { worker, connection } => jail::bind(id, draft, worker, connection),
        Command::Unbind { connection, since, why } => jail::unbind(id, draft, connection, since, &why),
        Command::LoseJail { connection, jail, leases, why, traffic } => {
            jail::lose(id, draft, (connection, jail), &leases, &why, traffic)
        }
        Command::Release { connection, jail, traffic } => jail::release(id, draft, (connection, jail), traffic),
        Command::RefuseNetwork { connection, jail, refusals } => {
            jail::refuse_network(id, draft, (connection, jail), refusals)
        }
        Command::Yield { jail } => jail::give_way(id, draft, jail),
        Command::EndCall(end) => jail::end_call(id, draft, end),
        Command::CancelCall { call } => {
            let session = known_session(id, draft)?;
            owns(draft, &session)?;
            let is_hook = session.calls.iter().any(|held| held.call.id == call && held.hook);
            if is_hook && draft.actor == Actor::Agent(session.agent) {
                return Err(no(Refusal::CallEnded {}));
            }
            jail::cancel_call(id, draft, &session, call)
        }
        Command::ExpireCalls {} => jail::expire(id, draft),
        Command::Perform { call, arguments, value } => perform(id, draft, call, &arguments, value),
        Command::Rejudge { call } => rejudge(id, draft, call),
        Command::ExpireApprovals {} => {
            let session = known_session(id, draft)?;
            let late = approval::overdue(session.calls.iter().map(|held| &held.call), draft.wall);
            if late.is_empty() {
                return Err(no(Refusal::NotDue {}));
            }
            for (call, blocked) in late {
                block(id, draft, &call, blocked)?;
            }
            Ok(jail::advance(id, draft)?)
        }
        Command::Erase { reason } => erase::asked(id, draft, reason),
        Command::ErasePayload { payload, n, reason } => erase::one(id, draft, payload, n, reason),
        Command::EraseRest {} => erase::go_on(id, draft),
        Command::Expire {} => {
            let session = live(id, draft)?;
            if session.due() > draft.stamp.run || session.waits_for_people() {
                return Err(no(Refusal::NotDue {}));
            }
            Ok(end(id, draft, Ending::Idle)?)
        }
    }
}

pub(super) fn no(refusal: Refusal) -> Stop {
    refuse::<Session>(refusal)
}

/// Open or ended.
pub(super) fn known_session(id: SessionId, draft: &mut Draft<'_>) -> Result<Session, Stop> {
    draft.get::<Session>(id)?.cloned().ok_or_else(|| no(Refusal::Unknown {}))
}

pub(super) fn live(id: SessionId, draft: &mut Draft<'_>) -> Result<Session, Stop> {
    let session = known_session(id, draft)?;
    match &session.ended {
        Some(ended) => Err(no(Refusal::Ended { ending: ended.ending.clone() })),
        None => Ok(session),
    }
}

/// An agent acts on its own sessions alone, and learns nothing of another's.
fn owns(draft: &Draft<'_>, session: &Session) -> Result<(), Stop> {
    match draft.actor {
        Actor::Agent(agent) if agent != session.agent => Err(no(Refusal::Unknown {})),
        Actor::Agent(_)
        | Actor::Owner { .. }
        | Actor::Key(_)
        | Actor::Link(_)
        | Actor::Worker(_)
        | Actor::Daemon
        | Actor::Validator => Ok(()),
    }
}

pub(super) fn known<'d>(agent: AgentId, draft: &'d mut Draft<'_>) -> Result<&'d Agent, Stop> {
    draft.get::<Agent>(agent)?.ok_or_else(|| refuse::<Agent>(agent::Refusal::Unknown {}))
}

/// A paused agent may connect: it stays, and its calls are refused.
fn open(id: SessionId, draft: &mut Draft<'_>, agent: AgentId, key: KeyId) -> Result<(), Stop> {
    if draft.get::<Session>(id)?.is_some() {
        return Err(no(Refusal::Opened {}));
    }
    let wall = draft.wall;
    let entry = known(agent, draft)?;
    entry.not_revoked()?;
    entry.not_quarantined()?;
    entry.holds_key(key, wall)?;
    let agent_name = entry.name.clone();
    within_rate(draft, agent)?;
    let opener = Opener::Key(key);
    draft.emit::<Session>(id, Event::Opened { agent, agent_name, opener })?;
    Ok(agent::session_opened(agent, draft, id, opener)?)
}

/// Counted by minutes of the daemon's own life, so that no step of the clock opens a second minute.
fn within_rate(draft: &mut Draft<'_>, agent: AgentId) -> Result<(), Stop> {
    let minute = super::rows::minute(draft.stamp);
    if draft.count_in(Counter::SessionCalls, &agent.to_string(), minute)? >= super::CALLS_PER_MINUTE_MAX {
        return Err(no(Refusal::TooManyCalls {}));
    }
    Ok(())
}

fn invoke(id: SessionId, draft: &mut Draft<'_>, asked: Invoke) -> Result<(), Stop> {
    let session = live(id, draft)?;
    owns(draft, &session)?;
    let (agent, wall) = (session.agent, draft.wall);
    let entry = known(agent, draft)?;
    entry.not_revoked()?;
    match (asked.opener, session.opener) {
        (Opener::Key(key), Opener::Key(_)) => entry.holds_key(key, wall)?,
        // Who asks is told by the listener of its jail.
        (Opener::Instance(one), Opener::Instance(other)) if one == other => {}
        (Opener::Instance(_) | Opener::Key(_), _) => return Err(no(Refusal::Unknown {})),
    }
    if let State::Paused { until, .. } = &entry.state {
        return Err(no(Refusal::Paused { until: *until }));
    }
    let newest = entry.revision;
    // Whatever was deployed since, a program that runs is of the revision that it was started as.
    let revision = match session.instance() {
        Some(instance) => draft.get::<Instance>(instance)?.map_or(newest, |instance| instance.revision),
        None => newest,
    };
    let idempotency = asked.idempotency;
    let held = draft.holder(Namespace::InvocationKey, &super::rows::invocation(agent, idempotency))?;
    if let Some(call) = held.and_then(|held| held.parse().ok()) {
        return Err(no(Refusal::Repeated { call }));
    }
    within_rate(draft, agent)?;
    // Those on our own rows are in flight only while people have not answered.
    let place = capability::terms(&asked.proposal.capability).map_or(Place::Sandbox, |terms| terms.place);
    if session.open_of(place) >= super::CALLS_MAX {
        return Err(no(Refusal::CallsInFlight {}));
    }
    let timeout_ms = draft.plan(agent, revision)?.map_or(0, |plan| plan.limits.iteration_timeout_ms);
    let arguments = asked.proposal.arguments.clone();
    let (proposed, misfit) = Proposed::of(CallId::mint(&mut draft.mint), asked.proposal, draft);
    let call = proposed.open();
    let ordinal = session.invocations.saturating_add(1);
    draft.emit::<Session>(id, Event::Invoked { revision, ordinal, idempotency, timeout_ms, call: proposed })?;
    if let Some(sentence) = misfit {
        return Ok(block(id, draft, &call, Blocked::Misfit { sentence })?);
    }
    let caller = Caller { actor: Actor::Agent(agent), agent, revision, holder: Holder::Session(id) };
    match call.place {
        // What is refused at once is refused here; a call that begins later is judged again then.
        Place::Sandbox => {
            let judged = call::judge(draft, caller, &call)?;
            match judged.may {
                May::Begin { .. } => {}
                May::Wait | May::Never => stop(id, draft, &call, judged)?,
            }
            Ok(jail::advance(id, draft)?)
        }
        Place::Rows => Ok(do_now(id, draft, caller, &call, &arguments, asked.value)?),
    }
}

/// A call on our own rows that people have allowed, with its arguments at hand.
fn perform(
    id: SessionId,
    draft: &mut Draft<'_>,
    call: CallId,
    arguments: &Payload,
    value: Option<Payload>,
) -> Result<(), Stop> {
    let session = live(id, draft)?;
    let held = session.calls.iter().find(|held| held.call.id == call && held.is_due_on_rows());
    let Some(held) = held else { return Err(no(Refusal::Stale {})) };
    known(session.agent, draft)?.not_revoked()?;
    let caller = held.caller(id, session.agent);
    Ok(do_now(id, draft, caller, &held.call, arguments, value)?)
}

fn rejudge(id: SessionId, draft: &mut Draft<'_>, call: CallId) -> Result<(), Stop> {
    let session = live(id, draft)?;
    let held =
        session.calls.iter().find(|held| held.call.id == call && (held.call.waits_for().is_some() || held.is_leased()));
    let Some(held) = held else { return Err(no(Refusal::Stale {})) };
    let caller = held.caller(id, session.agent);
    match approval::rejudge(draft, caller, &held.call)? {
        Rejudged::Same => return Err(no(Refusal::NotDue {})),
        Rejudged::Released(released) => draft.emit::<Session>(id, Event::CallReleased(released))?,
        Rejudged::Held(held) => draft.emit::<Session>(id, Event::CallHeld(*held))?,
        Rejudged::Blocked(blocked) => block(id, draft, &held.call, blocked)?,
        Rejudged::Recalled(recalled) => draft.emit::<Session>(id, Event::CallRecalled(recalled))?,
    }
    Ok(jail::advance(id, draft)?)
}

/// Judged, done and ended in one.
fn do_now(
    id: SessionId,
    draft: &mut Draft<'_>,
    caller: Caller,
    call: &Open,
    arguments: &Payload,
    value: Option<Payload>,
) -> Result<(), Unread> {
    let judged = call::judge(draft, caller, call)?;
    match judged.may {
        May::Begin { .. } => {}
        May::Wait | May::Never => return stop(id, draft, call, judged),
    }
    let called = call.called(draft, caller, judged, None, None)?;
    draft.emit::<Session>(id, Event::CallCalled(called))?;
    let ended = call::perform(draft, caller, call, arguments, value)?;
    draft.emit::<Session>(id, Event::CallEnded(ended))
}

/// It may not begin now: a person is asked, or it never will.
fn stop(id: SessionId, draft: &mut Draft<'_>, call: &Open, judged: Judged) -> Result<(), Unread> {
    match judged.may {
        May::Wait => {
            let held = Held::of(draft, call, judged.judgement, judged.shown);
            draft.emit::<Session>(id, Event::CallHeld(held))
        }
        May::Never | May::Begin { .. } => block(id, draft, call, Blocked::Policy { judgement: judged.judgement }),
    }
}

pub(super) fn block(id: SessionId, draft: &mut Draft<'_>, call: &Open, blocked: Blocked) -> Result<(), Unread> {
    let held = draft.get::<Session>(id)?.and_then(|session| session.calls.iter().find(|held| held.call.id == call.id));
    // What ended while others were looked at has its end already.
    let (Some(held), why) = (held.cloned(), blocked.as_str()) else { return Ok(()) };
    draft.emit::<Session>(id, Event::CallBlocked { call: call.id, capability: call.capability.clone(), blocked })?;
    hosted::over(id, draft, &held, &instance::Over::Blocked(why))
}

/// The end, in the agent's stream too.
pub(crate) fn end(id: SessionId, draft: &mut Draft<'_>, ending: Ending) -> Result<(), Unread> {
    let Some(session) = draft.get::<Session>(id)?.filter(|session| session.ended.is_none()) else { return Ok(()) };
    let (agent, bytes, instance) = (session.agent, session.bytes, session.instance());
    draft.emit::<Session>(id, Event::Ended { ending: ending.clone(), bytes: Some(bytes) })?;
    if let Some(instance) = instance {
        instance::session_over(draft, instance, id, &ending)?;
    }
    state::end_session(draft, agent, &Space::session(agent, Holder::Session(id)))?;
    draft.emit::<Agent>(agent, agent::Event::SessionEnded { session: id })?;
    jail::advance(id, draft)
}
