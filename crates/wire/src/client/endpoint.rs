//! Where a daemon listens.
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OnceCell;
use tokio_rustls::client::TlsStream;

use super::tls;
use crate::fingerprint::Fingerprint;

const PATH_BYTES_MAX: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    Unix(PathBuf),
    Tcp {
        host: String,
        port: u16,
    },
    /// `pin`: the certificate that is taken, and no other; without one, those that this host's roots vouch for.
    Tls {
        host: String,
        port: u16,
        pin: Option<Fingerprint>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error(
        "`{0}` names no daemon: write https://HOST:7800, http://127.0.0.1:7800, 127.0.0.1:7800 or unix:/path/to/socket"
    )]
    Form(String),
    #[error("`{0}` goes on after the host: a daemon has one project, and serves it at its root; leave the path out")]
    Path(String),
    #[error("a fingerprint is of a certificate, and `{0}` shows none: write https://HOST:PORT")]
    NothingToPin(Endpoint),
}

impl Endpoint {
    /// What stands in the Host header.
    pub(super) fn host(&self) -> String {
        match self {
            Endpoint::Unix(_) => "localhost".to_string(),
            Endpoint::Tcp { host, port } | Endpoint::Tls { host, port, .. } => format!("{host}:{port}"),
        }
    }

    /// The same, that takes this certificate alone.
    ///
    /// # Errors
    /// There is no TLS.
    pub fn pinned(self, pin: Fingerprint) -> Result<Endpoint, EndpointError> {
        match self {
            Endpoint::Tls { host, port, .. } => Ok(Endpoint::Tls { host, port, pin: Some(pin) }),
            Endpoint::Unix(_) | Endpoint::Tcp { .. } => Err(EndpointError::NothingToPin(self)),
        }
    }

    /// Whether a key that is sent there can be read by nobody on the way.
    pub fn keeps_keys(&self) -> bool {
        matches!(self, Endpoint::Tls { .. }) || self.is_this_host()
    }

    /// Whether what is sent there stays on this host, whatever a resolver says.
    pub fn is_this_host(&self) -> bool {
        match self {
            Endpoint::Unix(_) => true,
            Endpoint::Tcp { host, .. } | Endpoint::Tls { host, .. } => {
                is_localhost(host) || bare(host).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        }
    }

    pub(super) async fn connect(&self, tls: &OnceCell<Arc<ClientConfig>>) -> io::Result<Stream> {
        match self {
            Endpoint::Unix(path) => connect_unix(path).await.map(Stream::Unix),
            Endpoint::Tcp { host, port } => connect_tcp(host, *port).await.map(Stream::Tcp),
            Endpoint::Tls { host, port, pin } => {
                let config = tls.get_or_try_init(|| tls::config(*pin)).await?;
                let stream = connect_tcp(host, *port).await?;
                tls::wrap(config, bare(host), stream).await.map(Box::new).map(Stream::Tls)
            }
        }
    }
}

async fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    if is_localhost(host) {
        let loopback: [SocketAddr; 2] = [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()];
        return TcpStream::connect(loopback.as_slice()).await;
    }
    TcpStream::connect((bare(host), port)).await
}

fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// The one name that is never looked up.
fn is_localhost(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
}

/// A socket's address holds 107 bytes of path; a longer one is named through its folder's descriptor.
async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return UnixStream::connect(path).await };
    if path.as_os_str().len() < PATH_BYTES_MAX {
        return UnixStream::connect(path).await;
    }
    let folder = std::fs::File::open(folder)?;
    UnixStream::connect(Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name)).await
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
            Endpoint::Tcp { host, port } => write!(f, "http://{host}:{port}"),
            Endpoint::Tls { host, port, .. } => write!(f, "https://{host}:{port}"),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Endpoint, EndpointError> {
        let wrong = || EndpointError::Form(text.chars().take(200).collect());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') { Ok(Endpoint::Unix(path.into())) } else { Err(wrong()) };
        }
        let (rest, is_tls) = match text.split_once("://") {
            Some(("http", rest)) => (rest, false),
            Some(("https", rest)) => (rest, true),
            Some(_) => return Err(wrong()),
            None => (text, false),
        };
        let rest = rest.trim_end_matches('/');
        if rest.contains('/') && !rest.starts_with('/') && text.contains("://") {
            return Err(EndpointError::Path(text.chars().take(200).collect()));
        }
        let is_port = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (host, port) = match rest.rsplit_once(':').filter(|(_, port)| is_port(port)) {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
            // Its own port, as for a proxy with TLS before the daemon.
            None if is_tls => (rest, 443),
            None => return Err(wrong()),
        };
        let fits =
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte));
        let host = host.to_string();
        match (fits, is_tls) {
            (false, _) => Err(wrong()),
            (true, true) => Ok(Endpoint::Tls { host, port, pin: None }),
            (true, false) => Ok(Endpoint::Tcp { host, port }),
        }
    }
}

pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_a_socket_are_this_host_whatever_a_name_looks_like() {
        let here = |text: &str| text.parse::<Endpoint>().unwrap().is_this_host();
        for text in ["unix:/run/t.sock", "http://127.0.0.1:1", "127.8.9.1:1", "http://[::1]:1", "http://LocalHost:1"] {
            assert!(here(text), "{text}");
        }
        for text in ["http://10.0.0.1:1", "http://example.com:1", "localhost.example.com:1", "127.0.0.1.example.com:1"]
        {
            assert!(!here(text), "{text}");
        }
    }

    #[test]
    fn addresses_are_read_with_and_without_their_scheme_and_tls_has_a_port_of_its_own() {
        let tcp = Endpoint::Tcp { host: "127.0.0.1".into(), port: 7800 };
        assert_eq!("http://127.0.0.1:7800/".parse(), Ok(tcp.clone()));
        assert_eq!("127.0.0.1:7800".parse(), Ok(tcp));
        assert_eq!("unix:/run/t.sock".parse(), Ok(Endpoint::Unix("/run/t.sock".into())));
        let tls = |host: &str, port| Endpoint::Tls { host: host.into(), port, pin: None };
        assert_eq!("https://a:1".parse(), Ok(tls("a", 1)));
        assert_eq!("https://a.example/".parse(), Ok(tls("a.example", 443)));
        assert_eq!("https://[::1]:7800".parse(), Ok(tls("[::1]", 7800)));
        let pin = Fingerprint::of(b"x");
        assert!(matches!(tls("a", 1).pinned(pin), Ok(Endpoint::Tls { pin: Some(kept), .. }) if kept == pin));
        assert!("a:1".parse::<Endpoint>().unwrap().pinned(pin).is_err(), "clear text has nothing to pin");
        assert!(tls("192.0.2.1", 1).keeps_keys() && !"192.0.2.1:1".parse::<Endpoint>().unwrap().keeps_keys());
        for path in ["http://a/b:1", "https://a/projects/x", "http://a:1/v1"] {
            assert!(matches!(path.parse::<Endpoint>(), Err(EndpointError::Path(_))), "{path}");
        }
        for wrong in
            ["", "unix:t.sock", "127.0.0.1", "a/b:1", "a:99999", "https://", "https:///x", "ftp://a:1", "http://a"]
        {
            assert!(matches!(wrong.parse::<Endpoint>(), Err(EndpointError::Form(_))), "{wrong}");
        }
    }
}
