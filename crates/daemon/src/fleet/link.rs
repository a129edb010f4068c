//! One open link: asks go out as frames, answers come back to whoever asked. One task owns it; nothing else reads or
//! writes its socket.
use crate::house::House;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tenure_core::actor::Actor;
use tenure_core::call::Fence;
use tenure_core::command::Command;
use tenure_core::execution;
use tenure_core::id::{AgentId, ExecutionId, LeaseId, SessionId, WorkerId};
use tenure_core::manifest::Host;
use tenure_core::network::Traffic;
use tenure_wire::frame::{self, CallOutcome, FrameError, FromWorker, LeasedCall, ToWorker};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::ReadHalf;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;

const BEAT_EVERY: Duration = Duration::from_secs(10);
/// A worker that says nothing for so long hangs; a dead one shows at once by the end of its socket.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// The same of one that takes nothing of a frame.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// How long reading what a worker said may take that takes no frames any more.
const LAST_WORDS: Duration = Duration::from_secs(1);
const ASKED_MAX: usize = 4096;
const RECEIVED_MAX: usize = 256;
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
    pub(super) end: CancellationToken,
}

#[derive(Debug)]
pub(super) enum Ask {
    Call {
        frame: Box<LeasedCall>,
        answer: oneshot::Sender<CallOutcome>,
    },
    Release {
        agent: AgentId,
        execution: ExecutionId,
        iteration: u32,
        last: bool,
        answer: oneshot::Sender<Option<Traffic>>,
    },
    Survey {
        answer: oneshot::Sender<()>,
    },
}

impl Link {
    /// The call's outcome; `None` when the link broke first.
    pub async fn call(&self, frame: LeasedCall) -> Option<CallOutcome> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask::Call { frame: Box::new(frame), answer }).await.ok()?;
        answered.await.ok()
    }

    /// What went over the jail's network, once it is proven dead; an error when the link broke first.
    pub async fn release(
        &self,
        agent: AgentId,
        execution: ExecutionId,
        iteration: u32,
        last: bool,
    ) -> Result<Option<Traffic>, Broken> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask::Release { agent, execution, iteration, last, answer };
        self.asks.send(ask).await.map_err(|_| Broken)?;
        answered.await.map_err(|_| Broken)
    }

    /// What its host can do now; `None` when the link broke or it did not say in time.
    pub async fn survey(&self) -> Option<Arc<Host>> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask::Survey { answer }).await.ok()?;
        timeout(SURVEY_DEADLINE, answered).await.ok()?.ok()?;
        Some(Arc::clone(&self.host.borrow()))
    }

    /// Ends the worker process, also one that hangs.
    pub fn end(&self) {
        self.end.cancel();
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

    /// Notes who waits for the answer to the frame that this gives.
    fn begin(&mut self, ask: Ask) -> ToWorker {
        match ask {
            Ask::Call { frame, answer } => {
                if self.calls.len() >= ASKED_MAX {
                    self.calls.retain(|_, answer| !answer.is_closed());
                }
                self.calls.insert(frame.lease, answer);
                ToWorker::Call(frame)
            }
            Ask::Release { agent, execution, iteration, last, answer } => {
                self.releases.insert((execution, iteration), answer);
                ToWorker::Release { agent, execution, iteration, last }
            }
            Ask::Survey { answer } => {
                self.surveys.retain(|_, answer| !answer.is_closed());
                self.surveys_asked += 1;
                self.surveys.insert(self.surveys_asked, answer);
                ToWorker::Survey { count: self.surveys_asked }
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("it neither spoke for {} s nor took a frame for {}", SILENCE_MAX.as_secs(), WRITE_DEADLINE.as_secs())]
    Silent,
    #[error("the daemon ended it")]
    Ended,
}

/// Until the socket ends, the worker hangs or the house closes. It never waits for the worker to take something without
/// taking what the worker sends: each would wait for the other.
pub(super) async fn serve(
    house: &House,
    link: &Link,
    socket: &mut UnixStream,
    mut asks: mpsc::Receiver<Ask>,
    host: watch::Sender<Arc<Host>>,
) -> Result<(), Error> {
    let (reader, mut writer) = socket.split();
    let (frames, mut received) = mpsc::channel(RECEIVED_MAX);
    let reading = read(reader, frames);
    tokio::pin!(reading);
    let (mut asked, mut outbox) = (Asked::new(host), VecDeque::new());
    let mut beats = interval(BEAT_EVERY);
    let (mut heard, mut taken) = (Instant::now(), Instant::now());
    let mut count = 0;
    let ended = loop {
        let idle = outbox.is_empty();
        tokio::select! {
            ended = &mut reading => break ended,
            () = house.closing.cancelled() => return Ok(()),
            () = link.end.cancelled() => return Err(Error::Ended),
            Some(ask) = asks.recv(), if idle => {
                outbox = frame::encode(&asked.begin(ask))?.into();
                taken = Instant::now();
            }
            written = writer.write(outbox.as_slices().0), if !idle => match written {
                Ok(count @ 1..) => {
                    outbox.drain(..count);
                    taken = Instant::now();
                }
                Ok(0) | Err(_) => break timeout(LAST_WORDS, &mut reading).await.unwrap_or(Err(Error::Silent)),
            },
            Some(frame) = received.recv() => {
                heard = Instant::now();
                receive(house, link, &mut asked, frame).await;
            }
            _ = beats.tick() => {
                if heard.elapsed() > SILENCE_MAX || (!idle && taken.elapsed() > WRITE_DEADLINE) {
                    return Err(Error::Silent);
                }
                if idle {
                    taken = Instant::now();
                }
                count += 1;
                outbox.extend(frame::encode(&ToWorker::Beat { count })?);
            }
        }
    };
    // What it said before its end still counts.
    while let Ok(frame) = received.try_recv() {
        receive(house, link, &mut asked, frame).await;
    }
    ended
}

async fn read(mut reader: ReadHalf<'_>, frames: mpsc::Sender<FromWorker>) -> Result<(), Error> {
    loop {
        if frames.send(frame::read(&mut reader).await?).await.is_err() {
            return Ok(());
        }
    }
}

async fn receive(house: &House, link: &Link, asked: &mut Asked, frame: FromWorker) {
    let (worker, session) = (Actor::Worker(link.worker), link.session);
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
            house.report(worker, Command::Execution(execution, refuse)).await;
        }
        FromWorker::JailLost { execution, iteration, leases, why, traffic } => {
            let lose = execution::Command::LoseJail { session, iteration, leases, why, traffic };
            house.report(worker, Command::Execution(execution, lose)).await;
        }
        FromWorker::Output { execution, stderr, text, .. } => house.watch.output(execution, stderr, text),
        FromWorker::Beat { .. } => {}
        FromWorker::HomeRemoved { agent, .. } => tracing::warn!(%agent, "the removal of a home was not asked for"),
        FromWorker::Hello(_) => tracing::warn!("a second greeting of the worker is ignored"),
    }
}

#[cfg(test)]
mod tests;
