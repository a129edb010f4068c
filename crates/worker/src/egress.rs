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
use gate::{Gate, Parts};
use network::{HostNetwork, SystemNetwork};
use resolver::{AgentResolver, Resolver};
use rules::Rules;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tenure_core::id::AgentId;
use tenure_core::network::{Refusal, Traffic};
use tenure_wire::confinement::Network;
use tls::Tls;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Reports of refusals that wait to be taken.
const REPORTS_MAX: usize = 16;
/// Downloads of the whole worker that lie on its own disk at once.
const SPOOLS_MAX: usize = 4;

/// What the egress of all jails of one worker shares.
#[derive(Debug)]
pub(crate) struct Egress {
    resolver: Resolver,
    tls: Tls,
    spool_dir: PathBuf,
    spools: Semaphore,
}

impl Egress {
    /// `spool_dir`: where downloads lie until they are checked; only the worker's user may enter it.
    pub(crate) fn new(spool_dir: &Path) -> Egress {
        let (tls, spools) = (Tls::default(), Semaphore::new(SPOOLS_MAX));
        Egress { resolver: Resolver::new(Arc::new(SystemNetwork)), tls, spool_dir: spool_dir.to_owned(), spools }
    }

    pub(crate) fn through(&self, outside: Arc<dyn HostNetwork>) -> Egress {
        Egress { resolver: Resolver::new(outside), ..Egress::new(&self.spool_dir) }
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
        EgressListener::open(rules, network, self.resolver.of(agent), listener)
    }
}

/// What calls of one jail reach the outside by.
#[derive(Debug, Clone)]
pub(crate) struct EgressHandle {
    pub(crate) gate: Gate,
    egress: Arc<Egress>,
}

impl EgressHandle {
    pub(crate) fn spool_dir(&self) -> &Path {
        &self.egress.spool_dir
    }

    pub(crate) fn spools(&self) -> &Semaphore {
        &self.egress.spools
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
        EgressListener::open_with(Bypass::default(), rules, network, resolver, listener)
    }

    fn open_with(
        bypass: Bypass,
        rules: Rules,
        network: &Network,
        resolver: AgentResolver,
        listener: Option<std::net::TcpListener>,
    ) -> io::Result<EgressListener> {
        let (attempts, attempted) = mpsc::channel(report::WAITING_MAX);
        let (sender, reports) = mpsc::channel(REPORTS_MAX);
        let Network { connections_max, bandwidth, .. } = *network;
        let gate = Gate::new(Parts { rules, bypass, connections_max, bandwidth, resolver, attempts });
        let end = CancellationToken::new();
        let (mut proxy, mut folding) = (JoinSet::new(), JoinSet::new());
        if let Some(listener) = listener {
            listener.set_nonblocking(true)?;
            proxy.spawn(proxy::serve(TcpListener::from_std(listener)?, gate.clone(), connections_max));
        }
        folding.spawn(report::fold(attempted, sender, end.clone()));
        Ok(EgressListener { gate, reports, end, proxy, folding })
    }

    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(crate) fn handle(&self, egress: &Arc<Egress>) -> EgressHandle {
        EgressHandle { gate: self.gate.clone(), egress: Arc::clone(egress) }
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
