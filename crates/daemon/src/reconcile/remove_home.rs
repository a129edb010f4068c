//! Owed RemoveHome: once the grace of an archived agent is over, the worker where its work folder lies removes it.
use crate::app::App;
use crate::fleet::Broken;
use crate::records::Error;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::agent;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::owed::Obligation;

pub async fn remove_home(app: Arc<App>, stream: Stream, obligation: Obligation) -> Result<(), Error> {
    let (Stream::Agent(agent), Obligation::RemoveHome { worker }) = (stream, obligation) else { return Ok(()) };
    let Some(connection) = app.fleet.connection(worker) else { return Ok(()) };
    match connection.remove_home(agent).await {
        Ok(None) => {
            let removed = agent::Command::RecordHomeRemoved { worker };
            app.report(Actor::Worker(worker), Command::Agent(agent, removed)).await;
        }
        Ok(Some(why)) => tracing::warn!(%agent, why, "its work folder cannot be removed yet"),
        Err(Broken) => {}
    }
    Ok(())
}
