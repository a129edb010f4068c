//! Whole daemons in this process: what no single part shows.
mod schedules;
mod state;

use crate::clock::{SystemClock, WallClock};
use crate::fleet::fake::FakeWorker;
use crate::testing::{Running, TEST_TIMEOUT, calls, compiled, manifest, register, run, says};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tenure_core::agent;
use tenure_core::aggregate::Command;
use tenure_core::manifest::Manifest;
use tenure_core::owed::Kind;
use tenure_core::plan::Plan;
use tenure_core::time::Time;
use tenure_wire::api::execution::ExecutionStatus;
use tokio::time::timeout;

const HOUR_MS: i64 = 3_600_000;

/// The host's clock, set by so many milliseconds.
#[derive(Default)]
struct SetClock(AtomicI64);

impl WallClock for SetClock {
    fn now(&self) -> Time {
        Time::from_millis(SystemClock.now().millis() + self.0.load(Ordering::Relaxed))
    }
}

async fn worker(daemon: &Running) -> FakeWorker {
    let id = register(&daemon.app, "fake").await;
    let worker = FakeWorker::connect(&daemon.app, id, "fake");
    timeout(TEST_TIMEOUT, daemon.app.fleet.any_of(Some(id))).await.unwrap();
    worker
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_back_by_an_hour_stops_nothing_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    let turns = [calls("filesystem.read", json!({"path": "a.txt"})), says("Done.")];
    let wall: Arc<dyn WallClock> = Arc::clone(&clock) as _;
    let daemon = Running::start(folder.path(), wall, &[&turns, &turns]).await;
    let worker = worker(&daemon).await;
    daemon.client.deploy(manifest("a", "").into_bytes(), false).await.unwrap();
    worker.answers.send(false).unwrap();
    let begun = daemon.start_execution("a").await;
    daemon.until(&begun, |file| file.iterations.iter().any(|iteration| iteration.tool_calls == 1)).await;
    clock.0.store(-HOUR_MS, Ordering::Relaxed);
    let fresh = daemon.start_execution("a").await;
    worker.answers.send(true).unwrap();
    for id in [&begun, &fresh] {
        let ended = daemon.ended(id).await.execution;
        assert_eq!((ended.status, ended.reason), (ExecutionStatus::Completed, None));
    }
    let stepped = async {
        loop {
            let events = daemon.events().await;
            if let Some(event) = events.iter().find(|event| event["kind"] == "clock.stepped") {
                return event["data"]["by_ms"].as_i64().unwrap();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let by = timeout(TEST_TIMEOUT, stepped).await.unwrap();
    assert!((by + HOUR_MS).abs() < 60_000, "it was set by {by} ms");
    assert!(!daemon.events().await.iter().any(|event| event.to_string().contains("timeout\"")), "nothing timed out");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_under_a_clock_that_is_a_day_ahead_times_nothing_out_and_what_ran_goes_on() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(SetClock::default()));
    let turns = [calls("filesystem.read", json!({"path": "a.txt"})), says("Done.")];
    let life = async || {
        let wall: Arc<dyn WallClock> = Arc::clone(&clock) as _;
        Running::start(folder.path(), wall, &[&turns, &turns]).await
    };
    let daemon = life().await;
    let first = worker(&daemon).await;
    let both = "  execution: {concurrency: 2, workspace: shared}\n";
    daemon.client.deploy(manifest("a", both).into_bytes(), false).await.unwrap();
    first.answers.send(false).unwrap();
    let mut begun = Vec::new();
    for _ in 0..2 {
        let id = daemon.start_execution("a").await;
        daemon.until(&id, |file| file.iterations.iter().any(|iteration| iteration.tool_calls == 1)).await;
        begun.push(id);
    }
    first.end().await;
    daemon.stop().await;
    clock.0.store(24 * HOUR_MS, Ordering::Relaxed);
    let daemon = life().await;
    let _second = FakeWorker::attach_again(&daemon.app, "fake").await;
    for id in &begun {
        let ended = daemon.ended(id).await.execution;
        assert_eq!((ended.status, ended.reason.as_deref()), (ExecutionStatus::Completed, None), "{ended:?}");
        assert!(ended.duration_ms < HOUR_MS.unsigned_abs(), "it ran for seconds, not {} ms", ended.duration_ms);
    }
    let starts = daemon.events().await.into_iter().filter(|event| event["kind"] == "daemon.started");
    let starts: Vec<i64> = starts.map(|event| event["at"].as_i64().unwrap()).collect();
    assert!(starts.len() == 2 && starts[1] - starts[0] > 23 * HOUR_MS, "the control: the clock is ahead: {starts:?}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_runs_by_its_plan_though_its_manifest_could_not_be_deployed_today() {
    let folder = tempfile::tempdir().unwrap();
    let turns = [calls("filesystem.read", json!({"path": "a.txt"})), says("As ever.")];
    let daemon = Running::start(folder.path(), Arc::new(SystemClock), &[&turns]).await;
    let _worker = worker(&daemon).await;
    let today = Manifest::parse(&manifest("old", "")).unwrap();
    let mut stored: Value = serde_json::from_slice(&today.canonical_json()).unwrap();
    stored["spec"]["execution"] = json!({"max_turns": 100_000});
    let bytes = stored.to_string().into_bytes();
    assert!(Manifest::parse_bytes(&bytes).is_err(), "the control: today's reader refuses it");
    let mut plan = Plan::compile(&today);
    plan.limits.max_turns = 100_000;
    let deploy = agent::Command::Deploy(compiled(&daemon.app, "old", bytes, &plan));
    run(&daemon.app, Command::Agent(daemon.app.committer.mint_agent(), deploy)).await;

    let id = daemon.start_execution("old").await;
    let file = daemon.ended(&id).await;
    assert_eq!((file.execution.status, file.output.as_deref()), (ExecutionStatus::Completed, Some("As ever.")));
    let shown = daemon.client.agent("old").await.unwrap();
    assert_eq!((shown.limits.max_turns, &shown.manifest), (100_000, &stored));
    assert_eq!(daemon.client.agent_sandbox("old").await.unwrap().revision, 1);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_first_deploys_of_one_name_at_once_are_two_revisions_of_one_agent() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Running::start(folder.path(), Arc::new(SystemClock), &[]).await;
    let _worker = worker(&daemon).await;
    for round in 0..8 {
        let name = format!("twice-{round}");
        let deploy = |turns: u32| {
            let text = manifest(&name, &format!("  execution: {{max_turns: {turns}}}\n"));
            let client = daemon.client.clone();
            tokio::spawn(async move { client.deploy(text.into_bytes(), false).await.unwrap() })
        };
        let (first, second) = tokio::join!(deploy(1), deploy(2));
        let (first, second) = (first.unwrap().agent.unwrap(), second.unwrap().agent.unwrap());
        assert_eq!(first.id, second.id);
        assert_eq!(first.revision + second.revision, 3, "{first:?} {second:?}");
        assert_eq!(daemon.client.agent(&name).await.unwrap().revisions.len(), 2);
    }
    assert_eq!(daemon.client.agents(&[], 100).await.unwrap().len(), 8);
    daemon.stop().await;
}

/// What still waits for a validator.
async fn validating(daemon: &Running) -> usize {
    let now = daemon.app.committer.now();
    daemon.app.records.owed(Kind::Validate, now, 0, 16).await.unwrap().due.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_slow_validators_neither_keep_the_api_from_answering_nor_fail_a_quick_one() {
    let folder = tempfile::tempdir().unwrap();
    // The pattern is tried in some 100,000 ways on each text; then the other branch passes.
    let texts: Vec<String> = (0..40).map(|number| format!("{}b{number}", "a".repeat(24))).collect();
    let answer = [says(&serde_json::to_string(&texts).unwrap())];
    let daemon = Running::start(folder.path(), Arc::new(SystemClock), &[&answer[..]; 4]).await;
    let _worker = worker(&daemon).await;
    let schema = r#"{items: {anyOf: [{pattern: "^(a|aa)+(?!x)$"}, true]}}"#;
    let validator = format!(
        "  execution: {{concurrency: 3, workspace: shared, max_iterations: 1, validation: [{{type: json_schema, schema: {schema}}}]}}\n"
    );
    daemon.client.deploy(manifest("slow", &validator).into_bytes(), false).await.unwrap();
    let validator = "  execution: {max_iterations: 1, validation: [{type: regex, pattern: a}]}\n";
    daemon.client.deploy(manifest("quick", validator).into_bytes(), false).await.unwrap();
    let mut started = Vec::new();
    for _ in 0..3 {
        started.push(daemon.start_execution("slow").await);
    }
    let all = async {
        while validating(&daemon).await < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(TEST_TIMEOUT, all).await.unwrap();
    let quick = daemon.start_execution("quick").await;
    let mut answered = 0;
    while validating(&daemon).await >= 3 {
        daemon.client.status().await.unwrap();
        daemon.client.executions(&[], 10).await.unwrap();
        answered += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(answered >= 3, "while they compute it answered {answered} times");
    assert_eq!(daemon.ended(&quick).await.execution.status, ExecutionStatus::Completed, "it only had to wait");
    for id in started {
        let file = daemon.ended(&id).await;
        let found = &file.iterations[0].validation[0];
        let late = found.reasons.as_deref().is_some_and(|reasons| reasons.contains("took longer than 10 s"));
        assert!(found.pass || late, "{found:?}");
    }
    daemon.stop().await;
}
