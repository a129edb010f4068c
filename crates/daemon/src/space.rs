//! What a full disk allows: nothing new, but always to stop. When the ledger cannot grow, the ballast is given back to
//! the file system and used for endings alone; once there is room to make it again, work goes on.
use std::sync::Arc;
use std::time::Duration;
use tenure_core::command::Command;
use tenure_core::{agent, execution, fleet, project};
use tenure_store::Store;
use tokio::sync::watch;

/// How often room is looked for while the disk is full.
const RECHECK_EVERY: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub struct Space(Arc<State>);

struct State {
    store: Arc<Store>,
    /// A value and no signal: a signal kept for a waiter that was already awake would end a healthy worker later.
    full: watch::Sender<bool>,
}

impl Space {
    pub fn new(store: Arc<Store>) -> Space {
        Space(Arc::new(State { store, full: watch::Sender::new(false) }))
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
        let made = tokio::task::spawn_blocking(move || store.ballast().make()).await;
        if !matches!(made, Ok(Ok(()))) {
            self.fill();
        }
    }

    /// Waits until there is room for the ballast again, and makes it.
    pub async fn emptied(&self) {
        loop {
            tokio::time::sleep(RECHECK_EVERY).await;
            let store = Arc::clone(&self.0.store);
            let made = tokio::task::spawn_blocking(move || store.ballast().make()).await;
            if matches!(made, Ok(Ok(()))) {
                self.0.full.send_replace(false);
                tracing::info!("there is room for the ledger again: work goes on");
                return;
            }
        }
    }
}

/// Whether a command only ends or gives back, so that it may use the ballast.
pub fn only_ends(command: &Command) -> bool {
    match command {
        Command::Project(command) => match command {
            project::Command::RevokeKey { .. } | project::Command::AcceptRestore { .. } => true,
            project::Command::Found { .. }
            | project::Command::RecordStart { .. }
            | project::Command::CreateKey { .. } => false,
        },
        Command::Agent(_, command) => match command {
            agent::Command::Delete | agent::Command::FinishDelete => true,
            agent::Command::Deploy(_) => false,
        },
        Command::Execution(_, command) => match command {
            execution::Command::Cancel { .. }
            | execution::Command::Unbind { .. }
            | execution::Command::LoseJail { .. }
            | execution::Command::Release { .. }
            | execution::Command::FailModel { .. }
            | execution::Command::LoseModel { .. }
            | execution::Command::EndCall(_)
            | execution::Command::Expire => true,
            execution::Command::Start(_)
            | execution::Command::Bind { .. }
            | execution::Command::RefuseNetwork { .. }
            | execution::Command::CallModel(_)
            | execution::Command::AnswerModel { .. }
            | execution::Command::Check { .. }
            | execution::Command::Validate { .. } => false,
        },
        Command::Worker(_, command) => match command {
            fleet::Command::OpenSession { .. }
            | fleet::Command::LapseSession { .. }
            | fleet::Command::FinishSweep { .. } => true,
            fleet::Command::Register { .. } => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::pin::pin;
    use tenure_store::Options;

    #[tokio::test]
    async fn a_disk_that_filled_once_is_reported_once_and_not_again_after_it_has_room() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::new(folder.path());
        options.ballast_bytes = 4096;
        let space = Space::new(Arc::new(Store::open(options).unwrap()));
        let mut filled = pin!(space.filled());
        assert!(filled.as_mut().now_or_never().is_none(), "the disk has room");
        space.fill();
        filled.await;
        assert!(space.is_full());
        space.emptied().await;
        assert!(!space.is_full());
        assert!(space.filled().now_or_never().is_none(), "a healthy worker would be ended");
        space.fill();
        assert!(space.filled().now_or_never().is_some(), "the control: the next full disk is reported");
    }
}
