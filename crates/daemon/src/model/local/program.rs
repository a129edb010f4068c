//! One life of the program: its start, the requests that it has, its end.

use super::{QueuedRequest, Reply, Settings};
use crate::model::failure::{Failure, Kind};
use crate::model::pull;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tenure_wire::local as wire;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::codec::{FramedRead, LinesCodec};

/// Requests that the program has at once: one that runs, and one that can begin as soon as it ends.
const OPEN_MAX: usize = 2;
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// A request that is cancelled or late has so long to end before the program is taken for stuck.
const STUCK_TIMEOUT: Duration = Duration::from_secs(30);
/// The program ends by itself within 5 s of its socket.
const EXIT_TIMEOUT: Duration = Duration::from_secs(7);
/// What it wrote to stderr is waited for so long once it has ended; only a child of its own can keep that open.
const STDERR_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of its last words that are kept.
const STDERR_BYTES_MAX: usize = 1024;

type Lines = FramedRead<OwnedReadHalf, LinesCodec>;

pub(super) enum End {
    Idle,
    /// The queue of requests is closed.
    Closed,
    Died {
        answered: bool,
    },
}

pub(super) struct Program {
    child: Child,
    lines: Lines,
    writer: OwnedWriteHalf,
    stderr: StderrTail,
    open: BTreeMap<u64, Open>,
    gone: FuturesUnordered<BoxFuture<'static, u64>>,
    next_id: u64,
    answered: bool,
}

struct Open {
    queued: QueuedRequest,
    stuck_at: Instant,
}

impl Program {
    /// # Errors
    /// [`Kind::NotReady`] for what a person must mend, [`Kind::Transport`] for what may pass.
    pub(super) async fn start(settings: &Settings) -> Result<Program, Failure> {
        let failed = |cause: std::io::Error| {
            let sentence = format!("{} does not start: {cause}", settings.program.display());
            Failure::new(Kind::NotReady, sentence, "check that it is built for this host and may be run")
        };
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        let mut child = Command::new(&settings.program)
            .arg("--model")
            .arg(pull::path(settings.weights, &settings.folder))
            .arg("--state")
            .arg(settings.folder.join("state"))
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let stderr = StderrTail::of(child.stderr.take());
        ours.set_nonblocking(true).map_err(failed)?;
        let (reader, writer) = UnixStream::from_std(ours).map_err(failed)?.into_split();
        let lines = FramedRead::new(reader, LinesCodec::new_with_max_length(wire::LINE_BYTES_MAX));
        let (open, gone) = (BTreeMap::new(), FuturesUnordered::new());
        let mut program = Program { child, lines, writer, stderr, open, gone, next_id: 1, answered: false };
        program.greet(settings.load).await?;
        Ok(program)
    }

    async fn greet(&mut self, load: Duration) -> Result<(), Failure> {
        match timeout(load, next_event(&mut self.lines)).await {
            Ok(Some(wire::Event::Hello(hello))) if hello.protocol == wire::PROTOCOL => {
                tracing::info!(model = %hello.model, load_ms = hello.load_ms, "the local model is loaded");
                Ok(())
            }
            Ok(Some(wire::Event::Hello(hello))) => Err(Failure::new(
                Kind::NotReady,
                format!(
                    "tenure-local-model {} speaks protocol {}, not {}",
                    hello.version,
                    hello.protocol,
                    wire::PROTOCOL
                ),
                "install the one that came with this tenure",
            )),
            Ok(Some(wire::Event::Unloadable { kind, message })) => Err(unloadable(kind, &message)),
            Ok(Some(_)) => Err(self.died("spoke before it had loaded").await),
            Ok(None) => Err(self.died("ended while loading").await),
            Err(_) => Err(Failure::new(
                Kind::Transport,
                format!("the local model did not load within {} s", load.as_secs()),
                "it is started again; check that the host is not out of memory",
            )),
        }
    }

    /// Answers `first` and what is queued after it, until the end.
    pub(super) async fn serve(
        mut self,
        first: QueuedRequest,
        requests: &mut mpsc::Receiver<QueuedRequest>,
        idle: Duration,
    ) -> End {
        let mut well = self.pass_on(first).await;
        while well {
            let next_stuck = self.open.values().map(|open| open.stuck_at).min();
            let resting = self.open.is_empty();
            let at = next_stuck.unwrap_or_else(|| Instant::now() + idle);
            tokio::select! {
                queued = requests.recv(), if self.open.len() < OPEN_MAX => match queued {
                    Some(queued) => well = self.pass_on(queued).await,
                    None => {
                        self.end();
                        return End::Closed;
                    }
                },
                event = next_event(&mut self.lines) => match event {
                    Some(event) => self.take(event),
                    None => well = false,
                },
                Some(id) = self.gone.next() => well = self.cancel(id).await,
                () = tokio::time::sleep_until(at) => {
                    if resting {
                        self.end();
                        return End::Idle;
                    }
                    tracing::warn!("the local model does not end a request that nobody waits for: it is killed");
                    well = false;
                }
            }
        }
        let failure = self.died("ended").await;
        tracing::warn!(%failure, "the local model is gone");
        for open in std::mem::take(&mut self.open).into_values() {
            let _ = open.queued.outcome.send(Err(failure.clone()));
        }
        End::Died { answered: self.answered }
    }

    /// False when the program takes nothing any more.
    async fn pass_on(&mut self, mut queued: QueuedRequest) -> bool {
        if queued.gone.is_cancelled() {
            return true;
        }
        let id = self.next_id;
        self.next_id += 1;
        let left = queued.deadline.saturating_duration_since(Instant::now());
        queued.generate.id = id;
        queued.generate.deadline_ms = Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        let line = match wire::to_line(&wire::Request::Generate(queued.generate.clone())) {
            Ok(line) => line,
            Err(_) => {
                let sentence = format!("the conversation takes more than {} bytes", wire::LINE_BYTES_MAX);
                let hint = "shorten the input or the results that the agent reads";
                let _ = queued.outcome.send(Err(Failure::new(Kind::ContextTooLong, sentence, hint)));
                return true;
            }
        };
        let gone = queued.gone.clone();
        self.gone.push(async move { gone.cancelled_owned().map(|()| id).await }.boxed());
        self.open.insert(id, Open { stuck_at: queued.deadline + STUCK_TIMEOUT, queued });
        self.write(&line).await
    }

    async fn cancel(&mut self, id: u64) -> bool {
        let Some(open) = self.open.get_mut(&id) else { return true };
        open.stuck_at = open.stuck_at.min(Instant::now() + STUCK_TIMEOUT);
        match wire::to_line(&wire::Request::Cancel { id }) {
            Ok(line) => self.write(&line).await,
            Err(_) => true,
        }
    }

    async fn write(&mut self, line: &[u8]) -> bool {
        matches!(timeout(WRITE_TIMEOUT, self.writer.write_all(line)).await, Ok(Ok(())))
    }

    fn take(&mut self, event: wire::Event) {
        match event {
            wire::Event::Text { id, part: wire::Part::Answer, piece } => {
                if let Some(open) = self.open.get(&id) {
                    let _ = open.queued.pieces.try_send(piece);
                }
            }
            wire::Event::Done { id, outcome, circled, usage, timings } => {
                tracing::debug!(?usage, ?timings, circled, "the local model answered");
                self.answered = true;
                self.close(id, Ok(Reply { outcome, usage }));
            }
            wire::Event::Failed { id, kind, message, .. } => self.close(id, Err(failed(kind, &message))),
            wire::Event::Text { part: wire::Part::Calls, .. }
            | wire::Event::Hello(_)
            | wire::Event::Unloadable { .. } => {}
        }
    }

    fn close(&mut self, id: u64, outcome: Result<Reply, Failure>) {
        if let Some(open) = self.open.remove(&id) {
            let _ = open.queued.outcome.send(outcome);
        }
    }

    /// Its socket ends, and with it the program, which is reaped beside.
    fn end(self) {
        let Program { mut child, lines, writer, .. } = self;
        drop((lines, writer));
        tokio::spawn(async move {
            if timeout(EXIT_TIMEOUT, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        });
    }

    async fn died(&mut self, what: &str) -> Failure {
        let _ = self.writer.shutdown().await;
        let status = match timeout(Duration::from_secs(1), self.child.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(_)) | Err(_) => {
                let _ = self.child.kill().await;
                "killed".to_owned()
            }
        };
        let last = self.stderr.line().await.map(|line| format!(": {line}")).unwrap_or_default();
        Failure::new(
            Kind::Transport,
            format!("the local model {what} ({status}){last}"),
            "it is started again; check that the host is not out of memory if this repeats",
        )
    }
}

/// The next event; `None` at the end, and for anything that is none.
async fn next_event(lines: &mut Lines) -> Option<wire::Event> {
    let line = lines.next().await?.ok()?;
    serde_json::from_str(&line).ok()
}

fn unloadable(kind: wire::LoadFailure, message: &str) -> Failure {
    let hint = match kind {
        wire::LoadFailure::File => "run `tenure model pull local-default` again",
        wire::LoadFailure::Memory => "free memory on this host, or set a key for a remote model",
        wire::LoadFailure::Processor => "build tenure-local-model on this host, or set a key for a remote model",
    };
    Failure::new(Kind::NotReady, format!("the local model cannot be loaded: {message}"), hint)
}

fn failed(kind: wire::FailureKind, message: &str) -> Failure {
    let (kind, hint) = match kind {
        wire::FailureKind::Request => (Kind::Rejected, "this is a fault of ours: please report it with this sentence"),
        wire::FailureKind::Context => {
            (Kind::ContextTooLong, "shorten the input, or choose a model with a longer context")
        }
        wire::FailureKind::Length => (Kind::Runaway, "raise the token limit of an answer, or give smaller tasks"),
        wire::FailureKind::Repetition => (Kind::Runaway, "change the instruction, or choose a larger model"),
        wire::FailureKind::Deadline => {
            (Kind::Deadline, "give the iteration more time, or set a key for a faster model")
        }
        wire::FailureKind::Cancelled => (Kind::Cancelled, "nothing to do"),
        wire::FailureKind::Busy => (Kind::Overloaded { retry_after_ms: None }, "it is asked again after a wait"),
        wire::FailureKind::Engine => (Kind::ServerError, "it is asked again after a wait"),
    };
    Failure::new(kind, format!("the local model gave no answer: {message}"), hint)
}

/// The end of what the program writes to stderr.
struct StderrTail {
    kept: Arc<Mutex<Vec<u8>>>,
    listener: Option<JoinHandle<()>>,
}

impl StderrTail {
    fn of(stderr: Option<ChildStderr>) -> StderrTail {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let listener = stderr.map(|stderr| tokio::spawn(listen(stderr, kept.clone())));
        StderrTail { kept, listener }
    }

    /// The last line, once the program has ended: its end may be known before its pipe is read.
    async fn line(&mut self) -> Option<String> {
        if let Some(listener) = self.listener.take() {
            let _ = timeout(STDERR_TIMEOUT, listener).await;
        }
        let words = self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        String::from_utf8_lossy(&words).lines().last().map(str::to_owned)
    }
}

async fn listen(mut stderr: ChildStderr, kept: Arc<Mutex<Vec<u8>>>) {
    let mut chunk = [0; 512];
    while let Ok(count @ 1..) = stderr.read(&mut chunk).await {
        tracing::debug!(words = %String::from_utf8_lossy(&chunk[..count]), "the local model says");
        let mut words = kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        words.extend_from_slice(&chunk[..count]);
        let over = words.len().saturating_sub(STDERR_BYTES_MAX);
        words.drain(..over);
    }
}
