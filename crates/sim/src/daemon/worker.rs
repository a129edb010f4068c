//! A worker's processes at the other end of the daemon's own frames, over a pipe in memory. Each takes calls, performs them and
//! says so; and is killed in the midst of it, hangs, loses jails, loses frames or says them twice. What it really does is
//! told to the book the moment it does it.
use super::book::Book;
use super::fate::Fate;
use crate::worker::{FromWorker as Said, LeasedCall, Process, SLOTS, ToWorker as Asked, outcome};
use serde_json::json;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tenure_core::call::Outcome;
use tenure_core::manifest::Host;
use tenure_core::network::Refusal;
use tenure_daemon::fleet::Source;
use tenure_wire::files::{FilesAnswer, FilesRefusal};
use tenure_wire::frame::{self, CallOutcome, FromWorker, Hello, ToWorker};
use tokio::io::{DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

pub(super) const NAMES: [&str; 2] = ["left", "right"];
/// What one frame in so many meets, in thousandths.
const LOST: u64 = 25;
const DOUBLED: u64 = 30;
const PIPE_BYTES: usize = 1 << 16;
const FRAMES_MAX: usize = 64;
/// A process that does not end by itself is killed then.
const EXIT_TIMEOUT: Duration = Duration::from_secs(15);
/// Larger results are files of the store.
const LARGE_BYTES: usize = 70_000;

/// A worker by its name, and the process of it that lives now.
#[derive(Clone)]
pub(super) struct Worker {
    pub(super) name: &'static str,
    fate: Fate,
    book: Book,
    living: Arc<Mutex<Option<Arc<Living>>>>,
}

/// One process, as chance reaches it.
struct Living {
    state: Mutex<State>,
    changed: Notify,
    fate: Fate,
    book: Book,
}

#[derive(Default)]
struct State {
    /// Since it was welcomed.
    process: Option<Process>,
    /// It neither reads nor writes nor works.
    hangs_until: Option<Instant>,
    works_at: Option<Instant>,
    dead: bool,
    /// What it says beside its work.
    says: Vec<FromWorker>,
}

impl Worker {
    pub(super) fn new(name: &'static str, fate: Fate, book: Book) -> Worker {
        Worker { name, fate, book, living: Arc::default() }
    }

    fn living(&self) -> Option<Arc<Living>> {
        self.living.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its process is gone, with all its jails.
    pub(super) fn kill(&self) {
        if let Some(living) = self.living() {
            self.fate.note(format!("{} is killed", self.name));
            living.die();
        }
    }

    pub(super) fn hang(&self, milliseconds: u64) {
        if let Some(living) = self.living() {
            self.fate.note(format!("{} hangs for {milliseconds} ms", self.name));
            living.lock().hangs_until = Some(Instant::now() + Duration::from_millis(milliseconds));
            living.changed.notify_one();
        }
    }

    /// A jail dies by itself, with what was in flight in it: some of it had been done.
    pub(super) fn lose_jail(&self) {
        let Some(living) = self.living() else { return };
        let mut state = living.lock();
        let Some(process) = &mut state.process else { return };
        let jails: Vec<_> = process.jails.iter().map(|(holder, iteration)| (*holder, *iteration)).collect();
        let Some((holder, iteration)) = self.fate.draw(|random| random.pick(&jails).copied()) else { return };
        process.jails.remove(&holder);
        let leases = process.forget(holder, iteration);
        for lease in &leases {
            if self.fate.draw(|random| random.chance(500)) {
                self.book.performed(*lease);
            }
        }
        self.fate.note(format!("{} loses the jail of {holder}", self.name));
        process.from.push_back(Said::JailLost { holder, iteration, leases });
        living.changed.notify_one();
    }

    pub(super) fn jails(&self) -> usize {
        let jails = |living: Arc<Living>| living.lock().process.as_ref().map_or(0, |process| process.jails.len());
        self.living().map_or(0, jails)
    }
}

impl Source for Worker {
    type Process = JoinHandle<()>;
    type Stream = DuplexStream;

    fn start(&mut self) -> std::io::Result<(JoinHandle<()>, DuplexStream)> {
        if self.fate.mishap(100) {
            return Err(std::io::Error::other("it does not start"));
        }
        let (ours, theirs) = duplex(PIPE_BYTES);
        let (fate, book) = (self.fate.clone(), self.book.clone());
        let living = Living { state: Mutex::default(), changed: Notify::new(), fate, book };
        let living = Arc::new(living);
        *self.living.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&living));
        Ok((tokio::spawn(live(living, self.name, theirs)), ours))
    }

    async fn end(&mut self, mut process: JoinHandle<()>) {
        if timeout(EXIT_TIMEOUT, &mut process).await.is_err() {
            self.kill();
            // It ends at once.
            let _ = process.await;
        }
    }
}

/// From its greeting until it is killed or its daemon is gone; then all its jails are dead.
async fn live(living: Arc<Living>, name: &str, mut stream: DuplexStream) {
    let (level, host) = ("simulated".to_string(), Host::default());
    let hello = Hello { version: frame::VERSION, name: name.into(), slots: SLOTS, level, host, reaped: 0 };
    if frame::write(&mut stream, &FromWorker::Hello(hello)).await.is_ok() {
        serve(&living, stream).await;
    }
    living.die();
}

async fn serve(living: &Living, stream: DuplexStream) {
    let (reader, mut writer) = split(stream);
    let (frames, mut received) = mpsc::channel(FRAMES_MAX);
    let reading = read(reader, frames);
    tokio::pin!(reading);
    loop {
        let (hangs, works) = {
            let state = living.lock();
            if state.dead {
                return;
            }
            (state.hangs_until, state.works_at)
        };
        if hangs.is_none() && !living.say(&mut writer).await {
            return;
        }
        let until = |moment: Option<Instant>| sleep_until(moment.unwrap_or_else(Instant::now));
        tokio::select! {
            biased;
            () = living.changed.notified() => {}
            () = until(hangs), if hangs.is_some() => living.lock().hangs_until = None,
            () = &mut reading, if hangs.is_none() => return,
            Some(frame) = received.recv(), if hangs.is_none() => living.take(frame),
            () = until(works), if works.is_some() && hangs.is_none() => living.work(),
        }
    }
}

async fn read(mut reader: ReadHalf<DuplexStream>, frames: mpsc::Sender<ToWorker>) {
    while let Ok(frame) = frame::read(&mut reader).await {
        if frames.send(frame).await.is_err() {
            return;
        }
    }
}

impl Living {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Some of what it had in hand was done, and nobody learns which.
    fn die(&self) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.dead, true) {
            return;
        }
        let process = state.process.take();
        for lease in process.iter().flat_map(|process| process.in_hand.keys()) {
            if self.fate.draw(|random| random.chance(500)) {
                self.book.performed(*lease);
            }
        }
        self.changed.notify_one();
    }

    fn take(&self, frame: ToWorker) {
        let mut state = self.lock();
        if matches!(frame, ToWorker::Call(_) | ToWorker::Release { .. } | ToWorker::Cancel { .. })
            && self.fate.mishap(LOST)
        {
            self.fate.with(|fate| fate.figures.lost_frames += 1);
            self.fate.note("  a frame to a worker is lost");
            return;
        }
        let asked = match frame {
            ToWorker::Welcome { connection, fence, .. } => {
                state.process = Some(Process::new(connection, fence));
                return;
            }
            // No program asks a model here.
            ToWorker::Stream { .. } => return,
            ToWorker::Survey { count } => {
                state.says.push(FromWorker::Surveyed { count, host: Box::default() });
                return;
            }
            ToWorker::Files { count, .. } => {
                state.says.push(FromWorker::Files { count, answer: FilesAnswer::Refused(FilesRefusal::NoHome) });
                return;
            }
            ToWorker::Beat { count } => {
                state.says.push(FromWorker::Beat { count });
                return;
            }
            ToWorker::Call(call) => Asked::Call(LeasedCall {
                lease: call.lease,
                fence: call.fence,
                call: call.call,
                holder: call.holder,
                iteration: call.iteration,
                has_path: call.path.is_some(),
            }),
            ToWorker::Release { holder, iteration, .. } => Asked::Release { holder, iteration },
            ToWorker::Cancel { lease } => Asked::Cancel { lease },
            ToWorker::RemoveHome { agent } => Asked::RemoveHome { agent },
        };
        let Some(process) = &mut state.process else { return };
        if self.fate.mishap(DOUBLED) {
            process.take(asked.clone(), false);
        }
        process.take(asked, false);
        self.plan(&mut state);
    }

    /// When it does something next.
    fn plan(&self, state: &mut State) {
        let busy = state.process.as_ref().is_some_and(|process| !process.in_hand.is_empty());
        let takes = || match self.fate.draw(|random| (random.below(20), random.below(200), random.below(80_000))) {
            (0, _, long) => long,
            (_, short, _) => short,
        };
        state.works_at = busy.then(|| {
            let planned = state.works_at.filter(|at| *at > Instant::now());
            planned.unwrap_or_else(|| Instant::now() + Duration::from_millis(takes()))
        });
    }

    /// It does something that it has in hand.
    fn work(&self) {
        let mut state = self.lock();
        state.works_at = None;
        let Some(process) = &mut state.process else { return };
        let in_hand: Vec<LeasedCall> = process.in_hand.values().cloned().collect();
        let Some(call) = self.fate.draw(|random| random.pick(&in_hand).cloned()) else { return };
        if process.open_jail(&call, SLOTS) {
            let outcome = self.fate.draw(|random| outcome(random, &call));
            if self.fate.draw(|random| random.chance(30)) {
                let LeasedCall { holder, iteration, .. } = call;
                process.from.push_back(Said::NetworkRefused { holder, iteration });
            }
            process.end(&call, outcome.clone());
            if !matches!(outcome, Outcome::Redirected { .. }) {
                self.book.performed(call.lease);
            }
            let LeasedCall { lease, call, holder, .. } = call;
            state.says.push(FromWorker::Output { lease, call, holder, stderr: false, text: "it works".into() });
        } else {
            process.end(&call, Outcome::ResourceExhausted { resource: "slots".into(), limit: None });
        }
        self.plan(&mut state);
    }

    /// Says all that it has to say. False: nobody listens.
    async fn say(&self, writer: &mut WriteHalf<DuplexStream>) -> bool {
        loop {
            let said = {
                let mut state = self.lock();
                let said = state.process.as_mut().and_then(|process| process.from.pop_front());
                let mut frames = std::mem::take(&mut state.says);
                frames.extend(said.map(|said| self.framed(said)));
                frames
            };
            if said.is_empty() {
                return true;
            }
            for frame in said {
                let report = matches!(frame, FromWorker::Outcome(_) | FromWorker::Released { .. });
                if report && self.fate.mishap(LOST) {
                    self.fate.with(|fate| fate.figures.lost_frames += 1);
                    self.fate.note("  a frame from a worker is lost");
                    continue;
                }
                let times = if report && self.fate.mishap(DOUBLED) { 2 } else { 1 };
                for _ in 0..times {
                    if self.lock().dead || frame::write(writer, &frame).await.is_err() {
                        return false;
                    }
                }
            }
        }
    }

    fn framed(&self, said: Said) -> FromWorker {
        match said {
            Said::Outcome { call, outcome } => {
                let LeasedCall { lease, fence, call, holder, .. } = call;
                let large = self.fate.draw(|random| random.chance(10));
                let content = if large { "x".repeat(LARGE_BYTES) } else { "what is there".to_string() };
                let (result, level) = (json!({"content": content, "stdout": ""}), Some("simulated".to_string()));
                let done = CallOutcome { lease, fence, call, holder, outcome, result, took_ms: 1, level };
                FromWorker::Outcome(Box::new(done))
            }
            Said::Released { holder, iteration } => FromWorker::Released { holder, iteration, traffic: None },
            Said::JailLost { holder, iteration, leases } => {
                FromWorker::JailLost { holder, iteration, leases, why: "oom".into(), traffic: None }
            }
            Said::HomeRemoved { agent } => {
                let removed = !self.fate.mishap(200);
                let why = (!removed).then(|| "a file is busy".to_string());
                FromWorker::HomeRemoved { agent, removed, why }
            }
            Said::NetworkRefused { holder, iteration } => {
                let (host, rule) = ("evil.example.com".to_string(), "blocklist: *.example.com".to_string());
                let refusals = vec![Refusal { host, port: 443, rule, count: 3 }];
                FromWorker::NetworkRefused { holder, iteration, refusals }
            }
            Said::Surveyed => FromWorker::Surveyed { count: 0, host: Box::default() },
        }
    }
}
