//! The fleet: which workers are connected, and how each is reached. Connections come from sources, of which the built-in
//! worker's child process is one; each is greeted, recorded by command, served and removed here, whatever it came by.
//!
//! A worker's session is lapsed only after its next process has reaped what the last one left, for nothing of the old
//! life may still act when its calls are given back.
mod child;
mod connection;
mod serve;

pub use child::{BuiltIn, Supervisor, keep_alive, last_alive};
pub use connection::{Broken, Connection};

use crate::commit;
use crate::app::App;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tenure_core::actor::Actor;
use tenure_core::call::Fence;
use tenure_core::command::Command;
use tenure_core::fleet;
use tenure_core::fold::Event;
use tenure_core::id::{SessionId, WorkerId};
use tenure_core::owed::Kind;
use tenure_core::time::Time;
use tenure_wire::frame::{self, FromWorker, Hello, ToWorker};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::timeout;

const GREETING_TIMEOUT: Duration = Duration::from_secs(30);

type Connections = BTreeMap<WorkerId, Connection>;

/// Connections by worker. It is a cheap handle on one map.
#[derive(Debug, Clone)]
pub struct Fleet(Arc<watch::Sender<Connections>>);

impl Default for Fleet {
    fn default() -> Fleet {
        Fleet(Arc::new(watch::Sender::new(Connections::new())))
    }
}

impl Fleet {
    pub fn connection(&self, worker: WorkerId) -> Option<Connection> {
        self.0.borrow().get(&worker).cloned()
    }

    /// All that are open now, by their workers' ids.
    pub fn connections(&self) -> Vec<Connection> {
        self.0.borrow().values().cloned().collect()
    }

    /// The one that this session stands for, while it is open.
    pub fn with_session(&self, session: SessionId) -> Option<Connection> {
        self.0.borrow().values().find(|connection| connection.session == session).cloned()
    }

    /// The first of those that are open, waited for until there is one.
    pub async fn any(&self) -> Connection {
        let mut connections = self.0.subscribe();
        let some = connections.wait_for(|connections| !connections.is_empty()).await;
        let some = some.expect("invariant: the sender lives as long as this handle");
        some.values().next().cloned().expect("invariant: it was waited for")
    }

    fn register(&self, connection: Connection) -> Registration {
        let (worker, session) = (connection.worker, connection.session);
        self.0.send_modify(|connections| {
            connections.insert(worker, connection);
        });
        Registration { fleet: self.clone(), worker, session }
    }
}

/// A connection's place in the map, given back when it is dropped.
struct Registration {
    fleet: Fleet,
    worker: WorkerId,
    session: SessionId,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.fleet.0.send_modify(|connections| {
            if connections.get(&self.worker).is_some_and(|connection| connection.session == self.session) {
                connections.remove(&self.worker);
            }
        });
    }
}

/// What a worker reported of itself when it connected.
#[derive(Debug, Clone)]
pub struct Greeted {
    pub hello: Hello,
    pub session: SessionId,
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
    #[error("its session could not be recorded: {0}")]
    Commit(#[from] commit::Error),
    #[error("the greeting was another frame")]
    Greeting,
}

/// A worker as the source of its connections knows it.
struct AttachedWorker {
    worker: WorkerId,
    /// A session that is still to be lapsed, and when it was last known to live.
    stale: Option<(SessionId, Time)>,
}

impl AttachedWorker {
    /// Serves one connection of the worker, from its greeting to its end.
    async fn serve<S>(
        &mut self,
        app: &Arc<App>,
        mut stream: S,
        greeted: &watch::Sender<Option<Greeted>>,
    ) -> Result<(), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let hello = timeout(GREETING_TIMEOUT, greeting(&mut stream)).await.map_err(|_| Error::Silent)??;
        if hello.reaped > 0 {
            tracing::info!(reaped = hello.reaped, "removed what an earlier worker left");
        }
        let (session, fence) = self.open_session(app, &hello).await?;
        let welcome = ToWorker::Welcome { version: frame::VERSION, session, fence };
        let welcomed = timeout(GREETING_TIMEOUT, frame::write(&mut stream, &welcome)).await;
        let result = match welcomed {
            Ok(Ok(())) => {
                let served = Connection::open(self.worker, session, fence, hello.slots, hello.host.clone());
                greeted.send_replace(Some(Greeted { hello, session }));
                let _registration = app.fleet.register(served.connection.clone());
                for kind in [Kind::Bind, Kind::Dispatch, Kind::Release] {
                    app.wakeups.notify(kind);
                }
                serve::serve(app, served, stream).await.map_err(Error::from)
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Error::Silent),
        };
        self.stale = Some((session, commit::now()));
        result
    }

    async fn open_session(&mut self, app: &App, hello: &Hello) -> Result<(SessionId, Fence), Error> {
        if hello.version != frame::VERSION {
            return Err(Error::Version(hello.version));
        }
        if let Some((session, since)) = self.stale {
            let proof = format!("reaped by its successor: {} left over", hello.reaped);
            let lapse = fleet::Command::LapseSession { session, since, proof };
            app.committer.commit(Actor::Daemon, Command::Worker(self.worker, lapse)).await?;
            self.stale = None;
        }
        let open = fleet::Command::OpenSession { slots: hello.slots, level: hello.level.clone() };
        let committed = app.committer.commit(Actor::Worker(self.worker), Command::Worker(self.worker, open)).await?;
        let opened = committed.events.iter().find_map(|(_, event)| match event {
            Event::Worker(fleet::Event::SessionOpened { session, fence, .. }) => Some((*session, *fence)),
            Event::Worker(_) | Event::Project(_) | Event::Agent(_) | Event::Execution(_) => None,
        });
        Ok(opened.expect("invariant: an accepted OpenSession opens a session"))
    }
}

async fn greeting(stream: &mut (impl AsyncRead + Unpin)) -> Result<Hello, Error> {
    match frame::read(stream).await? {
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

#[cfg(test)]
mod tests;
