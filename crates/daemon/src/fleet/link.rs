//! One open link: asks go out as frames, answers come back to whoever asked. One task owns it; nothing else reads or
//! writes its socket.
use crate::house::House;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tenure_core::actor::Actor;
use tenure_core::call::Fence;
use tenure_core::command::Command;
use tenure_core::execution;
use tenure_core::id::{ExecutionId, LeaseId, SessionId, WorkerId};
use tenure_core::manifest::Host;
use tenure_core::network::Traffic;
use tenure_wire::frame::{self, CallOutcome, FrameError, FromWorker, LeasedCall, ToWorker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot, watch};

const BEAT_EVERY: Duration = Duration::from_secs(10);
/// A worker that says nothing for so long hangs; a dead one shows at once by the end of its socket.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
const ASKED_MAX: usize = 4096;
/// A container engine that hangs must not hang a deploy for long.
const SURVEY_DEADLINE: Duration = Duration::from_secs(10);

/// The open session of a worker, to be asked things.
#[derive(Debug, Clone)]
pub struct Link {
    pub worker: WorkerId,
    pub session: SessionId,
    pub fence: Fence,
    /// Executions that it takes at a time.
    pub slots: u32,
    /// What its host can do, as it said last.
    pub host: watch::Receiver<Arc<Host>>,
    pub(super) asks: mpsc::Sender<Ask>,
}

#[derive(Debug)]
pub(super) enum Ask {
    Call { frame: Box<LeasedCall>, answer: oneshot::Sender<CallOutcome> },
    Release { execution: ExecutionId, iteration: u32, last: bool, answer: oneshot::Sender<Option<Traffic>> },
    Survey { answer: oneshot::Sender<()> },
    End,
}

impl Link {
    /// The call's outcome; `None` when the link broke first.
    pub async fn call(&self, frame: LeasedCall) -> Option<CallOutcome> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask::Call { frame: Box::new(frame), answer }).await.ok()?;
        answered.await.ok()
    }

    /// What went over the jail's network, once it is proven dead; an error when the link broke first.
    pub async fn release(&self, execution: ExecutionId, iteration: u32, last: bool) -> Result<Option<Traffic>, Broken> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask::Release { execution, iteration, last, answer };
        self.asks.send(ask).await.map_err(|_| Broken)?;
        answered.await.map_err(|_| Broken)
    }

    /// What its host can do now; `None` when the link broke or it did not say in time.
    pub async fn survey(&self) -> Option<Arc<Host>> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask::Survey { answer }).await.ok()?;
        tokio::time::timeout(SURVEY_DEADLINE, answered).await.ok()?.ok()?;
        Some(Arc::clone(&self.host.borrow()))
    }

    /// Ends the worker process: it hangs.
    pub fn end(&self) {
        let _ = self.asks.try_send(Ask::End);
    }
}

/// The link ended before the answer came.
#[derive(Debug)]
pub struct Broken;

struct Asked {
    calls: HashMap<LeaseId, oneshot::Sender<CallOutcome>>,
    releases: HashMap<(ExecutionId, u32), oneshot::Sender<Option<Traffic>>>,
    surveys: HashMap<u64, oneshot::Sender<()>>,
    surveys_asked: u64,
    host: watch::Sender<Arc<Host>>,
}

impl Asked {
    fn new(host: watch::Sender<Arc<Host>>) -> Asked {
        let (calls, releases, surveys) = (HashMap::new(), HashMap::new(), HashMap::new());
        Asked { calls, releases, surveys, surveys_asked: 0, host }
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("it was silent for {} s", SILENCE_MAX.as_secs())]
    Silent,
    #[error("the daemon ended it")]
    Ended,
}

impl From<Error> for super::Error {
    fn from(error: Error) -> super::Error {
        super::Error::Link(std::io::Error::other(error))
    }
}

/// Until the socket ends, the worker hangs or the house closes.
pub(super) async fn serve(
    house: &House,
    worker: WorkerId,
    session: SessionId,
    socket: &mut UnixStream,
    mut asks: mpsc::Receiver<Ask>,
    host: watch::Sender<Arc<Host>>,
) -> Result<(), Error> {
    let (reader, mut writer) = socket.split();
    let (frames, mut received) = mpsc::channel::<FromWorker>(256);
    let reading = read(reader, frames);
    tokio::pin!(reading);
    let mut asked = Asked::new(host);
    let mut beats = tokio::time::interval(BEAT_EVERY);
    let mut heard = tokio::time::Instant::now();
    let mut count = 0;
    loop {
        tokio::select! {
            ended = &mut reading => return ended,
            () = house.closing.cancelled() => return Ok(()),
            Some(ask) = asks.recv() => send(&mut writer, &mut asked, ask).await?,
            Some(frame) = received.recv() => {
                heard = tokio::time::Instant::now();
                receive(house, worker, session, &mut asked, frame).await;
            }
            _ = beats.tick() => {
                if heard.elapsed() > SILENCE_MAX {
                    return Err(Error::Silent);
                }
                count += 1;
                write(&mut writer, &ToWorker::Beat { count }).await?;
            }
        }
    }
}

async fn read(mut reader: ReadHalf<'_>, frames: mpsc::Sender<FromWorker>) -> Result<(), Error> {
    loop {
        let mut prefix = [0u8; 4];
        reader.read_exact(&mut prefix).await?;
        let mut bytes = vec![0u8; frame::length(prefix)?];
        reader.read_exact(&mut bytes).await?;
        let frame = serde_json::from_slice(&bytes).map_err(FrameError::from)?;
        if frames.send(frame).await.is_err() {
            return Ok(());
        }
    }
}

async fn write(writer: &mut WriteHalf<'_>, frame: &ToWorker) -> Result<(), Error> {
    let bytes = frame::encode(frame)?;
    tokio::time::timeout(WRITE_DEADLINE, writer.write_all(&bytes)).await.map_err(|_| Error::Silent)??;
    Ok(())
}

async fn send(writer: &mut WriteHalf<'_>, asked: &mut Asked, ask: Ask) -> Result<(), Error> {
    match ask {
        Ask::Call { frame, answer } => {
            if asked.calls.len() >= ASKED_MAX {
                asked.calls.retain(|_, answer| !answer.is_closed());
            }
            asked.calls.insert(frame.lease, answer);
            write(writer, &ToWorker::Call(frame)).await
        }
        Ask::Release { execution, iteration, last, answer } => {
            asked.releases.insert((execution, iteration), answer);
            write(writer, &ToWorker::Release { execution, iteration, last }).await
        }
        Ask::Survey { answer } => {
            asked.surveys.retain(|_, answer| !answer.is_closed());
            asked.surveys_asked += 1;
            asked.surveys.insert(asked.surveys_asked, answer);
            write(writer, &ToWorker::Survey { count: asked.surveys_asked }).await
        }
        Ask::End => Err(Error::Ended),
    }
}

async fn receive(house: &House, worker: WorkerId, session: SessionId, asked: &mut Asked, frame: FromWorker) {
    match frame {
        FromWorker::Outcome(outcome) => {
            if let Some(answer) = asked.calls.remove(&outcome.lease) {
                let _ = answer.send(*outcome);
            }
        }
        FromWorker::Released { execution, iteration, traffic } => {
            if let Some(answer) = asked.releases.remove(&(execution, iteration)) {
                let _ = answer.send(traffic);
            }
        }
        FromWorker::Surveyed { count, host } => {
            asked.host.send_replace(Arc::from(host));
            if let Some(answer) = asked.surveys.remove(&count) {
                let _ = answer.send(());
            }
        }
        FromWorker::NetworkRefused { execution, iteration, refusals } => {
            let refuse = execution::Command::RefuseNetwork { session, iteration, refusals };
            house.report(Actor::Worker(worker), Command::Execution(execution, refuse)).await;
        }
        FromWorker::JailLost { execution, iteration, leases, why, traffic } => {
            let lose = execution::Command::LoseJail { session, iteration, leases, why, traffic };
            house.report(Actor::Worker(worker), Command::Execution(execution, lose)).await;
        }
        FromWorker::Output { execution, stderr, text, .. } => house.watch.output(execution, stderr, text),
        FromWorker::Beat { .. } => {}
        FromWorker::Hello(_) => tracing::warn!("a second greeting of the worker is ignored"),
    }
}
