//! The daemon's parts, as its reconcilers and faces reach them. It holds handles, never state of the domain.
use crate::commit::{self, Committer};
use crate::fleet::Fleet;
use crate::model::Models;
use crate::presence::Presence;
use crate::proxy::InHand;
use crate::reconcile::{Computing, Wakeups};
use crate::records::Records;
use crate::sink::Sinks;
use crate::vault::Vault;
use crate::watch::Watch;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::Command;
use tenure_policy::Policies;
use tenure_store as store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub struct App {
    pub committer: Committer,
    pub records: Records,
    pub models: Arc<dyn Models>,
    pub vault: Vault,
    /// What calls are judged by, compiled.
    pub policies: Arc<Policies>,
    pub computing: Computing,
    pub watch: Watch,
    pub presence: Presence,
    pub wakeups: Wakeups,
    pub fleet: Fleet,
    /// Model calls of programs that this daemon is at.
    pub in_hand: InHand,
    pub sinks: Sinks,
    /// The API that agents have, for programs in jails; none while the faces are not there.
    pub agent_api: watch::Sender<Option<axum::Router>>,
    pub closing: CancellationToken,
}

impl App {
    /// Commits what a reconciler found. `false`: refused, since the state had moved on, or not written; what is still
    /// owed then comes again.
    pub async fn report(&self, actor: Actor, command: Command) -> bool {
        let (stream, verb) = (command.stream(), command.verb().name);
        self.report_written(actor, command).await.unwrap_or_else(|error| {
            tracing::error!(%stream, verb, %error, "not written; it stays owed");
            false
        })
    }

    /// The same of what comes only once. `false`: refused, since the state had moved on.
    ///
    /// # Errors
    /// The store's: it is not written.
    pub async fn report_written(&self, actor: Actor, command: Command) -> Result<bool, store::Error> {
        let (stream, verb) = (command.stream(), command.verb().name);
        match self.committer.commit(actor, command).await {
            Ok(_) => Ok(true),
            Err(commit::Error::Refused(refusal)) => {
                tracing::debug!(%stream, verb, refusal = refusal.code(), "refused: the state has moved on");
                Ok(false)
            }
            Err(commit::Error::Store(error)) => Err(error),
        }
    }

    pub fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }
}
