//! Owed Perform: a call on our own rows is brought its arguments; the decision judges it, does it and ends it in one commit.
use crate::app::App;
use crate::records::Error;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::execution;
use tenure_core::owed::Obligation;

pub async fn perform(app: Arc<App>, stream: Stream, obligation: Obligation) -> Result<(), Error> {
    let (Stream::Execution(id), Obligation::Perform { call }) = (stream, obligation) else { return Ok(()) };
    let arguments = app.records.read(move |txn| {
        let row = txn.call(call)?;
        txn.payload(row.arguments)
    });
    let perform = execution::Command::Perform { call, arguments: arguments.await? };
    app.report(Actor::Daemon, Command::Execution(id, perform)).await;
    Ok(())
}
