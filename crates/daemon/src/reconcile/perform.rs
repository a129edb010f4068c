//! Owed Perform: a call on our own rows is brought its arguments, and the value that it keeps, whose bytes are on disk before
//! the commit; the decision judges it, does it and ends it in that one commit.
//! Where its arguments are lost it is brought none, and the decision ends it as failed by that.
use crate::app::App;
use crate::records::{Error, found};
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::call::Holder;
use tenure_core::owed::Obligation;
use tenure_core::{capability, execution, session};

pub async fn perform(app: Arc<App>, stream: Stream, obligation: Obligation) -> Result<(), Error> {
    let (Some(holder), Obligation::Perform { call }) = (Holder::of(stream), obligation) else { return Ok(()) };
    let arguments = app.records.read(move |txn| {
        let row = txn.call(call)?;
        Ok((row.capability, found(txn.payload(row.arguments))?))
    });
    let (capability, arguments) = arguments.await?;
    let arguments = arguments.unwrap_or_else(|| app.committer.payload(Vec::new()));
    let read = capability::find(&capability).zip(serde_json::from_slice(arguments.bytes()).ok());
    let value = read.and_then(|(known, read)| known.value(&read)).map(|bytes| app.committer.payload(bytes));
    let perform = match holder {
        Holder::Execution(id) => Command::Execution(id, execution::Command::Perform { call, arguments, value }),
        Holder::Session(id) => Command::Session(id, session::Command::Perform { call, arguments, value }),
    };
    app.report(Actor::Daemon, perform).await;
    Ok(())
}
