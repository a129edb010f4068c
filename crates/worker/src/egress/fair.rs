//! Places that the jails of one worker share, fair between agents. Must never: let one agent, whatever number of jails it has and
//! however long it holds its places, keep another agent waiting.
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tenure_core::id::AgentId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[derive(Debug)]
pub(crate) struct Fair {
    all: Arc<Semaphore>,
    /// Of one agent.
    each: usize,
    /// Of agents with a jail, or that hold a place.
    agents: Mutex<HashMap<AgentId, Weak<Semaphore>>>,
}

/// What one agent's jails take places by.
#[derive(Debug, Clone)]
pub(crate) struct AgentPlaces {
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

/// One place, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Fair {
    /// `each` times the agents that there can be should be no more than `all`: then nobody ever waits for another.
    pub(crate) fn new(all: usize, each: usize) -> Fair {
        Fair { all: Arc::new(Semaphore::new(all)), each, agents: Mutex::default() }
    }

    pub(crate) fn of(&self, agent: AgentId) -> AgentPlaces {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let own = agents.get(&agent).and_then(Weak::upgrade).unwrap_or_else(|| {
            agents.retain(|_, own| own.strong_count() > 0);
            let own = Arc::new(Semaphore::new(self.each));
            agents.insert(agent, Arc::downgrade(&own));
            own
        });
        AgentPlaces { all: Arc::clone(&self.all), own }
    }

    /// Of somebody who shares them with nobody.
    pub(crate) fn alone(each: usize) -> AgentPlaces {
        AgentPlaces { all: Arc::new(Semaphore::new(each)), own: Arc::new(Semaphore::new(each)) }
    }
}

impl AgentPlaces {
    /// Waits without a bound of its own.
    pub(crate) async fn take(&self) -> io::Result<Held> {
        // Its own first: while it waits for that, it holds nothing of the others'.
        let own = Arc::clone(&self.own).acquire_owned().await.map_err(io::Error::other)?;
        let all = Arc::clone(&self.all).acquire_owned().await.map_err(io::Error::other)?;
        Ok(Held { _own: own, _all: all })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tenure_core::id::Mint;
    use tenure_core::time::Time;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_holds_all_of_its_places_by_many_jails_keeps_no_other_waiting() {
        let mut mint = Mint::new(Time::from_millis(1), 1);
        let (greedy, other) = (AgentId::mint(&mut mint), AgentId::mint(&mut mint));
        let fair = Fair::new(4, 2);
        let jails: Vec<AgentPlaces> = (0..3).map(|_| fair.of(greedy)).collect();
        let held = [jails[0].take().await.unwrap(), jails[1].take().await.unwrap()];
        let waits = |places: AgentPlaces| async move { timeout(Duration::from_secs(1), places.take()).await.is_err() };
        assert!(waits(jails[2].clone()).await, "its third waits, whichever jail asks");
        assert!(!waits(fair.of(other)).await, "another agent's does not");
        drop(held);
        assert!(!waits(jails[2].clone()).await);
        drop(jails);
        drop(fair.of(other));
        assert!(fair.agents.lock().unwrap().len() <= 2, "who has no jail any more is forgotten in time");
    }
}
