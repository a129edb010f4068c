use super::*;
use crate::fleet::connection::Connection;
use crate::testing::{TEST_TIMEOUT, app, manifest};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use tenure_core::call::{Fence, Holder, Outcome};
use tenure_core::id::{AgentId, CallId, ConnectionId, ExecutionId, LeaseId, Mint, WorkerId};
use tenure_core::manifest::{Host, Manifest};
use tenure_core::plan::Plan;
use tenure_core::time::Time;
use tenure_store::{Class, Store, Txn};
use tenure_wire::confinement::Confinement;
use tenure_wire::frame::{CallOutcome, LeasedCall};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::oneshot;

const MIB: usize = 1 << 20;
/// What a socket holds.
const BUFFER: usize = 64 << 10;

/// A connection, the task that serves it, and the worker's end of its stream.
fn open(app: &Arc<App>, mint: &mut Mint) -> (Connection, tokio::task::JoinHandle<Result<(), Error>>, DuplexStream) {
    let (ours, theirs) = duplex(BUFFER);
    let served = Connection::open(WorkerId::mint(mint), ConnectionId::mint(mint), Fence(1), 1, Host::default());
    let (app, connection) = (Arc::clone(app), served.connection.clone());
    let serving = tokio::spawn(async move { serve(&app, served, ours).await });
    (connection, serving, theirs)
}

fn call(mint: &mut Mint, arguments: Value) -> LeasedCall {
    let plan = Plan::compile(&Manifest::parse(&manifest("a", "")).unwrap());
    LeasedCall {
        lease: LeaseId::mint(mint),
        fence: Fence(1),
        call: CallId::mint(mint),
        holder: Holder::Execution(ExecutionId::mint(mint)),
        iteration: 1,
        agent: AgentId::mint(mint),
        capability: "filesystem.list".to_string(),
        arguments,
        path: None,
        confinement: Confinement::of(&plan.sandbox, &Host::default()).unwrap(),
        credential: None,
        deadline_ms: 1000,
    }
}

/// Reads up to the next call and answers it.
async fn answer(socket: &mut DuplexStream) {
    let call = loop {
        if let ToWorker::Call(call) = frame::read(socket).await.unwrap() {
            break call;
        }
    };
    frame::write(socket, &outcome_of(*call)).await.unwrap();
}

fn lost(holder: Holder) -> FromWorker {
    FromWorker::JailLost { holder, iteration: 1, leases: Vec::new(), why: "x".to_string(), traffic: None }
}

fn outcome_of(call: LeasedCall) -> FromWorker {
    let LeasedCall { lease, fence, call, holder, .. } = call;
    let (outcome, result) = (Outcome::Done { exit_code: None }, json!({}));
    FromWorker::Outcome(Box::new(CallOutcome { lease, fence, call, holder, outcome, result, took_ms: 1, level: None }))
}

#[tokio::test]
async fn what_a_worker_answered_just_before_its_end_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let ((app, _store), mut mint) = (app(folder.path()), Mint::new(Time::from_millis(1), 1));
    for _ in 0..50 {
        let (connection, serving, mut theirs) = open(&app, &mut mint);
        let worker = tokio::spawn(async move { answer(&mut theirs).await });
        let call = call(&mut mint, json!({}));
        assert!(timeout(TEST_TIMEOUT, connection.call(call)).await.unwrap().is_some());
        worker.await.unwrap();
        assert!(serving.await.unwrap().is_err(), "the connection has ended");
        let late = self::call(&mut mint, json!({}));
        assert!(connection.call(late).await.is_none(), "the control: nothing is answered after the end");
    }
}

#[tokio::test]
async fn neither_side_waits_for_the_other_when_both_have_much_to_say() {
    let folder = tempfile::tempdir().unwrap();
    let ((app, _store), mut mint) = (app(folder.path()), Mint::new(Time::from_millis(1), 2));
    let (connection, _serving, mut theirs) = open(&app, &mut mint);
    let calls: Vec<LeasedCall> = (0..4).map(|_| call(&mut mint, json!("x".repeat(MIB)))).collect();
    let (lease, call) = (LeaseId::mint(&mut mint), CallId::mint(&mut mint));
    let (holder, text) = (Holder::Execution(ExecutionId::mint(&mut mint)), "y".repeat(MIB));
    let worker = tokio::spawn(async move {
        for _ in 0..8 {
            let output = FromWorker::Output { lease, call, holder, stderr: false, text: text.clone() };
            frame::write(&mut theirs, &output).await.unwrap();
        }
        for _ in 0..4 {
            answer(&mut theirs).await;
        }
    });
    let answers = futures_util::future::join_all(calls.into_iter().map(|call| connection.call(call)));
    let answers = timeout(TEST_TIMEOUT, answers).await.unwrap();
    assert!(answers.iter().all(Option::is_some));
    worker.await.unwrap();
}

#[tokio::test]
async fn a_worker_that_takes_nothing_is_ended_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let ((app, _store), mut mint) = (app(folder.path()), Mint::new(Time::from_millis(1), 3));
    let (connection, serving, _theirs) = open(&app, &mut mint);
    // More than the connection's queue and its stream hold.
    let calls: Vec<LeasedCall> = (0..300).map(|_| call(&mut mint, json!("x".repeat(MIB / 8)))).collect();
    let asking = calls.into_iter().map(|call| {
        let connection = connection.clone();
        tokio::spawn(async move { connection.call(call).await })
    });
    let asking: Vec<_> = asking.collect();
    while connection.requests.capacity() > 0 {
        tokio::task::yield_now().await;
    }
    connection.end();
    assert!(matches!(timeout(TEST_TIMEOUT, serving).await.unwrap().unwrap(), Err(Error::Ended)));
    for asked in asking {
        assert!(asked.await.unwrap().is_none());
    }
}

/// Holds every commit up until what this returns is dropped.
async fn slow_disk(store: &Store) -> std::sync::mpsc::Sender<()> {
    let (release, hang) = std::sync::mpsc::channel::<()>();
    let (started, begun) = oneshot::channel();
    let writer = store.writer().clone();
    tokio::spawn(async move {
        let hanging = move |_: &mut Txn<'_>| {
            let _ = started.send(());
            let _ = hang.recv();
            Ok(())
        };
        writer.write(Class::Interactive, hanging).await
    });
    begun.await.unwrap();
    release
}

#[tokio::test(start_paused = true)]
async fn a_slow_disk_makes_no_healthy_worker_silent() {
    let folder = tempfile::tempdir().unwrap();
    let (app, store) = app(folder.path());
    let mut mint = Mint::new(Time::from_millis(1), 4);
    let release = slow_disk(&store).await;
    let (connection, serving, theirs) = open(&app, &mut mint);
    let holder = Holder::Execution(ExecutionId::mint(&mut mint));
    let (mut reader, mut writer) = split(theirs);
    let (says, mut said) = mpsc::unbounded_channel();
    for _ in 0..4_000 {
        says.send(lost(holder)).unwrap();
    }
    let said_all = Arc::new(AtomicBool::new(false));
    let saying = Arc::clone(&said_all);
    let writing = tokio::spawn(async move {
        while let Some(frame) = said.recv().await {
            frame::write(&mut writer, &frame).await.unwrap();
            saying.store(said.is_empty(), Ordering::Relaxed);
        }
    });
    let reading = tokio::spawn(async move {
        loop {
            match frame::read(&mut reader).await.unwrap() {
                ToWorker::Beat { count } => says.send(FromWorker::Beat { count }).unwrap(),
                ToWorker::Call(call) => says.send(outcome_of(*call)).unwrap(),
                other => panic!("{other:?}"),
            }
        }
    });
    tokio::time::sleep(BEAT_EVERY * SILENT_BEATS_MAX * 10).await;
    assert!(
        !serving.is_finished() && !said_all.load(Ordering::Relaxed),
        "the control: more was sent than any queue holds"
    );
    drop(release);
    let call = call(&mut mint, json!({}));
    assert!(connection.call(call).await.is_some(), "the worker is still served");
    assert!(!serving.is_finished());
    reading.abort();
    writing.abort();
}

#[tokio::test(start_paused = true)]
async fn a_release_is_answered_only_after_what_was_reported_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let ((app, store), mut mint) = (app(folder.path()), Mint::new(Time::from_millis(1), 5));
    let disk = slow_disk(&store).await;
    let (connection, _serving, mut theirs) = open(&app, &mut mint);
    let (agent, holder) = (AgentId::mint(&mut mint), Holder::Execution(ExecutionId::mint(&mut mint)));
    let mut releasing = std::pin::pin!(connection.release(agent, holder, 1, true));
    assert!(timeout(Duration::ZERO, releasing.as_mut()).await.is_err());
    frame::write(&mut theirs, &lost(holder)).await.unwrap();
    frame::write(&mut theirs, &FromWorker::Released { holder, iteration: 1, traffic: None }).await.unwrap();
    tokio::spawn(async move {
        loop {
            if let ToWorker::Beat { count } = frame::read(&mut theirs).await.unwrap() {
                frame::write(&mut theirs, &FromWorker::Beat { count }).await.unwrap();
            }
        }
    });
    assert!(timeout(BEAT_EVERY * 2, releasing.as_mut()).await.is_err(), "its jail's loss is not committed yet");
    drop(disk);
    assert!(releasing.await.is_ok());
}
