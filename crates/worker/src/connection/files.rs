//! What people ask of agents' folders, answered beside the calls. Must never: hold up the connection, or a call.
use crate::runtime::WorkerRuntime;
use std::sync::Arc;
use tenure_core::id::AgentId;
use tenure_wire::files::{FilesAnswer, FilesAsked, FilesRefusal};
use tenure_wire::frame::FromWorker;
use tokio::sync::{Semaphore, mpsc};

/// Questions that are being answered; one more is told to come again.
const IN_HAND_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct Files {
    turns: Arc<Semaphore>,
    answers: mpsc::Sender<FromWorker>,
}

impl Files {
    pub(super) fn new(answers: mpsc::Sender<FromWorker>) -> Files {
        Files { turns: Arc::new(Semaphore::new(IN_HAND_MAX)), answers }
    }

    /// The task must be spawned.
    pub(super) fn answer(
        &self,
        runtime: Arc<WorkerRuntime>,
        count: u64,
        agent: AgentId,
        asked: FilesAsked,
        is_removed: bool,
    ) -> impl Future<Output = ()> + use<> {
        let (turn, answers) = (Arc::clone(&self.turns).try_acquire_owned(), self.answers.clone());
        async move {
            let answer = match turn {
                _ if is_removed => FilesAnswer::Refused(FilesRefusal::NoHome),
                Err(_) => FilesAnswer::Refused(FilesRefusal::Busy {}),
                Ok(turn) => {
                    let work = move || {
                        let answer = runtime.folders.answer(agent, asked);
                        drop(turn);
                        answer
                    };
                    tokio::task::spawn_blocking(work)
                        .await
                        .unwrap_or_else(|error| FilesAnswer::Refused(FilesRefusal::Failed { why: error.to_string() }))
                }
            };
            // Where the link is gone, nobody waits any more.
            let _ = answers.send(FromWorker::Files { count, answer }).await;
        }
    }
}
