//! The socket: requests in on one thread, answers out from another. The thread that reads never computes, so a cancel and
//! the end of the socket are heard while the model works.

use std::collections::HashMap;
use std::io::{self, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use tenure_wire::local::{
    Event, FailureKind, Generate, Part, Request, Timings, Usage, WAITING_MAX, read_line, to_line,
};

use crate::engine::{Engine, Failure, Turn, Watch};

/// A daemon that takes nothing for so long is gone.
const WRITE_WAIT_MAX: Duration = Duration::from_secs(30);
/// After the end of the socket a step of the model may still be under way; then the program ends regardless.
const ENDING_WAIT_MAX: Duration = Duration::from_secs(5);

/// The socket's writing half, whole lines at a time.
#[derive(Clone)]
pub(crate) struct Out(Arc<Mutex<UnixStream>>);

impl Out {
    /// # Errors
    /// When the daemon is gone or takes nothing.
    pub(crate) fn send(&self, event: &Event) -> io::Result<()> {
        let line = to_line(event)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
    }
}

/// One open generation.
struct Job {
    request: Generate,
    received: Instant,
    cancelled: Arc<AtomicBool>,
}

/// Takes the socket that is this program's stdin.
///
/// # Errors
/// When stdin is no Unix socket.
pub(crate) fn stdin() -> io::Result<UnixStream> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    socket.local_addr()?;
    socket.set_write_timeout(Some(WRITE_WAIT_MAX))?;
    Ok(socket)
}

/// The two ends of `socket`: what is written, and what is asked.
pub(crate) struct Desk {
    pub(crate) out: Out,
    jobs: Receiver<Job>,
    ended: Arc<AtomicBool>,
}

impl Desk {
    /// Begins to read. `ended_long` is called some seconds after the end of the socket, should the program still be here.
    ///
    /// # Errors
    /// When the socket or a thread cannot be had.
    pub(crate) fn open(socket: UnixStream, ended_long: fn()) -> io::Result<Self> {
        let reading = socket.try_clone()?;
        let out = Out(Arc::new(Mutex::new(socket)));
        let ended = Arc::new(AtomicBool::new(false));
        let (asked, jobs) = sync_channel(WAITING_MAX);
        let reader = Reader { out: out.clone(), asked, open: HashMap::new() };
        let over = Arc::clone(&ended);
        thread::Builder::new().name("reader".into()).spawn(move || {
            if let Err(error) = reader.run(reading) {
                eprintln!("tenure-local-model: the socket cannot be read: {error}");
            }
            over.store(true, Ordering::Relaxed);
            thread::sleep(ENDING_WAIT_MAX);
            ended_long();
        })?;
        Ok(Self { out, jobs, ended })
    }

    /// Answers until the socket ends.
    ///
    /// # Errors
    /// When the daemon takes no answer.
    pub(crate) fn serve(&self, engine: &mut Engine<'_>) -> io::Result<()> {
        while let Ok(job) = self.jobs.recv() {
            let waited = job.received.elapsed();
            let mut watch = Watching { job: &job, desk: self, lost: None };
            let turn = engine.generate(&job.request, &mut watch);
            if let Some(error) = watch.lost {
                return Err(error);
            }
            if self.ended.load(Ordering::Relaxed) {
                break;
            }
            self.out.send(&report(job.request.id, turn, waited))?;
        }
        Ok(())
    }
}

fn report(id: u64, turn: Result<Turn, Failure>, waited: Duration) -> Event {
    let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
    match turn {
        Ok(Turn { outcome, circled, usage, timings }) => {
            Event::Done { id, outcome, circled, usage, timings: Timings { waited_ms, ..timings } }
        }
        Err(Failure { kind, message, partial, usage }) => Event::Failed { id, kind, message, partial, usage },
    }
}

struct Watching<'a> {
    job: &'a Job,
    desk: &'a Desk,
    lost: Option<io::Error>,
}

impl Watch for Watching<'_> {
    fn stop(&self) -> Option<Failure> {
        if self.desk.ended.load(Ordering::Relaxed) || self.lost.is_some() || self.job.cancelled.load(Ordering::Relaxed)
        {
            return Some(Failure::new(FailureKind::Cancelled, "cancelled"));
        }
        let deadline_ms = self.job.request.deadline_ms?;
        (self.job.received.elapsed() >= Duration::from_millis(deadline_ms))
            .then(|| Failure::new(FailureKind::Deadline, format!("no answer within {deadline_ms} ms")))
    }

    fn piece(&mut self, part: Part, piece: &str) {
        let event = Event::Text { id: self.job.request.id, part, piece: piece.to_owned() };
        if let Err(error) = self.desk.out.send(&event) {
            self.lost = Some(error);
        }
    }
}

struct Reader {
    out: Out,
    asked: SyncSender<Job>,
    /// Open generations; those that ended are swept when a new one comes, so there are never many.
    open: HashMap<u64, Weak<AtomicBool>>,
}

impl Reader {
    fn run(mut self, socket: UnixStream) -> io::Result<()> {
        let mut lines = BufReader::new(socket);
        while let Some(request) = read_line(&mut lines)? {
            match request {
                Request::Generate(request) => self.take(request)?,
                Request::Cancel { id } => {
                    if let Some(cancelled) = self.open.get(&id).and_then(Weak::upgrade) {
                        cancelled.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, request: Generate) -> io::Result<()> {
        self.open.retain(|_, cancelled| cancelled.strong_count() > 0);
        let id = request.id;
        if self.open.contains_key(&id) {
            return self.refuse(id, FailureKind::Request, format!("generation {id} is still open"));
        }
        let cancelled = Arc::new(AtomicBool::new(false));
        let weak = Arc::downgrade(&cancelled);
        match self.asked.try_send(Job { request, received: Instant::now(), cancelled }) {
            Ok(()) => {
                self.open.insert(id, weak);
                Ok(())
            }
            Err(TrySendError::Full(_)) => {
                self.refuse(id, FailureKind::Busy, format!("{WAITING_MAX} generations wait already; try again later"))
            }
            Err(TrySendError::Disconnected(_)) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn refuse(&self, id: u64, kind: FailureKind, message: String) -> io::Result<()> {
        self.out.send(&Event::Failed { id, kind, message, partial: String::new(), usage: Usage::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(id: u64) -> Request {
        Request::Generate(Generate {
            id,
            messages: vec![],
            tools: vec![],
            calls_max: 1,
            max_tokens: 1,
            deadline_ms: None,
        })
    }

    #[test]
    fn what_exceeds_the_queue_is_refused_and_a_cancel_reaches_what_waits() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let desk = Desk::open(theirs, || {}).unwrap();
        let mut daemon = ours.try_clone().unwrap();
        let waiting = u64::try_from(WAITING_MAX).unwrap();
        for id in 1..=waiting + 1 {
            daemon.write_all(&to_line(&ask(id)).unwrap()).unwrap();
        }
        daemon.write_all(&to_line(&Request::Cancel { id: 2 }).unwrap()).unwrap();
        daemon.write_all(&to_line(&ask(1)).unwrap()).unwrap();
        let mut events = BufReader::new(ours);
        for (expected, kind_expected) in [(waiting + 1, FailureKind::Busy), (1, FailureKind::Request)] {
            let Some(Event::Failed { id, kind, .. }) = read_line(&mut events).unwrap() else { panic!("no failure") };
            assert_eq!((id, kind), (expected, kind_expected));
        }
        let jobs: Vec<Job> = desk.jobs.try_iter().collect();
        let cancelled: Vec<u64> =
            jobs.iter().filter(|job| job.cancelled.load(Ordering::Relaxed)).map(|job| job.request.id).collect();
        assert_eq!((jobs.len(), cancelled), (WAITING_MAX, vec![2]));
    }
}
