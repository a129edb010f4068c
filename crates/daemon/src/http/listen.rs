//! Connections: a Unix socket for the daemon's own user, TCP on this host for holders of keys. Bounded in number, in
//! the time that a head may take, and in the time that is given to open requests when the daemon closes.
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::auth::Peer;

/// Open connections; one more waits in the kernel's queue.
const CONNECTIONS_MAX: usize = 512;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// What a connection's buffer may hold, and so the longest head.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
const PATH_BYTES_MAX: usize = 100;
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

pub(super) struct Listeners {
    pub(super) unix: UnixListener,
    pub(super) tcp: Vec<TcpListener>,
}

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("the socket {path} cannot be bound: {why}; choose another data directory or socket")]
    Socket { path: PathBuf, why: String },
    #[error("{address} cannot be bound: {source}; end what holds it, or choose another with --listen or TENURE_LISTEN")]
    Address { address: SocketAddr, source: io::Error },
    #[error(
        "{0} can be reached from other hosts, and there is no TLS yet: listen on 127.0.0.1, and let others in through a \
         tunnel or a proxy with TLS on this host"
    )]
    NotLoopback(SocketAddr),
}

/// Binds the Unix socket at `path`, which only the daemon's user may open. The data directory's lock is held by then,
/// so a socket that lies there belongs to nobody any more.
pub(super) fn unix(path: &Path) -> Result<UnixListener, ListenError> {
    let refuse = |why: String| ListenError::Socket { path: path.to_path_buf(), why };
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            std::fs::remove_file(path).map_err(|error| refuse(error.to_string()))?;
        }
        Ok(_) => return Err(refuse("something that is no socket lies there".to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(refuse(error.to_string())),
    }
    let listener = bind(path).map_err(|error| refuse(error.to_string()))?;
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, mode).map_err(|error| refuse(error.to_string()))?;
    Ok(listener)
}

/// A socket's address holds 107 bytes of path; a longer one is named through its folder's descriptor.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return UnixListener::bind(path) };
    if path.as_os_str().len() < PATH_BYTES_MAX {
        return UnixListener::bind(path);
    }
    let folder = std::fs::File::open(folder)?;
    UnixListener::bind(Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name))
}

pub(super) async fn tcp(address: SocketAddr) -> Result<TcpListener, ListenError> {
    if !address.ip().is_loopback() {
        return Err(ListenError::NotLoopback(address));
    }
    TcpListener::bind(address).await.map_err(|source| ListenError::Address { address, source })
}

struct Server {
    router: Router,
    places: Arc<Semaphore>,
    connections: TaskTracker,
    closing: CancellationToken,
}

/// Serves until `closing`, then gives open requests a moment and ends.
pub(super) async fn serve(router: Router, listeners: Listeners, closing: CancellationToken) {
    let server = Arc::new(Server {
        router,
        places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        connections: TaskTracker::new(),
        closing: closing.clone(),
    });
    let acceptors = TaskTracker::new();
    for listener in listeners.tcp {
        acceptors.spawn(accept_tcp(Arc::clone(&server), listener));
    }
    acceptors.spawn(accept_unix(Arc::clone(&server), listeners.unix));
    acceptors.close();
    acceptors.wait().await;
    server.connections.close();
    if timeout(CLOSE_TIMEOUT, server.connections.wait()).await.is_err() {
        tracing::warn!(open = server.connections.len(), "connections were cut at the end");
    }
}

async fn accept_unix(server: Arc<Server>, listener: UnixListener) {
    while let Some(place) = server.place().await {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = server.closing.cancelled() => return,
        };
        match accepted.and_then(|(stream, _)| unix_peer(&stream).map(|peer| (stream, peer))) {
            Ok((stream, peer)) => server.serve(stream, peer, place),
            Err(error) => log_and_pause(&error).await,
        }
    }
}

async fn accept_tcp(server: Arc<Server>, listener: TcpListener) {
    while let Some(place) = server.place().await {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = server.closing.cancelled() => return,
        };
        match accepted.and_then(|(stream, _)| stream.local_addr().map(|local| (stream, local))) {
            Ok((stream, local)) => server.serve(stream, Peer::Tcp { local }, place),
            Err(error) => log_and_pause(&error).await,
        }
    }
}

/// A failing accept (too many open files, mostly) must not turn into a loop that burns a core.
async fn log_and_pause(error: &io::Error) {
    tracing::warn!(%error, "a connection was not accepted");
    sleep(ACCEPT_BACKOFF).await;
}

fn unix_peer(stream: &UnixStream) -> io::Result<Peer> {
    Ok(Peer::Unix { uid: stream.peer_cred()?.uid() })
}

impl Server {
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            place = Arc::clone(&self.places).acquire_owned() => place.ok(),
            () = self.closing.cancelled() => None,
        }
    }

    fn serve<S>(&self, stream: S, peer: Peer, place: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (router, closing) = (self.router.clone(), self.closing.clone());
        self.connections.spawn(async move {
            let service = service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(peer);
                router.clone().oneshot(request.map(Body::new))
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(BUFFER_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = closing.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection broke");
            }
            drop(place);
        });
    }
}
