//! Owed SweepState: stored values whose time is over are ended, a page at a time. The decision looks at the clock itself.
use crate::app::App;
use crate::records::Error;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::owed::Obligation;
use tenure_core::state::Home;
use tenure_core::{agent, project};

pub async fn sweep_state(app: Arc<App>, stream: Stream, _: Obligation) -> Result<(), Error> {
    let command = match Home::of(stream) {
        Some(Home::Agent(id)) => Command::Agent(id, agent::Command::SweepState {}),
        Some(Home::Project(id)) => Command::Project(id, project::Command::SweepShared {}),
        None => return Ok(()),
    };
    app.report(Actor::Daemon, command).await;
    Ok(())
}
