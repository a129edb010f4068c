//! The worker's way out of a jail, with a simulated network behind it: names that lead where they should not, and a server at
//! every address. Must never: send a byte onto a real network.
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tenure_core::manifest::NetworkMode;
use tenure_wire::confinement::Network;
use tenure_worker::egress::EgressListener;
use tenure_worker::egress::bypass::Check;
use tenure_worker::egress::network::{Answer, HostNetwork, Stream};
use tenure_worker::egress::rules::Rules;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const PUBLIC: &str = "93.184.216.34";
/// What a manifest may name without harm.
const LISTED: &[&str] = &[
    "allowed.example",
    "*.allowed.example",
    "rebound.example",
    "turning.example",
    "mixed.example",
    "metadata.example",
];
/// Loopback, private, link-local and metadata addresses, in both families, and a host that is not listed else.
const NAMED: &[&str] = &[
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "169.254.169.254",
    "0.0.0.0/32",
    "localhost",
    "[::1]",
    "evil.example",
    "evilallowed.example",
    "allowed.example.evil.example",
    "93.184.216.99",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[::7f00:1]",
    "[fe80::/10]",
];
const BLOCKED: &[&str] = &["bad.allowed.example"];

/// Which places a jail's manifest names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lists {
    Strict,
    /// As `Strict`, and by name everything that a manifest should not.
    Named,
    /// As `Strict`, with nothing blocked.
    Unblocked,
    /// Every public place, and what `Named` names.
    Open,
}

/// How a jail's way out is served.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    pub lists: Lists,
    pub without: &'static [Check],
}

#[derive(Debug, Default)]
struct Elsewhere {
    /// How often the name that turns was looked up.
    turns: AtomicU32,
}

impl HostNetwork for Elsewhere {
    fn resolve(&self, name: &str) -> Answer<Vec<IpAddr>> {
        let addresses: &[&str] = match name {
            "rebound.example" => &["127.0.0.1"],
            "turning.example" if self.turns.fetch_add(1, Ordering::Relaxed) == 0 => &[PUBLIC],
            "turning.example" => &["127.0.0.1"],
            "mixed.example" => &["::ffff:127.0.0.1", "10.0.0.5", "fe80::1"],
            "metadata.example" => &["169.254.169.254"],
            "localhost" => &["127.0.0.1"],
            // As the C library reads them.
            "2130706433" | "0177.0.0.1" | "0x7f000001" | "127.1" | "017700000001" => &["127.0.0.1"],
            "[fe80::1%eth0]" => &["fe80::1"],
            _ => &[PUBLIC],
        };
        let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
        Box::pin(std::future::ready(Ok(addresses)))
    }

    fn is_own(&self, _address: IpAddr) -> bool {
        false
    }

    fn connect(&self, _to: SocketAddr) -> Answer<Box<dyn Stream>> {
        let (near, far) = tokio::io::duplex(64 << 10);
        tokio::spawn(serve(far));
        Box::pin(std::future::ready(Ok(Box::new(near) as Box<dyn Stream>)))
    }
}

/// Answers the first head and ends.
async fn serve(mut stream: DuplexStream) -> io::Result<()> {
    let (mut head, mut bytes) = (Vec::new(), [0; 4096]);
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut bytes).await? {
            0 => return Ok(()),
            count => head.extend_from_slice(&bytes[..count]),
        }
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nCANARY").await?;
    stream.shutdown().await
}

/// Serves a jail's listener while `work` is done.
pub fn while_open<T>(way: Way, listener: TcpListener, work: impl FnOnce() -> T) -> T {
    let owned = |list: &[&str]| list.iter().map(|entry| (*entry).to_owned()).collect::<Vec<String>>();
    let mut allow = owned(LISTED);
    if matches!(way.lists, Lists::Named | Lists::Open) {
        allow.extend(owned(NAMED));
    }
    let (mode, block) = match way.lists {
        Lists::Strict | Lists::Named => (NetworkMode::Allow, owned(BLOCKED)),
        Lists::Unblocked => (NetworkMode::Allow, Vec::new()),
        Lists::Open => (NetworkMode::Deny, Vec::new()),
    };
    let network = Network { mode, allow, block, connections_max: 64, bandwidth: None };
    let rules = Rules::compile(&network).expect("rules");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let door = {
        let _inside = runtime.enter();
        let outside = Arc::new(Elsewhere::default());
        EgressListener::open_without(way.without, rules, &network, outside, Some(listener)).expect("a way out")
    };
    let done = work();
    runtime.block_on(door.close());
    done
}
