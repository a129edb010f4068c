//! Owed Retain and Erase: what ended executions and sessions bound is erased once it is too old or too much, a page at a time. The decision
//! looks at the clock itself.
use crate::app::App;
use crate::records::Error;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::call::Holder;
use tenure_core::owed::Obligation;
use tenure_core::state::Home;
use tenure_core::{agent, execution, project, session};

pub async fn retain(app: Arc<App>, stream: Stream, _: Obligation) -> Result<(), Error> {
    let command = match Home::of(stream) {
        Some(Home::Agent(id)) => Command::Agent(id, agent::Command::Retain {}),
        Some(Home::Project(id)) => Command::Project(id, project::Command::Retain {}),
        None => return Ok(()),
    };
    app.report(Actor::Daemon, command).await;
    Ok(())
}

pub async fn erase(app: Arc<App>, stream: Stream, _: Obligation) -> Result<(), Error> {
    let command = match Holder::of(stream) {
        Some(Holder::Execution(id)) => Command::Execution(id, execution::Command::EraseRest {}),
        Some(Holder::Session(id)) => Command::Session(id, session::Command::EraseRest {}),
        None => return Ok(()),
    };
    app.report(Actor::Daemon, command).await;
    Ok(())
}
