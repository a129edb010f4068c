//! Owed FanOut, ExpireMessages, DeadLetterMessages: a message to many is delivered in pages; deadlines that are over are told;
//! what waits for an agent that is gone becomes a dead letter.
use crate::app::App;
use crate::records::Error;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::agent;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::comms::{Audience, PAGE};
use tenure_core::owed::Obligation;
use tenure_store::rows::messages;

pub async fn fan_out(app: Arc<App>, stream: Stream, obligation: Obligation) -> Result<(), Error> {
    let (Stream::Agent(sender), Obligation::FanOut { message, to, after }) = (stream, obligation) else {
        return Ok(());
    };
    let page = app.records.read(move |txn| {
        let sql = txn.parts().0;
        let found = match &to {
            Audience::Label { key, value } => messages::labelled(sql, (key, value), after, PAGE)?,
            Audience::Channel { channel } => messages::subscribers(sql, channel, after, PAGE)?,
            Audience::Agent { .. } | Audience::Person { .. } => Vec::new(),
        };
        let more = found.len() >= PAGE as usize;
        Ok((found.last().copied().filter(|_| more), found))
    });
    let (scanned, recipients) = page.await?;
    let command = agent::Command::FanOut { message, after, recipients, scanned };
    app.report(Actor::Daemon, Command::Agent(sender, command)).await;
    Ok(())
}

pub async fn expire(app: Arc<App>, stream: Stream, _: Obligation) -> Result<(), Error> {
    let Stream::Agent(agent) = stream else { return Ok(()) };
    app.report(Actor::Daemon, Command::Agent(agent, agent::Command::ExpireMessages {})).await;
    Ok(())
}

pub async fn dead_letter(app: Arc<App>, stream: Stream, _: Obligation) -> Result<(), Error> {
    let Stream::Agent(agent) = stream else { return Ok(()) };
    app.report(Actor::Daemon, Command::Agent(agent, agent::Command::DeadLetterMessages {})).await;
    Ok(())
}
