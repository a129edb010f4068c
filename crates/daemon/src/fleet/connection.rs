//! The handle on a worker's connection, and what waits for the worker's answers. It must never touch the stream: the
//! task that serves the connection alone reads and writes it.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tenure_core::call::{Fence, Holder};
use tenure_core::id::{AgentId, ConnectionId, LeaseId, WorkerId};
use tenure_core::manifest::Host;
use tenure_core::network::Traffic;
use tenure_wire::files::{FilesAnswer, FilesAsked};
use tenure_wire::frame::{CallOutcome, FromWorker, LeasedCall, ToWorker};
use tenure_wire::stream::ToProgram;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Requests that wait to be sent to the worker.
const REQUESTS_MAX: usize = 256;
/// Calls whose answers are awaited before those are dropped for which nobody waits any more.
const PENDING_MAX: usize = 4096;
/// A container engine that hangs must not hang a deploy for long.
const SURVEY_TIMEOUT: Duration = Duration::from_secs(10);

/// A listing of a large folder on a slow disk.
const FILES_TIMEOUT: Duration = Duration::from_secs(20);
/// A worker that has not destroyed a jail by then is ended itself.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(20);

/// An open connection of a worker. It is cheap to clone, and goes on existing after the connection's end.
#[derive(Debug, Clone)]
pub struct Connection {
    pub worker: WorkerId,
    pub id: ConnectionId,
    pub fence: Fence,
    /// Executions and sessions that it takes at a time.
    pub slots: u32,
    /// What its host can do, as last reported.
    pub host: watch::Receiver<Arc<Host>>,
    pub(super) requests: mpsc::Sender<WorkerRequest>,
    pub(super) ending: CancellationToken,
}

/// What the task that serves the connection holds of it.
pub(super) struct ServerEnd {
    pub(super) connection: Connection,
    pub(super) requests: mpsc::Receiver<WorkerRequest>,
    pub(super) pending: Pending,
}

#[derive(Debug)]
pub(super) enum WorkerRequest {
    Call { frame: Box<LeasedCall>, answer: oneshot::Sender<CallOutcome> },
    Release { agent: AgentId, holder: Holder, iteration: u32, last: bool, answer: ReleaseAnswer },
    Cancel { lease: LeaseId },
    RemoveHome { agent: AgentId, answer: oneshot::Sender<Option<String>> },
    Files { agent: AgentId, asked: Box<FilesAsked>, answer: oneshot::Sender<FilesAnswer> },
    Survey { answer: oneshot::Sender<()> },
    Stream { stream: u64, part: ToProgram },
}

/// Told twice: the worker's word has come; what it was, once that is committed. A slow disk must not make the worker late.
#[derive(Debug)]
pub(super) struct ReleaseAnswer {
    came: Option<oneshot::Sender<()>>,
    committed: oneshot::Sender<Option<Traffic>>,
}

/// The connection ended before the answer came.
#[derive(Debug)]
pub struct Broken;

impl Connection {
    pub(super) fn open(worker: WorkerId, id: ConnectionId, fence: Fence, slots: u32, host: Host) -> ServerEnd {
        let (asking, requests) = mpsc::channel(REQUESTS_MAX);
        let (hosts, host) = watch::channel(Arc::new(host));
        let ending = CancellationToken::new();
        let connection = Connection { worker, id, fence, slots, host, requests: asking, ending };
        ServerEnd { connection, requests, pending: Pending::new(hosts) }
    }

    /// The call's outcome; `None` when the connection broke first.
    pub async fn call(&self, frame: LeasedCall) -> Option<CallOutcome> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(WorkerRequest::Call { frame: Box::new(frame), answer }).await.ok()?;
        answered.await.ok()
    }

    /// What went over the jail's network, once it is proven dead; an error when the connection broke first. A worker that
    /// does not destroy it in time is ended.
    ///
    /// # Errors
    /// `Broken`: nothing is known of the jail.
    pub async fn release(
        &self,
        agent: AgentId,
        holder: Holder,
        iteration: u32,
        last: bool,
    ) -> Result<Option<Traffic>, Broken> {
        let ((came, coming), (committed, answered)) = (oneshot::channel(), oneshot::channel());
        let answer = ReleaseAnswer { came: Some(came), committed };
        let release = WorkerRequest::Release { agent, holder, iteration, last, answer };
        let asked = async {
            self.requests.send(release).await.map_err(|_| Broken)?;
            coming.await.map_err(|_| Broken)
        };
        let Ok(came) = timeout(RELEASE_TIMEOUT, asked).await else {
            tracing::error!(%holder, "the worker does not destroy a jail; it is ended");
            self.end();
            return Err(Broken);
        };
        came?;
        answered.await.map_err(|_| Broken)
    }

    /// Asks for the end of a leased call, whose outcome then comes as any other's.
    ///
    /// # Errors
    /// `Broken`: the connection broke first.
    pub async fn cancel(&self, lease: LeaseId) -> Result<(), Broken> {
        self.requests.send(WorkerRequest::Cancel { lease }).await.map_err(|_| Broken)
    }

    /// Nothing of this agent is kept there any more; or why something still is.
    ///
    /// # Errors
    /// `Broken`: it is not known, and may be asked again.
    pub async fn remove_home(&self, agent: AgentId) -> Result<Option<String>, Broken> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(WorkerRequest::RemoveHome { agent, answer }).await.map_err(|_| Broken)?;
        answered.await.map_err(|_| Broken)
    }

    /// What the worker answers of the agent's folders.
    ///
    /// # Errors
    /// `Broken`: the connection broke, or it did not answer in time; a put may be done all the same.
    pub async fn files(&self, agent: AgentId, asked: FilesAsked) -> Result<FilesAnswer, Broken> {
        let answered = async {
            let (answer, answered) = oneshot::channel();
            let request = WorkerRequest::Files { agent, asked: Box::new(asked), answer };
            self.requests.send(request).await.map_err(|_| Broken)?;
            answered.await.map_err(|_| Broken)
        };
        timeout(FILES_TIMEOUT, answered).await.unwrap_or(Err(Broken))
    }

    /// A part of an answer to a program.
    ///
    /// # Errors
    /// `Broken`: the connection broke first.
    pub async fn tell_program(&self, stream: u64, part: ToProgram) -> Result<(), Broken> {
        self.requests.send(WorkerRequest::Stream { stream, part }).await.map_err(|_| Broken)
    }

    /// What its host can do now; `None` when the connection broke or it did not answer in time.
    pub async fn survey(&self) -> Option<Arc<Host>> {
        let surveyed = async {
            let (answer, answered) = oneshot::channel();
            self.requests.send(WorkerRequest::Survey { answer }).await.ok()?;
            answered.await.ok()
        };
        timeout(SURVEY_TIMEOUT, surveyed).await.ok()??;
        Some(Arc::clone(&self.host.borrow()))
    }

    /// Ends the connection, and with it the worker's jails, also where the worker hangs.
    pub fn end(&self) {
        self.ending.cancel();
    }
}

/// Who waits for which answer; in order, so that those whom a connection's end disappoints are told in one.
pub(super) struct Pending {
    calls: BTreeMap<LeaseId, oneshot::Sender<CallOutcome>>,
    releases: BTreeMap<(Holder, u32), ReleaseAnswer>,
    homes: BTreeMap<AgentId, oneshot::Sender<Option<String>>>,
    surveys: BTreeMap<u64, oneshot::Sender<()>>,
    surveys_sent: u64,
    files: BTreeMap<u64, oneshot::Sender<FilesAnswer>>,
    files_sent: u64,
    host: watch::Sender<Arc<Host>>,
}

impl Pending {
    fn new(host: watch::Sender<Arc<Host>>) -> Pending {
        let (calls, releases, homes, surveys, files) = Default::default();
        Pending { calls, releases, homes, surveys, surveys_sent: 0, files, files_sent: 0, host }
    }

    /// Notes who waits for the answer to the frame that this returns.
    pub(super) fn begin(&mut self, request: WorkerRequest) -> ToWorker {
        match request {
            WorkerRequest::Call { frame, answer } => {
                if self.calls.len() >= PENDING_MAX {
                    self.calls.retain(|_, answer| !answer.is_closed());
                }
                self.calls.insert(frame.lease, answer);
                ToWorker::Call(frame)
            }
            WorkerRequest::Release { agent, holder, iteration, last, answer } => {
                self.releases.insert((holder, iteration), answer);
                ToWorker::Release { agent, holder, iteration, last }
            }
            WorkerRequest::Cancel { lease } => ToWorker::Cancel { lease },
            WorkerRequest::Stream { stream, part } => ToWorker::Stream { stream, part },
            WorkerRequest::RemoveHome { agent, answer } => {
                self.homes.insert(agent, answer);
                ToWorker::RemoveHome { agent }
            }
            WorkerRequest::Files { agent, asked, answer } => {
                self.files.retain(|_, answer| !answer.is_closed());
                self.files_sent += 1;
                self.files.insert(self.files_sent, answer);
                ToWorker::Files { count: self.files_sent, agent, asked }
            }
            WorkerRequest::Survey { answer } => {
                self.surveys.retain(|_, answer| !answer.is_closed());
                self.surveys_sent += 1;
                self.surveys.insert(self.surveys_sent, answer);
                ToWorker::Survey { count: self.surveys_sent }
            }
        }
    }

    /// Tells whoever waits for it that an answer has come, which is still to be committed.
    pub(super) fn came(&mut self, frame: &FromWorker) {
        let FromWorker::Released { holder, iteration, .. } = frame else { return };
        let waiting = self.releases.get_mut(&(*holder, *iteration));
        if let Some(came) = waiting.and_then(|answer| answer.came.take()) {
            // Nobody waits any more where the receiver is gone.
            let _ = came.send(());
        }
    }

    /// Hands an answer to whoever waits for it; another frame is none of this one's concern.
    pub(super) fn answer(&mut self, frame: FromWorker) {
        // Nobody waits any more where the receiver is gone.
        match frame {
            FromWorker::Outcome(outcome) => {
                if let Some(answer) = self.calls.remove(&outcome.lease) {
                    let _ = answer.send(*outcome);
                }
            }
            FromWorker::Released { holder, iteration, traffic } => {
                if let Some(answer) = self.releases.remove(&(holder, iteration)) {
                    let _ = answer.committed.send(traffic);
                }
            }
            FromWorker::Surveyed { count, host } => {
                self.host.send_replace(Arc::from(host));
                if let Some(answer) = self.surveys.remove(&count) {
                    let _ = answer.send(());
                }
            }
            FromWorker::Files { count, answer: found } => {
                if let Some(answer) = self.files.remove(&count) {
                    let _ = answer.send(found);
                }
            }
            FromWorker::HomeRemoved { agent, removed, why } => {
                if let Some(answer) = self.homes.remove(&agent) {
                    let why = why.unwrap_or_else(|| "the worker does not say why".to_string());
                    let _ = answer.send((!removed).then_some(why));
                }
            }
            FromWorker::Stream { .. }
            | FromWorker::NetworkRefused { .. }
            | FromWorker::JailLost { .. }
            | FromWorker::Output { .. }
            | FromWorker::ToolsChanged { .. }
            | FromWorker::Beat { .. }
            | FromWorker::Hello(_) => {}
        }
    }
}
