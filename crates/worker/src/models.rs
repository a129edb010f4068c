//! The model listener of one jail: programs speak HTTP to it, and its requests and answers cross the link as streams. Who asks is
//! told by the listener alone: nothing that a program sends names an agent, and no key is looked at.
//!
//! ```text
//! program ─HTTP─▶ jail's 127.0.0.1:7899 ═▶ hyper (here) ─parts with a window─▶ daemon/proxy ─▶ a model
//! ```
//! Must never: hold more of a body than its window, let one stream wait for another, hand on a header that is not named, or outlive
//! the jail.
mod stream;
mod exchange;

pub(crate) use stream::{ANSWER_TIMEOUT, Cut, Streams};

use exchange::Exchanges;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tenure_wire::frame::FromWorker;
use tenure_wire::stream::{OpenStream, ToProgram};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Where on its own loopback a jail finds it.
pub const PORT: u16 = 7899;
/// What programs are given as a key, since their libraries want one. It opens nothing anywhere.
pub const NO_KEY: &str = "tenure-jail";
/// Connections of one jail's programs; further ones wait at the listener.
const CONNECTIONS_MAX: usize = 64;
/// How long a program may take to send a head, the first one and each later one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
const BUFFER_BYTES: usize = 64 << 10;
/// After a failed accept: the worker is short of descriptors, or the connection has gone.
const PAUSE: Duration = Duration::from_millis(50);

/// A program's request that is to become a stream of the connection.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) open: Box<OpenStream>,
    pub(crate) to_program: mpsc::Sender<ToProgram>,
    /// The stream's number; its frames may be sent from then on.
    pub(crate) number: oneshot::Sender<u64>,
}

/// The way of a jail's streams to the daemon.
#[derive(Debug, Clone)]
pub(crate) struct StreamLink {
    pub(crate) frames: mpsc::Sender<FromWorker>,
}

/// One jail's model listener, until it is dropped, which ends every connection.
#[derive(Debug)]
pub(crate) struct ModelListener {
    _serving: JoinSet<()>,
}

impl ModelListener {
    /// # Errors
    /// If the listener cannot be watched.
    pub(crate) fn open(listener: std::net::TcpListener, streams: Streams) -> io::Result<ModelListener> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let exchanges = Arc::new(Exchanges(streams));
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, exchanges));
        Ok(ModelListener { _serving: serving })
    }
}

async fn serve(listener: TcpListener, exchanges: Arc<Exchanges>) {
    let mut talks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if talks.len() < CONNECTIONS_MAX => match accepted {
                Ok((program, _)) => {
                    let _ = program.set_nodelay(true);
                    let exchanges = Arc::clone(&exchanges);
                    talks.spawn(async move {
                        let answer = service_fn(move |request| {
                            let exchanges = Arc::clone(&exchanges);
                            async move { Ok::<_, Infallible>(exchanges.answer(request).await) }
                        });
                        // How the program ends it is its own affair.
                        let _ = http1::Builder::new()
                            .timer(TokioTimer::new())
                            .header_read_timeout(HEAD_TIMEOUT)
                            .max_buf_size(BUFFER_BYTES)
                            .serve_connection(TokioIo::new(program), answer)
                            .await;
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection of a jail was not accepted");
                    sleep(PAUSE).await;
                }
            },
            Some(_) = talks.join_next() => {}
        }
    }
}
