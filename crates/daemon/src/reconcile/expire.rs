//! Owed Expire: a clock has run out. The decision looks at the clocks itself.
use crate::app::App;
use crate::records::Error;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::execution;
use tenure_core::owed::Obligation;

pub async fn expire(app: Arc<App>, stream: Stream, _: Obligation) -> Result<(), Error> {
    let Stream::Execution(id) = stream else { return Ok(()) };
    app.report(Actor::Daemon, Command::Execution(id, execution::Command::Expire {})).await;
    Ok(())
}
