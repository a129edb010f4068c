//! The network outside of all jails, at the edge where a test can put another. Must never: judge, or look twice.
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// Answers to one lookup that are looked at.
const ANSWERS_MAX: usize = 32;
/// The resolver's own code runs on it, with the modules of the host's name service switch.
const STACK_BYTES: usize = 512 << 10;

/// What a connection is.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub type Answer<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

pub trait HostNetwork: fmt::Debug + Send + Sync {
    /// The addresses of a name, in the order in which they are to be tried.
    fn resolve(&self, name: &str) -> Answer<Vec<IpAddr>>;

    fn connect(&self, to: SocketAddr) -> Answer<Box<dyn Stream>>;
}

/// The host's own resolver and network.
#[derive(Debug)]
pub struct SystemNetwork;

impl HostNetwork for SystemNetwork {
    /// On a thread of its own: the pool of the runtime opens and ends jails, and a name that answers slowly must not hold it.
    fn resolve(&self, name: &str) -> Answer<Vec<IpAddr>> {
        let name = name.to_owned();
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let looking = move || {
                let found = (name.as_str(), 0).to_socket_addrs();
                let _ = answer.send(found.map(|found| found.map(|at| at.ip()).take(ANSWERS_MAX).collect()));
            };
            std::thread::Builder::new().name("lookup".to_owned()).stack_size(STACK_BYTES).spawn(looking)?;
            answered.await.map_err(io::Error::other)?
        })
    }

    fn connect(&self, to: SocketAddr) -> Answer<Box<dyn Stream>> {
        Box::pin(async move {
            let stream = TcpStream::connect(to).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}
