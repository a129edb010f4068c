//! Owed Sweep: a lapsed connection gives back its executions, in pages.
use crate::app::App;
use crate::records::Error;
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::owed::Obligation;
use tenure_core::{execution, fleet};

const PAGE: u32 = 256;

pub async fn sweep(app: Arc<App>, stream: Stream, obligation: Obligation) -> Result<(), Error> {
    let (Stream::Worker(worker), Obligation::Sweep { connection, since }) = (stream, obligation) else {
        return Ok(());
    };
    loop {
        let page = app.records.bound_to(connection, PAGE).await?;
        if page.is_empty() {
            break;
        }
        let before = page.len();
        let mut moved = 0;
        for id in page {
            let why = "its worker's connection lapsed".to_string();
            let unbind = execution::Command::Unbind { connection, since, why };
            moved += usize::from(app.report(Actor::Daemon, Command::Execution(id, unbind)).await);
        }
        if moved == 0 {
            tracing::error!(%connection, before, "no execution of a lapsed connection could be given back");
            return Ok(());
        }
    }
    app.report(Actor::Daemon, Command::Worker(worker, fleet::Command::FinishSweep { connection })).await;
    Ok(())
}
