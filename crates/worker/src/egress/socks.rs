//! SOCKS5 (RFC 1928) as far as it leads out: CONNECT without a login. Must never: resolve what the gate did not, or answer a
//! refusal like a failure.
use super::bypass::Check;
use super::gate::{ConnectError, Gate};
use super::metered::MeteredStream;
use super::network::Stream;
use super::tunnel;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use tenure_core::network::host::Host;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// The first byte of this protocol.
pub(super) const VERSION: u8 = 5;
/// How long a program may take to say where it wants to go.
const GREETING: Duration = Duration::from_secs(10);

const NO_LOGIN: u8 = 0;
const NO_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;

/// What an answer says (RFC 1928, 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Reply {
    Done = 0,
    Failed = 1,
    Refused = 2,
    NetworkUnreachable = 3,
    HostUnreachable = 4,
    ConnectionRefused = 5,
    Expired = 6,
    NoSuchCommand = 7,
    NoSuchAddress = 8,
}

/// What comes behind the version byte, until either side ends.
pub(super) async fn converse<S: Stream>(mut program: S, gate: &Gate) {
    let wanted = match timeout(GREETING, greet(&mut program, gate)).await {
        Ok(Ok(Some(wanted))) => wanted,
        // It said nothing that can be answered.
        Ok(Ok(None) | Err(_)) | Err(_) => return,
    };
    let opened = match wanted {
        SocksRequest::Place(host, port) => open(gate, host, port).await,
        SocksRequest::Nothing(reply) => Err(reply),
    };
    match opened {
        Ok(metered) => {
            if answer(&mut program, Reply::Done).await.is_ok() {
                let watch = metered.watch();
                tunnel::join(program, metered, watch).await;
            }
        }
        Err(reply) => {
            let _ = answer(&mut program, reply).await;
            let _ = program.shutdown().await;
        }
    }
}

enum SocksRequest {
    Place(Place, u16),
    Nothing(Reply),
}

enum Place {
    Address(IpAddr),
    Domain(Vec<u8>),
}

/// None: it has been told that it cannot be served, or has gone.
async fn greet<S: Stream>(program: &mut S, gate: &Gate) -> io::Result<Option<SocksRequest>> {
    let mut methods = vec![0; usize::from(program.read_u8().await?)];
    program.read_exact(&mut methods).await?;
    if !methods.contains(&NO_LOGIN) {
        program.write_all(&[VERSION, NO_METHOD]).await?;
        program.shutdown().await?;
        return Ok(None);
    }
    program.write_all(&[VERSION, NO_LOGIN]).await?;
    program.flush().await?;
    let mut request = [0; 4];
    program.read_exact(&mut request).await?;
    let [version, command, reserved, kind] = request;
    if version != VERSION || reserved != 0 {
        return Ok(Some(SocksRequest::Nothing(Reply::Failed)));
    }
    let place = match kind {
        1 => {
            let mut address = [0; 4];
            program.read_exact(&mut address).await?;
            Place::Address(Ipv4Addr::from(address).into())
        }
        3 => {
            let mut domain = vec![0; usize::from(program.read_u8().await?)];
            program.read_exact(&mut domain).await?;
            Place::Domain(domain)
        }
        4 => {
            let mut address = [0; 16];
            program.read_exact(&mut address).await?;
            Place::Address(Ipv6Addr::from(address).into())
        }
        _ => return Ok(Some(SocksRequest::Nothing(Reply::NoSuchAddress))),
    };
    let port = program.read_u16().await?;
    // BIND and UDP ASSOCIATE would open a way in, or one that cannot be judged.
    let led_out = command == CONNECT || !gate.bypass().enforces(Check::Request);
    Ok(Some(if led_out { SocksRequest::Place(place, port) } else { SocksRequest::Nothing(Reply::NoSuchCommand) }))
}

async fn open(gate: &Gate, place: Place, port: u16) -> Result<MeteredStream, Reply> {
    let host = match place {
        Place::Address(address) => Host::Address(address.to_canonical()),
        Place::Domain(domain) => {
            let read = Host::parse_bytes(&domain).or_else(|why| gate.bypass().reread(&domain, why));
            read.map_err(|why| {
                gate.invalid_host(&String::from_utf8_lossy(&domain), port, why);
                Reply::Refused
            })?
        }
    };
    gate.open(&host, port).await.map_err(|denied| match denied {
        ConnectError::Refused(_) => Reply::Refused,
        ConnectError::Unresolved { .. } => Reply::HostUnreachable,
        ConnectError::Unreachable { kind, .. } => match kind {
            io::ErrorKind::ConnectionRefused => Reply::ConnectionRefused,
            io::ErrorKind::TimedOut => Reply::Expired,
            io::ErrorKind::NetworkUnreachable => Reply::NetworkUnreachable,
            _ => Reply::HostUnreachable,
        },
    })
}

/// The address that it names is nobody's: what the connection is bound to here is no affair of a program's.
async fn answer<S: Stream>(program: &mut S, reply: Reply) -> io::Result<()> {
    program.write_all(&[VERSION, reply as u8, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    program.flush().await
}
