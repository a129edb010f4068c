//! Owed EndKey: the overlap in which an agent's old key lived beside its new one is over.
use crate::app::App;
use crate::records::Error;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::agent;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::owed::Obligation;

pub async fn end_key(app: Arc<App>, stream: Stream, _: Obligation) -> Result<(), Error> {
    let Stream::Agent(agent) = stream else { return Ok(()) };
    app.report(Actor::Daemon, Command::Agent(agent, agent::Command::EndKey {})).await;
    Ok(())
}
