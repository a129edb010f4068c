//! Owed Perform: a call on our own rows is brought its arguments; the decision judges it, does it and ends it in one commit.
//! Where its arguments are lost it is brought none, and the decision ends it as failed by that.
use crate::app::App;
use crate::records::{Error, found};
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::execution;
use tenure_core::owed::Obligation;

pub async fn perform(app: Arc<App>, stream: Stream, obligation: Obligation) -> Result<(), Error> {
    let (Stream::Execution(id), Obligation::Perform { call }) = (stream, obligation) else { return Ok(()) };
    let arguments = app.records.read(move |txn| {
        let row = txn.call(call)?;
        found(txn.payload(row.arguments))
    });
    let arguments = arguments.await?.unwrap_or_else(|| app.committer.payload(Vec::new()));
    let perform = execution::Command::Perform { call, arguments };
    app.report(Actor::Daemon, Command::Execution(id, perform)).await;
    Ok(())
}
