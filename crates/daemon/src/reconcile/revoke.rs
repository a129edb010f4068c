//! What fans out, in pages: a lapsed session gives back its executions, a deleted agent's executions are cancelled.
use crate::house::House;
use crate::records::Error;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::command::Command;
use tenure_core::fold::Stream;
use tenure_core::owed::Deed;
use tenure_core::{agent, execution, fleet};

const PAGE: u32 = 256;

pub async fn sweep(house: Arc<House>, stream: Stream, deed: Deed) -> Result<(), Error> {
    let (Stream::Worker(worker), Deed::Sweep { session, since }) = (stream, deed) else { return Ok(()) };
    loop {
        let page = house.records.bound_to(session, PAGE).await?;
        if page.is_empty() {
            break;
        }
        let before = page.len();
        let mut moved = 0;
        for id in page {
            let why = "its worker's session lapsed".to_string();
            let unbind = execution::Command::Unbind { session, since, why };
            moved += usize::from(house.report(Actor::Daemon, Command::Execution(id, unbind)).await);
        }
        if moved == 0 {
            tracing::error!(%session, before, "no execution of a lapsed session could be given back");
            return Ok(());
        }
    }
    house.report(Actor::Daemon, Command::Worker(worker, fleet::Command::FinishSweep { session })).await;
    Ok(())
}

pub async fn leave(house: Arc<House>, stream: Stream, _: Deed) -> Result<(), Error> {
    let Stream::Agent(agent) = stream else { return Ok(()) };
    for id in house.records.open_of(agent, PAGE).await? {
        let cancel = execution::Command::Cancel { why: "its agent was deleted".to_string() };
        house.report(Actor::Daemon, Command::Execution(id, cancel)).await;
    }
    house.report(Actor::Daemon, Command::Agent(agent, agent::Command::FinishDelete)).await;
    Ok(())
}
