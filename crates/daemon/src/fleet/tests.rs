use super::*;
use crate::testing::{app, found, register};
use futures_util::FutureExt;
use tenure_core::manifest::Host;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Nothing here takes as long; a test that hangs must end all the same.
const TEST_TIMEOUT: Duration = Duration::from_secs(120);

fn hello(name: &str) -> FromWorker {
    let (level, host) = ("test".to_string(), Host::default());
    FromWorker::Hello(Hello { version: frame::VERSION, name: name.into(), slots: 2, level, host, reaped: 0 })
}

/// A worker that greets, then answers each release until it is told to die.
async fn fake(mut stream: DuplexStream, name: &str, die: oneshot::Receiver<()>) {
    frame::write(&mut stream, &hello(name)).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let working = async {
        while let Ok(asked) = frame::read::<ToWorker>(&mut reader).await {
            if let ToWorker::Release { execution, iteration, .. } = asked {
                let released = FromWorker::Released { execution, iteration, traffic: None };
                frame::write(&mut writer, &released).await.unwrap();
            }
        }
    };
    tokio::select! {
        () = working => {}
        _ = die => {}
    }
}

struct Attachment {
    die: oneshot::Sender<()>,
    serving: JoinHandle<(AttachedWorker, Result<(), Error>)>,
}

fn attach(app: &Arc<App>, mut attached: AttachedWorker, name: &'static str) -> Attachment {
    let (ours, theirs) = duplex(1 << 16);
    let (die, dying) = oneshot::channel();
    tokio::spawn(fake(theirs, name, dying));
    let app = Arc::clone(app);
    let serving = tokio::spawn(async move {
        let result = attached.serve(&app, ours, &watch::Sender::new(None)).await;
        (attached, result)
    });
    Attachment { die, serving }
}

async fn connected(app: &App, count: usize) -> Vec<Connection> {
    let mut connections = app.fleet.0.subscribe();
    let all = timeout(TEST_TIMEOUT, connections.wait_for(|connections| connections.len() == count)).await;
    all.unwrap().unwrap().values().cloned().collect()
}

#[tokio::test]
async fn of_two_workers_one_dies_and_comes_back_while_the_other_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (app, _store) = app(folder.path());
    found(&app).await;
    assert!(app.fleet.any().now_or_never().is_none());
    let (left, right) = (register(&app, "left").await, register(&app, "right").await);
    let first = attach(&app, AttachedWorker { worker: left, stale: None }, "left");
    let second = attach(&app, AttachedWorker { worker: right, stale: None }, "right");
    let both = connected(&app, 2).await;
    assert_ne!(both[0].session, both[1].session);
    let execution = app.committer.mint_execution();
    for worker in [left, right] {
        let connection = app.fleet.connection(worker).unwrap();
        assert!(timeout(TEST_TIMEOUT, connection.release(execution, 1, true)).await.unwrap().is_ok());
        assert_eq!(app.fleet.with_session(connection.session).unwrap().worker, worker);
    }
    let dead = app.fleet.connection(left).unwrap();
    first.die.send(()).unwrap();
    let (attached, result) = timeout(TEST_TIMEOUT, first.serving).await.unwrap().unwrap();
    assert!(matches!(result, Err(Error::Connection(_))), "{result:?}");
    assert!(app.fleet.connection(left).is_none() && app.fleet.with_session(dead.session).is_none());
    assert!(dead.release(execution, 2, true).await.is_err());
    assert_eq!(app.fleet.any().await.worker, right);
    let alive = app.fleet.connection(right).unwrap();
    assert!(timeout(TEST_TIMEOUT, alive.release(execution, 2, true)).await.unwrap().is_ok());

    assert_eq!(attached.stale.map(|(session, _)| session), Some(dead.session));
    let _again = attach(&app, attached, "left");
    connected(&app, 2).await;
    let back = app.fleet.connection(left).unwrap();
    assert!(back.session != dead.session && back.fence > dead.fence);
    assert!(!second.serving.is_finished());
}

#[tokio::test]
async fn a_worker_that_dies_between_its_greeting_and_the_welcome_leaves_no_session_open() {
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
    let _again = attach(&app, attached, "left");
    assert_eq!(connected(&app, 1).await.len(), 1, "its next session opens");
}
