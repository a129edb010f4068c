//! The daemon's parts, as its reconcilers and faces reach them. It holds handles, never state of the domain.
use crate::commit::{self, Committer};
use crate::fleet::Fleet;
use crate::model::router::Router;
use crate::reconcile::Wakeups;
use crate::records::Records;
use crate::watch::Watch;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::Command;
use tokio_util::sync::CancellationToken;

pub struct App {
    pub committer: Committer,
    pub records: Records,
    pub models: Arc<Router>,
    pub watch: Watch,
    pub wakeups: Wakeups,
    pub fleet: Fleet,
    pub closing: CancellationToken,
}

impl App {
    /// Commits what a reconciler found. `false`: refused, since the state had moved on, or not written; what is still
    /// owed then comes again.
    pub async fn report(&self, actor: Actor, command: Command) -> bool {
        let (stream, verb) = (command.stream(), command.verb().name);
        match self.committer.commit(actor, command).await {
            Ok(_) => true,
            Err(commit::Error::Refused(refusal)) => {
                tracing::debug!(%stream, verb, refusal = refusal.code(), "refused: the state has moved on");
                false
            }
            Err(commit::Error::Store(error)) => {
                tracing::error!(%stream, verb, %error, "not written; it stays owed");
                false
            }
        }
    }

    pub fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }
}
