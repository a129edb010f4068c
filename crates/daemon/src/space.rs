//! What a full disk allows: nothing new, but always to stop. When the ledger cannot grow, the ballast is given back to
//! the file system and used for endings alone; once there is room to make it again, work goes on.
use crate::platform::Blocking;
use std::sync::Arc;
use std::time::Duration;
use tenure_store::Store;
use tokio::sync::watch;

/// How often room is looked for while the disk is full.
const RECHECK_EVERY: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub struct Space(Arc<State>);

struct State {
    store: Arc<Store>,
    blocking: Blocking,
    /// A value and no signal: a signal kept for a waiter that was already awake would end a healthy worker later.
    full: watch::Sender<bool>,
}

impl Space {
    pub fn new(store: Arc<Store>, blocking: Blocking) -> Space {
        Space(Arc::new(State { store, blocking, full: watch::Sender::new(false) }))
    }

    pub fn is_full(&self) -> bool {
        *self.0.full.borrow()
    }

    /// Records that the ledger could not grow, and gives the ballast back, once.
    pub fn fill(&self) {
        if self.0.full.send_replace(true) {
            return;
        }
        tracing::error!("the disk that holds the ledger is full: nothing new is done, endings are still recorded");
        if let Err(error) = self.0.store.ballast().release() {
            tracing::error!(%error, "the ballast cannot be given back");
        }
    }

    /// Resolves while the disk is full.
    pub async fn filled(&self) {
        let seen = self.0.full.subscribe().wait_for(|full| *full).await.map(|_| ());
        seen.expect("invariant: the sender lives as long as this handle");
    }

    /// Makes the ballast of a fresh start; where there is no room for it, the disk is as good as full.
    pub async fn prepare(&self) {
        let store = Arc::clone(&self.0.store);
        let made = self.0.blocking.spawn(move || store.ballast().make()).await;
        if !matches!(made, Ok(Ok(()))) {
            self.fill();
        }
    }

    /// Waits until there is room for the ballast again, and makes it.
    pub async fn emptied(&self) {
        loop {
            tokio::time::sleep(RECHECK_EVERY).await;
            let store = Arc::clone(&self.0.store);
            let made = self.0.blocking.spawn(move || store.ballast().make()).await;
            if matches!(made, Ok(Ok(()))) {
                self.0.full.send_replace(false);
                tracing::info!("there is room for the ledger again: work goes on");
                return;
            }
        }
    }
}
