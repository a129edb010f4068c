use super::fake::{FakeWorker, hello};
use super::*;
use crate::clock::SystemClock;
use crate::testing::{Running, TEST_TIMEOUT, app, calls, found, manifest, register, says};
use futures_util::FutureExt;
use serde_json::json;
use tenure_core::id::AgentId;
use tenure_wire::api::execution::ExecutionStatus;
use tokio::io::duplex;

async fn connected(app: &App, count: usize) -> Vec<Connection> {
    let mut connections = app.fleet.connections.subscribe();
    let all = timeout(TEST_TIMEOUT, connections.wait_for(|connections| connections.len() == count)).await;
    all.unwrap().unwrap().values().cloned().collect()
}

#[tokio::test]
async fn of_two_workers_one_dies_and_comes_back_while_the_other_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (app, _store) = app(folder.path());
    found(&app).await;
    assert!(app.fleet.any_of(None).now_or_never().is_none());
    let (left, right) = (register(&app, "left").await, register(&app, "right").await);
    let first = FakeWorker::connect(&app, left, "left");
    let second = FakeWorker::connect(&app, right, "right");
    let both = connected(&app, 2).await;
    assert_ne!(both[0].id, both[1].id);
    let (agent, holder) = (app.committer.mint_agent(), app.committer.mint_execution().into());
    for worker in [left, right] {
        let connection = app.fleet.connection(worker).unwrap();
        assert!(timeout(TEST_TIMEOUT, connection.release(agent, holder, 1, true)).await.unwrap().is_ok());
        assert_eq!(app.fleet.by_connection(connection.id).unwrap().worker, worker);
    }
    let dead = app.fleet.connection(left).unwrap();
    let (attached, result) = first.die().await;
    assert!(matches!(result, Err(Error::Connection(_))), "{result:?}");
    assert!(app.fleet.connection(left).is_none() && app.fleet.by_connection(dead.id).is_none());
    assert!(dead.release(agent, holder, 2, true).await.is_err());
    assert_eq!(app.fleet.any_of(None).await.worker, right);
    assert!(app.fleet.any_of(Some(left)).now_or_never().is_none());
    let alive = app.fleet.connection(right).unwrap();
    assert!(timeout(TEST_TIMEOUT, alive.release(agent, holder, 2, true)).await.unwrap().is_ok());

    assert_eq!(attached.stale.map(|(connection, _)| connection), Some(dead.id));
    let _again = FakeWorker::attach(&app, attached, "left");
    connected(&app, 2).await;
    let back = app.fleet.connection(left).unwrap();
    assert!(back.id != dead.id && back.fence > dead.fence);
    assert!(second.is_served());
}

#[tokio::test]
async fn a_worker_that_dies_between_its_greeting_and_the_welcome_leaves_no_connection_open() {
    let folder = tempfile::tempdir().unwrap();
    let (app, _store) = app(folder.path());
    found(&app).await;
    let mut attached = AttachedWorker { worker: register(&app, "left").await, stale: None };
    let (ours, mut theirs) = duplex(1 << 16);
    frame::write(&mut theirs, &hello("left")).await.unwrap();
    drop(theirs);
    let result = timeout(TEST_TIMEOUT, attached.serve(&app, ours, &watch::Sender::new(None))).await.unwrap();
    assert!(matches!(result, Err(Error::Frame(_))), "{result:?}");
    assert!(attached.stale.is_some() && app.fleet.connections().is_empty());
    let _again = FakeWorker::attach(&app, attached, "left");
    assert_eq!(connected(&app, 1).await.len(), 1, "its next connection opens");
}

/// Where the agent's files lie, once it has begun.
async fn home(daemon: &Running, agent: AgentId) -> WorkerId {
    let read = move |sql: &mut dyn tenure_store::sql::Sql| {
        Ok(tenure_store::rows::agents::get(sql, agent)?.and_then(|agent| agent.standing.home))
    };
    daemon.app.records.reader().read(read).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_executions_of_a_worker_that_is_gone_wait_and_say_for_whom_while_those_of_another_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let turns = [calls("filesystem.read", json!({"path": "a.txt"})), says("Done.")];
    let daemon = Running::start(folder.path(), Arc::new(SystemClock), &[&turns, &turns, &turns]).await;
    let (left, right) = (register(&daemon.app, "left").await, register(&daemon.app, "right").await);
    let first = FakeWorker::connect(&daemon.app, left, "left");
    let second = FakeWorker::connect(&daemon.app, right, "right");
    connected(&daemon.app, 2).await;
    first.answers.send(false).unwrap();
    second.answers.send(false).unwrap();
    let mut begun = Vec::new();
    for name in ["one", "two"] {
        let agent = daemon.client.deploy(manifest(name, "").into_bytes(), false).await.unwrap().agent.unwrap().id;
        let id = daemon.start_execution(name).await;
        daemon.until(&id, |file| file.iterations.iter().any(|iteration| iteration.tool_calls == 1)).await;
        begun.push((home(&daemon, agent).await, name, id));
    }
    begun.sort_by_key(|(home, ..)| *home != left);
    let [(at_left, name, lost), (at_right, _, other)] = begun.as_slice() else { panic!("{begun:?}") };
    assert_eq!((*at_left, *at_right), (left, right), "each worker is one agent's home");

    let (attached, _) = first.die().await;
    second.answers.send(true).unwrap();
    let queued = daemon.start_execution(name).await;
    let names_its_home = |file: &tenure_wire::api::execution::ExecutionFile| {
        file.execution.waiting_for.as_ref().is_some_and(|home| home.contains("left"))
    };
    for id in [lost, &queued] {
        let shown = daemon.until(id, names_its_home).await.execution;
        assert_eq!(shown.status, ExecutionStatus::Waiting, "{shown:?}");
    }
    let went_on = daemon.ended(other).await.execution;
    assert_eq!((went_on.status, went_on.waiting_for), (ExecutionStatus::Completed, None));
    assert!(names_its_home(&daemon.client.execution(lost).await.unwrap()), "it still waits");

    let _again = FakeWorker::attach(&daemon.app, attached, "left");
    for id in [lost, &queued] {
        let file = daemon.ended(id).await;
        assert_eq!((file.execution.status, file.output.as_deref()), (ExecutionStatus::Completed, Some("Done.")));
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queued_execution_says_what_it_waits_for() {
    let folder = tempfile::tempdir().unwrap();
    let turns = [calls("filesystem.read", json!({"path": "a.txt"})), says("Done.")];
    let daemon = Running::start(folder.path(), Arc::new(SystemClock), &[&turns[..]; 3]).await;
    let worker = register(&daemon.app, "worker").await;
    let fake = FakeWorker::connect(&daemon.app, worker, "worker");
    connected(&daemon.app, 1).await;
    for name in ["one", "held"] {
        daemon.client.deploy(manifest(name, "").into_bytes(), false).await.unwrap();
    }
    let (attached, _) = fake.die().await;
    let first = daemon.start_execution("one").await;
    let second = daemon.start_execution("one").await;
    let held = daemon.start_execution("held").await;
    let says = async |id: &str, words: &str| {
        daemon.until(id, |file| file.execution.waiting_for.as_ref().is_some_and(|thing| thing.contains(words))).await
    };
    says(&first, "none is connected").await;
    says(&second, "1 of its agent are queued before it").await;
    let pause = tenure_wire::api::agent::Pause { note: None, until: None };
    daemon.client.pause_agent("held", &pause).await.unwrap();
    says(&held, "tenure resume held").await;

    let fake = FakeWorker::attach(&daemon.app, attached, "worker");
    fake.answers.send(false).unwrap();
    says(&second, "as many as it may at once (1)").await;
    fake.answers.send(true).unwrap();
    let ended = daemon.ended(&second).await.execution;
    assert_eq!((ended.status, ended.waiting_for), (ExecutionStatus::Completed, None));
    says(&held, "tenure resume held").await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_queue_of_one_agent_delays_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let turns = [calls("filesystem.read", json!({"path": "a.txt"})), says("Done.")];
    let daemon = Running::start(folder.path(), Arc::new(SystemClock), &[&turns[..]; 12]).await;
    let worker = register(&daemon.app, "worker").await;
    let first = FakeWorker::connect(&daemon.app, worker, "worker");
    connected(&daemon.app, 1).await;
    let many = "  execution: {concurrency: 8, workspace: shared}\n";
    for (name, more) in [("long", many), ("short", ""), ("other", "")] {
        daemon.client.deploy(manifest(name, more).into_bytes(), false).await.unwrap();
    }
    let (attached, _) = first.die().await;
    let mut long = Vec::new();
    for _ in 0..8 {
        long.push(daemon.start_execution("long").await);
    }
    let late = [daemon.start_execution("short").await, daemon.start_execution("other").await];
    let second = daemon.start_execution("short").await;
    let fake = FakeWorker::attach(&daemon.app, attached, "worker");
    fake.answers.send(false).unwrap();
    // It has four slots: whoever came last has its turn, and one agent no more at a time than it lets run.
    for id in late.iter().chain(&long[..2]) {
        daemon.until(id, |file| file.execution.status == ExecutionStatus::Running).await;
    }
    let mut running = Vec::new();
    for id in &long {
        running.push(daemon.client.execution(id).await.unwrap().execution.status == ExecutionStatus::Running);
    }
    assert_eq!(running.iter().filter(|running| **running).count(), 2, "{running:?}");
    assert_eq!(daemon.client.execution(&second).await.unwrap().execution.status, ExecutionStatus::Queued);
    fake.answers.send(true).unwrap();
    for id in long.iter().chain(&late).chain([&second]) {
        assert_eq!(daemon.ended(id).await.execution.status, ExecutionStatus::Completed);
    }
    daemon.stop().await;
}
