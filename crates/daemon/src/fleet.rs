//! The built-in worker: a child process that speaks frames over the socket on its stdin. It is started, greeted,
//! watched and started again; its sessions are opened and lapsed by command.
//!
//! A session is lapsed only after the next worker process has reaped what the last one left, for nothing of the old
//! life may still act when its calls are given back. No secret may reach the child: its environment is made anew.
mod link;

pub use link::{Broken, Link};

use crate::commit;
use crate::house::House;
use link::Ask;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tenure_core::actor::Actor;
use tenure_core::call::Fence;
use tenure_core::command::Command;
use tenure_core::fleet;
use tenure_core::fold::Event;
use tenure_core::id::{SessionId, WorkerId};
use tenure_core::owed::Kind;
use tenure_core::time::Time;
use tenure_wire::frame::{self, FromWorker, Hello, ToWorker};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

const GREETING_DEADLINE: Duration = Duration::from_secs(30);
const FAREWELL_DEADLINE: Duration = Duration::from_secs(15);
const RESTART_FIRST: Duration = Duration::from_millis(100);
const RESTART_LAST: Duration = Duration::from_secs(10);
/// Asks that wait to be sent to the worker.
const ASKS_MAX: usize = 256;
/// How often the file `alive` is touched: how much of a clock a crash may add at most.
const ALIVE_EVERY: Duration = Duration::from_secs(1);

/// How the built-in worker is started.
#[derive(Debug, Clone)]
pub struct BuiltIn {
    /// The program, and what makes it a worker.
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    /// Touched while the daemon lives, so that the next one knows when this one ended.
    pub alive: PathBuf,
}

/// What the faces are told of the worker.
#[derive(Debug, Clone)]
pub struct Greeted {
    pub hello: Hello,
    pub session: SessionId,
}

pub struct Supervisor {
    pub house: Arc<House>,
    pub built_in: BuiltIn,
    pub worker: WorkerId,
    pub links: watch::Sender<Option<Link>>,
    pub greeted: watch::Sender<Option<Greeted>>,
    /// A session of an earlier life that is still to be lapsed, and when that life ended.
    pub stale: Option<(SessionId, Time)>,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the worker cannot be started: {0}")]
    Start(std::io::Error),
    #[error("the worker's link broke: {0}")]
    Link(#[from] link::Error),
    #[error("the worker's link broke: {0}")]
    Frame(#[from] frame::FrameError),
    #[error("the worker did not greet within {} s", GREETING_DEADLINE.as_secs())]
    Silent,
    #[error("the worker speaks version {0} of the frames, not {version}", version = frame::VERSION)]
    Version(u32),
    #[error("its session could not be recorded: {0}")]
    Commit(#[from] commit::Error),
    #[error("the greeting was another frame")]
    Greeting,
}

impl Supervisor {
    /// Runs until the house closes; then the worker has ended.
    pub async fn run(mut self) {
        let mut pause = RESTART_FIRST;
        while !self.house.is_closing() {
            match self.life().await {
                Ok(()) => pause = RESTART_FIRST,
                Err(error) => {
                    tracing::error!(%error, "the built-in worker is down; executions wait for it");
                    pause = (pause * 2).min(RESTART_LAST);
                }
            }
            self.links.send_replace(None);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.house.closing.cancelled() => {}
            }
        }
    }

    /// One worker process, from its start to its end.
    async fn life(&mut self) -> Result<(), Error> {
        let (mut child, mut socket) = start(&self.built_in).map_err(Error::Start)?;
        let result = self.serve(&mut socket).await;
        drop(socket);
        let ended = tokio::time::timeout(FAREWELL_DEADLINE, child.wait()).await;
        if ended.is_err() {
            let _ = child.start_kill();
            let _ = child.wait().await;
        }
        result
    }

    async fn serve(&mut self, socket: &mut UnixStream) -> Result<(), Error> {
        let hello = tokio::time::timeout(GREETING_DEADLINE, greeting(socket)).await.map_err(|_| Error::Silent)??;
        if hello.reaped > 0 {
            tracing::info!(reaped = hello.reaped, "removed what an earlier worker left");
        }
        let (session, fence) = self.open_session(&hello).await?;
        frame::write(socket, &ToWorker::Welcome { version: frame::VERSION, session, fence }).await?;
        let (asks, asked) = mpsc::channel::<Ask>(ASKS_MAX);
        let (hosts, host) = watch::channel(Arc::new(hello.host.clone()));
        let end = CancellationToken::new();
        let link = Link { worker: self.worker, session, fence, slots: hello.slots, host, asks, end };
        self.greeted.send_replace(Some(Greeted { hello, session }));
        self.links.send_replace(Some(link.clone()));
        for kind in [Kind::Bind, Kind::Dispatch, Kind::Release] {
            self.house.bells.ring(kind);
        }
        let result = link::serve(&self.house, &link, socket, asked, hosts).await;
        self.links.send_replace(None);
        self.stale = Some((session, commit::now()));
        Ok(result?)
    }

    async fn open_session(&mut self, hello: &Hello) -> Result<(SessionId, Fence), Error> {
        if hello.version != frame::VERSION {
            return Err(Error::Version(hello.version));
        }
        if let Some((session, since)) = self.stale {
            let proof = format!("reaped by its successor: {} left over", hello.reaped);
            let lapse = fleet::Command::LapseSession { session, since, proof };
            self.house.door.commit(Actor::Daemon, Command::Worker(self.worker, lapse)).await?;
            self.stale = None;
        }
        let open = fleet::Command::OpenSession { slots: hello.slots, level: hello.level.clone() };
        let committed = self.house.door.commit(Actor::Worker(self.worker), Command::Worker(self.worker, open)).await?;
        let opened = committed.events.iter().find_map(|(_, event)| match event {
            Event::Worker(fleet::Event::SessionOpened { session, fence, .. }) => Some((*session, *fence)),
            Event::Worker(_) | Event::Project(_) | Event::Agent(_) | Event::Execution(_) => None,
        });
        Ok(opened.expect("invariant: an accepted OpenSession opens a session"))
    }
}

fn start(built_in: &BuiltIn) -> std::io::Result<(Child, UnixStream)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let mut command = tokio::process::Command::new(&built_in.program);
    command.args(&built_in.arguments).stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).env_clear();
    for name in ["PATH", "TENURE_LOG", "TMPDIR", "XDG_RUNTIME_DIR", "DOCKER_HOST", "LANG"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    // One heap for a worker's few threads: it idles most of its life, and each heap costs memory for ever.
    command.env("MALLOC_ARENA_MAX", "1");
    let child = command.kill_on_drop(true).spawn()?;
    Ok((child, UnixStream::from_std(ours)?))
}

async fn greeting(socket: &mut UnixStream) -> Result<Hello, Error> {
    match frame::read(socket).await? {
        FromWorker::Hello(hello) => Ok(hello),
        FromWorker::Output { .. }
        | FromWorker::Outcome(_)
        | FromWorker::Released { .. }
        | FromWorker::HomeRemoved { .. }
        | FromWorker::Surveyed { .. }
        | FromWorker::NetworkRefused { .. }
        | FromWorker::JailLost { .. }
        | FromWorker::Beat { .. } => Err(Error::Greeting),
    }
}

/// When the last life ended, as far as its file tells.
pub fn last_alive(built_in: &BuiltIn) -> Option<Time> {
    let modified = std::fs::metadata(&built_in.alive).and_then(|metadata| metadata.modified()).ok()?;
    let since = modified.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok().map(Time::from_millis)
}

/// Touches the file `alive` until the house closes.
pub async fn keep_alive(house: Arc<House>, built_in: BuiltIn) {
    let file = std::fs::File::options().create(true).truncate(false).write(true).open(&built_in.alive);
    let Ok(file) = file else {
        tracing::warn!(path = %built_in.alive.display(), "cannot be written: after a crash clocks count from the last event");
        return;
    };
    loop {
        if let Err(error) = file.set_modified(SystemTime::now()) {
            tracing::debug!(%error, "the file `alive` cannot be touched");
        }
        tokio::select! {
            () = tokio::time::sleep(ALIVE_EVERY) => {}
            () = house.closing.cancelled() => return,
        }
    }
}
