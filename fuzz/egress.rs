//! What the egress targets share: the bytes of a jail's programs against the proxy, over a network in memory.
//!
//! Beside not panicking and coming to an end, nothing may be connected to but what the rules name.
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tenure_core::manifest::NetworkMode;
use tenure_core::network::host::Host;
use tenure_wire::confinement::Network;
use tenure_worker::egress::EgressListener;
use tenure_worker::egress::network::{Answer, HostNetwork, Stream};
use tenure_worker::egress::proxy::converse;
use tenure_worker::egress::resolver::AgentResolver;
use tenure_worker::egress::rules::Rules;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

const PERMITTED: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);
/// Nothing waits for a deadline here: the bytes end, and with them everything.
const PATIENCE: Duration = Duration::from_secs(60);
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[derive(Debug)]
struct Memory;

impl HostNetwork for Memory {
    /// The listed name leads to the permitted address, every other one to the host itself.
    fn resolve(&self, name: &str) -> Answer<Vec<IpAddr>> {
        assert_eq!(name, name.to_ascii_lowercase());
        let address = if name == "a.test" { PERMITTED } else { Ipv4Addr::LOCALHOST };
        Box::pin(std::future::ready(Ok(vec![address.into()])))
    }

    fn is_own(&self, _address: IpAddr) -> bool {
        false
    }

    fn connect(&self, to: SocketAddr) -> Answer<Box<dyn Stream>> {
        assert_eq!(to.ip(), IpAddr::V4(PERMITTED), "connected to what no rule names");
        let (near, mut far) = tokio::io::duplex(4096);
        tokio::spawn(async move {
            let mut bytes = [0; 4096];
            while let Ok(1..) = far.read(&mut bytes).await {
                if far.write_all(ANSWER).await.is_err() {
                    return;
                }
            }
        });
        Box::pin(std::future::ready(Ok(Box::new(near) as Box<dyn Stream>)))
    }
}

fn network() -> Network {
    let allow = vec!["a.test".to_owned(), "*.below.test".to_owned()];
    let block = vec!["evil.below.test".to_owned()];
    Network { mode: NetworkMode::Allow, allow, block, connections_max: 4, bandwidth: None }
}

/// One connection over which a program sends these bytes and then hangs up.
pub fn http(bytes: &[u8]) {
    run(bytes.to_vec());
}

/// The same, and it begins like SOCKS5.
pub fn socks(bytes: &[u8]) {
    run([&[5], bytes].concat());
}

/// A host as any program may spell it: what is read as one has one form, and is judged alike in it.
pub fn host(bytes: &[u8]) {
    let Ok(host) = Host::parse_bytes(bytes) else { return };
    let rules = Rules::compile(&network()).expect("invariant: the rules are well formed");
    let judged = rules.judge(&host, Some(443));
    let text = host.to_string();
    let (again, port) = Host::parse_with_port(&text).expect("what a host is shown as can be read");
    assert_eq!((&again, port), (&host, None));
    assert_eq!(rules.judge(&again, Some(443)), judged);
    match host {
        Host::Name(name) => {
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte))
            );
            assert!(name.parse::<IpAddr>().is_err());
            assert_eq!(
                judged.is_ok(),
                name == "a.test" || (name.ends_with(".below.test") && name != "evil.below.test")
            );
        }
        Host::Address(address) => {
            assert_eq!(address, address.to_canonical());
            assert!(judged.is_err(), "no address is listed");
        }
    }
}

fn run(bytes: Vec<u8>) {
    thread_local! {
        static RUNTIME: Runtime =
            Builder::new_current_thread().enable_time().build().expect("a runtime of this thread");
    }
    RUNTIME.with(|runtime| runtime.block_on(talk(bytes)));
}

async fn talk(bytes: Vec<u8>) {
    let network = network();
    let rules = Rules::compile(&network).expect("invariant: the rules are well formed");
    let resolver = AgentResolver::alone(Arc::new(Memory));
    let door =
        EgressListener::open(rules, &network, resolver, None).unwrap_or_else(|error: io::Error| panic!("{error}"));
    let (near, far) = tokio::io::duplex(4096);
    let (mut reading, mut writing) = tokio::io::split(near);
    let talking = async {
        let sending = async {
            let _ = writing.write_all(&bytes).await;
            let _ = writing.shutdown().await;
        };
        let mut heard = tokio::io::sink();
        let hearing = tokio::io::copy(&mut reading, &mut heard);
        let serving = converse(far, door.gate());
        let _ = tokio::join!(sending, hearing, serving);
    };
    tokio::time::timeout(PATIENCE, talking).await.expect("the connection ends with its bytes");
    let (reports, traffic) = door.close().await;
    assert!(reports.concat().len() as u64 <= traffic.refused);
}
