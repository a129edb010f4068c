//! The wakes that an agent plans for itself: by an expression, or once after a while. The fold keeps the next time of each and no
//! more; the rest is a row. A time and the execution that it starts are one decision, so that none comes twice. They rest while
//! the agent is paused, as its manifest's schedule does.
use super::schedule::{MISSED_MS, Skipped};
use super::{Agent, Event, Refusal, State};
use crate::actor::Actor;
use crate::bound::{Bound, Hash, Payload};
use crate::budget;
use crate::call::Caller;
use crate::cron::Timetable;
use crate::draft::{Draft, Stop, refuse};
use crate::execution::{self, Start, Trigger};
use crate::facts::Unread;
use crate::id::{AgentId, ExecutionId};
use crate::item::{Item, ItemChange, ItemKind};
use crate::row::Row;
use crate::time::{Stamp, Time};
use serde::{Deserialize, Serialize};

/// Of one agent.
pub const PLANNED_MAX: usize = 16;
pub const NAME_BYTES_MAX: usize = 63;
/// Of what an execution is given, as JSON.
pub const INPUT_BYTES_MAX: usize = 16 * 1024;
pub const CRON_BYTES_MAX: usize = 256;
/// How soon, and how late, a single wake may be.
pub const DELAY_SECONDS: std::ops::RangeInclusive<u64> = 5..=30 * 24 * 3600;
/// The word of a row's state.
pub const WAITING: &str = "waiting";

/// What the fold keeps of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    pub name: String,
    pub next: Time,
    /// What it started and has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<ExecutionId>,
}

/// When one comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum When {
    Cron { cron: String, timezone: String },
    Once,
}

/// Why none was made: a stable code, and a sentence.
pub(crate) type Unplanned = (&'static str, String);

/// `a-z`, `0-9`, `-` and `_`.
pub fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(fits)
}

impl Agent {
    /// The next of its own times; none while it is held back.
    pub(super) fn next_planned(&self) -> Option<Time> {
        match self.state {
            State::Deployed if !self.killed => self.planned.iter().map(|planned| planned.next).min(),
            State::Deployed
            | State::Paused { .. }
            | State::Quarantined(_)
            | State::Revoked(_)
            | State::Deleting { .. }
            | State::Archived { .. } => None,
        }
    }
}

/// Makes one, in the place of one with the same name; gives its next time, and whether there was one.
pub(crate) fn plan(
    draft: &mut Draft<'_>,
    caller: Caller,
    name: String,
    when: When,
    after: Time,
    input: Payload,
) -> Result<Result<(Time, bool), Unplanned>, Unread> {
    let known = draft.get::<Agent>(caller.agent)?.map(|agent| agent.planned.clone()).unwrap_or_default();
    let replaces = known.iter().any(|planned| planned.name == name);
    if known.len() >= PLANNED_MAX && !replaces {
        let sentence = format!("{} wakes are planned, the most there may be: scheduler.cron_delete", known.len());
        return Ok(Err(("too_many_schedules", sentence)));
    }
    let next = match &when {
        When::Cron { cron, timezone } => match Timetable::of(cron, timezone) {
            Ok(timetable) => match timetable.next(after) {
                Some(next) => next,
                None => return Ok(Err(("invalid_schedule", "it never comes".to_string()))),
            },
            Err(fault) => {
                let hint = fault.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                return Ok(Err(("invalid_schedule", format!("{}{hint}", fault.reason))));
            }
        },
        When::Once => after,
    };
    let input = draft.bind(input);
    let made = Event::ScheduleCreated { name, when, input, next, holder: caller.holder };
    draft.emit::<Agent>(caller.agent, made)?;
    Ok(Ok((next, replaces)))
}

/// False where there is none of this name.
pub(crate) fn unplan(draft: &mut Draft<'_>, agent: AgentId, by: Actor, name: &str) -> Result<bool, Unread> {
    let known = draft.get::<Agent>(agent)?.is_some_and(|agent| agent.planned.iter().any(|one| one.name == name));
    if known {
        draft.emit::<Agent>(agent, Event::ScheduleDeleted { name: name.to_string(), by })?;
    }
    Ok(known)
}

/// By a person.
pub(super) fn delete(id: AgentId, draft: &mut Draft<'_>, name: &str) -> Result<(), Stop> {
    super::known(id, draft)?;
    let by = draft.actor;
    if unplan(draft, id, by, name)? { Ok(()) } else { Err(refuse::<Agent>(Refusal::ScheduleUnknown {})) }
}

/// A row of one says when it comes; none where it cannot be read any more.
fn when_of(draft: &mut Draft<'_>, id: AgentId, name: &str) -> Result<(Option<When>, Option<Item>), Unread> {
    let item = draft.item(ItemKind::Schedule, id, name)?;
    Ok((item.as_ref().and_then(|item| item.parse_data().ok()), item))
}

/// The first of its own times that is due.
pub(super) fn wake(id: AgentId, draft: &mut Draft<'_>, due: Time) -> Result<(), Stop> {
    let (agent, now) = (super::known(id, draft)?.clone(), draft.wall);
    agent.may_begin()?;
    let at_it = agent.planned.iter().filter(|planned| planned.next == due);
    let Some(planned) = at_it.min_by(|one, other| one.name.cmp(&other.name)).cloned() else {
        return Err(refuse::<Agent>(Refusal::WakeStale {}));
    };
    if due > now {
        return Err(refuse::<Agent>(Refusal::WakeNotDue {}));
    }
    let name = planned.name;
    let (when, item) = when_of(draft, id, &name)?;
    let timetable = match &when {
        Some(When::Cron { cron, timezone }) => Timetable::of(cron, timezone).ok(),
        Some(When::Once) | None => None,
    };
    if timetable.is_none() && when != Some(When::Once) {
        let skipped = Event::ScheduleSkipped { name, why: Skipped::Unreadable, scheduled: due, next: None };
        return Ok(draft.emit::<Agent>(id, skipped)?);
    }
    // Of several that were missed the last stands for all.
    let overdue = now.since_ms(due) >= MISSED_MS;
    let at = timetable.as_ref().filter(|_| overdue).map_or(due, |timetable| timetable.latest(due, now));
    let missed_since = (at != due).then_some(due);
    let next = timetable.as_ref().and_then(|timetable| timetable.next(at));
    let shut = budget::shut(draft, id)?.map(|_| Skipped::Budget);
    if let Some(why) = shut.or(planned.execution.map(|_| Skipped::Running)) {
        let skipped = Event::ScheduleSkipped { name, why, scheduled: at, next };
        return Ok(draft.emit::<Agent>(id, skipped)?);
    }
    let said = item.and_then(|item| item.text).map(|text| draft.body(&text)).transpose()?.flatten();
    let input = Payload::new(draft.mint.salt(), said.unwrap_or_else(|| b"null".to_vec()));
    let execution = ExecutionId::mint(&mut draft.mint);
    draft.emit::<Agent>(id, Event::ScheduleWoken { name, execution, scheduled: at, missed_since, next })?;
    let trigger = Trigger::Schedule;
    let start = Start { agent: id, revision: None, input, max_iterations: None, idempotency: None, trigger };
    execution::start(execution, draft, start)
}

/// A pause ends: an expression goes on from its next time, a single wake that passed comes now.
pub(super) fn after_pause(id: AgentId, draft: &mut Draft<'_>, end: Time) -> Result<(), Stop> {
    let passed: Vec<Planned> =
        super::known(id, draft)?.planned.iter().filter(|planned| planned.next <= end).cloned().collect();
    for Planned { name, next: scheduled, .. } in passed {
        let (Some(When::Cron { cron, timezone }), _) = when_of(draft, id, &name)? else { continue };
        let next = Timetable::of(&cron, &timezone).ok().and_then(|timetable| timetable.next(end));
        draft.emit::<Agent>(id, Event::ScheduleSkipped { name, why: Skipped::Paused, scheduled, next })?;
    }
    Ok(())
}

pub(super) fn apply(agent: &mut Agent, event: &Event, stamp: Stamp) {
    let mut over = |name: &str, next: Option<Time>, started: Option<ExecutionId>| match next {
        Some(next) => {
            if let Some(planned) = agent.planned.iter_mut().find(|planned| planned.name == name) {
                (planned.next, planned.execution) = (next, started.or(planned.execution));
            }
        }
        None => agent.planned.retain(|planned| planned.name != name),
    };
    match event {
        Event::ScheduleSkipped { name, next, .. } => over(name, *next, None),
        Event::ScheduleDeleted { name, .. } => over(name, None, None),
        Event::ScheduleWoken { name, execution, next, .. } => {
            over(name, *next, Some(*execution));
            agent.last_woken_at = Some(stamp.at);
        }
        Event::ScheduleCreated { name, next, .. } => {
            agent.plans = agent.plans.saturating_add(1);
            // What the former one of this name started is still its own: no second one runs beside it.
            let former = agent.planned.iter().position(|planned| planned.name == *name);
            let execution = former.and_then(|place| agent.planned.remove(place).execution);
            agent.planned.push(Planned { name: name.clone(), next: *next, execution });
        }
        Event::Archived { .. }
        | life_events!()
        | alert_events!()
        | grant_events!()
        | state_events!()
        | message_events!() => {}
    }
}

/// What a planned wake started has ended.
pub(super) fn ended(agent: &mut Agent, execution: ExecutionId) {
    if let Some(planned) = agent.planned.iter_mut().find(|planned| planned.execution == Some(execution)) {
        planned.execution = None;
    }
}

pub(super) fn binds(event: &Event, each: &mut dyn FnMut(&Hash)) {
    match event {
        Event::ScheduleCreated { input, .. } => each(&input.hash),
        Event::ScheduleDeleted { .. }
        | Event::ScheduleWoken { .. }
        | Event::ScheduleSkipped { .. }
        | Event::Archived { .. }
        | life_events!()
        | alert_events!()
        | grant_events!()
        | state_events!()
        | message_events!() => {}
    }
}

/// The rows of what happened to its own schedules.
pub(super) fn rows(id: AgentId, event: &Event, stamp: Stamp) -> Vec<Row> {
    let kind = ItemKind::Schedule;
    let over = |name: &str, next: Option<Time>, detail: String| {
        let (key, at) = (name.to_string(), stamp.at);
        vec![match next {
            Some(due) => {
                let change = ItemChange { state: WAITING, detail: Some(detail), due: Some(due) };
                Row::ItemChanged { kind, agent: id, key, change, at }
            }
            None => Row::ItemGone { kind, agent: id, key },
        }]
    };
    match event {
        Event::ScheduleSkipped { name, why, scheduled, next } => {
            over(name, *next, format!("{scheduled}: skipped, {}", why.as_str()))
        }
        Event::ScheduleWoken { name, execution, scheduled, next, .. } => {
            over(name, *next, format!("{scheduled}: {execution}"))
        }
        Event::ScheduleDeleted { name, .. } => over(name, None, String::new()),
        Event::ScheduleCreated { name, when, input, next, .. } => {
            vec![Row::Item(Box::new(created(id, name, when, input, *next, stamp)))]
        }
        Event::Archived { .. }
        | life_events!()
        | alert_events!()
        | grant_events!()
        | state_events!()
        | message_events!() => Vec::new(),
    }
}

fn created(id: AgentId, name: &str, when: &When, input: &Bound, next: Time, stamp: Stamp) -> Item {
    Item {
        kind: ItemKind::Schedule,
        agent: id,
        key: name.to_string(),
        state: WAITING.to_string(),
        data: serde_json::to_string(when).expect("invariant: an expression is JSON"),
        text: Some(input.hash),
        detail: None,
        due: Some(next),
        at: stamp.at,
        changed_at: stamp.at,
    }
}

/// Where it is archived nothing is planned any more.
pub(super) fn left(agent: &Agent, id: AgentId) -> impl Iterator<Item = Row> {
    let gone =
        move |planned: &Planned| Row::ItemGone { kind: ItemKind::Schedule, agent: id, key: planned.name.clone() };
    agent.planned.iter().map(gone)
}
