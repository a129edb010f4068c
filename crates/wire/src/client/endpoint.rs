//! Where a daemon listens.
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

const PATH_BYTES_MAX: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    Unix(PathBuf),
    Tcp { host: String, port: u16 },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("`{0}` names no daemon: write http://127.0.0.1:7800, 127.0.0.1:7800 or unix:/path/to/socket")]
    Form(String),
    #[error("`{0}` wants TLS, which comes with a later release: reach the daemon through a tunnel to its own host")]
    Tls(String),
}

impl Endpoint {
    /// What stands in the Host header.
    pub(super) fn host(&self) -> String {
        match self {
            Endpoint::Unix(_) => "localhost".to_string(),
            Endpoint::Tcp { host, port } => format!("{host}:{port}"),
        }
    }

    /// Whether what is sent there stays on this host, whatever a resolver says.
    pub fn is_this_host(&self) -> bool {
        match self {
            Endpoint::Unix(_) => true,
            Endpoint::Tcp { host, .. } => {
                is_localhost(host) || bare(host).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        }
    }

    pub(super) async fn connect(&self) -> io::Result<Stream> {
        match self {
            Endpoint::Unix(path) => connect_unix(path).await.map(Stream::Unix),
            Endpoint::Tcp { host, port } if is_localhost(host) => {
                let loopback = [(Ipv4Addr::LOCALHOST, *port).into(), (Ipv6Addr::LOCALHOST, *port).into()];
                let loopback: [SocketAddr; 2] = loopback;
                TcpStream::connect(loopback.as_slice()).await.map(Stream::Tcp)
            }
            Endpoint::Tcp { host, port } => TcpStream::connect((bare(host), *port)).await.map(Stream::Tcp),
        }
    }
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
        if text.starts_with("https://") {
            return Err(EndpointError::Tls(text.chars().take(200).collect()));
        }
        let rest = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let fits =
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte));
        let port = port.parse().map_err(|_| wrong())?;
        if fits { Ok(Endpoint::Tcp { host: host.to_string(), port }) } else { Err(wrong()) }
    }
}

pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
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
    fn both_spellings_of_an_address_are_read_and_tls_is_refused_by_name() {
        let tcp = Endpoint::Tcp { host: "127.0.0.1".into(), port: 7800 };
        assert_eq!("http://127.0.0.1:7800/".parse(), Ok(tcp.clone()));
        assert_eq!("127.0.0.1:7800".parse(), Ok(tcp));
        assert_eq!("unix:/run/t.sock".parse(), Ok(Endpoint::Unix("/run/t.sock".into())));
        assert!(matches!("https://a:1".parse::<Endpoint>(), Err(EndpointError::Tls(_))));
        for wrong in ["", "unix:t.sock", "127.0.0.1", "http://a/b:1", "a:99999"] {
            assert!(matches!(wrong.parse::<Endpoint>(), Err(EndpointError::Form(_))), "{wrong}");
        }
    }
}
