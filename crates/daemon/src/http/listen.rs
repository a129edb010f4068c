//! Connections: a Unix socket for the daemon's own user, TCP for holders of keys, with TLS wherever other hosts can reach
//! it. Each listener accepts at once, into places of its own; bounded are the time that a handshake and a head may take, and
//! the time that is given to open requests when the daemon closes.
//! Must never: give a place among those that are served to a connection whose handshake has not ended.
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tenure_wire::problem::Code;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::auth::Peer;
use super::certificate::{CertificateError, Certificates};
use super::places::{Activity, Limits, Origin, Place, Places};
use super::shares::{Held, Reserved};

/// Connections that the socket and the TCP listener may have open. An origin is a user there and an address here.
const UNIX_PLACES: Limits = Limits { all: 128, origin: 96, reserve: 16 };
const TCP_PLACES: Limits = Limits { all: 384, origin: 288, reserve: 32 };
/// Handshakes at once: places of their own, of which the oldest goes first. Whoever never ends one keeps nobody out.
const HANDSHAKES: Limits = Limits { all: 128, origin: 96, reserve: 0 };
/// Descriptors that those leave enough of for everything else.
const DESCRIPTORS_MIN: u64 = 4096;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// What a connection's buffer may hold, and so the longest head.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
const PATH_BYTES_MAX: usize = 100;
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

pub(super) struct Listeners {
    pub(super) unix: UnixListener,
    pub(super) tcp: Option<TcpListener>,
    /// With it the TCP listener speaks TLS alone.
    pub(super) tls: Option<Tls>,
}

pub(super) struct Tls {
    pub(super) certificates: Arc<Certificates>,
    pub(super) acceptor: TlsAcceptor,
}

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("the socket {path} cannot be bound: {why}; choose another data directory or socket")]
    Socket { path: PathBuf, why: String },
    #[error("{address} cannot be bound: {source}; end what holds it, or choose another with --listen or TENURE_LISTEN")]
    Address { address: SocketAddr, source: io::Error },
    #[error(
        "{0} can be reached from other hosts, and there is no TLS: give it a certificate (`--tls self-signed`, or --tls-cert \
         and --tls-key), or listen on 127.0.0.1"
    )]
    NotLoopback(SocketAddr),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("TLS cannot be spoken: {0}")]
    Tls(#[from] rustls::Error),
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

pub(super) async fn tcp(address: SocketAddr, has_tls: bool) -> Result<TcpListener, ListenError> {
    if !address.ip().is_loopback() && !has_tls {
        return Err(ListenError::NotLoopback(address));
    }
    TcpListener::bind(address).await.map_err(|source| ListenError::Address { address, source })
}

struct Server {
    router: Router,
    connections: TaskTracker,
    closing: CancellationToken,
}

/// Serves until `closing`, then gives open requests a moment and ends.
pub(super) async fn serve(router: Router, listeners: Listeners, closing: CancellationToken) {
    more_descriptors();
    let server = Arc::new(Server { router, connections: TaskTracker::new(), closing: closing.clone() });
    let acceptors = TaskTracker::new();
    if let Some(listener) = listeners.tcp {
        let handshakes =
            listeners.tls.map(|tls| Handshakes { acceptor: tls.acceptor, places: Places::new(HANDSHAKES) });
        acceptors.spawn(accept_tcp(Arc::clone(&server), listener, Places::new(TCP_PLACES), handshakes));
    }
    acceptors.spawn(accept_unix(Arc::clone(&server), listeners.unix, Places::new(UNIX_PLACES)));
    acceptors.close();
    acceptors.wait().await;
    server.connections.close();
    if timeout(CLOSE_TIMEOUT, server.connections.wait()).await.is_err() {
        tracing::warn!(open = server.connections.len(), "connections were cut at the end");
    }
}

/// Where there are few, one listener's connections could leave none for the other's.
fn more_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(DESCRIPTORS_MIN, |maximum| maximum.min(DESCRIPTORS_MIN));
    if limit.current.is_some_and(|current| current < wanted) {
        // Where it may not, accepting fails for a while, which the log says.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
}

async fn accept_unix(server: Arc<Server>, listener: UnixListener, places: Places) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = server.closing.cancelled() => return,
        };
        match accepted.and_then(|(stream, _)| Ok((stream.peer_cred()?.uid(), stream))) {
            Ok((uid, stream)) => server.admit(stream, Peer::Unix { uid }, &places, Origin::User(uid)),
            Err(error) => log_and_pause(&error).await,
        }
    }
}

async fn accept_tcp(server: Arc<Server>, listener: TcpListener, places: Places, handshakes: Option<Handshakes>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = server.closing.cancelled() => return,
        };
        let (local, address, stream) =
            match accepted.and_then(|(stream, peer)| Ok((stream.local_addr()?, peer.ip(), stream))) {
                Ok(accepted) => accepted,
                Err(error) => {
                    log_and_pause(&error).await;
                    continue;
                }
            };
        let origin = Origin::Address(address);
        match &handshakes {
            None => server.admit(stream, Peer::Tcp { local, from: address }, &places, origin),
            Some(handshakes) => match handshakes.places.enter(origin) {
                Some(place) => {
                    let (server, places) = (Arc::clone(&server), places.clone());
                    let acceptor = handshakes.acceptor.clone();
                    let connections = server.connections.clone();
                    connections.spawn(async move {
                        if let Some(stream) = shake(acceptor, stream, place, &server.closing).await {
                            server.admit(stream, Peer::Tls { from: address }, &places, origin);
                        }
                    });
                }
                None => tracing::debug!(?origin, "a connection was turned away: every handshake is taken"),
            },
        }
    }
}

/// Where TLS is spoken.
struct Handshakes {
    acceptor: TlsAcceptor,
    places: Places,
}

/// One handshake, until it ends, its time is over, or another gets its place.
async fn shake(
    acceptor: TlsAcceptor,
    mut stream: TcpStream,
    place: Place,
    closing: &CancellationToken,
) -> Option<TlsStream<TcpStream>> {
    let shaking = async {
        let mut first = [0];
        // A record of TLS begins with its number, a request with a method.
        if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
            stream.write_all(in_clear().as_bytes()).await?;
            return Err(io::Error::other("it was spoken to in clear"));
        }
        acceptor.accept(stream).await
    };
    let shaken = tokio::select! {
        shaken = timeout(HANDSHAKE_TIMEOUT, shaking) => shaken,
        () = place.evicted() => {
            tracing::debug!("a handshake gave up its place");
            return None;
        }
        () = closing.cancelled() => return None,
    };
    match shaken {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!("a handshake took too long");
            None
        }
    }
}

/// The answer to a request that came in clear.
fn in_clear() -> String {
    let problem = Code::TlsWanted.problem("this address speaks TLS, and the request came in clear");
    let body = serde_json::to_string(&problem).unwrap_or_default();
    let length = body.len();
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// A failing accept (too many open files, mostly) must not turn into a loop that burns a core.
async fn log_and_pause(error: &io::Error) {
    tracing::warn!(%error, "a connection was not accepted");
    sleep(ACCEPT_BACKOFF).await;
}

impl Server {
    /// Where there is no place at all the connection is closed at once: nobody waits behind it.
    fn admit<S>(&self, stream: S, peer: Peer, places: &Places, origin: Origin)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match places.enter(origin) {
            Some(place) => {
                drop(self.connections.spawn(converse(stream, peer, place, self.router.clone(), self.closing.clone())))
            }
            None => tracing::debug!(?origin, "a connection was turned away: every place is taken"),
        }
    }
}

/// One connection, until either side ends it or another gets its place.
async fn converse<S>(stream: S, peer: Peer, place: Place, router: Router, closing: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (activity, reserved) = (place.activity.clone(), place.reserved);
    let stream = Watched { stream, activity: activity.clone() };
    let service = service_fn(move |mut request: Request<Incoming>| {
        let in_hand = activity.begin();
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(activity.clone());
        if reserved {
            request.extensions_mut().insert(Reserved);
        }
        let answer = router.clone().oneshot(request.map(Body::new));
        async move {
            let response = answer.await?;
            in_hand.answering();
            Ok::<_, std::convert::Infallible>(response.map(|body| Held { body, _held: in_hand }))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .keep_alive(!reserved)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = place.evicted() => return tracing::debug!("an idle connection gave up its place"),
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

/// A stream whose movements are seen.
struct Watched<S> {
    stream: S,
    activity: Activity,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            this.activity.moved();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let count = ready!(Pin::new(&mut this.stream).poll_write(cx, bytes))?;
        if count > 0 {
            this.activity.moved();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
