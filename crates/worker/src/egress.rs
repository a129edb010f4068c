//! Egress of jails. A jail has no route: its programs speak to a listener on their own loopback, which the jail handed to
//! the worker, and `network.*` calls come here directly. Both pass the jail's one gate, which judges, resolves once, and
//! connects to the address that it judged.
//!
//! ```text
//! program ─▶ jail's 127.0.0.1:3128 ═▶ proxy (socks │ filter → http) ┐
//! network.* call ───────────────────▶ fetch ────────────────────────┴▶ gate (rules) ─▶ network
//! ```
//! Must never: let a byte out that no rule permitted, see into TLS, or outlive the jail.
pub mod closed;
pub mod rules;
pub mod network;
mod fair;
pub mod resolver;
pub mod gate;
#[cfg_attr(test_controls, path = "../../../tests/controls/worker/bypass.rs")]
pub mod bypass;
mod metered;
mod rate_limit;
mod report;
pub mod proxy;
mod head;
mod filter;
mod http;
mod socks;
mod tunnel;
mod tls;
pub(crate) mod fetch;

use bypass::Bypass;
use fair::{AgentPlaces, Fair};
use gate::{Gate, Parts};
use network::{HostNetwork, SystemNetwork};
use resolver::{AgentResolver, Resolver};
use rules::Rules;
use rustix::process::{Resource, getrlimit};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tenure_core::id::AgentId;
use tenure_core::network::{Refusal, Traffic};
use tenure_wire::confinement::Network;
use tls::Tls;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Reports of refusals that wait to be taken.
const REPORTS_MAX: usize = 16;
/// Downloads that lie on the worker's own disk at once: in all, and of one agent.
const SPOOLS_MAX: usize = 4;
const AGENT_SPOOLS_MAX: usize = 1;
/// Descriptors of the worker that connections of all jails together may take, one part in so many; each takes two.
const DESCRIPTORS_PART: u64 = 4;
const CONVERSATIONS_MIN: u64 = 16;

/// What the egress of all jails of one worker shares.
#[derive(Debug)]
pub(crate) struct Egress {
    resolver: Resolver,
    tls: Tls,
    spool_dir: PathBuf,
    spools: Fair,
    /// Most jails at once.
    slots: usize,
    /// Connections of one jail's programs, so that all jails' fit into what the worker may hold open.
    conversations_max: usize,
}

impl Egress {
    /// `spool_dir`: where downloads lie until they are checked; only the worker's user may enter it. `slots`: most jails at once.
    pub(crate) fn new(spool_dir: &Path, slots: u32) -> Egress {
        Egress::over(Arc::new(SystemNetwork), spool_dir, slots as usize)
    }

    pub(crate) fn through(&self, outside: Arc<dyn HostNetwork>) -> Egress {
        Egress::over(outside, &self.spool_dir, self.slots)
    }

    fn over(network: Arc<dyn HostNetwork>, spool_dir: &Path, slots: usize) -> Egress {
        let spools = Fair::new(slots.saturating_mul(AGENT_SPOOLS_MAX).max(SPOOLS_MAX), AGENT_SPOOLS_MAX);
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let each = (descriptors / DESCRIPTORS_PART / 2 / slots.max(1) as u64).max(CONVERSATIONS_MIN);
        let conversations_max = usize::try_from(each).unwrap_or(usize::MAX);
        let resolver = Resolver::new(network, slots);
        Egress { resolver, tls: Tls::default(), spool_dir: spool_dir.to_owned(), spools, slots, conversations_max }
    }

    /// # Errors
    /// As `EgressListener::open`.
    pub(crate) fn open(
        &self,
        agent: AgentId,
        rules: Rules,
        network: &Network,
        listener: Option<std::net::TcpListener>,
    ) -> io::Result<EgressListener> {
        let resolver = self.resolver.of(agent);
        EgressListener::open_with(Bypass::default(), rules, network, resolver, listener, self.conversations_max)
    }
}

/// What calls of one jail reach the outside by.
#[derive(Debug, Clone)]
pub(crate) struct EgressHandle {
    pub(crate) gate: Gate,
    spools: AgentPlaces,
    egress: Arc<Egress>,
}

impl EgressHandle {
    pub(crate) fn spool_dir(&self) -> &Path {
        &self.egress.spool_dir
    }

    /// Where this agent's downloads take a place on the worker's disk.
    pub(crate) fn spools(&self) -> &AgentPlaces {
        &self.spools
    }
}

/// One jail's egress, from its opening to its end.
#[derive(Debug)]
pub struct EgressListener {
    gate: Gate,
    reports: mpsc::Receiver<Vec<Refusal>>,
    end: CancellationToken,
    proxy: JoinSet<()>,
    folding: JoinSet<()>,
}

impl EgressListener {
    /// Without a listener only calls can go out.
    ///
    /// # Errors
    /// If the listener cannot be watched.
    pub fn open(
        rules: Rules,
        network: &Network,
        resolver: AgentResolver,
        listener: Option<std::net::TcpListener>,
    ) -> io::Result<EgressListener> {
        EgressListener::open_with(Bypass::default(), rules, network, resolver, listener, usize::MAX)
    }

    fn open_with(
        bypass: Bypass,
        rules: Rules,
        network: &Network,
        resolver: AgentResolver,
        listener: Option<std::net::TcpListener>,
        conversations_max: usize,
    ) -> io::Result<EgressListener> {
        let (attempts, attempted) = mpsc::channel(report::WAITING_MAX);
        let (sender, reports) = mpsc::channel(REPORTS_MAX);
        let Network { connections_max, bandwidth, .. } = *network;
        let gate = Gate::new(Parts { rules, bypass, connections_max, bandwidth, resolver, attempts });
        let end = CancellationToken::new();
        let (mut proxy, mut folding) = (JoinSet::new(), JoinSet::new());
        if let Some(listener) = listener {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            proxy.spawn(proxy::serve(listener, gate.clone(), connections_max, conversations_max));
        }
        folding.spawn(report::fold(attempted, sender, end.clone()));
        Ok(EgressListener { gate, reports, end, proxy, folding })
    }

    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(crate) fn handle(&self, agent: AgentId, egress: &Arc<Egress>) -> EgressHandle {
        EgressHandle { gate: self.gate.clone(), spools: egress.spools.of(agent), egress: Arc::clone(egress) }
    }

    /// The next refusals that the ledger is to know; None once it has ended.
    pub async fn refused(&mut self) -> Option<Vec<Refusal>> {
        self.reports.recv().await
    }

    /// Ends every connection; the refusals that were not reported yet, and what went through.
    pub async fn close(mut self) -> (Vec<Vec<Refusal>>, Traffic) {
        self.proxy.shutdown().await;
        self.end.cancel();
        let mut rest = Vec::new();
        while let Some(report) = self.reports.recv().await {
            rest.push(report);
        }
        self.folding.shutdown().await;
        (rest, self.gate.traffic())
    }
}
