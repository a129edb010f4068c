//! Workers of a test's own: what they answer is what the test says, over a pipe in memory.
use super::{AttachedWorker, Error};
use crate::app::App;
use crate::testing::TEST_TIMEOUT;
use serde_json::json;
use std::sync::Arc;
use tenure_core::call::Outcome;
use tenure_core::manifest::Host;
use tenure_store::rows::workers;
use tenure_wire::files::{FilesAnswer, FilesRefusal};
use tenure_wire::frame::{self, CallOutcome, FromWorker, Hello, LeasedCall, ToWorker};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) fn hello(name: &str) -> FromWorker {
    let (level, host) = ("test".to_string(), Host::default());
    FromWorker::Hello(Hello { version: frame::VERSION, name: name.into(), slots: 4, level, host, reaped: 0 })
}

/// A connected worker.
pub(crate) struct FakeWorker {
    die: oneshot::Sender<()>,
    serving: JoinHandle<(AttachedWorker, Result<(), Error>)>,
    /// It answers calls while this is true.
    pub(crate) answers: watch::Sender<bool>,
}

impl FakeWorker {
    pub(crate) fn connect(app: &Arc<App>, worker: tenure_core::id::WorkerId, name: &'static str) -> FakeWorker {
        FakeWorker::attach(app, AttachedWorker { worker, stale: None }, name)
    }

    /// The one of this name as the next life of the daemon finds it: what the last one left open is lapsed first.
    pub(crate) async fn attach_again(app: &Arc<App>, name: &'static str) -> FakeWorker {
        let known = app.records.reader().read(move |sql| workers::named(sql, name)).await.unwrap().unwrap();
        let stale = known.connection.map(|connection| (connection, app.committer.now().run));
        FakeWorker::attach(app, AttachedWorker { worker: known.id, stale }, name)
    }

    pub(super) fn attach(app: &Arc<App>, mut attached: AttachedWorker, name: &'static str) -> FakeWorker {
        let (ours, theirs) = duplex(1 << 16);
        let (die, dying) = oneshot::channel();
        let (answers, answering) = watch::channel(true);
        tokio::spawn(live(theirs, name, answering, dying));
        let app = Arc::clone(app);
        let serving = tokio::spawn(async move {
            let result = attached.serve(&app, ours, &watch::Sender::new(None)).await;
            (attached, result)
        });
        FakeWorker { die, serving, answers }
    }

    pub(super) fn is_served(&self) -> bool {
        !self.serving.is_finished()
    }

    /// Its process is gone, and nothing of it holds on to the daemon.
    pub(crate) async fn end(self) {
        drop(self.die().await);
    }

    /// Its process is gone.
    pub(super) async fn die(self) -> (AttachedWorker, Result<(), Error>) {
        self.die.send(()).unwrap();
        timeout(TEST_TIMEOUT, self.serving).await.unwrap().unwrap()
    }
}

/// Greets, then answers all that it is asked until it is told to die.
async fn live(mut stream: DuplexStream, name: &str, mut answers: watch::Receiver<bool>, die: oneshot::Receiver<()>) {
    frame::write(&mut stream, &hello(name)).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let working = async {
        while let Ok(asked) = frame::read::<ToWorker>(&mut reader).await {
            let answer = match asked {
                ToWorker::Call(call) => {
                    let answering = answers.wait_for(|answers| *answers).await;
                    answering.unwrap();
                    done(*call)
                }
                ToWorker::Release { holder, iteration, .. } => {
                    FromWorker::Released { holder, iteration, traffic: None }
                }
                ToWorker::RemoveHome { agent } => FromWorker::HomeRemoved { agent, removed: true, why: None },
                ToWorker::Files { count, .. } => {
                    FromWorker::Files { count, answer: FilesAnswer::Refused(FilesRefusal::NoHome) }
                }
                ToWorker::Survey { count } => FromWorker::Surveyed { count, host: Box::default() },
                ToWorker::Beat { count } => FromWorker::Beat { count },
                ToWorker::Cancel { .. } | ToWorker::Stream { .. } | ToWorker::Welcome { .. } => continue,
            };
            frame::write(&mut writer, &answer).await.unwrap();
        }
    };
    tokio::select! {
        () = working => {}
        _ = die => {}
    }
}

fn done(call: LeasedCall) -> FromWorker {
    let LeasedCall { lease, fence, call, holder, .. } = call;
    let (outcome, result) = (Outcome::Done { exit_code: None }, json!({"content": "what is there"}));
    let (took_ms, level) = (1, None);
    FromWorker::Outcome(Box::new(CallOutcome { lease, fence, call, holder, outcome, result, took_ms, level }))
}
