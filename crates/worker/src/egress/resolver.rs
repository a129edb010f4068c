//! Look-ups of names for all jails of one worker, fair between agents. Must never: let one agent's look-ups, whatever number of
//! jails it has and however long a resolver takes, keep another agent's waiting.
use super::fair::{AgentPlaces, Fair};
use super::network::HostNetwork;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use tenure_core::id::AgentId;

/// Look-ups at once of the whole worker, each of which holds a thread until the resolver gives up: at least and at most.
const LOOKUPS_MIN: usize = 128;
const LOOKUPS_MAX: usize = 1024;
/// Of one agent, where there is room for as many.
const AGENT_LOOKUPS_MAX: usize = 8;

#[derive(Debug)]
pub struct Resolver {
    network: Arc<dyn HostNetwork>,
    places: Fair,
}

/// What the gates of one agent's jails look names up by.
#[derive(Debug, Clone)]
pub struct AgentResolver {
    network: Arc<dyn HostNetwork>,
    places: AgentPlaces,
}

impl Resolver {
    /// For a worker of so many jails. Were each another agent's and all of them held all of their places, half of the whole would
    /// be left: for look-ups that outlive their jails, since no resolver can be interrupted.
    pub fn new(network: Arc<dyn HostNetwork>, slots: usize) -> Resolver {
        let all = slots.saturating_mul(2 * AGENT_LOOKUPS_MAX).clamp(LOOKUPS_MIN, LOOKUPS_MAX);
        let each = (all / slots.saturating_mul(2).max(1)).clamp(1, AGENT_LOOKUPS_MAX);
        Resolver { network, places: Fair::new(all, each) }
    }

    pub fn of(&self, agent: AgentId) -> AgentResolver {
        AgentResolver { network: Arc::clone(&self.network), places: self.places.of(agent) }
    }
}

impl AgentResolver {
    /// Of a gate that shares its look-ups with no other.
    pub fn alone(network: Arc<dyn HostNetwork>) -> AgentResolver {
        AgentResolver { network, places: Fair::alone(AGENT_LOOKUPS_MAX) }
    }

    pub(super) fn network(&self) -> &dyn HostNetwork {
        &*self.network
    }

    /// The addresses of a name. It waits without a bound of its own; a look-up that has begun goes on when nobody waits for it
    /// any more, and holds its place until it is done.
    pub(super) async fn resolve(&self, name: String) -> io::Result<Vec<IpAddr>> {
        let held = self.places.take().await?;
        let network = Arc::clone(&self.network);
        let looking = tokio::spawn(async move {
            let found = network.resolve(&name).await;
            drop(held);
            found
        });
        looking.await.map_err(io::Error::other)?
    }
}
