//! Owed Dispatch and Release: a leased call becomes a frame to the worker that holds its lease, and its outcome a
//! commit; a closing iteration's jail is destroyed, and only its proof of death ends the iteration.
//! A lost connection ends nothing here: it lapses, and what it held is given back.
use crate::app::App;
use crate::fleet::Broken;
use crate::records::{Error, ReadTxn};
use std::sync::Arc;
use std::time::Duration;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::bound::Payload;
use tenure_core::call::{EndCall, Lease, Outcome};
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
    let (outcome, attributes) = match frame {
        Ok((frame, attributes)) => (connection.call(frame).await, attributes),
        // The host has changed since the deploy: an image is gone, a language has another version.
        Err(problem) => (Some(unopened(id, call, lease, &problem)), Attributes::default()),
    };
    let Some(answer) = outcome else { return Ok(()) };
    let end = EndCall {
        call: answer.call,
        lease: Lease { lease: answer.lease, fence: answer.fence },
        attributes: redirected(&app, &answer.outcome, attributes),
        outcome: answer.outcome,
        result: Some(app.committer.payload(answer.result.to_string().into_bytes())),
        took_ms: answer.took_ms,
        level: answer.level,
    };
    app.report(Actor::Worker(connection.worker), Command::Execution(id, execution::Command::EndCall(end))).await;
    Ok(())
}

/// What a judge sees of a call that met a link: the path behind it, all else as it was.
fn redirected(app: &App, outcome: &Outcome, attributes: Attributes) -> Option<Payload> {
    let Outcome::Redirected { path } = outcome else { return None };
    let behind = Attributes { path: Some(path.clone()), ..attributes };
    tenure_core::call::attributes_json(&behind).ok().map(|json| app.committer.payload(json))
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
) -> Result<Result<(LeasedCall, Attributes), Problem>, Error> {
    let (row, execution) = (txn.call(call)?, txn.execution(id)?);
    let plan = txn.plan(execution.agent, execution.revision)?;
    let confinement = match Confinement::of(&plan.sandbox, host) {
        Ok(confinement) => confinement,
        Err(problem) => return Ok(Err(problem)),
    };
    let attributes: Attributes = txn.json(row.attributes)?;
    let frame = LeasedCall {
        lease: lease.lease,
        fence: lease.fence,
        call,
        execution: id,
        iteration: row.iteration,
        agent: execution.agent,
        arguments: txn.json(row.arguments)?,
        capability: row.capability,
        path: attributes.path.clone(),
        confinement,
        deadline_ms: plan.limits.iteration_timeout_ms,
    };
    Ok(Ok((frame, attributes)))
}

pub async fn release(app: Arc<App>, stream: Stream, obligation: Obligation) -> Result<(), Error> {
    let (Stream::Execution(id), Obligation::Release { iteration, connection, last }) = (stream, obligation) else {
        return Ok(());
    };
    let Some(connection) = app.fleet.by_connection(connection) else { return Ok(()) };
    let agent = app.records.read(move |txn| Ok(txn.execution(id)?.agent)).await?;
    match tokio::time::timeout(RELEASE_TIMEOUT, connection.release(agent, id, iteration, last)).await {
        Ok(Ok(traffic)) => {
            let release = execution::Command::Release { connection: connection.id, iteration, traffic };
            app.report(Actor::Worker(connection.worker), Command::Execution(id, release)).await;
        }
        Ok(Err(Broken)) => {}
        Err(_) => {
            tracing::error!(execution = %id, "the worker does not destroy a jail; it is ended");
            connection.end();
        }
    }
    Ok(())
}
