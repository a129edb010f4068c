//! Owed Dispatch, Cancel and Release: a leased call becomes a frame to the worker that holds its lease; a closing iteration's jail
//! is destroyed, and only its proof of death ends the iteration. What the worker answers is committed by its connection,
//! in the order in which it came; here it is only waited for.
//! A lost connection ends nothing here: it lapses, and what it held is given back.
use crate::app::App;
use crate::fleet::{Broken, end_call, ended};
use crate::records::{Error, ReadTxn, found};
use crate::vault::{SealedUse, sealed_use};
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::aggregate::Stream;
use tenure_core::call::{Holder, Lease, Outcome};
use tenure_core::capability::Attributes;
use tenure_core::capability::hook::Hook;
use tenure_core::id::CallId;
use tenure_core::manifest::{Host, Problem};
use tenure_core::owed::Obligation;
use tenure_wire::api::secret::SecretValue;
use tenure_wire::confinement::Confinement;
use tenure_wire::frame::{CallOutcome, Credential, LeasedCall};

pub async fn dispatch(app: Arc<App>, stream: Stream, obligation: Obligation) -> Result<(), Error> {
    let (Some(holder), Obligation::Dispatch { call, lease, connection }) = (Holder::of(stream), obligation) else {
        return Ok(());
    };
    let Some(connection) = app.fleet.by_connection(connection) else { return Ok(()) };
    let lease = Lease { lease, fence: connection.fence };
    let framed = |host: Arc<Host>| app.records.read(move |txn| frame(txn, holder, call, lease, &host));
    let known = Arc::clone(&connection.host.borrow());
    let mut frame = framed(known).await?;
    if let Err(Unsendable::Sandbox(_)) = frame
        && let Some(now) = connection.survey().await
    {
        // What it said last may be of its first moment, or of an hour when its container engine was down.
        frame = framed(now).await?;
    }
    let frame = match frame {
        Ok((frame, used)) => with_credential(&app, frame, used),
        Err(why) => Err(why),
    };
    match frame {
        // What came of it is committed, or is given back when the connection lapses.
        Ok(frame) => drop(connection.call(frame).await),
        Err(why) => {
            let end = end_call(&app, &unsent(holder, call, lease, &why), None);
            app.report(Actor::Worker(connection.worker), ended(holder, end)).await;
        }
    }
    Ok(())
}

/// Why no worker can be asked for a call.
#[derive(Debug, thiserror::Error)]
enum Unsendable {
    /// The host has changed since the deploy: an image is gone, a language has another version.
    #[error("the sandbox cannot be opened any more: {0}")]
    Sandbox(Problem),
    #[error("its arguments are not those that were bound")]
    ArgumentsLost,
    /// It may not, or cannot, be sent with the secret that it names.
    #[error("{0}")]
    Secret(String),
}

fn unsent(holder: Holder, call: CallId, lease: Lease, why: &Unsendable) -> CallOutcome {
    let code = match why {
        Unsendable::Sandbox(_) => "sandbox",
        Unsendable::ArgumentsLost => "arguments_lost",
        Unsendable::Secret(_) => "secret_refused",
    };
    CallOutcome {
        lease: lease.lease,
        fence: lease.fence,
        call,
        holder,
        outcome: Outcome::Failed { code: code.to_string() },
        result: serde_json::json!({ "error": why.to_string() }),
        took_ms: 0,
        level: None,
    }
}

fn frame(
    txn: &mut ReadTxn<'_>,
    holder: Holder,
    call: CallId,
    lease: Lease,
    host: &Host,
) -> Result<Result<(LeasedCall, Option<SealedUse>), Unsendable>, Error> {
    let row = txn.call(call)?;
    let (agent, revision, iteration) = match holder {
        Holder::Execution(id) => {
            let execution = txn.execution(id)?;
            (execution.agent, execution.revision, row.iteration)
        }
        Holder::Session(id) => {
            let session = txn.session(id)?;
            // It is of the call's revision as long as the call has its lease.
            (session.agent, session.revision.ok_or(Error::Gone("jail of the session"))?, session.jails)
        }
    };
    let plan = txn.plan(agent, revision)?;
    let confinement = match Confinement::of(&plan.sandbox, host) {
        Ok(confinement) => Confinement { mcp: plan.mcp.clone(), ..confinement },
        Err(problem) => return Ok(Err(Unsendable::Sandbox(problem))),
    };
    let attributes = found(txn.json::<Attributes>(row.attributes))?;
    let arguments = found(txn.json(row.arguments))?;
    let (Some(attributes), Some(arguments)) = (attributes, arguments) else {
        return Ok(Err(Unsendable::ArgumentsLost));
    };
    let used = match sealed_use(txn, (agent, &plan), &row.capability, &arguments)? {
        Ok(used) => used,
        Err(refused) => return Ok(Err(Unsendable::Secret(refused.to_string()))),
    };
    let task_ms = plan.limits.iteration_timeout_ms;
    let timeout_ms = Hook::of(&row.capability).map_or(task_ms, |hook| hook.timeout_ms(task_ms));
    let frame = LeasedCall {
        lease: lease.lease,
        fence: lease.fence,
        call,
        holder,
        iteration,
        agent,
        arguments,
        capability: row.capability,
        path: attributes.path,
        confinement,
        credential: None,
        deadline_ms: timeout_ms,
    };
    Ok(Ok((frame, used)))
}

/// Opens what the call may use, for the frame alone.
fn with_credential(app: &App, frame: LeasedCall, used: Option<SealedUse>) -> Result<LeasedCall, Unsendable> {
    let Some(SealedUse { id, name, version, sealed, placement }) = used else { return Ok(frame) };
    let value = app.vault.open(id, version, &sealed).map_err(|locked| Unsendable::Secret(locked.to_string()))?;
    let text = std::str::from_utf8(&value).map_err(|_| Unsendable::Secret("the value is no text".to_string()))?;
    let value = SecretValue::new(text.to_string());
    Ok(LeasedCall { credential: Some(Box::new(Credential { secret: name, value, placement })), ..frame })
}

pub async fn release(app: Arc<App>, stream: Stream, obligation: Obligation) -> Result<(), Error> {
    let (Some(holder), Obligation::Release { iteration, connection, last }) = (Holder::of(stream), obligation) else {
        return Ok(());
    };
    let Some(connection) = app.fleet.by_connection(connection) else { return Ok(()) };
    let agent = app.records.read(move |txn| match holder {
        Holder::Execution(id) => Ok(txn.execution(id)?.agent),
        Holder::Session(id) => Ok(txn.session(id)?.agent),
    });
    match connection.release(agent.await?, holder, iteration, last).await {
        // It is committed; or what a lost connection held is given back when that lapses.
        Ok(_) | Err(Broken) => Ok(()),
    }
}

/// The call's own outcome ends what is owed; where the frame was lost with its connection, so is the call.
pub async fn cancel(app: Arc<App>, _: Stream, obligation: Obligation) -> Result<(), Error> {
    let Obligation::Cancel { lease, connection, .. } = obligation else { return Ok(()) };
    let Some(connection) = app.fleet.by_connection(connection) else { return Ok(()) };
    match connection.cancel(lease).await {
        Ok(()) | Err(Broken) => Ok(()),
    }
}
