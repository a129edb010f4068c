//! Look-ups of names for all jails of one worker, fair between agents. Must never: let one agent's look-ups, whatever number of
//! jails it has and however long a resolver takes, keep another agent's waiting.
use super::network::HostNetwork;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tenure_core::id::AgentId;
use tokio::sync::Semaphore;

/// Look-ups at once of the whole worker, each of which holds a thread until the resolver gives up, and of one agent: so many
/// agents would have to hold all of theirs before another one waits.
const LOOKUPS_MAX: usize = 128;
const AGENT_LOOKUPS_MAX: usize = 8;

#[derive(Debug)]
pub struct Resolver {
    network: Arc<dyn HostNetwork>,
    all: Arc<Semaphore>,
    /// Of agents with a jail, or with a look-up that goes on.
    agents: Mutex<HashMap<AgentId, Weak<Semaphore>>>,
}

/// What the gates of one agent's jails look names up by.
#[derive(Debug, Clone)]
pub struct AgentResolver {
    network: Arc<dyn HostNetwork>,
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

impl Resolver {
    pub fn new(network: Arc<dyn HostNetwork>) -> Resolver {
        Resolver { network, all: Arc::new(Semaphore::new(LOOKUPS_MAX)), agents: Mutex::default() }
    }

    pub fn of(&self, agent: AgentId) -> AgentResolver {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let own = agents.get(&agent).and_then(Weak::upgrade).unwrap_or_else(|| {
            agents.retain(|_, own| own.strong_count() > 0);
            let own = Arc::new(Semaphore::new(AGENT_LOOKUPS_MAX));
            agents.insert(agent, Arc::downgrade(&own));
            own
        });
        AgentResolver { network: Arc::clone(&self.network), all: Arc::clone(&self.all), own }
    }
}

impl AgentResolver {
    /// Of a gate that shares its look-ups with no other.
    pub fn alone(network: Arc<dyn HostNetwork>) -> AgentResolver {
        let (all, own) = (Arc::new(Semaphore::new(LOOKUPS_MAX)), Arc::new(Semaphore::new(AGENT_LOOKUPS_MAX)));
        AgentResolver { network, all, own }
    }

    pub(super) fn network(&self) -> &dyn HostNetwork {
        &*self.network
    }

    /// The addresses of a name. It waits without a bound of its own; a look-up that has begun goes on when nobody waits for it
    /// any more, since no resolver can be interrupted, and holds its place until it is done.
    pub(super) async fn resolve(&self, name: String) -> io::Result<Vec<IpAddr>> {
        let own = Arc::clone(&self.own).acquire_owned().await.map_err(io::Error::other)?;
        let all = Arc::clone(&self.all).acquire_owned().await.map_err(io::Error::other)?;
        let network = Arc::clone(&self.network);
        let looking = tokio::spawn(async move {
            let found = network.resolve(&name).await;
            drop((own, all));
            found
        });
        looking.await.map_err(io::Error::other)?
    }
}
