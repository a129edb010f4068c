//! Schedules: what becomes of a time once it is due, missed, held back or edited, and what a step of the clock does to it.
use crate::office::{OWNER, Office, plan};
use std::collections::BTreeSet;
use tenure_core::actor::Actor;
use tenure_core::agent::{self, Agent, MISSED_MS, QUEUE_MAX, Skipped, Waking};
use tenure_core::aggregate::{Command, Event, Refusal, Stream};
use tenure_core::execution::{self, Ending, Execution, Phase, Trigger};
use tenure_core::id::ExecutionId;
use tenure_core::manifest::{Missed, Overlap};
use tenure_core::owed::{Obligation, Owed};
use tenure_core::plan::{Plan, Schedule};
use tenure_core::time::{Due, Time};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

fn at(milliseconds: i64) -> Time {
    Time::from_millis(milliseconds)
}

/// An office at 00:16:40 of the first day, whose agent is woken by this.
fn office(cron: &str, overlap: Overlap, missed: Missed) -> Office {
    let mut office = Office::new(0);
    office.schedule(cron, overlap, missed).expect("another manifest");
    office
}

fn hourly(overlap: Overlap, missed: Missed) -> Office {
    office("@hourly", overlap, missed)
}

fn agent(office: &Office) -> &Agent {
    office.world.fold::<Agent>(office.agent).expect("it is deployed")
}

/// Where its wall clock stands at this moment, whatever it showed before.
fn set_clock(office: &mut Office, moment: i64) {
    office.world.now.at = at(moment);
}

fn owed_wake(office: &Office) -> Option<Owed> {
    let owed = office.world.owed(Stream::Agent(office.agent));
    owed.into_iter().find(|owed| matches!(owed.obligation, Obligation::Wake { .. }))
}

/// The daemon's part: whatever is due is done, until nothing is.
fn fire(office: &mut Office) -> Vec<agent::Event> {
    let mut done = Vec::new();
    while let Some(Owed { obligation: Obligation::Wake { waking }, due: Due::Wall(due) }) = owed_wake(office)
        && due <= office.world.now.at
    {
        let input = office.world.payload("null");
        let wake = Command::Agent(office.agent, agent::Command::Wake { waking, input });
        let events = office.world.commit(Actor::Daemon, wake).expect("it is due");
        done.extend(events.into_iter().find_map(|event| match event {
            Event::Agent(event @ (agent::Event::Woken { .. } | agent::Event::WakeSkipped { .. })) => Some(event),
            _ => None,
        }));
    }
    done
}

fn execution_of(event: &agent::Event) -> ExecutionId {
    match event {
        agent::Event::Woken { execution, .. } => *execution,
        other => panic!("nothing was woken: {other:?}"),
    }
}

fn cancel(office: &mut Office, id: ExecutionId) {
    let cancel = execution::Command::Cancel { why: "enough".into() };
    office.world.commit(OWNER, Command::Execution(id, cancel)).expect("it is open");
}

/// The time that a wake is of, the first that it stands for beside it, and why it started nothing.
fn summary(event: &agent::Event) -> (i64, Option<i64>, Option<Skipped>) {
    match event {
        agent::Event::Woken { scheduled, missed_since, .. } => {
            (scheduled.expect("by the clock").millis(), missed_since.map(Time::millis), None)
        }
        agent::Event::WakeSkipped { why, scheduled, missed_since, .. } => {
            (scheduled.millis(), missed_since.map(Time::millis), Some(*why))
        }
        other => panic!("no wake: {other:?}"),
    }
}

fn summaries(events: &[agent::Event]) -> Vec<(i64, Option<i64>, Option<Skipped>)> {
    events.iter().map(summary).collect()
}

#[test]
fn a_time_and_the_execution_that_it_starts_are_one_decision_and_the_time_never_comes_again() {
    let mut office = hourly(Overlap::Queue, Missed::RunOnce);
    assert_eq!(owed_wake(&office).map(|owed| owed.due), Some(Due::Wall(at(HOUR))));
    set_clock(&mut office, HOUR - 1);
    assert_eq!(office.wake(), Err(Refusal::Agent(agent::Refusal::WakeNotDue {})), "the control: a moment before");
    set_clock(&mut office, HOUR);
    let events = office.wake().expect("it is due");
    let kinds: Vec<&str> = events.iter().map(Event::kind).collect();
    assert_eq!(kinds, ["agent.woken", "execution.started", "agent.execution_started"]);
    let [Event::Agent(woken), Event::Execution(execution::Event::Started { trigger, .. }), _] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(*trigger, Trigger::Schedule);
    let id = execution_of(woken);
    assert_eq!(office.world.fold::<Execution>(id).map(|execution| execution.trigger), Some(Trigger::Schedule));
    let (waking, input) = (Waking::Schedule { scheduled: at(HOUR) }, office.world.payload("null"));
    let again = Command::Agent(office.agent, agent::Command::Wake { waking, input });
    let refused = office.world.commit(Actor::Daemon, again);
    assert_eq!(refused, Err(Refusal::Agent(agent::Refusal::WakeStale {})));
    assert_eq!(owed_wake(&office).map(|owed| owed.due), Some(Due::Wall(at(2 * HOUR))));
}

#[test]
fn of_many_times_that_were_missed_one_is_made_up_or_none_as_the_schedule_says() {
    let late = 10 * HOUR + 5 * MINUTE;
    let mut once = hourly(Overlap::Skip, Missed::RunOnce);
    set_clock(&mut once, late);
    assert_eq!(summaries(&fire(&mut once)), [(10 * HOUR, Some(HOUR), None)]);
    assert_eq!(owed_wake(&once).map(|owed| owed.due), Some(Due::Wall(at(11 * HOUR))));
    let mut skip = hourly(Overlap::Skip, Missed::Skip);
    set_clock(&mut skip, late);
    assert_eq!(summaries(&fire(&mut skip)), [(10 * HOUR, Some(HOUR), Some(Skipped::Missed))]);
    assert_eq!(owed_wake(&skip).map(|owed| owed.due), Some(Due::Wall(at(11 * HOUR))));
}

#[test]
fn what_is_overdue_by_less_than_a_minute_is_no_miss() {
    let within = i64::try_from(MISSED_MS).expect("it is small") - 1;
    for (late, expected) in [
        (HOUR + within, (HOUR, None, None)),
        (HOUR + within + 1, (HOUR, None, Some(Skipped::Missed))),
        // Those before it were missed, and the last was not.
        (3 * HOUR + within, (3 * HOUR, Some(HOUR), None)),
    ] {
        let mut office = hourly(Overlap::Skip, Missed::Skip);
        set_clock(&mut office, late);
        assert_eq!(summaries(&fire(&mut office)), [expected], "{late}");
    }
}

#[test]
fn each_of_two_times_within_the_window_comes() {
    let mut office = office("* * * * *", Overlap::Queue, Missed::Skip);
    let first = 17 * MINUTE;
    set_clock(&mut office, first + MINUTE);
    let within = first + MINUTE - 1;
    set_clock(&mut office, within);
    assert_eq!(summaries(&fire(&mut office)), [(first, None, None)]);
    set_clock(&mut office, first + MINUTE + 10);
    assert_eq!(summaries(&fire(&mut office)), [(first + MINUTE, None, None)]);
}

#[test]
fn overlap_skip_starts_none_while_the_last_runs_and_a_run_of_a_person_does_not_stand_in_its_way() {
    let mut office = hourly(Overlap::Skip, Missed::RunOnce);
    let start = office.start();
    office.must(start);
    set_clock(&mut office, HOUR);
    let first = fire(&mut office);
    assert_eq!(summaries(&first), [(HOUR, None, None)]);
    set_clock(&mut office, 2 * HOUR);
    assert_eq!(summaries(&fire(&mut office)), [(2 * HOUR, None, Some(Skipped::Running))]);
    cancel(&mut office, execution_of(&first[0]));
    set_clock(&mut office, 3 * HOUR);
    assert_eq!(summaries(&fire(&mut office)), [(3 * HOUR, None, None)]);
}

#[test]
fn overlap_queue_starts_each_up_to_its_bound() {
    let mut office = hourly(Overlap::Queue, Missed::RunOnce);
    let mut woken = Vec::new();
    for hour in 1..=i64::try_from(QUEUE_MAX).expect("it is small") {
        set_clock(&mut office, hour * HOUR);
        woken.extend(fire(&mut office));
    }
    assert!(woken.iter().all(|event| matches!(event, agent::Event::Woken { .. })), "{woken:?}");
    assert_eq!(agent(&office).scheduled.len(), QUEUE_MAX);
    let next = i64::try_from(QUEUE_MAX).expect("it is small") + 1;
    set_clock(&mut office, next * HOUR);
    assert_eq!(summaries(&fire(&mut office)), [(next * HOUR, None, Some(Skipped::QueueFull))]);
    cancel(&mut office, execution_of(&woken[0]));
    set_clock(&mut office, (next + 1) * HOUR);
    assert_eq!(summaries(&fire(&mut office)), [((next + 1) * HOUR, None, None)]);
}

#[test]
fn overlap_replace_cancels_what_runs_and_starts_the_new_one_in_the_same_commit() {
    let mut office = hourly(Overlap::Replace, Missed::RunOnce);
    set_clock(&mut office, HOUR);
    let first = execution_of(&fire(&mut office)[0]);
    office.execution = first;
    for step in [Office::bind as fn(&Office) -> execution::Command, Office::call_model] {
        let command = step(&office);
        office.must(command);
    }
    set_clock(&mut office, 2 * HOUR);
    let events = office.wake().expect("it is due");
    let kinds: Vec<&str> = events.iter().map(Event::kind).collect();
    assert!(kinds.contains(&"execution.cancel_requested") && kinds.contains(&"execution.started"), "{kinds:?}");
    let old = office.world.fold::<Execution>(first).expect("it began");
    assert!(old.cancel_requested, "{old:?}");
    let replaced = events.iter().find_map(|event| match event {
        Event::Agent(agent::Event::Woken { replaced, .. }) => Some(replaced.clone()),
        _ => None,
    });
    assert_eq!(replaced, Some(vec![first]));
    // One that only waits ends at once.
    set_clock(&mut office, 3 * HOUR);
    let waiting = agent(&office).scheduled.last().copied().expect("the second");
    office.wake().expect("it is due");
    let ended = office.world.fold::<Execution>(waiting).map(|execution| execution.phase.clone());
    assert!(matches!(ended, Some(Phase::Ended { ending: Ending::Cancelled { .. }, .. })), "{ended:?}");
}

#[test]
fn nothing_is_made_up_after_a_pause_and_the_schedule_goes_on_from_the_next_due_time() {
    for missed in [Missed::RunOnce, Missed::Skip] {
        let mut office = hourly(Overlap::Skip, missed);
        office.pause().expect("it is deployed");
        assert_eq!(owed_wake(&office), None);
        set_clock(&mut office, 5 * HOUR + MINUTE);
        assert_eq!(office.wake(), Err(Refusal::Agent(agent::Refusal::IsPaused { until: None })));
        office.supervise(agent::Command::Resume { note: None }).expect("it is paused");
        assert_eq!(fire(&mut office), []);
        assert_eq!(owed_wake(&office).map(|owed| owed.due), Some(Due::Wall(at(6 * HOUR))));
    }
}

#[test]
fn a_pause_that_ends_at_a_due_time_does_not_hold_it_back() {
    let mut office = hourly(Overlap::Skip, Missed::RunOnce);
    let until = Some(at(2 * HOUR));
    office.supervise(agent::Command::Pause { note: None, until }).expect("it is deployed");
    set_clock(&mut office, 2 * HOUR + 5);
    office.end_pause().expect("it is over");
    assert_eq!(summaries(&fire(&mut office)), [(2 * HOUR, None, None)], "and none for the first hour");
}

#[test]
fn a_schedule_that_is_edited_while_due_makes_nothing_up_and_one_that_is_not_changed_loses_nothing() {
    let mut office = hourly(Overlap::Skip, Missed::RunOnce);
    set_clock(&mut office, HOUR + 10);
    office.schedule("30 * * * *", Overlap::Skip, Missed::RunOnce).expect("another manifest");
    assert_eq!(fire(&mut office), []);
    assert_eq!(owed_wake(&office).map(|owed| owed.due), Some(Due::Wall(at(HOUR + 30 * MINUTE))));
    set_clock(&mut office, HOUR + 30 * MINUTE + 10);
    // Another overlap, and the same times.
    office.schedule("30 * * * *", Overlap::Queue, Missed::RunOnce).expect("another manifest");
    assert_eq!(summaries(&fire(&mut office)), [(HOUR + 30 * MINUTE, None, None)]);
    office.deploy("clerk", 0, "without a schedule").expect("another manifest");
    assert_eq!((owed_wake(&office), agent(&office).next), (None, None));
}

#[test]
fn a_clock_that_is_stepped_by_hours_both_ways_neither_doubles_nor_loses_a_time() {
    let mut office = hourly(Overlap::Queue, Missed::RunOnce);
    let (mut seen, mut clock) = (BTreeSet::new(), 16 * MINUTE);
    let mut through = BTreeSet::new();
    for step in [0, 3, -3, -2, 5, 1, -4, 6] {
        clock += step * HOUR;
        for _ in 0..(2 * 60) {
            clock += MINUTE;
            set_clock(&mut office, clock);
            for (scheduled, since, _) in summaries(&fire(&mut office)) {
                assert!(seen.insert(scheduled), "{scheduled} came twice");
                through.extend((since.unwrap_or(scheduled)..=scheduled).step_by(HOUR as usize));
            }
        }
        let open: Vec<ExecutionId> = agent(&office).scheduled.clone();
        open.into_iter().for_each(|id| cancel(&mut office, id));
    }
    let last = seen.last().copied().expect("it was woken");
    assert_eq!(
        through,
        (1..=last / HOUR).map(|hour| hour * HOUR).collect(),
        "each time came, or was missed and stands in one"
    );
}

#[test]
fn a_wrong_clock_far_ahead_does_not_silence_a_schedule_that_is_resumed_or_deployed_anew() {
    let mut office = hourly(Overlap::Queue, Missed::RunOnce);
    set_clock(&mut office, 100_000 * HOUR);
    assert_eq!(fire(&mut office).len(), 1);
    set_clock(&mut office, 2 * HOUR + 1);
    assert_eq!(fire(&mut office), []);
    office.pause().expect("it is deployed");
    office.supervise(agent::Command::Resume { note: None }).expect("it is paused");
    assert_eq!(owed_wake(&office).map(|owed| owed.due), Some(Due::Wall(at(3 * HOUR))));
    office.schedule("30 * * * *", Overlap::Skip, Missed::RunOnce).expect("another manifest");
    assert_eq!(owed_wake(&office).map(|owed| owed.due), Some(Due::Wall(at(2 * HOUR + 30 * MINUTE))));
}

#[test]
fn jitter_is_within_its_bound_and_before_the_next_time_and_the_event_carries_it() {
    let mut dues = BTreeSet::new();
    for (jitter_ms, most) in [(600_000, 10 * MINUTE), (7_200_000, HOUR - 1)] {
        for round in 0..40 {
            let mut office = Office::new(0);
            office.world.pass(round);
            let (cron, timezone) = ("@hourly".to_string(), "UTC".to_string());
            let (overlap, missed) = (Overlap::Skip, Missed::RunOnce);
            let schedule = Some(Schedule { cron, timezone, jitter_ms, overlap, missed });
            for _ in 0..round {
                office.world.mint();
                office.world.payload("");
            }
            office.deploy_plan("clerk", &Plan { schedule, ..plan(0) }, "jitter").expect("another manifest");
            let next = agent(&office).next.expect("it has a schedule");
            assert_eq!(next.scheduled, at(HOUR));
            let later = next.due.millis() - HOUR;
            assert!((0..=most).contains(&later), "{later}");
            dues.insert(later);
            assert_eq!(owed_wake(&office).map(|owed| owed.due), Some(Due::Wall(next.due)));
        }
    }
    assert!(dues.len() > 30, "{dues:?}");
}

#[test]
fn the_schedule_of_an_agent_that_is_revoked_or_deleted_is_over() {
    for end in [Office::revoke as fn(&mut Office) -> _, Office::delete] {
        let mut office = hourly(Overlap::Skip, Missed::RunOnce);
        end(&mut office).expect("it is deployed");
        set_clock(&mut office, 2 * HOUR);
        assert_eq!(owed_wake(&office), None);
        assert!(office.wake().is_err());
    }
    let mut killed = hourly(Overlap::Skip, Missed::RunOnce);
    killed.kill().expect("it is deployed");
    set_clock(&mut killed, HOUR);
    assert_eq!(summaries(&fire(&mut killed)), [(HOUR, None, None)], "a killed one begins again");
}
