//! What fans out, in pages: a lapsed session gives back its executions, a deleted agent's executions are cancelled.
use super::Reconciler;
use crate::house::House;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::command::Command;
use tenure_core::fold::Stream;
use tenure_core::id::{AgentId, SessionId, WorkerId};
use tenure_core::owed::{Deed, Kind};
use tenure_core::time::Time;
use tenure_core::{agent, execution, fleet};

const PAGE: u32 = 256;

pub struct Sweep(pub Arc<House>);

impl Reconciler for Sweep {
    fn kind(&self) -> Kind {
        Kind::Sweep
    }

    fn perform(&self, stream: Stream, deed: Deed) -> BoxFuture<'static, ()> {
        let house = Arc::clone(&self.0);
        Box::pin(async move {
            let (Stream::Worker(worker), Deed::Sweep { session, since }) = (stream, deed) else { return };
            if let Err(error) = sweep(&house, worker, session, since).await {
                tracing::error!(%session, %error, "a lapsed session cannot be swept yet");
            }
        })
    }
}

async fn sweep(house: &House, worker: WorkerId, session: SessionId, since: Time) -> Result<(), tenure_store::Error> {
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

pub struct Leave(pub Arc<House>);

impl Reconciler for Leave {
    fn kind(&self) -> Kind {
        Kind::Leave
    }

    fn perform(&self, stream: Stream, _deed: Deed) -> BoxFuture<'static, ()> {
        let house = Arc::clone(&self.0);
        Box::pin(async move {
            let Stream::Agent(agent) = stream else { return };
            if let Err(error) = leave(&house, agent).await {
                tracing::error!(%agent, %error, "a deleted agent cannot leave yet");
            }
        })
    }
}

async fn leave(house: &House, agent: AgentId) -> Result<(), tenure_store::Error> {
    for id in house.records.open_of(agent, PAGE).await? {
        let cancel = execution::Command::Cancel { why: "its agent was deleted".to_string() };
        house.report(Actor::Daemon, Command::Execution(id, cancel)).await;
    }
    house.report(Actor::Daemon, Command::Agent(agent, agent::Command::FinishDelete)).await;
    Ok(())
}
