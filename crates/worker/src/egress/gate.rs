//! The gate of a jail's egress: judges a host, looks it up once, and connects to an address that it judged. Must never: connect
//! to what was not judged, look a name up twice for one connection, or wait without a deadline.
use super::bypass::Bypass;
use super::closed::embedded;
use super::metered::MeteredStream;
use super::network::Stream;
use super::rate_limit::RateLimiter;
use super::report::Attempt;
use super::resolver::AgentResolver;
use super::rules::{Rule, Rules};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tenure_core::network::Traffic;
use tenure_core::network::host::{Host, Misspelt};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

/// How long the resolver may take, and how long all tries to connect together.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a new connection may wait for the place of one that is just ending.
const CONNECTION_SLOT_TIMEOUT: Duration = Duration::from_secs(1);
/// Permitted addresses of one answer that are tried, one after another.
const TRIES_MAX: usize = 4;

/// One jail's. Copies are the same gate.
#[derive(Debug, Clone)]
pub struct Gate {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    rules: Rules,
    bypass: Bypass,
    resolver: AgentResolver,
    connections_max: u32,
    connections: Arc<Semaphore>,
    pace: Option<Arc<RateLimiter>>,
    counts: Arc<Counts>,
    attempts: mpsc::Sender<Attempt>,
}

/// What went through one gate.
#[derive(Debug, Default)]
pub(super) struct Counts {
    connections: AtomicU64,
    requests: AtomicU64,
    pub(super) sent_bytes: AtomicU64,
    pub(super) received_bytes: AtomicU64,
    refused: AtomicU64,
}

/// A place that a rule is against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedHost {
    /// As it was named, printable.
    pub host: String,
    pub port: u16,
    pub rule: Rule,
}

impl fmt::Display for RefusedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RefusedHost { host, port, rule } = self;
        let port = if *port == 0 { String::new() } else { format!(":{port}") };
        write!(f, "{host}{port} is refused ({rule}); {}", rule.way_out())
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectError {
    Refused(RefusedHost),
    /// The resolver knows no address of it, or did not answer.
    Unresolved {
        host: String,
        why: String,
    },
    Unreachable {
        host: String,
        port: u16,
        kind: io::ErrorKind,
        why: String,
    },
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Refused(refused) => refused.fmt(f),
            ConnectError::Unresolved { host, why } => write!(f, "{host} has no address: {why}"),
            ConnectError::Unreachable { host, port, why, .. } => write!(f, "{host}:{port} cannot be reached: {why}"),
        }
    }
}

impl From<RefusedHost> for ConnectError {
    fn from(refused: RefusedHost) -> ConnectError {
        ConnectError::Refused(refused)
    }
}

/// An address of a lookup; without a rule it may be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedAddress {
    pub address: IpAddr,
    pub against: Option<Rule>,
}

/// What a gate is made of.
pub(super) struct Parts {
    pub(super) rules: Rules,
    pub(super) bypass: Bypass,
    pub(super) connections_max: u32,
    pub(super) bandwidth: Option<u64>,
    pub(super) resolver: AgentResolver,
    /// Refusals go here; what it cannot take is only counted.
    pub(super) attempts: mpsc::Sender<Attempt>,
}

impl Gate {
    pub(super) fn new(parts: Parts) -> Gate {
        let Parts { rules, bypass, connections_max, bandwidth, resolver, attempts } = parts;
        Gate {
            shared: Arc::new(Shared {
                rules,
                bypass,
                resolver,
                connections_max,
                connections: Arc::new(Semaphore::new(connections_max as usize)),
                pace: bandwidth.map(|bandwidth| Arc::new(RateLimiter::new(bandwidth))),
                counts: Arc::default(),
                attempts,
            }),
        }
    }

    /// # Errors
    /// Why there is no connection; a refusal is counted and reported.
    pub async fn open(&self, host: &Host, port: u16) -> Result<MeteredStream, ConnectError> {
        let shared = &*self.shared;
        self.judge(host, Some(port))?;
        let place = timeout(CONNECTION_SLOT_TIMEOUT, Arc::clone(&shared.connections).acquire_owned()).await;
        let Ok(Ok(permit)) = place else {
            return Err(self.refuse(host.to_string(), port, Rule::Connections(shared.connections_max)).into());
        };
        let permitted = self.addresses(host, port).await?;
        let stream = self.connect(host, port, &permitted).await?;
        shared.counts.connections.fetch_add(1, Ordering::Relaxed);
        Ok(MeteredStream::new(stream, Arc::clone(&shared.counts), shared.pace.clone(), permit))
    }

    /// The addresses of a host that may be asked for, each with what is against it.
    ///
    /// # Errors
    /// As `open`.
    pub async fn look_up(&self, host: &Host) -> Result<Vec<JudgedAddress>, ConnectError> {
        self.judge(host, None)?;
        let judged = |address: IpAddr| {
            let address = address.to_canonical();
            JudgedAddress { address, against: self.judge_place(address, None, true).err() }
        };
        Ok(self.resolve(host).await?.into_iter().map(judged).collect())
    }

    pub(super) fn bypass(&self) -> &Bypass {
        &self.shared.bypass
    }

    /// A host that cannot be read is refused like any other.
    pub(crate) fn invalid_host(&self, raw: &str, port: u16, why: Misspelt) -> RefusedHost {
        self.refuse(tenure_core::capability::clip(raw), port, Rule::Misspelt(why))
    }

    pub(super) fn count_request(&self) {
        self.shared.counts.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub fn traffic(&self) -> Traffic {
        let Counts { connections, requests, sent_bytes, received_bytes, refused } = &*self.shared.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Traffic {
            connections: read(connections),
            requests: read(requests),
            sent_bytes: read(sent_bytes),
            received_bytes: read(received_bytes),
            refused: read(refused),
        }
    }

    fn judge(&self, host: &Host, port: Option<u16>) -> Result<(), ConnectError> {
        let judged = self.shared.rules.judge(host, port);
        judged.map_err(|rule| self.refuse(host.to_string(), port.unwrap_or(0), rule).into())
    }

    /// The permitted addresses of a judged host. None is a refusal, by the rule against the first.
    async fn addresses(&self, host: &Host, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        let (mut permitted, mut against) = (Vec::new(), None);
        for address in self.resolve(host).await? {
            let address = address.to_canonical();
            let named = matches!(host, Host::Name(_));
            match self.judge_place(address, Some(port), named) {
                Ok(()) => permitted.push(SocketAddr::new(address, port)),
                Err(rule) => against = against.or(Some(rule)),
            }
        }
        match against {
            Some(rule) if permitted.is_empty() => Err(self.refuse(host.to_string(), port, rule).into()),
            Some(_) | None => Ok(permitted),
        }
    }

    /// By the rules, and by what this host's interfaces are at this moment.
    fn judge_place(&self, address: IpAddr, port: Option<u16>, named: bool) -> Result<(), Rule> {
        let network = self.shared.resolver.network();
        let carried = match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => embedded(address).map(IpAddr::V4),
        };
        let is_own = network.is_own(address) || carried.is_some_and(|address| network.is_own(address));
        self.shared.rules.judge_place(address, port, named, is_own)
    }

    async fn resolve(&self, host: &Host) -> Result<Vec<IpAddr>, ConnectError> {
        let name = match host {
            Host::Address(address) => return Ok(vec![*address]),
            Host::Name(name) => name,
        };
        let unresolved = |why: String| ConnectError::Unresolved { host: name.clone(), why };
        match timeout(RESOLVE_TIMEOUT, self.shared.resolver.resolve(name.clone())).await {
            Ok(Ok(found)) if found.is_empty() => Err(unresolved("the resolver knows none".to_owned())),
            Ok(found) => found.map_err(|error| unresolved(error.to_string())),
            Err(_) => Err(unresolved(format!("the resolver did not answer within {} s", RESOLVE_TIMEOUT.as_secs()))),
        }
    }

    async fn connect(&self, host: &Host, port: u16, permitted: &[SocketAddr]) -> Result<Box<dyn Stream>, ConnectError> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let late =
            || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()));
        let mut failed = late();
        for address in permitted.iter().take(TRIES_MAX) {
            match timeout_at(deadline, self.shared.resolver.network().connect(*address)).await {
                // The host may have got this address since it was judged: then not a byte goes there.
                Ok(Ok(stream)) => {
                    return match self.judge_place(address.ip(), Some(port), matches!(host, Host::Name(_))) {
                        Ok(()) => Ok(stream),
                        Err(rule) => Err(self.refuse(host.to_string(), port, rule).into()),
                    };
                }
                Ok(Err(error)) => failed = error,
                Err(_) => {
                    failed = late();
                    break;
                }
            }
        }
        let (kind, why) = (failed.kind(), failed.to_string());
        Err(ConnectError::Unreachable { host: host.to_string(), port, kind, why })
    }

    fn refuse(&self, host: String, port: u16, rule: Rule) -> RefusedHost {
        self.shared.counts.refused.fetch_add(1, Ordering::Relaxed);
        let _ = self.shared.attempts.try_send(Attempt { host: host.clone(), port, rule: rule.to_string() });
        RefusedHost { host, port, rule }
    }
}
