//! Owed EndModelCall: a program's model call is open. Whoever has it in hand ends it; one that nobody has was lost with an earlier
//! life of the daemon, and is charged at its reservation. It never asks again: the program that asked is gone.
use crate::app::App;
use crate::records::Error;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::execution;
use tenure_core::owed::Obligation;

pub async fn end_model_call(app: Arc<App>, stream: Stream, obligation: Obligation) -> Result<(), Error> {
    let (Stream::Execution(id), Obligation::EndModelCall { call }) = (stream, obligation) else { return Ok(()) };
    // Once its end is committed this is owed no more, and the task is dropped.
    app.in_hand.let_go(call).await;
    app.report(Actor::Daemon, Command::Execution(id, execution::Command::LoseProxy { call })).await;
    Ok(())
}
