//! One connection to the daemon: from `Hello` until the link ends. Owns the table of jails and the leases; everything else
//! reports to it. Must never: wait for a jail, perform a call of another fence, or answer for a jail that was released.
mod files;
mod lease;
mod link;
mod survey;

use crate::error::Error;
use crate::jail::{End, JailEvent, JailTask, Key, QueuedCall};
use crate::models::{Opening, StreamLink};
use crate::perform::CallResult;
use crate::runtime::WorkerRuntime;
use crate::workspace::SWEEP_EVERY;
use files::Files;
use lease::{LeaseState, Leases};
use link::Outbound;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;
use survey::Surveys;
use tenure_core::call::{Fence, Holder, Outcome};
use tenure_core::id::{AgentId, CallId, LeaseId};
use tenure_core::network::Traffic;
use tenure_wire::frame::{CallOutcome, FromWorker, Hello, LeasedCall, ToWorker, VERSION};
use tenure_wire::stream::{FromProgram, ToProgram};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// How long the daemon may take to answer `Hello`.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the zygote may take to end its jails once the link has ended.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(12);
/// Calls that wait for one jail; calls in hand of one agent, and of the whole connection, which has room for all of the agents
/// that there are slots for.
const CALLS_A_JAIL_MAX: usize = 64;
const CALLS_AN_AGENT_MAX: usize = 128;
const CALLS_MIN: usize = 1024;
const EVENTS_MAX: usize = 256;
/// Iterations whose jails have ended and whose release is still to come; what one more moved is not told.
const MOVED_MAX: usize = 256;
/// Agents whose homes are being removed, one after another.
const REMOVALS_MAX: usize = 64;

/// Greets the daemon and serves it until the link ends, which is no error: all jails are killed and it returns.
///
/// # Errors
/// `Frame` or `Protocol` if the other side is no daemon of this version, `Unproven` or `Sandbox` if jails can no longer be
/// ended or opened. The caller must end the process.
pub async fn serve<S>(runtime: WorkerRuntime, socket: S) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut reader, mut writer) = tokio::io::split(socket);
    let Some(fence) = greet(&runtime, &mut reader, &mut writer).await? else { return Ok(()) };
    let (outbound, writing) = link::outbound(writer);
    let (inbound, reading) = link::inbound(reader);
    let mut links = JoinSet::new();
    links.spawn(async {
        reading.await;
        Ok(())
    });
    links.spawn(writing);
    let (notify, events) = mpsc::channel(EVENTS_MAX);
    let runtime = Arc::new(runtime);
    let (surveys, looking) = Surveys::new(Arc::clone(&runtime), outbound.sure.clone());
    let files = Files::new(outbound.sure.clone());
    let mut connection = ConnectionLoop {
        fence,
        runtime: Arc::clone(&runtime),
        outbound,
        notify,
        jails: HashMap::new(),
        queue: VecDeque::new(),
        removing: HashSet::new(),
        removals: Arc::new(Semaphore::new(1)),
        moved: HashMap::new(),
        leases: Leases::default(),
        tasks: JoinSet::new(),
        surveys,
        files,
        streams: HashMap::new(),
        streams_opened: 0,
    };
    connection.tasks.spawn(looking);
    let stop = CancellationToken::new();
    connection.tasks.spawn(sweep(Arc::clone(&runtime), stop.clone()));
    let end = connection.run(inbound, events, &mut links).await;
    stop.cancel();
    connection.tasks.shutdown().await;
    drop(connection);
    links.shutdown().await;
    end.and(leave(runtime).await)
}

/// The worker's end, once no jail's task is left.
pub(crate) async fn leave(runtime: Arc<WorkerRuntime>) -> Result<(), Error> {
    runtime.leave().await;
    // Dropping the zygote kills and cleans up what is left; it blocks.
    let shutdown = tokio::task::spawn_blocking(move || drop(runtime));
    match timeout(SHUTDOWN_TIMEOUT, shutdown).await {
        Err(_) => Err(Error::Deadline { what: "the zygote to end", seconds: SHUTDOWN_TIMEOUT.as_secs() }),
        Ok(_) => Ok(()),
    }
}

/// Again and again while the connection lives; what is past its time at the worker's start goes at once.
async fn sweep(runtime: Arc<WorkerRuntime>, stop: CancellationToken) {
    let mut due = tokio::time::interval(SWEEP_EVERY);
    loop {
        due.tick().await;
        let (runtime, stop) = (Arc::clone(&runtime), stop.clone());
        if let Err(error) = tokio::task::spawn_blocking(move || runtime.folders.sweep(&stop)).await {
            tracing::error!(%error, "a sweep of the agents' folders failed");
        }
    }
}

/// The connection's fence; None if the daemon left.
async fn greet<R, W>(runtime: &WorkerRuntime, reader: &mut R, writer: &mut W) -> Result<Option<Fence>, Error>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let hello = Hello {
        version: VERSION,
        name: runtime.name.clone(),
        slots: runtime.slots,
        level: runtime.level.clone(),
        host: runtime.host.clone(),
        reaped: runtime.reaped,
    };
    link::write(writer, &FromWorker::Hello(hello)).await?;
    let welcome = timeout(WELCOME_TIMEOUT, link::read(reader)).await;
    let late = |_| Error::Deadline { what: "the daemon's welcome", seconds: WELCOME_TIMEOUT.as_secs() };
    match welcome.map_err(late)?? {
        Some(ToWorker::Welcome { version: VERSION, connection, fence }) => {
            tracing::info!(%connection, fence = fence.0, "the connection is open");
            Ok(Some(fence))
        }
        Some(ToWorker::Welcome { .. }) => Err(Error::Protocol("it speaks another version; restart it with this one's")),
        Some(
            ToWorker::Call(_)
            | ToWorker::Release { .. }
            | ToWorker::Cancel { .. }
            | ToWorker::RemoveHome { .. }
            | ToWorker::Files { .. }
            | ToWorker::Survey { .. }
            | ToWorker::Stream { .. }
            | ToWorker::Beat { .. },
        ) => Err(Error::Protocol("something came before the welcome")),
        None => Ok(None),
    }
}

struct ConnectionLoop {
    fence: Fence,
    runtime: Arc<WorkerRuntime>,
    outbound: Outbound,
    notify: mpsc::Sender<JailEvent>,
    jails: HashMap<Key, JailSlot>,
    /// Calls that wait until an earlier jail of their holder is proven dead, or their agent's former home is gone.
    queue: VecDeque<QueuedCall>,
    /// Agents whose homes are being removed; no jail of theirs is opened meanwhile.
    removing: HashSet<AgentId>,
    removals: Arc<Semaphore>,
    /// What jails moved that ended before their release was asked for.
    moved: HashMap<Key, Traffic>,
    leases: Leases,
    tasks: JoinSet<()>,
    surveys: Surveys,
    files: Files,
    /// Of programs that ask models, by the number that the daemon knows each by.
    streams: HashMap<u64, mpsc::Sender<ToProgram>>,
    streams_opened: u64,
}

/// One jail as the connection sees it.
struct JailSlot {
    agent: AgentId,
    state: SlotState,
}

enum SlotState {
    Open {
        calls: mpsc::Sender<QueuedCall>,
        close: CancellationToken,
    },
    /// Told to close; its last word is awaited.
    Closing {
        why: CloseReason,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CloseReason {
    Released {
        /// And its holder is over.
        last: bool,
    },
    /// A call of a later iteration came.
    Superseded,
}

impl ConnectionLoop {
    /// Ends with the link (Ok) or when the worker cannot go on.
    async fn run(
        &mut self,
        mut inbound: mpsc::Receiver<Result<ToWorker, Error>>,
        mut events: mpsc::Receiver<JailEvent>,
        links: &mut JoinSet<Result<(), Error>>,
    ) -> Result<(), Error> {
        loop {
            tokio::select! {
                frame = inbound.recv() => match frame {
                    Some(frame) => self.handle_frame(frame?).await?,
                    None => return Ok(()),
                },
                Some(event) = events.recv() => self.handle_event(event).await?,
                Some(task) = self.tasks.join_next() => task?,
                Some(link) = links.join_next() => match link? {
                    // A broken pipe is the daemon's end.
                    Ok(()) | Err(Error::Io { .. }) => {}
                    Err(error) => return Err(error),
                },
            }
        }
    }

    async fn handle_frame(&mut self, frame: ToWorker) -> Result<(), Error> {
        match frame {
            ToWorker::Beat { count } => {
                // With so many unanswered ones the daemon reads nothing anyway.
                let _ = self.outbound.beats.try_send(FromWorker::Beat { count });
            }
            ToWorker::Call(call) => self.call(call).await,
            ToWorker::Release { agent, holder, iteration, last } => {
                self.release(agent, Key { holder, iteration }, last).await;
            }
            ToWorker::RemoveHome { agent } => self.remove_home(agent).await,
            ToWorker::Cancel { lease } => self.leases.cancel(lease),
            ToWorker::Survey { count } => self.surveys.ask(count),
            ToWorker::Files { count, agent, asked } => {
                let (runtime, is_removed) = (Arc::clone(&self.runtime), self.removing.contains(&agent));
                self.tasks.spawn(self.files.answer(runtime, count, agent, *asked, is_removed));
            }
            ToWorker::Stream { stream, part } => self.hand_to_program(stream, part)?,
            ToWorker::Welcome { .. } => return Err(Error::Protocol("a second welcome came")),
        }
        Ok(())
    }

    fn hand_to_program(&mut self, stream: u64, part: ToProgram) -> Result<(), Error> {
        let Some(to_program) = self.streams.get(&stream) else { return Ok(()) };
        let is_last = matches!(part, ToProgram::End | ToProgram::Close);
        if let Err(mpsc::error::TrySendError::Full(_)) = to_program.try_send(part) {
            return Err(Error::Protocol("a stream was sent more than its window has room for"));
        }
        if is_last {
            self.streams.remove(&stream);
        }
        Ok(())
    }

    /// The daemon hears of a stream before anything of it; it hears of its end too, where the program goes first.
    async fn open_stream(&mut self, opening: Opening) {
        self.streams_opened += 1;
        let stream = self.streams_opened;
        let (to_program, notify) = (opening.to_program.clone(), self.notify.clone());
        self.streams.insert(stream, opening.to_program);
        self.send(FromWorker::Stream { stream, part: FromProgram::Open(opening.open) }).await;
        self.tasks.spawn(async move {
            to_program.closed().await;
            let _ = notify.send(JailEvent::StreamClosed(stream)).await;
        });
        // A program that has gone already is noticed by the task.
        let _ = opening.number.send(stream);
    }

    async fn send(&self, frame: FromWorker) {
        // When the link is gone, reading ends too, and with it the connection.
        let _ = self.outbound.sure.send(frame).await;
    }

    async fn call(&mut self, call: Box<LeasedCall>) {
        if call.fence != self.fence {
            tracing::warn!(lease = %call.lease, fence = call.fence.0, ours = self.fence.0, "dropped a call of another fence");
            return;
        }
        match self.leases.seen(call.lease) {
            LeaseState::InHand => return,
            LeaseState::Ended(Some(outcome)) => {
                let again = FromWorker::Outcome(Box::new(outcome.clone()));
                return self.send(again).await;
            }
            LeaseState::Ended(None) => {
                tracing::warn!(lease = %call.lease, "dropped a call whose jail has ended");
                return;
            }
            LeaseState::Never => {}
        }
        let deadline = Instant::now() + Duration::from_millis(call.deadline_ms);
        let all = (self.runtime.slots as usize).saturating_mul(CALLS_AN_AGENT_MAX).max(CALLS_MIN);
        let full = match (self.leases.in_hand() >= all, self.leases.in_hand_of(call.agent) >= CALLS_AN_AGENT_MAX) {
            (_, true) => Some("this agent has too many calls in hand; try again when some have ended"),
            (true, false) => Some("the worker has too many calls in hand; try again when some have ended"),
            (false, false) => None,
        };
        let cancel = self.leases.take(call.lease, call.agent, Key::of(&call), call.call);
        let queued = QueuedCall { call, deadline, cancel, attendance: None };
        if let Some(sentence) = full {
            let call_result = CallResult::exhausted("calls", None, sentence);
            return self.reject(queued, call_result).await;
        }
        self.dispatch(queued).await;
    }

    /// Gives a call to its jail, opens one for it, or lets it wait until an earlier one is dead.
    async fn dispatch(&mut self, queued: QueuedCall) {
        let key = Key::of(&queued.call);
        let others = self.jails.keys().filter(|other| other.holder == key.holder && **other != key);
        let (later, earlier): (Vec<Key>, Vec<Key>) = others.partition(|other| other.iteration > key.iteration);
        if !later.is_empty() {
            return self.reject(queued, over()).await;
        }
        for other in &earlier {
            self.close(*other, CloseReason::Superseded);
        }
        if self.removing.contains(&queued.call.agent) {
            return self.queue.push_back(queued);
        }
        match self.jails.get(&key).map(|slot| &slot.state) {
            Some(SlotState::Open { calls, .. }) => {
                match calls.try_send(queued) {
                    Ok(()) => {}
                    Err(mpsc::error::TrySendError::Full(queued)) => {
                        let call_result = CallResult::exhausted(
                            "calls",
                            None,
                            "too many calls run in this sandbox; try again when some have ended",
                        );
                        self.reject(queued, call_result).await;
                    }
                    // The jail has just ended, and its last word is on its way: that ends all calls that it had in hand.
                    Err(mpsc::error::TrySendError::Closed(_)) => {}
                }
            }
            Some(SlotState::Closing { .. }) => self.queue.push_back(queued),
            None if !earlier.is_empty() => self.queue.push_back(queued),
            None if self.open() >= self.runtime.slots as usize => {
                let call_result = CallResult::exhausted(
                    "slots",
                    None,
                    "every sandbox of this worker is in use; try again when one has ended",
                );
                self.reject(queued, call_result).await;
            }
            None => self.start(key, queued),
        }
    }

    fn open(&self) -> usize {
        self.jails.values().filter(|slot| matches!(slot.state, SlotState::Open { .. })).count()
    }

    fn start(&mut self, key: Key, first: QueuedCall) {
        let (calls, receiver) = mpsc::channel(CALLS_A_JAIL_MAX);
        let close = CancellationToken::new();
        let task = JailTask {
            key,
            runtime: Arc::clone(&self.runtime),
            calls: receiver,
            close: close.clone(),
            events: self.notify.clone(),
            shown: self.outbound.lossy.clone(),
            models: Some(StreamLink { frames: self.outbound.streams.clone() }),
        };
        let slot = JailSlot { agent: first.call.agent, state: SlotState::Open { calls, close } };
        self.tasks.spawn(task.run(first));
        self.jails.insert(key, slot);
    }

    async fn reject(&mut self, queued: QueuedCall, call_result: CallResult) {
        let LeasedCall { lease, call, holder, .. } = *queued.call;
        self.end_call(lease, call, holder, call_result).await;
    }

    /// Ends a call that no jail has done.
    async fn end_call(&mut self, lease: LeaseId, call: CallId, holder: Holder, call_result: CallResult) {
        let (fence, CallResult { outcome, result }) = (self.fence, call_result);
        let outcome = CallOutcome { lease, fence, call, holder, outcome, result, took_ms: 0, level: None };
        self.finish(Box::new(outcome)).await;
    }

    async fn finish(&mut self, outcome: Box<CallOutcome>) {
        if self.leases.end(outcome.lease, Some(outcome.clone())) {
            self.send(FromWorker::Outcome(outcome)).await;
        }
    }

    async fn release(&mut self, agent: AgentId, key: Key, last: bool) {
        self.queue.retain(|queued| Key::of(&queued.call) != key);
        self.forget(key);
        if !self.close(key, CloseReason::Released { last }) {
            self.released(agent, key, last, None).await;
        }
    }

    /// A jail is proven dead, or there was none. With a holder's last one its ephemeral volumes go before that is said.
    async fn released(&mut self, agent: AgentId, key: Key, last: bool, traffic: Option<Traffic>) {
        let traffic = self.moved_in_all(key, traffic);
        if !last {
            return self.send(gone(key, traffic)).await;
        }
        let (runtime, notify) = (Arc::clone(&self.runtime), self.notify.clone());
        self.tasks.spawn(async move {
            // What it could not remove it has logged; a sweep removes it.
            let _ = tokio::task::spawn_blocking(move || runtime.folders.end(agent, key.holder)).await;
            let _ = notify.send(JailEvent::Cleared(key, traffic)).await;
        });
    }

    /// Off the connection's loop: a home may be large. Calls of the agent that come meanwhile wait, and then find a new one.
    async fn remove_home(&mut self, agent: AgentId) {
        let uses = |queued: &QueuedCall| queued.call.agent == agent;
        if self.jails.values().any(|slot| slot.agent == agent) || self.queue.iter().any(uses) {
            return self.send(home_removed(agent, Err("a sandbox of this agent is open".to_owned()))).await;
        }
        if self.removing.contains(&agent) {
            // The answer to the first asking is on its way.
            return;
        }
        if self.removing.len() >= REMOVALS_MAX {
            return self.send(home_removed(agent, Err("too many homes are being removed; ask again".to_owned()))).await;
        }
        self.removing.insert(agent);
        let (runtime, notify, removals) = (Arc::clone(&self.runtime), self.notify.clone(), Arc::clone(&self.removals));
        self.tasks.spawn(async move {
            let Ok(_turn) = removals.acquire().await else { return };
            let removing = tokio::task::spawn_blocking(move || runtime.folders.remove_home(agent));
            let removed = removing.await.unwrap_or_else(|error| Err(error.into()));
            let _ = notify.send(JailEvent::HomeRemoved(agent, removed.map_err(|error| error.to_string()))).await;
        });
    }

    /// With what earlier jails of that iteration moved, which is noted no more.
    fn moved_in_all(&mut self, key: Key, traffic: Option<Traffic>) -> Option<Traffic> {
        self.moved.remove(&key).into_iter().chain(traffic).reduce(Traffic::add)
    }

    /// Tells a jail to close; false if there is none.
    fn close(&mut self, key: Key, why: CloseReason) -> bool {
        let Some(JailSlot { state, .. }) = self.jails.get_mut(&key) else { return false };
        match state {
            SlotState::Open { close, .. } => {
                close.cancel();
                *state = SlotState::Closing { why };
            }
            SlotState::Closing { why: before } => match (why, *before) {
                (CloseReason::Released { last }, CloseReason::Released { last: known }) => {
                    *before = CloseReason::Released { last: last || known }
                }
                (CloseReason::Released { .. }, CloseReason::Superseded) => *before = why,
                (CloseReason::Superseded, _) => {}
            },
        }
        true
    }

    /// No call in hand of this jail is answered any more.
    fn forget(&mut self, key: Key) {
        for (lease, _) in self.leases.of(key) {
            self.leases.end(lease, None);
        }
    }

    /// Ends the calls that a jail had in hand, but for those that wait for its successor.
    async fn end_calls(&mut self, key: Key, call_result: &CallResult) {
        let mut calls = self.leases.of(key);
        calls.retain(|(lease, _)| !self.queue.iter().any(|queued| queued.call.lease == *lease));
        for (lease, call) in calls {
            self.end_call(lease, call, key.holder, call_result.clone()).await;
        }
    }

    async fn handle_event(&mut self, event: JailEvent) -> Result<(), Error> {
        match event {
            JailEvent::Finished(outcome) => self.finish(outcome).await,
            JailEvent::Refused(Key { holder, iteration }, refusals) => {
                self.send(FromWorker::NetworkRefused { holder, iteration, refusals }).await;
            }
            JailEvent::Ended(key, end) => self.on_exit(key, end).await?,
            JailEvent::HomeRemoved(agent, removed) => {
                self.removing.remove(&agent);
                self.send(home_removed(agent, removed)).await;
                self.resume(|call| call.agent == agent).await;
            }
            JailEvent::StreamOpened(opening) => self.open_stream(opening).await,
            JailEvent::StreamClosed(stream) => {
                if self.streams.remove(&stream).is_some() {
                    self.send(FromWorker::Stream { stream, part: FromProgram::Close }).await;
                }
            }
            JailEvent::Cleared(key, traffic) => self.send(gone(key, traffic)).await,
        }
        Ok(())
    }

    /// A jail is proven dead, or never was: says so, and lets go on what waited for that.
    async fn on_exit(&mut self, key: Key, end: End) -> Result<(), Error> {
        let Some(JailSlot { agent, state }) = self.jails.remove(&key) else { return Ok(()) };
        let Key { holder, iteration } = key;
        match (state, end) {
            (_, End::Fatal(error)) => return Err(error),
            (
                SlotState::Closing { why: CloseReason::Released { last } },
                End::Closed(traffic) | End::Lost(_, traffic),
            ) => {
                self.released(agent, key, last, traffic).await;
            }
            (SlotState::Closing { why: CloseReason::Released { last } }, End::Refused(_)) => {
                self.released(agent, key, last, None).await;
            }
            (SlotState::Closing { why: CloseReason::Superseded }, End::Refused(_)) => {
                self.end_calls(key, &over()).await
            }
            (SlotState::Closing { why: CloseReason::Superseded }, End::Closed(traffic) | End::Lost(_, traffic))
            | (SlotState::Open { .. }, End::Closed(traffic)) => {
                if let Some(moved) = self.moved_in_all(key, traffic).filter(|_| self.moved.len() < MOVED_MAX) {
                    self.moved.insert(key, moved);
                }
                self.end_calls(key, &over()).await;
            }
            (SlotState::Open { .. }, End::Lost(why, traffic)) => {
                tracing::warn!(%holder, iteration, why, "a jail died by itself");
                let leases = self.leases.of(key).into_iter().map(|(lease, _)| lease).collect();
                self.forget(key);
                self.send(FromWorker::JailLost { holder, iteration, leases, why, traffic }).await;
            }
            (SlotState::Open { .. }, End::Refused(why)) => {
                tracing::warn!(%holder, iteration, why, "a jail could not be opened");
                let call_result = CallResult::failed("sandbox", format!("the sandbox could not be opened: {why}"));
                self.end_calls(key, &call_result).await;
            }
        }
        self.resume(|call| call.holder == holder).await;
        Ok(())
    }

    /// Lets go on what waited.
    async fn resume(&mut self, waited: impl Fn(&LeasedCall) -> bool) {
        let (ready, rest): (VecDeque<QueuedCall>, _) =
            std::mem::take(&mut self.queue).into_iter().partition(|queued| waited(&queued.call));
        self.queue = rest;
        for queued in ready {
            self.dispatch(queued).await;
        }
    }
}

fn home_removed(agent: AgentId, removed: Result<(), String>) -> FromWorker {
    FromWorker::HomeRemoved { agent, removed: removed.is_ok(), why: removed.err() }
}

fn gone(Key { holder, iteration }: Key, traffic: Option<Traffic>) -> FromWorker {
    FromWorker::Released { holder, iteration, traffic }
}

fn over() -> CallResult {
    CallResult { outcome: Outcome::Killed, result: crate::perform::error("its iteration or session is over") }
}
