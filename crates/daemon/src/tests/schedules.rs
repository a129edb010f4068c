//! Agents that the clock wakes, in whole daemons whose clock is set: over restarts, misses, steps, pauses, and beside what is
//! stuck.
use super::{SetClock, worker};
use crate::clock::{SystemClock, WallClock};
use crate::testing::{Running, TEST_TIMEOUT, calls, manifest, run, says};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tenure_core::agent;
use tenure_core::aggregate::Command;
use tenure_core::execution::Trigger;
use tenure_wire::api::execution::{Execution, ExecutionStatus};
use tokio::time::{sleep, timeout};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// A midnight in UTC.
const MIDNIGHT: i64 = 1_795_737_600_000;
const HOURLY: &str = "  schedule: {cron: \"@hourly\"}\n";

/// Sets the clock; from there it goes on.
fn set(clock: &SetClock, moment: i64) {
    clock.0.store(moment - SystemClock.now().millis(), Ordering::Relaxed);
}

async fn started(folder: &Path, clock: &Arc<SetClock>, executions: usize) -> Running {
    let done = [says("Done.")];
    let wall: Arc<dyn WallClock> = Arc::clone(clock) as _;
    Running::start(folder, wall, &vec![&done[..]; executions]).await
}

async fn deploy(daemon: &Running, name: &str, more: &str) {
    let ready = async {
        // Until the worker has said what its host can do.
        while daemon.client.deploy(manifest(name, more).into_bytes(), true).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(TEST_TIMEOUT, ready).await.unwrap();
    daemon.client.deploy(manifest(name, more).into_bytes(), false).await.unwrap();
}

/// The data of the events of a kind, once there are so many; an event more is an event too many.
async fn events(daemon: &Running, kind: &str, count: usize) -> Vec<Value> {
    let found = async {
        loop {
            let mut events = daemon.events().await;
            events.retain(|event| event["kind"] == kind);
            if events.len() >= count {
                return events.into_iter().map(|event| event["data"].clone()).collect::<Vec<Value>>();
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let found = timeout(TEST_TIMEOUT, found).await.unwrap_or_else(|_| panic!("there are no {count} {kind}"));
    assert_eq!(found.len(), count, "{kind}: {found:?}");
    found
}

async fn executions(daemon: &Running, name: &str) -> Vec<Execution> {
    daemon.client.executions(&[("agent", Some(name.to_string()))], 100).await.unwrap()
}

/// A step of the clock is told; what is due by then has been seen.
async fn step(daemon: &Running, clock: &SetClock, moment: i64) {
    let stepped = async || daemon.events().await.iter().filter(|event| event["kind"] == "clock.stepped").count();
    let before = stepped().await;
    set(clock, moment);
    let seen = async {
        while stepped().await == before {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(TEST_TIMEOUT, seen).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_and_cron_survive_a_restart() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(SetClock::default()));
    set(&clock, MIDNIGHT + 5 * MINUTE_MS);
    let daemon = started(folder.path(), &clock, 1).await;
    let first = worker(&daemon).await;
    deploy(&daemon, "hourly", HOURLY).await;
    let before = daemon.client.agent("hourly").await.unwrap();
    first.end().await;
    daemon.stop().await;
    // Down for a while in which nothing is due.
    set(&clock, MIDNIGHT + 10 * MINUTE_MS);
    let daemon = started(folder.path(), &clock, 1).await;
    let second = worker(&daemon).await;
    let after = daemon.client.agent("hourly").await.unwrap();
    assert_eq!((after.agent.id, after.triggers), (before.agent.id, before.triggers));
    assert_eq!(after.agent.next_run_at.map(|next| next.0.millis()), Some(MIDNIGHT + HOUR_MS));
    events(&daemon, "agent.woken", 0).await;
    step(&daemon, &clock, MIDNIGHT + HOUR_MS).await;
    let woken = events(&daemon, "agent.woken", 1).await;
    assert_eq!(woken[0]["scheduled"], json!(MIDNIGHT + HOUR_MS));
    let [one] = executions(&daemon, "hourly").await.try_into().expect("one comes of one time");
    assert_eq!(daemon.ended(&one.id.to_string()).await.execution.status, ExecutionStatus::Completed);
    second.end().await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_policy_for_missed_runs_without_a_stampede() {
    const AGENTS: usize = 12;
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(SetClock::default()));
    set(&clock, MIDNIGHT + 5 * MINUTE_MS);
    let daemon = started(folder.path(), &clock, AGENTS).await;
    let first = worker(&daemon).await;
    for place in 0..AGENTS {
        deploy(&daemon, &format!("hourly-{place}"), HOURLY).await;
    }
    deploy(&daemon, "strict", "  schedule: {cron: \"0 * * * *\", missed: skip}\n").await;
    let before = daemon.client.agent("hourly-3").await.unwrap();
    assert_eq!(before.triggers, ["schedule", "manual"]);
    first.end().await;
    daemon.stop().await;
    // Down over ten due times.
    set(&clock, MIDNIGHT + 10 * HOUR_MS + 5 * MINUTE_MS);
    let daemon = started(folder.path(), &clock, AGENTS).await;
    let woken = events(&daemon, "agent.woken", AGENTS).await;
    for wake in &woken {
        assert_eq!(
            (&wake["scheduled"], &wake["missed_since"]),
            (&json!(MIDNIGHT + 10 * HOUR_MS), &json!(MIDNIGHT + HOUR_MS))
        );
    }
    let skipped = events(&daemon, "agent.wake_skipped", 1).await;
    assert_eq!(skipped[0]["why"], "missed");
    let second = worker(&daemon).await;
    for place in 0..AGENTS {
        let [one] = executions(&daemon, &format!("hourly-{place}")).await.try_into().expect("one is made up for all");
        assert_eq!(one.trigger, Trigger::Schedule);
        let file = daemon.ended(&one.id.to_string()).await;
        assert_eq!(file.execution.status, ExecutionStatus::Completed, "{file:?}");
        assert!(file.input.is_none(), "it is null");
    }
    assert!(executions(&daemon, "strict").await.is_empty());
    let shown = daemon.client.agent("strict").await.unwrap();
    let next: Vec<i64> = shown.schedule.unwrap().next.iter().map(|next| next.0.millis()).collect();
    assert_eq!(next, (11..16).map(|hour| MIDNIGHT + hour * HOUR_MS).collect::<Vec<i64>>());
    assert_eq!(shown.agent.next_run_at.map(|next| next.0.millis()), Some(MIDNIGHT + 11 * HOUR_MS));
    second.end().await;
    daemon.stop().await;
    // Once more, and no time comes twice.
    let daemon = started(folder.path(), &clock, 0).await;
    sleep(Duration::from_millis(300)).await;
    events(&daemon, "agent.woken", AGENTS).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_of_the_clock_by_hours_neither_double_nor_lose_a_time_and_a_pause_makes_nothing_up() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(SetClock::default()));
    set(&clock, MIDNIGHT + 5 * MINUTE_MS);
    let daemon = started(folder.path(), &clock, 4).await;
    let _worker = worker(&daemon).await;
    deploy(&daemon, "hourly", HOURLY).await;
    step(&daemon, &clock, MIDNIGHT + HOUR_MS).await;
    events(&daemon, "agent.woken", 1).await;
    step(&daemon, &clock, MIDNIGHT + 5 * MINUTE_MS).await;
    step(&daemon, &clock, MIDNIGHT + HOUR_MS + MINUTE_MS).await;
    step(&daemon, &clock, MIDNIGHT + 4 * HOUR_MS).await;
    let woken = events(&daemon, "agent.woken", 2).await;
    let times = |wake: &Value| (wake["scheduled"].as_i64().unwrap() - MIDNIGHT, wake["missed_since"].as_i64());
    assert_eq!(times(&woken[0]), (HOUR_MS, None));
    assert_eq!(times(&woken[1]), (4 * HOUR_MS, Some(MIDNIGHT + 2 * HOUR_MS)));
    for one in executions(&daemon, "hourly").await {
        daemon.ended(&one.id.to_string()).await;
    }
    let agent = daemon.client.agent("hourly").await.unwrap().agent.id;
    run(&daemon.app, Command::Agent(agent, agent::Command::Pause { note: None, until: None })).await;
    let paused = daemon.client.agent("hourly").await.unwrap();
    assert_eq!(paused.agent.next_run_at, None, "it waits");
    step(&daemon, &clock, MIDNIGHT + 8 * HOUR_MS + MINUTE_MS).await;
    run(&daemon.app, Command::Agent(agent, agent::Command::Resume { note: None })).await;
    let next = daemon.client.agent("hourly").await.unwrap().agent.next_run_at.unwrap();
    assert_eq!(next.0.millis(), MIDNIGHT + 9 * HOUR_MS);
    // Another time while this one is due: it is no longer.
    set(&clock, MIDNIGHT + 9 * HOUR_MS - 500);
    deploy(&daemon, "hourly", "  schedule: {cron: \"30 * * * *\"}\n").await;
    step(&daemon, &clock, MIDNIGHT + 9 * HOUR_MS + 30 * MINUTE_MS).await;
    let woken = events(&daemon, "agent.woken", 3).await;
    assert_eq!(times(&woken[2]), (9 * HOUR_MS + 30 * MINUTE_MS, None));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_stuck_job_blocks_nobody() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(SetClock::default()));
    set(&clock, MIDNIGHT + 5 * MINUTE_MS);
    let (hangs, done) = ([calls("filesystem.read", json!({"path": "a.txt"}))], [says("Done.")]);
    let wall: Arc<dyn WallClock> = Arc::clone(&clock) as _;
    let daemon = Running::start(folder.path(), wall, &[&hangs[..], &hangs, &done, &done]).await;
    let worker = worker(&daemon).await;
    deploy(&daemon, "stuck", HOURLY).await;
    deploy(&daemon, "replaced", "  schedule: {cron: \"@hourly\", overlap: replace}\n").await;
    deploy(&daemon, "other", "  schedule: {cron: \"0 2-23 * * *\"}\n").await;
    worker.answers.send(false).unwrap();
    step(&daemon, &clock, MIDNIGHT + HOUR_MS).await;
    events(&daemon, "agent.woken", 2).await;
    let mut first = Vec::new();
    for name in ["stuck", "replaced"] {
        let id = executions(&daemon, name).await[0].id.to_string();
        daemon.until(&id, |file| file.iterations.iter().any(|iteration| iteration.tool_calls == 1)).await;
        first.push(id);
    }
    step(&daemon, &clock, MIDNIGHT + 2 * HOUR_MS).await;
    events(&daemon, "agent.woken", 4).await;
    // Its own next time is skipped, or takes its place where the schedule says so.
    let skipped = events(&daemon, "agent.wake_skipped", 1).await;
    assert_eq!(skipped[0]["why"], "running");
    let other = executions(&daemon, "other").await[0].id.to_string();
    assert_eq!(daemon.ended(&other).await.execution.status, ExecutionStatus::Completed);
    let stuck = daemon.client.execution(&first[0]).await.unwrap().execution;
    assert_eq!(stuck.status, ExecutionStatus::Running, "the control: it is stuck");
    worker.answers.send(true).unwrap();
    let ended = daemon.ended(&first[1]).await.execution;
    assert_eq!(ended.status, ExecutionStatus::Cancelled);
    assert!(ended.detail.unwrap().contains("the next run of its schedule is due"));
    let next = executions(&daemon, "replaced").await[0].id.to_string();
    assert_ne!(next, first[1]);
    assert_eq!(daemon.ended(&next).await.execution.status, ExecutionStatus::Completed);
    daemon.stop().await;
}
