//! Times of schedules, as the records tell them: none comes twice, none is passed over in silence, and each that starts something
//! starts it in the same commit. It reckons the times anew, from the plan that was bound.
use super::{Checked, Rule, broken};
use crate::storage::View;
use std::collections::{BTreeMap, BTreeSet};
use tenure_core::agent::{self, Agent, Deployed, NextWake};
use tenure_core::cron::Timetable;
use tenure_core::execution::{self, Trigger};
use tenure_core::id::{AgentId, ExecutionId};
use tenure_core::plan::{Plan, Schedule};
use tenure_core::time::Time;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

struct Known {
    schedule: Schedule,
    timetable: Timetable,
    /// Times that are over with.
    over: BTreeSet<Time>,
}

#[derive(Default)]
pub(super) struct Wakes {
    known: BTreeMap<AgentId, Known>,
    /// Woken, and not started yet.
    woken: BTreeSet<ExecutionId>,
    fired: u64,
    /// Times over with of what agents planned themselves.
    own_over: BTreeSet<(AgentId, String, Time)>,
}

impl Wakes {
    /// A time of an agent's own: waited for, and over with once.
    fn own(
        &mut self,
        id: AgentId,
        before: Option<&Agent>,
        name: &str,
        (scheduled, missed_since): (Time, Option<Time>),
    ) -> Checked {
        let waited = before.and_then(|agent| agent.planned.iter().find(|planned| planned.name == name));
        // Of several that were missed the last stands for all.
        if waited.is_none_or(|planned| planned.next > scheduled || missed_since.is_some_and(|at| at != planned.next)) {
            return broken(Rule::NoEventNoAction, format!("{id} did not wait for {scheduled} of {name}"));
        }
        match self.own_over.insert((id, name.to_string(), scheduled)) {
            true => Ok(()),
            false => broken(Rule::OneEnd, format!("{scheduled} of {name} of {id} came twice")),
        }
    }

    pub(super) fn fired(&self) -> u64 {
        self.fired
    }

    /// `before`: the agent as it was.
    pub(super) fn record(
        &mut self,
        storage: &mut impl View,
        id: AgentId,
        before: Option<&Agent>,
        event: &agent::Event,
    ) -> Checked {
        match event {
            agent::Event::Created(deployed) | agent::Event::Revised(deployed) => self.deployed(storage, id, deployed),
            agent::Event::Woken { execution, scheduled: Some(scheduled), missed_since, next, .. } => {
                self.woken.insert(*execution);
                self.fired += 1;
                self.over(id, before, *scheduled, *missed_since, *next)
            }
            agent::Event::ScheduleWoken { name, execution, scheduled, missed_since, .. } => {
                self.woken.insert(*execution);
                self.fired += 1;
                self.own(id, before, name, (*scheduled, *missed_since))
            }
            agent::Event::ScheduleSkipped { name, scheduled, .. } => self.own(id, before, name, (*scheduled, None)),
            agent::Event::ScheduleCreated { name, .. } => {
                self.own_over.retain(|(agent, known, _)| *agent != id || known != name);
                Ok(())
            }
            agent::Event::WakeSkipped { scheduled, missed_since, next, .. } => {
                self.over(id, before, *scheduled, *missed_since, *next)
            }
            agent::Event::Resumed { next: Some(next), .. } => {
                if self.known.get_mut(&id).is_some_and(|known| known.begins(*next)) {
                    return Ok(());
                }
                broken(Rule::Rows, format!("{id} goes on from {next:?}, which is no time of its"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn started(&mut self, id: ExecutionId, event: &execution::Event) -> Checked {
        match event {
            execution::Event::Started { trigger: Trigger::Schedule, .. } if !self.woken.remove(&id) => {
                broken(Rule::NoEventNoAction, format!("no wake started {id}"))
            }
            _ => Ok(()),
        }
    }

    /// Between commits.
    pub(super) fn check(&self) -> Checked {
        match self.woken.first() {
            Some(id) => broken(Rule::Atomic, format!("a wake has not started {id} in its commit")),
            None => Ok(()),
        }
    }

    fn deployed(&mut self, storage: &mut impl View, id: AgentId, deployed: &Deployed) -> Checked {
        let plan = storage.payload(&deployed.plan.hash).and_then(|payload| Plan::read(payload.bytes()).ok());
        let Some(schedule) = plan.and_then(|plan| plan.schedule) else {
            self.known.remove(&id);
            return Ok(());
        };
        let times = |schedule: &Schedule| (schedule.cron.clone(), schedule.timezone.clone(), schedule.jitter_ms);
        let known = self.known.remove(&id).filter(|known| times(&known.schedule) == times(&schedule));
        let Ok(timetable) = schedule.timetable() else {
            return broken(Rule::Bound, format!("{id} has a schedule that cannot be read"));
        };
        let over = known.map(|known| known.over).unwrap_or_default();
        let mut known = Known { schedule, timetable, over };
        if !deployed.next.is_some_and(|next| known.begins(next)) {
            return broken(Rule::Rows, format!("{id} waits for {:?}, which is no time of its", deployed.next));
        }
        self.known.insert(id, known);
        Ok(())
    }

    fn over(
        &mut self,
        id: AgentId,
        before: Option<&Agent>,
        scheduled: Time,
        missed_since: Option<Time>,
        next: Option<NextWake>,
    ) -> Checked {
        let Some(known) = self.known.get_mut(&id) else {
            return broken(Rule::NoEventNoAction, format!("{id} has no schedule, and was woken by it"));
        };
        let waited = before.and_then(|agent| agent.next).map(|next| next.scheduled);
        if waited != Some(missed_since.unwrap_or(scheduled)) {
            return broken(Rule::AtMostOnce, format!("{id} waited for {waited:?}, and another time came"));
        }
        if !known.over.insert(scheduled) {
            return broken(Rule::AtMostOnce, format!("the time {scheduled} of {id} came twice"));
        }
        let follows = known.timetable.next(scheduled);
        if follows != next.map(|next| next.scheduled) || next.is_some_and(|next| !known.comes(next)) {
            return broken(
                Rule::NoEventNoAction,
                format!("after {scheduled} {id} waits for {next:?}, not {follows:?}"),
            );
        }
        Ok(())
    }
}

impl Known {
    /// As [`Known::comes`], from another event than a wake: after all that are over with, but for those under a clock that was
    /// ahead by more than a day.
    fn begins(&mut self, next: NextWake) -> bool {
        let after = match self.over.last() {
            Some(last) if *last >= next.scheduled => {
                let wrong = Time::from_millis(last.millis() - DAY_MS);
                self.timetable.next(wrong).is_some_and(|late| next.scheduled <= late)
            }
            Some(_) | None => true,
        };
        self.over.split_off(&next.scheduled);
        after && self.comes(next)
    }

    /// A time of the schedule, due within its jitter.
    fn comes(&self, next: NextWake) -> bool {
        let before = Time::from_millis(next.scheduled.millis() - 1);
        let is_time = self.timetable.next(before) == Some(next.scheduled);
        is_time && next.due >= next.scheduled && next.due.since_ms(next.scheduled) <= self.schedule.jitter_ms
    }
}
