//! The network outside of all jails, at the edge where a test can put another. Must never: judge, or look twice.
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// Answers to one lookup that are looked at.
const ANSWERS_MAX: usize = 32;
/// The resolver's own code runs on it, with the modules of the host's name service switch.
const STACK_BYTES: usize = 512 << 10;
/// Any port will do to ask for a way.
const DISCARD: u16 = 9;

/// What a connection is.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub type Answer<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

pub trait HostNetwork: fmt::Debug + Send + Sync {
    /// The addresses of a name, in the order in which they are to be tried.
    fn resolve(&self, name: &str) -> Answer<Vec<IpAddr>>;

    fn connect(&self, to: SocketAddr) -> Answer<Box<dyn Stream>>;

    /// Whether this host itself answers at `address`, as it is now: an interface may have come since it was last asked.
    fn is_own(&self, address: IpAddr) -> bool;
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

    /// Asks the kernel for the way there, by which nothing is sent: to itself it goes by that very address. Without a way
    /// nothing is reached either.
    fn is_own(&self, address: IpAddr) -> bool {
        let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let source = || {
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect((address, DISCARD))?;
            socket.local_addr()
        };
        source().is_ok_and(|source| source.ip() == address || source.ip().is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_an_interface_is_the_hosts_own_and_one_that_others_have_is_not() {
        let own = |text: &str| SystemNetwork.is_own(text.parse().unwrap());
        assert!(own("127.0.0.1") && own("127.9.9.9"));
        // Of the interface by which this host would go out, if it can.
        let going_out = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
            socket.connect("203.0.113.1:9")?;
            socket.local_addr()
        });
        if let Ok(address) = going_out {
            assert!(SystemNetwork.is_own(address.ip()), "{address}");
        }
        assert!(!own("203.0.113.1") && !own("2001:db8::1"));
    }
}
