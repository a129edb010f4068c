//! Owed Dispatch and Release: a leased call becomes a frame to the worker that holds its lease; a closing iteration's jail
//! is destroyed, and only its proof of death ends the iteration. What the worker answers is committed by its connection,
//! in the order in which it came; here it is only waited for.
//! A lost connection ends nothing here: it lapses, and what it held is given back.
use crate::app::App;
use crate::fleet::{Broken, end_call};
use crate::records::{Error, ReadTxn};
use std::sync::Arc;
use std::time::Duration;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::call::{Lease, Outcome};
use tenure_core::capability::Attributes;
use tenure_core::execution;
use tenure_core::id::{CallId, ExecutionId};
use tenure_core::manifest::{Host, Problem};
use tenure_core::owed::Obligation;
use tenure_wire::confinement::Confinement;
use tenure_wire::frame::{CallOutcome, LeasedCall};

/// A worker that has not destroyed a jail by then is ended itself.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(20);

pub async fn dispatch(app: Arc<App>, stream: Stream, obligation: Obligation) -> Result<(), Error> {
    let (Stream::Execution(id), Obligation::Dispatch { call, lease, connection }) = (stream, obligation) else {
        return Ok(());
    };
    let Some(connection) = app.fleet.by_connection(connection) else { return Ok(()) };
    let lease = Lease { lease, fence: connection.fence };
    let framed = |host: Arc<Host>| app.records.read(move |txn| frame(txn, id, call, lease, &host));
    let known = Arc::clone(&connection.host.borrow());
    let mut frame = framed(known).await?;
    if frame.is_err()
        && let Some(now) = connection.survey().await
    {
        // What it said last may be of its first moment, or of an hour when its container engine was down.
        frame = framed(now).await?;
    }
    match frame {
        // What came of it is committed, or is given back when the connection lapses.
        Ok(frame) => drop(connection.call(frame).await),
        // The host has changed since the deploy: an image is gone, a language has another version.
        Err(problem) => {
            let end = end_call(&app, &unopened(id, call, lease, &problem), None);
            app.report(Actor::Worker(connection.worker), Command::Execution(id, execution::Command::EndCall(end))).await;
        }
    }
    Ok(())
}

fn unopened(execution: ExecutionId, call: CallId, lease: Lease, problem: &Problem) -> CallOutcome {
    CallOutcome {
        lease: lease.lease,
        fence: lease.fence,
        call,
        execution,
        outcome: Outcome::Failed { code: "sandbox".to_string() },
        result: serde_json::json!({ "error": format!("the sandbox cannot be opened any more: {problem}") }),
        took_ms: 0,
        level: None,
    }
}

fn frame(
    txn: &mut ReadTxn<'_>,
    id: ExecutionId,
    call: CallId,
    lease: Lease,
    host: &Host,
) -> Result<Result<LeasedCall, Problem>, Error> {
    let (row, execution) = (txn.call(call)?, txn.execution(id)?);
    let plan = txn.plan(execution.agent, execution.revision)?;
    let confinement = match Confinement::of(&plan.sandbox, host) {
        Ok(confinement) => confinement,
        Err(problem) => return Ok(Err(problem)),
    };
    let attributes: Attributes = txn.json(row.attributes)?;
    Ok(Ok(LeasedCall {
        lease: lease.lease,
        fence: lease.fence,
        call,
        execution: id,
        iteration: row.iteration,
        agent: execution.agent,
        arguments: txn.json(row.arguments)?,
        capability: row.capability,
        path: attributes.path,
        confinement,
        deadline_ms: plan.limits.iteration_timeout_ms,
    }))
}

pub async fn release(app: Arc<App>, stream: Stream, obligation: Obligation) -> Result<(), Error> {
    let (Stream::Execution(id), Obligation::Release { iteration, connection, last }) = (stream, obligation) else {
        return Ok(());
    };
    let Some(connection) = app.fleet.by_connection(connection) else { return Ok(()) };
    let agent = app.records.read(move |txn| Ok(txn.execution(id)?.agent)).await?;
    match tokio::time::timeout(RELEASE_TIMEOUT, connection.release(agent, id, iteration, last)).await {
        // Once proven dead it is released; what a lost connection held is given back when it lapses.
        Ok(Ok(_) | Err(Broken)) => {}
        Err(_) => {
            tracing::error!(execution = %id, "the worker does not destroy a jail; it is ended");
            connection.end();
        }
    }
    Ok(())
}
