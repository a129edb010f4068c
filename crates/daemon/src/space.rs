//! What a full disk allows: nothing new, but always to stop. When the ledger cannot grow, the ballast is given back to
//! the file system and used for endings alone; once there is room to make it again, work goes on.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tenure_core::command::Command;
use tenure_core::{agent, execution, fleet, project};
use tenure_store::Store;
use tokio::sync::Notify;

/// How often room is looked for while the disk is full.
const LOOK_EVERY: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub struct Space(Arc<State>);

struct State {
    store: Arc<Store>,
    full: AtomicBool,
    filled: Notify,
}

impl Space {
    pub fn new(store: Arc<Store>) -> Space {
        Space(Arc::new(State { store, full: AtomicBool::new(false), filled: Notify::new() }))
    }

    pub fn is_full(&self) -> bool {
        self.0.full.load(Ordering::Acquire)
    }

    /// The ledger could not grow: give the ballast back, once.
    pub fn fill(&self) {
        if self.0.full.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::error!("the disk that holds the ledger is full: nothing new is done, endings are still recorded");
        if let Err(error) = self.0.store.ballast().release() {
            tracing::error!(%error, "the ballast cannot be given back");
        }
        self.0.filled.notify_waiters();
        self.0.filled.notify_one();
    }

    /// Resolves each time the disk has become full.
    pub async fn filled(&self) {
        self.0.filled.notified().await;
    }

    /// Makes the ballast of a fresh start; where there is no room for it, the disk is as good as full.
    pub async fn prepare(&self) {
        let store = Arc::clone(&self.0.store);
        let made = tokio::task::spawn_blocking(move || store.ballast().make()).await;
        if !matches!(made, Ok(Ok(()))) {
            self.fill();
        }
    }

    /// Looks for room until there is enough for the ballast again.
    pub async fn emptied(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let store = Arc::clone(&self.0.store);
            let made = tokio::task::spawn_blocking(move || store.ballast().make()).await;
            if matches!(made, Ok(Ok(()))) {
                self.0.full.store(false, Ordering::Release);
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
