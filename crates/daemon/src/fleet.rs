//! The fleet: which workers are connected, and how each is reached. Connections come from sources, of which the built-in
//! worker's child process is one; each is greeted, recorded by command, served and removed here, whatever it came by.
//!
//! A connection is lapsed only after the worker's next process has reaped what the last one left, for nothing of the old
//! life may still act when its calls are given back.
mod child;
mod connection;
mod serve;
mod clean;
mod report;

pub use child::{BuiltIn, Supervisor, keep_alive, last_alive};
pub use connection::{Broken, Connection};
pub(crate) use report::{end_call, ended};

use crate::app::App;
use crate::commit;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Member};
use tenure_core::call::Fence;
use tenure_core::fleet::{self, Worker};
use tenure_core::id::{AgentId, ConnectionId, WorkerId};
use tenure_core::owed::Kind;
use tenure_core::time::Run;
use tenure_wire::frame::{self, FromWorker, Hello, ToWorker};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::timeout;

const GREETING_TIMEOUT: Duration = Duration::from_secs(30);

type Connections = BTreeMap<WorkerId, Connection>;

/// Connections by worker, and whose turn it was. It is a cheap handle on one map.
#[derive(Debug, Clone)]
pub struct Fleet {
    connections: Arc<watch::Sender<Connections>>,
    placed_last: Arc<watch::Sender<Option<AgentId>>>,
}

impl Default for Fleet {
    fn default() -> Fleet {
        let connections = Arc::new(watch::Sender::new(Connections::new()));
        Fleet { connections, placed_last: Arc::new(watch::Sender::new(None)) }
    }
}

impl Fleet {
    /// The agent whose queue had the last turn.
    pub fn placed_last(&self) -> Option<AgentId> {
        *self.placed_last.borrow()
    }

    pub fn place(&self, agent: AgentId) {
        self.placed_last.send_replace(Some(agent));
    }

    pub fn connection(&self, worker: WorkerId) -> Option<Connection> {
        self.connections.borrow().get(&worker).cloned()
    }

    /// All that are open now, by their workers' ids.
    pub fn connections(&self) -> Vec<Connection> {
        self.connections.borrow().values().cloned().collect()
    }

    /// The one of this id, while it is open.
    pub fn by_connection(&self, id: ConnectionId) -> Option<Connection> {
        self.connections.borrow().values().find(|connection| connection.id == id).cloned()
    }

    /// The one of this worker, or the first where none is named; waited for until there is one.
    pub async fn any_of(&self, worker: Option<WorkerId>) -> Connection {
        let chosen = |connections: &Connections| match worker {
            Some(worker) => connections.get(&worker).cloned(),
            None => connections.values().next().cloned(),
        };
        let mut connections = self.connections.subscribe();
        let some = connections.wait_for(|connections| chosen(connections).is_some()).await;
        let some = some.expect("invariant: the sender lives as long as this handle");
        chosen(&some).expect("invariant: it was waited for")
    }

    fn register(&self, connection: Connection) -> Registration {
        let (worker, id) = (connection.worker, connection.id);
        self.connections.send_modify(|connections| {
            connections.insert(worker, connection);
        });
        Registration { fleet: self.clone(), worker, id }
    }
}

/// A connection's place in the map, given back when it is dropped.
struct Registration {
    fleet: Fleet,
    worker: WorkerId,
    id: ConnectionId,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.fleet.connections.send_modify(|connections| {
            if connections.get(&self.worker).is_some_and(|connection| connection.id == self.id) {
                connections.remove(&self.worker);
            }
        });
    }
}

/// What a worker reported of itself when it connected.
#[derive(Debug, Clone)]
pub struct Greeting {
    pub hello: Hello,
    pub connection: ConnectionId,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the worker cannot be started: {0}")]
    Start(std::io::Error),
    #[error("the worker's connection broke: {0}")]
    Connection(#[from] serve::Error),
    #[error("the worker's connection broke: {0}")]
    Frame(#[from] frame::FrameError),
    #[error("the worker did not greet within {} s", GREETING_TIMEOUT.as_secs())]
    Silent,
    #[error("the worker speaks version {0} of the frames, not {version}", version = frame::VERSION)]
    Version(u32),
    #[error("its connection could not be recorded: {0}")]
    Commit(#[from] commit::Error),
    #[error("the greeting was another frame")]
    NoGreeting,
}

/// Where a worker's connections come from: its processes, one after another.
pub trait Source: Send {
    type Process: Send;
    type Stream: AsyncRead + AsyncWrite + Unpin + Send;

    /// # Errors
    /// Why no process can be started now.
    fn start(&mut self) -> std::io::Result<(Self::Process, Self::Stream)>;

    /// Resolves once the process has ended, by itself or by force: only then may the next one be started.
    fn end(&mut self, process: Self::Process) -> impl Future<Output = ()> + Send;
}

/// A worker as the source of its connections knows it.
struct AttachedWorker {
    worker: WorkerId,
    /// A connection that is still to be lapsed, and when it was last known to live.
    stale: Option<(ConnectionId, Run)>,
}

impl AttachedWorker {
    /// Serves one connection of the worker, from its greeting to its end.
    async fn serve<S>(
        &mut self,
        app: &Arc<App>,
        mut stream: S,
        greeting: &watch::Sender<Option<Greeting>>,
    ) -> Result<(), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let hello = timeout(GREETING_TIMEOUT, read_greeting(&mut stream)).await.map_err(|_| Error::Silent)??;
        if hello.reaped > 0 {
            tracing::info!(reaped = hello.reaped, "removed what an earlier worker left");
        }
        let (id, fence) = self.connect(app, &hello).await?;
        let welcome = ToWorker::Welcome { version: frame::VERSION, connection: id, fence };
        let welcomed = timeout(GREETING_TIMEOUT, frame::write(&mut stream, &welcome)).await;
        let result = match welcomed {
            Ok(Ok(())) => {
                let served = Connection::open(self.worker, id, fence, hello.slots, hello.host.clone());
                greeting.send_replace(Some(Greeting { hello, connection: id }));
                let _registration = app.fleet.register(served.connection.clone());
                for kind in [Kind::Place, Kind::Dispatch, Kind::Release, Kind::RemoveHome] {
                    app.wakeups.notify_kind(kind);
                }
                serve::serve(app, served, stream).await.map_err(Error::from)
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Error::Silent),
        };
        self.stale = Some((id, app.committer.now().run));
        result
    }

    async fn connect(&mut self, app: &App, hello: &Hello) -> Result<(ConnectionId, Fence), Error> {
        if hello.version != frame::VERSION {
            return Err(Error::Version(hello.version));
        }
        if let Some((connection, since)) = self.stale {
            let proof = format!("reaped by its successor: {} left over", hello.reaped);
            let lapse = fleet::Command::Lapse { connection, since, proof };
            app.committer.commit(Actor::Daemon, Command::Worker(self.worker, lapse)).await?;
            self.stale = None;
        }
        let (slots, level, host) = (hello.slots, hello.level.clone(), report::host_payload(app, &hello.host));
        let connect = fleet::Command::Connect { slots, level, host };
        let committed = app.committer.commit(Actor::Worker(self.worker), Command::Worker(self.worker, connect)).await?;
        let opened = committed.decision.events.iter().find_map(|(_, event)| {
            let fleet::Event::Connected { connection, fence, .. } = Worker::read(event)? else { return None };
            Some((*connection, *fence))
        });
        Ok(opened.expect("invariant: an accepted Connect opens a connection"))
    }
}

async fn read_greeting(stream: &mut (impl AsyncRead + Unpin)) -> Result<Hello, Error> {
    match frame::read(stream).await? {
        FromWorker::Hello(hello) => Ok(hello),
        FromWorker::Output { .. }
        | FromWorker::ToolsChanged { .. }
        | FromWorker::Outcome(_)
        | FromWorker::Released { .. }
        | FromWorker::HomeRemoved { .. }
        | FromWorker::Files { .. }
        | FromWorker::Stream { .. }
        | FromWorker::Surveyed { .. }
        | FromWorker::NetworkRefused { .. }
        | FromWorker::JailLost { .. }
        | FromWorker::Beat { .. } => Err(Error::NoGreeting),
    }
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
