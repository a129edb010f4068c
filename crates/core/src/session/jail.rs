//! The jail of a session and the calls that go through it: bound to one worker's connection at a time, over the agent's own work
//! folder, released when nothing runs in it for a while, when somebody else waits for its slot, and at the session's end.
//! Each decision ends in [`advance`], which takes every step that waits for nobody.
use super::decide::{block, known, known_session, live, no};
use super::{CALLS_MAX, Event, InFlight, JAIL_IDLE_MS, Jail, LATE_MS, Refusal, Session, hosted};
use crate::actor::Actor;
use crate::agent;
use crate::approval;
use crate::binding;
use crate::call::{self, Blocked, Caller, EndCall, Holder, Open, Outcome, State};
use crate::capability::{Place, clip};
use crate::draft::{Draft, Stop, refuse};
use crate::facts::Unread;
use crate::id::{AgentId, CallId, ConnectionId, LeaseId, SessionId, WorkerId};
use crate::instance;
use crate::network::{self, Traffic};
use crate::owed::{Obligation, Owed};
use crate::retention;
use crate::time::{Due, Run, Stamp};

/// Calls that were taken go on while their agent is paused.
pub(super) fn bind(
    id: SessionId,
    draft: &mut Draft<'_>,
    worker: WorkerId,
    connection: ConnectionId,
) -> Result<(), Stop> {
    let session = live(id, draft)?;
    let Some(first) = session.waits() else { return Err(no(Refusal::Stale {})) };
    let (agent, revision) = (session.agent, first.revision);
    let entry = known(agent, draft)?;
    entry.not_revoked()?;
    if entry.killed {
        return Err(refuse::<agent::Agent>(agent::Refusal::StillEnding {}));
    }
    // An instance's program takes nobody's place among what its agent does.
    let begun = session.instance().is_some();
    let wanted = binding::Wanted { agent, revision, begun, hosted: false, worker, connection };
    let binding = binding::bind(draft, wanted)?.map_err(|why| no(Refusal::Unplaced { why }))?;
    draft.emit::<Session>(id, Event::Bound { jail: session.jails.saturating_add(1), revision, binding })?;
    Ok(advance(id, draft)?)
}

pub(super) fn unbind(
    id: SessionId,
    draft: &mut Draft<'_>,
    connection: ConnectionId,
    since: Run,
    why: &str,
) -> Result<(), Stop> {
    let session = known_session(id, draft)?;
    let jail = session.jail_on(connection)?;
    lose_calls(id, draft, &session, |_| true)?;
    let (number, had_sandbox) = (jail.number, jail.has_sandbox);
    draft.emit::<Session>(id, Event::Unbound { jail: number, connection, since, had_sandbox, why: clip(why) })?;
    Ok(advance(id, draft)?)
}

pub(super) fn lose(
    id: SessionId,
    draft: &mut Draft<'_>,
    (connection, number): (ConnectionId, u32),
    leases: &[LeaseId],
    why: &str,
    traffic: Option<Traffic>,
) -> Result<(), Stop> {
    let session = known_session(id, draft)?;
    session.sandbox_on(connection, number)?;
    lose_calls(id, draft, &session, |lease| leases.contains(&lease))?;
    let traffic = traffic.map(Traffic::recordable);
    draft.emit::<Session>(id, Event::JailLost { jail: number, connection, why: clip(why), traffic })?;
    Ok(advance(id, draft)?)
}

/// What ran in it until then: over time, taken back or ended with the session, or lost with it.
pub(super) fn release(
    id: SessionId,
    draft: &mut Draft<'_>,
    (connection, number): (ConnectionId, u32),
    traffic: Option<Traffic>,
) -> Result<(), Stop> {
    let session = known_session(id, draft)?;
    if !session.sandbox_on(connection, number)?.releasing {
        return Err(no(Refusal::Stale {}));
    }
    for held in session.calls.iter().filter(|held| held.is_leased()) {
        let outcome =
            match (session.ended.is_some() || held.cancelled || held.call.recalled, held.deadline <= draft.stamp.run) {
                (true, _) => Outcome::Killed,
                (false, true) => Outcome::TimedOut,
                (false, false) => held.call.lost(false),
            };
        end_unfinished(id, draft, held, outcome)?;
    }
    let traffic = traffic.map(Traffic::recordable);
    draft.emit::<Session>(id, Event::Released { jail: number, connection, traffic })?;
    Ok(advance(id, draft)?)
}

pub(super) fn refuse_network(
    id: SessionId,
    draft: &mut Draft<'_>,
    (connection, number): (ConnectionId, u32),
    refusals: Vec<network::Refusal>,
) -> Result<(), Stop> {
    known_session(id, draft)?.sandbox_on(connection, number)?;
    if refusals.len() > network::REFUSALS_MAX {
        return Err(no(Refusal::TooManyRefusals {}));
    }
    for network::Refusal { host, port, rule, count } in refusals {
        let refusal = network::Refusal { host: clip(&host), port, rule: clip(&rule), count };
        draft.emit::<Session>(id, Event::NetworkRefused { jail: number, refusal })?;
    }
    Ok(())
}

/// What runs in it ends as it would; then the slot is free.
pub(super) fn give_way(id: SessionId, draft: &mut Draft<'_>, number: u32) -> Result<(), Stop> {
    let session = known_session(id, draft)?;
    match session.jail {
        Some(jail) if jail.number == number && !jail.yielding && !jail.releasing => {}
        Some(_) | None => return Err(no(Refusal::Stale {})),
    }
    draft.emit::<Session>(id, Event::Yielding { jail: number })?;
    Ok(advance(id, draft)?)
}

pub(super) fn end_call(id: SessionId, draft: &mut Draft<'_>, end: EndCall) -> Result<(), Stop> {
    let session = known_session(id, draft)?;
    let held = session.calls.iter().find(|held| held.call.id == end.call);
    let Some(held) = held else { return Err(no(Refusal::Stale {})) };
    let closing = session.ended.is_some() || held.cancelled;
    let Some(ended) = held.call.end(end, closing, draft) else { return Err(no(Refusal::Stale {})) };
    end_held(id, draft, held, ended)?;
    Ok(advance(id, draft)?)
}

pub(super) fn cancel_call(id: SessionId, draft: &mut Draft<'_>, session: &Session, call: CallId) -> Result<(), Stop> {
    let Some(held) = session.calls.iter().find(|held| held.call.id == call) else {
        return Err(no(Refusal::CallEnded {}));
    };
    if held.is_leased() {
        let by = draft.actor;
        if !held.cancelled {
            draft.emit::<Session>(id, Event::CancelRequested { call, by })?;
        }
        return Ok(());
    }
    block(id, draft, &held.call, Blocked::Cancelled)?;
    Ok(advance(id, draft)?)
}

/// The decision looks at the clocks itself.
pub(super) fn expire(id: SessionId, draft: &mut Draft<'_>) -> Result<(), Stop> {
    let (session, now) = (known_session(id, draft)?, draft.stamp.run);
    let mut moved = false;
    for held in session.calls.iter().filter(|held| held.waits_in_time() && held.deadline <= now) {
        block(id, draft, &held.call, Blocked::Expired)?;
        moved = true;
    }
    if let Some(jail) = session.jail.filter(|jail| !jail.releasing) {
        let late = |held: &InFlight| held.is_leased() && held.deadline.plus_ms(LATE_MS) <= now;
        let idle = jail.idle_since.is_some_and(|since| since.plus_ms(JAIL_IDLE_MS) <= now);
        let why = match (session.calls.iter().any(late), idle) {
            (true, _) => Some("its worker did not end a call whose time was over"),
            (false, true) => Some("nothing ran in it for a while"),
            (false, false) => None,
        };
        if let Some(why) = why {
            draft.emit::<Session>(id, Event::Releasing { jail: jail.number, why: why.to_string() })?;
            moved = true;
        }
    }
    if !moved {
        return Err(no(Refusal::NotDue {}));
    }
    Ok(advance(id, draft)?)
}

/// The jail is proven dead: what is idempotent comes again, of the rest the outcome is unknown.
fn lose_calls(
    id: SessionId,
    draft: &mut Draft<'_>,
    session: &Session,
    lost: impl Fn(LeaseId) -> bool,
) -> Result<(), Unread> {
    for held in session.calls.iter().filter(|held| held.call.lease().is_some_and(|lease| lost(lease.lease))) {
        let outcome = held.call.lost(session.ended.is_some() || held.cancelled);
        end_unfinished(id, draft, held, outcome)?;
    }
    Ok(())
}

fn end_unfinished(id: SessionId, draft: &mut Draft<'_>, held: &InFlight, outcome: Outcome) -> Result<(), Unread> {
    match held.call.end_unfinished(outcome) {
        Some(ended) => end_held(id, draft, held, ended),
        None => Ok(()),
    }
}

/// Its instance hears of the end of a hook in the same decision.
fn end_held(id: SessionId, draft: &mut Draft<'_>, held: &InFlight, ended: call::Ended) -> Result<(), Unread> {
    let outcome = ended.outcome.clone();
    draft.emit::<Session>(id, Event::CallEnded(ended))?;
    if outcome.is_again() { Ok(()) } else { hosted::over(id, draft, held, &instance::Over::Ended(outcome)) }
}

/// Takes every step that waits for nobody. Each emits an event, and each event moves the fold on.
pub(super) fn advance(id: SessionId, draft: &mut Draft<'_>) -> Result<(), Unread> {
    const ROUNDS_MAX: usize = 8 * (CALLS_MAX + instance::MESSAGES_MAX);
    for _ in 0..ROUNDS_MAX {
        let Some(session) = draft.get::<Session>(id)?.cloned() else { return Ok(()) };
        if !step(id, draft, &session)? {
            return settle(draft, &session);
        }
    }
    unreachable!("invariant: a session comes to rest within {ROUNDS_MAX} events");
}

/// Where its last call has ended just now, after it: what retention counts grew.
fn settle(draft: &mut Draft<'_>, session: &Session) -> Result<(), Unread> {
    match &session.ended {
        Some(ended) if ended.settled_at == Some(draft.stamp.at) && ended.payloads.bytes().is_some() => {
            retention::ended(draft, session.agent)
        }
        Some(_) | None => Ok(()),
    }
}

fn step(id: SessionId, draft: &mut Draft<'_>, session: &Session) -> Result<bool, Unread> {
    let waiting = session.calls.iter().filter(|held| !held.is_leased());
    if let (Some(_), Some(held)) = (&session.ended, waiting.clone().next()) {
        block(id, draft, &held.call, Blocked::Withdrawn)?;
        return Ok(true);
    }
    // One that was taken back while it ran, and is to be judged again, does not begin again.
    if let Some(held) = waiting.clone().find(|held| held.cancelled) {
        block(id, draft, &held.call, Blocked::Cancelled)?;
        return Ok(true);
    }
    let Some(jail) = session.jail else { return Ok(false) };
    let number = jail.number;
    let releasing = |why: &str| Event::Releasing { jail: number, why: why.to_string() };
    if jail.releasing {
        if jail.has_sandbox {
            return Ok(false);
        }
        let connection = jail.binding.connection;
        draft.emit::<Session>(id, Event::Released { jail: number, connection, traffic: None })?;
        return Ok(true);
    }
    if let Some(ended) = &session.ended {
        draft.emit::<Session>(id, releasing(&format!("its session ended: {}", ended.ending.as_str())))?;
        return Ok(true);
    }
    let mut waiting = waiting.filter(|held| held.needs_jail());
    let next = waiting.clone().find(|held| held.revision == jail.revision && !jail.yielding);
    if let Some(held) = next {
        begin(id, draft, session, &jail, held)?;
        return Ok(true);
    }
    if session.calls.iter().any(InFlight::is_leased) {
        return Ok(false);
    }
    let why = match (jail.yielding, waiting.next(), jail.has_sandbox) {
        (true, _, _) => "somebody else waits for its place",
        (false, Some(_), _) => "a call of another revision waits",
        (false, None, false) => "nothing was to be done in it",
        (false, None, true) => return Ok(false),
    };
    draft.emit::<Session>(id, releasing(why))?;
    Ok(true)
}

/// Judged now, by the revision that it was asked under.
fn begin(id: SessionId, draft: &mut Draft<'_>, session: &Session, jail: &Jail, held: &InFlight) -> Result<(), Unread> {
    let caller = held.caller(id, session.agent);
    match call::begin(draft, caller, &held.call, jail.binding.fence, None)? {
        call::Begun::Called(called) => draft.emit::<Session>(id, Event::CallCalled(called)),
        call::Begun::Held(held) => draft.emit::<Session>(id, Event::CallHeld(held)),
        call::Begun::Blocked(blocked) => block(id, draft, &held.call, blocked),
    }
}

impl InFlight {
    /// As whom it is judged. A hook is asked by the manifest that names the program, as a check of it is.
    pub(super) fn caller(&self, id: SessionId, agent: AgentId) -> Caller {
        let actor = if self.hook { Actor::Validator } else { Actor::Agent(agent) };
        Caller { actor, agent, revision: self.revision, holder: Holder::Session(id) }
    }

    pub fn is_leased(&self) -> bool {
        self.call.lease().is_some()
    }

    /// People have allowed it, and its arguments are to be brought.
    pub fn is_due_on_rows(&self) -> bool {
        self.call.place == Place::Rows && self.waits_for_jail_or_rows()
    }

    fn needs_jail(&self) -> bool {
        self.call.place == Place::Sandbox && self.waits_for_jail_or_rows()
    }

    /// A program that finds no worker yet is waited for; how long, whoever wants something of it says.
    fn waits_in_time(&self) -> bool {
        self.waits_for_jail_or_rows() && !self.hook
    }

    fn waits_for_jail_or_rows(&self) -> bool {
        match self.call.state {
            State::Proposed | State::Approved(_) => true,
            State::Waiting(_) | State::Leased(_) => false,
        }
    }
}

impl Session {
    /// The call for which it waits for a worker, where it has no jail.
    pub fn waits(&self) -> Option<&InFlight> {
        let apart = self.jail.is_none() && self.ended.is_none();
        self.calls.iter().find(|held| apart && held.needs_jail())
    }

    fn jail_on(&self, connection: ConnectionId) -> Result<Jail, Stop> {
        self.jail.filter(|jail| jail.binding.connection == connection).ok_or_else(|| no(Refusal::Stale {}))
    }

    /// What a worker tells of a jail must be of the present one.
    fn sandbox_on(&self, connection: ConnectionId, number: u32) -> Result<Jail, Stop> {
        let jail = self.jail_on(connection)?;
        if jail.number == number && jail.has_sandbox { Ok(jail) } else { Err(no(Refusal::Stale {})) }
    }
}

/// What the world owes the calls and the jail.
pub(super) fn owed(session: &Session) -> Vec<Owed> {
    let at_once = |obligation| Owed { obligation, due: Due::AT_ONCE };
    let mut owed = Vec::new();
    match session.jail {
        None if session.waits().is_some() => {
            owed.push(at_once(Obligation::Place { iteration: session.jails.saturating_add(1) }));
        }
        None => {}
        Some(Jail { number, binding, releasing: true, .. }) => {
            let (connection, last) = (binding.connection, session.ended.is_some());
            owed.push(at_once(Obligation::Release { iteration: number, connection, last }));
        }
        Some(Jail { binding, .. }) => {
            let connection = binding.connection;
            owed.extend(session.calls.iter().filter_map(|held| held.call.dispatch(connection)));
            let cancelled = session.calls.iter().filter(|held| held.cancelled || held.call.recalled);
            owed.extend(cancelled.filter_map(|held| {
                let (call, lease) = (held.call.id, held.call.lease()?.lease);
                Some(at_once(Obligation::Cancel { call, lease, connection }))
            }));
        }
    }
    let on_rows = session.calls.iter().filter(|held| session.ended.is_none() && held.is_due_on_rows());
    owed.extend(on_rows.map(|held| at_once(Obligation::Perform { call: held.call.id })));
    owed.extend(approval::owed(session.calls.iter().map(|held| &held.call)));
    owed.extend(next_due(session).map(|run| Owed { obligation: Obligation::ExpireCalls, due: Due::Run(run) }));
    owed
}

/// When a clock of a call or of the jail runs out; a jail that is being destroyed is waited for by its worker's own.
fn next_due(session: &Session) -> Option<Run> {
    let jail = session.jail.filter(|jail| !jail.releasing);
    let late = |held: &InFlight| match (held.is_leased(), jail) {
        // How long a person may take is the approval's own.
        (false, _) if !held.waits_in_time() => None,
        (false, _) => Some(held.deadline),
        (true, Some(_)) => Some(held.deadline.plus_ms(LATE_MS)),
        (true, None) => None,
    };
    let idle = jail.and_then(|jail| jail.idle_since).map(|since| since.plus_ms(JAIL_IDLE_MS));
    session.calls.iter().filter_map(late).chain(idle).min()
}

pub(super) fn apply(session: &mut Session, event: &Event, stamp: Stamp) {
    match event {
        Event::Bound { jail, revision, binding } => {
            session.jails = *jail;
            session.jail = Some(Jail {
                number: *jail,
                revision: *revision,
                binding: *binding,
                has_sandbox: false,
                yielding: false,
                releasing: false,
                idle_since: None,
            });
        }
        Event::Unbound { .. } | Event::Released { .. } => session.jail = None,
        Event::JailLost { .. } => {
            // Calls that are still open run in its successor.
            let in_flight = session.calls.iter().any(InFlight::is_leased);
            if let Some(jail) = &mut session.jail {
                jail.has_sandbox = in_flight;
            }
        }
        Event::Yielding { .. } => {
            if let Some(jail) = &mut session.jail {
                jail.yielding = true;
            }
        }
        Event::Releasing { .. } => {
            if let Some(jail) = &mut session.jail {
                jail.releasing = true;
            }
        }
        Event::CallCalled(called) => {
            if let Some(held) = session.calls.iter_mut().find(|held| held.call.id == called.call) {
                held.call.apply_called(called, stamp.run);
                held.deadline = stamp.run.plus_ms(held.timeout_ms);
            }
            if let (Some(jail), Some(_)) = (&mut session.jail, called.lease) {
                (jail.has_sandbox, jail.idle_since) = (true, None);
            }
        }
        Event::CallHeld(held) => change(session, held.call, |waiting| waiting.call.apply_held(held)),
        Event::CallAllowed(allowed) => answered(session, allowed.call, stamp, |call| call.apply_allowed(allowed)),
        Event::CallReleased(released) => answered(session, released.call, stamp, Open::apply_released),
        Event::CallRecalled(recalled) => change(session, recalled.call, |held| held.call.recalled = true),
        Event::CallBlocked { call, .. } => {
            answered(session, *call, stamp, |_| {});
            session.calls.retain(|held| held.call.id != *call);
        }
        Event::CallEnded(ended) => apply_ended(session, ended, stamp),
        Event::CancelRequested { call, .. } => {
            if let Some(held) = session.calls.iter_mut().find(|held| held.call.id == *call) {
                held.cancelled = true;
            }
        }
        Event::Opened { .. }
        | Event::Heard { .. }
        | Event::Invoked { .. }
        | Event::HookAsked { .. }
        | Event::NetworkRefused { .. }
        | Event::Ended { .. }
        | Event::PayloadErased { .. }
        | Event::Erased { .. }
        | Event::Refused(_) => {}
    }
}

/// People, or other rules, have answered: what waited has its time anew, and the session was not silent meanwhile.
fn answered(session: &mut Session, id: CallId, stamp: Stamp, apply: impl FnOnce(&mut Open)) {
    let mut waited = false;
    change(session, id, |held| {
        waited = held.call.waits_for().is_some();
        apply(&mut held.call);
        held.deadline = stamp.run.plus_ms(held.timeout_ms);
    });
    if waited {
        (session.heard, session.heard_at) = (stamp.run, stamp.at);
    }
}

fn change(session: &mut Session, id: CallId, change: impl FnOnce(&mut InFlight)) {
    if let Some(held) = session.calls.iter_mut().find(|held| held.call.id == id) {
        change(held);
    }
}

fn apply_ended(session: &mut Session, ended: &call::Ended, stamp: Stamp) {
    if ended.outcome.is_again() {
        if let Some(held) = session.calls.iter_mut().find(|held| held.call.id == ended.call) {
            held.call.apply_again(ended);
            held.deadline = stamp.run.plus_ms(held.timeout_ms);
        }
    } else {
        session.calls.retain(|held| held.call.id != ended.call);
    }
    let in_flight = session.calls.iter().any(InFlight::is_leased);
    if let Some(jail) = &mut session.jail
        && !in_flight
    {
        jail.idle_since = jail.idle_since.or(Some(stamp.run));
    }
}
