//! What a worker reports becomes commands, committed in the order in which it was sent: a call's end stands before the
//! release that follows it, however large its result is. An answer reaches whoever waits for it after its commit.
use super::connection::Connection;
use crate::app::App;
use crate::records::{Error, found};
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::Command;
use tenure_core::bound::Payload;
use tenure_core::call::{EndCall, Lease, Outcome, attributes_json};
use tenure_core::capability::Attributes;
use tenure_core::id::{CallId, WorkerId};
use tenure_core::manifest::Host;
use tenure_core::{execution, fleet};
use tenure_store::rows::workers;
use tenure_wire::frame::{CallOutcome, FromWorker};
use tokio::sync::mpsc;

/// Ends with the connection's last report, or with the first that cannot be written: a worker reports nothing twice, so
/// the connection must end then, and what it held is given back.
pub(super) async fn report_in_order(
    app: Arc<App>,
    connection: Connection,
    mut reports: mpsc::Receiver<FromWorker>,
    answers: mpsc::Sender<FromWorker>,
) {
    while let Some(report) = reports.recv().await {
        if let Err(error) = commit(&app, &connection, &report).await {
            tracing::error!(worker = %connection.worker, %error, "what it reported cannot be written; it is ended");
            return;
        }
        // Nobody waits any more once the connection was ended.
        let _ = answers.send(report).await;
    }
}

/// A refused report is one that came too late, and is let through all the same.
async fn commit(app: &App, connection: &Connection, report: &FromWorker) -> Result<(), Error> {
    let Some(command) = command(app, connection, report).await? else { return Ok(()) };
    app.report_written(Actor::Worker(connection.worker), command).await?;
    Ok(())
}

async fn command(
    app: &App,
    connection: &Connection,
    report: &FromWorker,
) -> Result<Option<Command>, Error> {
    let (worker, connection) = (connection.worker, connection.id);
    Ok(match report {
        FromWorker::Outcome(outcome) => {
            let end = end_call(app, outcome, redirected(app, outcome).await?);
            Some(Command::Execution(outcome.execution, execution::Command::EndCall(end)))
        }
        FromWorker::Released { execution, iteration, traffic } => {
            let (iteration, traffic) = (*iteration, traffic.clone());
            Some(Command::Execution(*execution, execution::Command::Release { connection, iteration, traffic }))
        }
        FromWorker::JailLost { execution, iteration, leases, why, traffic } => {
            let (iteration, leases, why, traffic) = (*iteration, leases.clone(), why.clone(), traffic.clone());
            let lose = execution::Command::LoseJail { connection, iteration, leases, why, traffic };
            Some(Command::Execution(*execution, lose))
        }
        FromWorker::NetworkRefused { execution, iteration, refusals } => {
            let (iteration, refusals) = (*iteration, refusals.clone());
            let refuse = execution::Command::RefuseNetwork { connection, iteration, refusals };
            Some(Command::Execution(*execution, refuse))
        }
        FromWorker::Surveyed { host, .. } => {
            let survey = || fleet::Command::Survey { connection, host: host_payload(app, host) };
            is_news(app, worker, host).await?.then(|| Command::Worker(worker, survey()))
        }
        FromWorker::HomeRemoved { .. }
        | FromWorker::Output { .. }
        | FromWorker::Beat { .. }
        | FromWorker::Hello(_) => None,
    })
}

/// The end of a leased call, with what a judge is to see where it must be judged again.
pub(crate) fn end_call(app: &App, outcome: &CallOutcome, attributes: Option<Payload>) -> EndCall {
    EndCall {
        call: outcome.call,
        lease: Lease { lease: outcome.lease, fence: outcome.fence },
        outcome: outcome.outcome.clone(),
        result: Some(app.committer.payload(outcome.result.to_string().into_bytes())),
        attributes,
        took_ms: outcome.took_ms,
        level: outcome.level.clone(),
    }
}

/// What a judge sees of a call that met a link: the path behind it, all else as it was. None of another call, nor where
/// it cannot be told any more.
async fn redirected(app: &App, outcome: &CallOutcome) -> Result<Option<Payload>, Error> {
    let Outcome::Redirected { path } = &outcome.outcome else { return Ok(None) };
    let Some(attributes) = attributes(app, outcome.call).await? else { return Ok(None) };
    let behind = Attributes { path: Some(path.clone()), ..attributes };
    Ok(attributes_json(&behind).ok().map(|json| app.committer.payload(json)))
}

async fn attributes(app: &App, call: CallId) -> Result<Option<Attributes>, Error> {
    let read = app.records.read(move |txn| {
        let row = txn.call(call)?;
        txn.json(row.attributes)
    });
    found(read.await)
}

/// Whether the ledger knows the worker's host as another: what was said before may never have been written.
async fn is_news(app: &App, worker: WorkerId, host: &Host) -> Result<bool, Error> {
    let read = app.records.read(move |txn| {
        let row = workers::get(txn.parts().0, worker)?;
        let known = row.and_then(|row| row.host).ok_or(Error::Gone("host"))?;
        txn.json::<Host>(known)
    });
    Ok(found(read.await)?.is_none_or(|known| known != *host))
}

/// What a worker's host can do, on its way to be bound.
pub(super) fn host_payload(app: &App, host: &Host) -> Payload {
    let json = serde_json::to_vec(host).expect("invariant: a host is JSON with text keys");
    app.committer.payload(json)
}
