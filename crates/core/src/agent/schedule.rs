//! How the clock wakes an agent: which of its schedule's times is next, and what becomes of it once it is due. A time and the
//! execution that it starts are one decision, and the time is over with in it: killed at any point, it never comes twice.
//! Zones and expressions are asked here, in decisions, never by `apply` or `owed`: the event carries the next time.
use super::{Agent, Event, Refusal, State, mailbox, planned};
use crate::bound::Payload;
use crate::budget;
use crate::cron::Timetable;
use crate::draft::{Draft, Stop, refuse};
use crate::execution::{self, Start, Trigger};
use crate::id::{AgentId, ExecutionId};
use crate::manifest::{Missed, Overlap};
use crate::plan::Schedule;
use crate::time::{Stamp, Time};
use serde::{Deserialize, Serialize};

/// What is overdue by less is no miss: a start of the daemon, a busy minute.
pub const MISSED_MS: u64 = 60_000;
/// Executions of a schedule that wait or run at a time, under `overlap: queue`.
pub const QUEUE_MAX: usize = 16;
/// A time that is over with holds back those up to it, but for a clock that was further ahead than this: it was wrong.
const AHEAD_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// A time of a schedule, and when it is due: later by its jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextWake {
    pub scheduled: Time,
    pub due: Time,
}

/// Why an agent is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Waking {
    Schedule {
        scheduled: Time,
    },
    /// Messages wait for it; all of them, as far as one execution bears them.
    Messages,
    /// A time that it planned itself.
    Planned {
        due: Time,
    },
}

/// Why a time of a schedule starts nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Skipped {
    /// What the schedule started before has not ended.
    Running,
    /// As many as may wait do.
    QueueFull,
    /// It was missed, and is not made up.
    Missed,
    /// What it, or its project, may use up is used up.
    Budget,
    /// Its expression or zone is not known to this program any more.
    Unreadable,
    /// It passed while the agent was paused.
    Paused,
}

impl Skipped {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl Agent {
    /// The wake that is waited for: none while it is held back.
    pub(super) fn next_wake(&self) -> Option<NextWake> {
        match self.state {
            State::Deployed if !self.killed => self.next,
            State::Deployed
            | State::Paused { .. }
            | State::Quarantined(_)
            | State::Revoked(_)
            | State::Deleting { .. }
            | State::Archived { .. } => None,
        }
    }
}

pub(super) fn woken(
    agent: &mut Agent,
    execution: ExecutionId,
    scheduled: Option<Time>,
    next: Option<NextWake>,
    stamp: Stamp,
) {
    agent.last_woken_at = Some(stamp.at);
    if let Some(scheduled) = scheduled {
        agent.scheduled.push(execution);
        over(agent, scheduled, next);
    }
}

/// This time of the schedule is over with.
pub(super) fn over(agent: &mut Agent, scheduled: Time, next: Option<NextWake>) {
    (agent.last, agent.next) = (Some(scheduled), next);
}

/// The next time under a new revision: the same where its times are the same, else the first from now on.
pub(super) fn deployed(
    id: AgentId,
    draft: &mut Draft<'_>,
    agent: Option<&Agent>,
    schedule: Option<&Schedule>,
) -> Result<Option<NextWake>, Stop> {
    let Some(schedule) = schedule else { return Ok(None) };
    if let Some(agent) = agent {
        let before = draft.plan(id, agent.revision)?;
        let before = before.as_ref().and_then(|plan| plan.schedule.as_ref());
        let times = |schedule: &Schedule| (schedule.cron.clone(), schedule.timezone.clone(), schedule.jitter_ms);
        let same = before.map(times) == Some(times(schedule));
        if same && agent.next.is_some() && !is_astray(agent.last, draft.wall) {
            return Ok(agent.next);
        }
    }
    let now = draft.wall;
    Ok(reckon(draft, schedule, from(agent.and_then(|agent| agent.last), now)))
}

/// Where the next time passed during a pause that ended at `end`, the one that the schedule goes on from.
pub(super) fn after_pause(id: AgentId, draft: &mut Draft<'_>, end: Time) -> Result<Option<NextWake>, Stop> {
    let agent = super::known(id, draft)?;
    let (revision, last) = (agent.revision, agent.last);
    if agent.next.is_none_or(|next| next.due > end) && !is_astray(last, end) {
        return Ok(None);
    }
    let plan = draft.plan(id, revision)?;
    let schedule = plan.as_ref().and_then(|plan| plan.schedule.as_ref());
    Ok(schedule.and_then(|schedule| reckon(draft, schedule, from(last, end))))
}

/// The last time that came was under a clock that was wrong.
fn is_astray(last: Option<Time>, now: Time) -> bool {
    last.is_some_and(|last| last.since_ms(now) > AHEAD_MS_MAX)
}

/// The moment after which times are still to come.
fn from(last: Option<Time>, now: Time) -> Time {
    last.filter(|_| !is_astray(last, now)).map_or(now, |last| last.max(now))
}

fn reckon(draft: &mut Draft<'_>, schedule: &Schedule, after: Time) -> Option<NextWake> {
    let timetable = schedule.timetable().ok()?;
    jittered(draft, &timetable, schedule.jitter_ms, timetable.next(after)?)
}

/// Later by its jitter, and before the time after it.
fn jittered(draft: &mut Draft<'_>, timetable: &Timetable, jitter_ms: u64, scheduled: Time) -> Option<NextWake> {
    let most = match timetable.next(scheduled) {
        Some(next) => jitter_ms.min(next.since_ms(scheduled).saturating_sub(1)),
        None => jitter_ms,
    };
    let random = u128::from_le_bytes(draft.mint.salt()) % (u128::from(most) + 1);
    Some(NextWake { scheduled, due: scheduled.plus_ms(u64::try_from(random).unwrap_or(0)) })
}

pub(super) fn wake(id: AgentId, draft: &mut Draft<'_>, waking: Waking, input: Payload) -> Result<(), Stop> {
    let scheduled = match waking {
        Waking::Schedule { scheduled } => scheduled,
        Waking::Messages => return mailbox::wake(id, draft),
        Waking::Planned { due } => return planned::wake(id, draft, due),
    };
    let (agent, now) = (super::known(id, draft)?.clone(), draft.wall);
    agent.may_begin()?;
    let Some(wake) = agent.next.filter(|next| next.scheduled == scheduled) else {
        return Err(refuse::<Agent>(Refusal::WakeStale {}));
    };
    if wake.due > now {
        return Err(refuse::<Agent>(Refusal::WakeNotDue {}));
    }
    let plan = draft.plan(id, agent.revision)?;
    let schedule = plan.as_ref().and_then(|plan| plan.schedule.as_ref());
    let Some((schedule, timetable)) = schedule.and_then(|schedule| Some((schedule, schedule.timetable().ok()?))) else {
        let skipped = Event::WakeSkipped { why: Skipped::Unreadable, scheduled, missed_since: None, next: None };
        return Ok(draft.emit::<Agent>(id, skipped)?);
    };
    let overdue = now.since_ms(wake.due) >= MISSED_MS;
    // Of several that were missed the last stands for all.
    let at = if overdue { timetable.latest(scheduled, now) } else { scheduled };
    let missed = overdue && (at == scheduled || now.since_ms(at) >= MISSED_MS);
    let next = timetable.next(at).and_then(|next| jittered(draft, &timetable, schedule.jitter_ms, next));
    let missed_since = (at != scheduled).then_some(scheduled);
    let shut = budget::shut(draft, id)?;
    let why = match schedule.overlap {
        _ if shut.is_some() => Some(Skipped::Budget),
        _ if missed && schedule.missed == Missed::Skip => Some(Skipped::Missed),
        Overlap::Skip if !agent.scheduled.is_empty() => Some(Skipped::Running),
        Overlap::Queue if agent.scheduled.len() >= QUEUE_MAX => Some(Skipped::QueueFull),
        Overlap::Skip | Overlap::Queue | Overlap::Replace => None,
    };
    if let Some(why) = why {
        return Ok(draft.emit::<Agent>(id, Event::WakeSkipped { why, scheduled: at, missed_since, next })?);
    }
    let replaced = if schedule.overlap == Overlap::Replace { agent.scheduled } else { Vec::new() };
    for old in &replaced {
        execution::replace(*old, draft)?;
    }
    let execution = ExecutionId::mint(&mut draft.mint);
    let (trigger, scheduled) = (Trigger::Schedule, Some(at));
    draft.emit::<Agent>(id, Event::Woken { trigger, execution, scheduled, missed_since, replaced, next })?;
    let start = Start { agent: id, revision: None, input, max_iterations: None, idempotency: None, trigger };
    execution::start(execution, draft, start)
}
