//! Owed Dispatch and Release: a called call becomes a frame to the worker that holds its lease, and its outcome a
//! commit; a closing iteration's jail is destroyed, and only its proof of death ends the iteration.
//! A lost link ends nothing here: the session lapses, and what it held is given back.
use super::Reconciler;
use crate::fleet::Broken;
use crate::house::House;
use crate::records::{Error, Look};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tenure_core::actor::Actor;
use tenure_core::call::{Fence, Outcome};
use tenure_core::command::Command;
use tenure_core::execution::{self, EndCall};
use tenure_core::fold::Stream;
use tenure_core::id::{CallId, ExecutionId, LeaseId, SessionId};
use tenure_core::manifest::{Host, Problem};
use tenure_core::owed::{Deed, Kind};
use tenure_wire::confinement::Confinement;
use tenure_wire::frame::{CallOutcome, LeasedCall};

/// A worker that has not destroyed a jail by then is ended itself.
const RELEASE_DEADLINE: Duration = Duration::from_secs(20);

pub struct Dispatch(pub Arc<House>);

impl Reconciler for Dispatch {
    fn kind(&self) -> Kind {
        Kind::Dispatch
    }

    fn perform(&self, stream: Stream, deed: Deed) -> BoxFuture<'static, ()> {
        let house = Arc::clone(&self.0);
        Box::pin(async move {
            let (Stream::Execution(id), Deed::Dispatch { call, lease, session }) = (stream, deed) else { return };
            if let Err(error) = dispatch(&house, id, call, lease, session).await {
                tracing::error!(execution = %id, %call, %error, "a call cannot be sent yet");
            }
        })
    }
}

async fn dispatch(
    house: &House,
    id: ExecutionId,
    call: CallId,
    lease: LeaseId,
    session: SessionId,
) -> Result<(), Error> {
    let Some(link) = house.link().filter(|link| link.session == session) else { return Ok(()) };
    let fence = link.fence;
    let worded = |host: Arc<Host>| house.records.look(move |look| frame(look, id, call, lease, fence, &host));
    let known = Arc::clone(&link.host.borrow());
    let mut frame = worded(known).await?;
    if frame.is_err()
        && let Some(now) = link.survey().await
    {
        // What it said last may be of its first moment, or of an hour when its container engine was down.
        frame = worded(now).await?;
    }
    let frame = match frame {
        Ok(frame) => frame,
        // The host has changed since the deploy: an image is gone, a language has another version.
        Err(problem) => {
            let result = serde_json::json!({ "error": format!("the sandbox cannot be opened any more: {problem}") });
            let end = EndCall {
                call,
                lease,
                fence,
                outcome: Outcome::Failed { code: "sandbox".to_string() },
                result: Some(house.door.payload(result.to_string().into_bytes())),
                took_ms: 0,
                level: None,
            };
            house.report(Actor::Worker(link.worker), Command::Execution(id, execution::Command::EndCall(end))).await;
            return Ok(());
        }
    };
    let Some(answer) = link.call(frame).await else { return Ok(()) };
    let end = end_call(house, answer);
    house.report(Actor::Worker(link.worker), Command::Execution(id, execution::Command::EndCall(end))).await;
    Ok(())
}

fn frame(
    look: &mut Look<'_>,
    id: ExecutionId,
    call: CallId,
    lease: LeaseId,
    fence: Fence,
    host: &Host,
) -> Result<Result<LeasedCall, Problem>, Error> {
    let (row, execution) = (look.call(call)?, look.execution(id)?);
    let manifest = look.manifest(execution.agent, execution.revision)?;
    let confinement = match Confinement::of(&manifest, host) {
        Ok(confinement) => confinement,
        Err(problem) => return Ok(Err(problem)),
    };
    Ok(Ok(LeasedCall {
        lease,
        fence,
        call,
        execution: id,
        iteration: row.iteration,
        agent: execution.agent,
        arguments: look.json(row.arguments)?,
        capability: row.capability,
        confinement,
        deadline_ms: manifest.limits().iteration_timeout_ms,
    }))
}

fn end_call(house: &House, answer: CallOutcome) -> EndCall {
    let result = house.door.payload(answer.result.to_string().into_bytes());
    EndCall {
        call: answer.call,
        lease: answer.lease,
        fence: answer.fence,
        outcome: answer.outcome,
        result: Some(result),
        took_ms: answer.took_ms,
        level: answer.level,
    }
}

pub struct Release(pub Arc<House>);

impl Reconciler for Release {
    fn kind(&self) -> Kind {
        Kind::Release
    }

    fn perform(&self, stream: Stream, deed: Deed) -> BoxFuture<'static, ()> {
        let house = Arc::clone(&self.0);
        Box::pin(async move {
            let (Stream::Execution(id), Deed::Release { iteration, session, last }) = (stream, deed) else { return };
            let Some(link) = house.link().filter(|link| link.session == session) else { return };
            match tokio::time::timeout(RELEASE_DEADLINE, link.release(id, iteration, last)).await {
                Ok(Ok(traffic)) => {
                    let release = execution::Command::Release { session, iteration, traffic };
                    house.report(Actor::Worker(link.worker), Command::Execution(id, release)).await;
                }
                Ok(Err(Broken)) => {}
                Err(_) => {
                    tracing::error!(execution = %id, "the worker does not destroy a jail; it is ended");
                    link.end();
                }
            }
        })
    }
}
