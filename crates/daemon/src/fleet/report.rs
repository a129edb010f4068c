//! What a worker reports becomes commands, committed in the order in which it was sent: a call's end stands before the
//! release that follows it, however large its result is. An answer reaches whoever waits for it after its commit.
use super::connection::Connection;
use crate::app::App;
use crate::records::{Error, found};
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::Command;
use tenure_core::bound::Payload;
use tenure_core::call::{EndCall, Holder, Lease, Outcome, attributes_json};
use tenure_core::capability::Attributes;
use tenure_core::id::{CallId, WorkerId};
use tenure_core::manifest::Host;
use tenure_core::{execution, fleet, session};
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

async fn command(app: &App, connection: &Connection, report: &FromWorker) -> Result<Option<Command>, Error> {
    let (worker, connection) = (connection.worker, connection.id);
    Ok(match report {
        FromWorker::Outcome(outcome) => {
            let end = end_call(app, outcome, redirected(app, outcome).await?);
            Some(ended(outcome.holder, end))
        }
        FromWorker::Released { holder, iteration, traffic } => {
            let (iteration, traffic) = (*iteration, *traffic);
            Some(match *holder {
                Holder::Execution(id) => {
                    Command::Execution(id, execution::Command::Release { connection, iteration, traffic })
                }
                Holder::Session(id) => {
                    Command::Session(id, session::Command::Release { connection, jail: iteration, traffic })
                }
            })
        }
        FromWorker::JailLost { holder, iteration, leases, why, traffic } => {
            let (iteration, leases, why, traffic) = (*iteration, leases.clone(), why.clone(), *traffic);
            Some(match *holder {
                Holder::Execution(id) => {
                    let lose = execution::Command::LoseJail { connection, iteration, leases, why, traffic };
                    Command::Execution(id, lose)
                }
                Holder::Session(id) => {
                    let lose = session::Command::LoseJail { connection, jail: iteration, leases, why, traffic };
                    Command::Session(id, lose)
                }
            })
        }
        FromWorker::NetworkRefused { holder, iteration, refusals } => {
            let (iteration, refusals) = (*iteration, refusals.clone());
            Some(match *holder {
                Holder::Execution(id) => {
                    Command::Execution(id, execution::Command::RefuseNetwork { connection, iteration, refusals })
                }
                Holder::Session(id) => {
                    Command::Session(id, session::Command::RefuseNetwork { connection, jail: iteration, refusals })
                }
            })
        }
        FromWorker::Surveyed { host, .. } => {
            let survey = || fleet::Command::Survey { connection, host: host_payload(app, host) };
            is_news(app, worker, host).await?.then(|| Command::Worker(worker, survey()))
        }
        FromWorker::HomeRemoved { .. }
        | FromWorker::Stream { .. }
        | FromWorker::Files { .. }
        | FromWorker::Output { .. }
        | FromWorker::ToolsChanged { .. }
        | FromWorker::Beat { .. }
        | FromWorker::Hello(_) => None,
    })
}

/// The command by which its holder takes the end of a call.
pub(crate) fn ended(holder: Holder, end: EndCall) -> Command {
    match holder {
        Holder::Execution(id) => Command::Execution(id, execution::Command::EndCall(end)),
        Holder::Session(id) => Command::Session(id, session::Command::EndCall(end)),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Driven, TEST_TIMEOUT, app, run};
    use serde_json::json;
    use tenure_core::aggregate::Member;
    use tenure_core::bound::Hash;
    use tenure_core::call::{Fence, Proposal};
    use tenure_core::execution::{Answer, CallModel, Execution, Turn, Usage};
    use tenure_core::id::{ConnectionId, ExecutionId, Mint};
    use tenure_core::time::Time;
    use tokio::time::timeout;

    /// Larger than what is written inline.
    const LARGE_BYTES: usize = 1 << 20;

    fn proposal(app: &App) -> Proposal {
        let seen = Attributes { path: Some("/workspace/a".into()), ..Attributes::default() };
        Proposal {
            capability: "filesystem.read".into(),
            arguments: app.committer.payload(br#"{"path":"a"}"#.to_vec()),
            attributes: app.committer.payload(attributes_json(&seen).unwrap()),
            misfit: None,
        }
    }

    /// A call that the worker holds.
    async fn call_open(app: &App, driven: &mut Driven<'_>) -> (CallId, Lease) {
        driven.begin_iteration().await;
        let turn = Turn { iteration: 1, turn: 0, attempt: 1 };
        let (request, deadline) = (Hash::of(b"r"), app.committer.now().run.plus_ms(60_000));
        let call = CallModel {
            turn,
            model: "local".into(),
            request,
            deadline,
            reserved_micro_usd: Some(0),
            reserved_tokens: 0,
        };
        run(app, Command::Execution(driven.id, execution::Command::CallModel(call))).await;
        let answer = Answer {
            model: "local".into(),
            delta: app.committer.payload(br#"{"text":"","calls":[]}"#.to_vec()),
            output: None,
            calls: vec![proposal(app)],
            usage: Usage::default(),
            cassette: false,
        };
        let answered = run(app, Command::Execution(driven.id, execution::Command::AnswerModel { turn, answer })).await;
        let called = answered.decision.events.iter().find_map(|(_, event)| {
            let execution::Event::CallCalled(called) = Execution::read(event)? else { return None };
            Some((called.call, called.lease?))
        });
        called.unwrap()
    }

    #[tokio::test]
    async fn a_call_that_was_done_before_its_release_is_recorded_as_done() {
        let folder = tempfile::tempdir().unwrap();
        let (app, _store) = app(folder.path());
        let mut driven = Driven::start(&app).await;
        let ((call, lease), id) = (call_open(&app, &mut driven).await, driven.id);
        run(&app, Command::Execution(id, execution::Command::Cancel { why: "test".into() })).await;
        let read = app.records.read(move |txn| {
            let (row, call) = (txn.execution(id)?, txn.call(call)?);
            Ok((row.worker.unwrap(), row.connection.unwrap(), call.outcome))
        });
        let (worker, connection, outcome) = read.await.unwrap();
        assert_eq!(outcome, None, "the control: it is open");
        let served = Connection::open(worker, connection, lease.fence, 4, Host::default());
        let Lease { lease, fence } = lease;
        let (outcome, result) = (Outcome::Done { exit_code: None }, json!("x".repeat(LARGE_BYTES)));
        let done = CallOutcome { lease, fence, call, holder: id.into(), outcome, result, took_ms: 1, level: None };
        let (reports, waiting) = mpsc::channel(8);
        let (answers, mut answered) = mpsc::channel(8);
        reports.send(FromWorker::Outcome(Box::new(done))).await.unwrap();
        reports.send(FromWorker::Released { holder: id.into(), iteration: 1, traffic: None }).await.unwrap();
        drop(reports);
        report_in_order(Arc::clone(&app), served.connection, waiting, answers).await;
        assert!(matches!(answered.recv().await, Some(FromWorker::Outcome(_))));
        assert!(matches!(answered.recv().await, Some(FromWorker::Released { .. })));
        let ended = app.records.read(move |txn| Ok((txn.call(call)?.outcome, txn.execution(id)?.ended_at)));
        let (outcome, ended_at) = ended.await.unwrap();
        assert_eq!(outcome.as_deref(), Some("done"));
        assert!(ended_at.is_some(), "it was released after that");
    }

    #[tokio::test]
    async fn a_report_that_cannot_be_written_is_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let (app, _store) = app(folder.path());
        app.committer.space().fill();
        let mut mint = Mint::new(Time::from_millis(1), 1);
        let (worker, connection) = (WorkerId::mint(&mut mint), ConnectionId::mint(&mut mint));
        let served = Connection::open(worker, connection, Fence(1), 4, Host::default());
        let (reports, waiting) = mpsc::channel(8);
        let (answers, mut answered) = mpsc::channel(8);
        let holder = ExecutionId::mint(&mut mint).into();
        let refused = FromWorker::NetworkRefused { holder, iteration: 1, refusals: Vec::new() };
        reports.send(refused).await.unwrap();
        let reporting = report_in_order(Arc::clone(&app), served.connection, waiting, answers);
        timeout(TEST_TIMEOUT, reporting).await.unwrap();
        assert!(answered.recv().await.is_none(), "nobody is told what is not written");
        assert!(reports.is_closed(), "its connection sees that it must end");
    }
}
