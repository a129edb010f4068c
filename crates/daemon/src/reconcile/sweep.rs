//! Owed Sweep: a lapsed connection gives back its executions and sessions, in pages.
use crate::app::App;
use crate::records::Error;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::owed::Obligation;
use tenure_core::{execution, fleet, session};

const PAGE: u32 = 256;

pub async fn sweep(app: Arc<App>, stream: Stream, obligation: Obligation) -> Result<(), Error> {
    let (Stream::Worker(worker), Obligation::Sweep { connection, since }) = (stream, obligation) else {
        return Ok(());
    };
    let why = || "its worker's connection lapsed".to_string();
    loop {
        let executions = app.records.bound_to(connection, PAGE).await?.into_iter().map(|id| {
            let unbind = execution::Command::Unbind { connection, since, why: why() };
            Command::Execution(id, unbind)
        });
        let sessions = app.records.sessions_bound_to(connection, PAGE).await?.into_iter().map(|id| {
            let unbind = session::Command::Unbind { connection, since, why: why() };
            Command::Session(id, unbind)
        });
        let page: Vec<Command> = executions.chain(sessions).collect();
        if page.is_empty() {
            break;
        }
        let before = page.len();
        let mut moved = 0;
        for unbind in page {
            moved += usize::from(app.report(Actor::Daemon, unbind).await);
        }
        if moved == 0 {
            tracing::error!(%connection, before, "nothing of a lapsed connection could be given back");
            return Ok(());
        }
    }
    app.report(Actor::Daemon, Command::Worker(worker, fleet::Command::FinishSweep { connection })).await;
    Ok(())
}
