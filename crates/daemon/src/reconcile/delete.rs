//! Owed Delete and RemoveHome: a deleted agent's executions are cancelled, in pages, and its last one archives it; once its
//! grace is over, the worker where its work folder lies removes it.
use crate::app::App;
use crate::fleet::Broken;
use crate::records::Error;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::owed::Obligation;
use tenure_core::{agent, execution};

const PAGE: u32 = 256;

pub async fn delete(app: Arc<App>, stream: Stream, _: Obligation) -> Result<(), Error> {
    let Stream::Agent(agent) = stream else { return Ok(()) };
    for id in app.records.open_of(agent, PAGE).await? {
        let cancel = execution::Command::Cancel { why: "its agent was deleted".to_string() };
        app.report(Actor::Daemon, Command::Execution(id, cancel)).await;
    }
    Ok(())
}

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
