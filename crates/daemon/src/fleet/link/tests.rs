use super::*;
use crate::commit::Door;
use crate::model::environment::{Access, Environment};
use crate::model::router::Router;
use crate::reconcile::Bells;
use crate::records::Records;
use crate::space::Space;
use crate::watch::Watch;
use serde_json::{Value, json};
use tenure_core::call::{Fence, Outcome};
use tenure_core::id::{AgentId, CallId, Mint};
use tenure_core::judge::FloorAndTools;
use tenure_core::manifest::Manifest;
use tenure_core::time::Time;
use tenure_store::{Options, Store};
use tenure_wire::confinement::Confinement;

/// Nothing here takes as long; a test that hangs must end all the same.
const PATIENCE: Duration = Duration::from_secs(120);
const MIB: usize = 1 << 20;

fn house(folder: &tempfile::TempDir) -> House {
    let store = Arc::new(Store::open(Options::new(folder.path())).unwrap());
    let environment = Environment {
        default_model: None,
        cassette: None,
        anthropic: Access::default(),
        openai: Access::default(),
        local_program: "none".into(),
        models_folder: folder.path().to_owned(),
    };
    House {
        door: Door::new(&store, Arc::new(FloorAndTools), Space::new(Arc::clone(&store))),
        records: Records::new(store.reader().clone(), store.blobs().clone()),
        models: Arc::new(Router::new(&environment).unwrap()),
        watch: Watch::new(),
        bells: Bells::default(),
        links: watch::channel(None).1,
        closing: CancellationToken::new(),
    }
}

/// A link, the task that serves it, and the worker's end of its socket.
fn open(house: &Arc<House>, mint: &mut Mint) -> (Link, tokio::task::JoinHandle<Result<(), Error>>, UnixStream) {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let (asks, asked) = mpsc::channel(64);
    let (hosts, host) = watch::channel(Arc::new(Host::default()));
    let (worker, session) = (WorkerId::mint(mint), SessionId::mint(mint));
    let link = Link { worker, session, fence: Fence(1), slots: 1, host, asks, end: CancellationToken::new() };
    let (house, served) = (Arc::clone(house), link.clone());
    let serving = tokio::spawn(async move { serve(&house, &served, &mut ours, asked, hosts).await });
    (link, serving, theirs)
}

fn call(mint: &mut Mint, arguments: Value) -> LeasedCall {
    let manifest = Manifest::parse(
        "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata: {name: a}\nspec:\n  task: {instruction: x}\n",
    );
    LeasedCall {
        lease: LeaseId::mint(mint),
        fence: Fence(1),
        call: CallId::mint(mint),
        execution: ExecutionId::mint(mint),
        iteration: 1,
        agent: AgentId::mint(mint),
        capability: "filesystem.list".to_string(),
        arguments,
        path: None,
        confinement: Confinement::of(&manifest.unwrap(), &Host::default()).unwrap(),
        deadline_ms: 1000,
    }
}

/// Reads up to the next call and answers it.
async fn answer(socket: &mut UnixStream) {
    let call = loop {
        if let ToWorker::Call(call) = frame::read(socket).await.unwrap() {
            break call;
        }
    };
    let LeasedCall { lease, fence, call, execution, .. } = *call;
    let (outcome, result) = (Outcome::Done { exit_code: None }, json!({}));
    let outcome = CallOutcome { lease, fence, call, execution, outcome, result, took_ms: 1, level: None };
    frame::write(socket, &FromWorker::Outcome(Box::new(outcome))).await.unwrap();
}

#[tokio::test]
async fn what_a_worker_answered_just_before_its_end_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let (house, mut mint) = (Arc::new(house(&folder)), Mint::new(Time::from_millis(1), 1));
    for _ in 0..50 {
        let (link, serving, mut theirs) = open(&house, &mut mint);
        let worker = tokio::spawn(async move { answer(&mut theirs).await });
        let call = call(&mut mint, json!({}));
        assert!(timeout(PATIENCE, link.call(call)).await.unwrap().is_some());
        worker.await.unwrap();
        assert!(serving.await.unwrap().is_err(), "the link has ended");
        let late = self::call(&mut mint, json!({}));
        assert!(link.call(late).await.is_none(), "the control: nothing is answered after the end");
    }
}

#[tokio::test]
async fn neither_side_waits_for_the_other_when_both_have_much_to_say() {
    let folder = tempfile::tempdir().unwrap();
    let (house, mut mint) = (Arc::new(house(&folder)), Mint::new(Time::from_millis(1), 2));
    let (link, _serving, mut theirs) = open(&house, &mut mint);
    let calls: Vec<LeasedCall> = (0..4).map(|_| call(&mut mint, json!("x".repeat(MIB)))).collect();
    let (lease, execution, text) = (LeaseId::mint(&mut mint), ExecutionId::mint(&mut mint), "y".repeat(MIB));
    let worker = tokio::spawn(async move {
        for _ in 0..8 {
            let output = FromWorker::Output { lease, execution, stderr: false, text: text.clone() };
            frame::write(&mut theirs, &output).await.unwrap();
        }
        for _ in 0..4 {
            answer(&mut theirs).await;
        }
    });
    let answers = futures_util::future::join_all(calls.into_iter().map(|call| link.call(call)));
    let answers = timeout(PATIENCE, answers).await.unwrap();
    assert!(answers.iter().all(Option::is_some));
    worker.await.unwrap();
}

#[tokio::test]
async fn a_worker_that_takes_nothing_is_ended_by_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let (house, mut mint) = (Arc::new(house(&folder)), Mint::new(Time::from_millis(1), 3));
    let (link, serving, _theirs) = open(&house, &mut mint);
    // More than the link's queue and its socket hold.
    let calls: Vec<LeasedCall> = (0..80).map(|_| call(&mut mint, json!("x".repeat(MIB / 8)))).collect();
    let asking = calls.into_iter().map(|call| {
        let link = link.clone();
        tokio::spawn(async move { link.call(call).await })
    });
    let asking: Vec<_> = asking.collect();
    while link.asks.capacity() > 0 {
        tokio::task::yield_now().await;
    }
    link.end();
    assert!(matches!(timeout(PATIENCE, serving).await.unwrap().unwrap(), Err(Error::Ended)));
    for asked in asking {
        assert!(asked.await.unwrap().is_none());
    }
}
