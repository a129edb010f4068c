//! Owed Dispatch and Release: a called call becomes a frame to the worker that holds its lease, and its outcome a
//! commit; a closing iteration's jail is destroyed, and only its proof of death ends the iteration.
//! A lost link ends nothing here: the session lapses, and what it held is given back.
use crate::fleet::Broken;
use crate::house::House;
use crate::records::{Error, Look};
use std::sync::Arc;
use std::time::Duration;
use tenure_core::actor::Actor;
use tenure_core::call::{Fence, Outcome};
use tenure_core::command::Command;
use tenure_core::execution::{self, EndCall};
use tenure_core::fold::Stream;
use tenure_core::id::{CallId, ExecutionId, LeaseId};
use tenure_core::manifest::{Host, Problem};
use tenure_core::owed::Deed;
use tenure_wire::confinement::Confinement;
use tenure_wire::frame::{CallOutcome, LeasedCall};

/// A worker that has not destroyed a jail by then is ended itself.
const RELEASE_DEADLINE: Duration = Duration::from_secs(20);

pub async fn dispatch(house: Arc<House>, stream: Stream, deed: Deed) -> Result<(), Error> {
    let (Stream::Execution(id), Deed::Dispatch { call, lease, session }) = (stream, deed) else { return Ok(()) };
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
    let answer = match frame {
        Ok(frame) => link.call(frame).await,
        // The host has changed since the deploy: an image is gone, a language has another version.
        Err(problem) => Some(CallOutcome {
            lease,
            fence,
            call,
            execution: id,
            outcome: Outcome::Failed { code: "sandbox".to_string() },
            result: serde_json::json!({ "error": format!("the sandbox cannot be opened any more: {problem}") }),
            took_ms: 0,
            level: None,
        }),
    };
    let Some(answer) = answer else { return Ok(()) };
    let end = EndCall {
        call: answer.call,
        lease: answer.lease,
        fence: answer.fence,
        outcome: answer.outcome,
        result: Some(house.door.payload(answer.result.to_string().into_bytes())),
        took_ms: answer.took_ms,
        level: answer.level,
    };
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
        path: None,
        capability: row.capability,
        confinement,
        deadline_ms: manifest.limits().iteration_timeout_ms,
    }))
}

pub async fn release(house: Arc<House>, stream: Stream, deed: Deed) -> Result<(), Error> {
    let (Stream::Execution(id), Deed::Release { iteration, session, last }) = (stream, deed) else { return Ok(()) };
    let Some(link) = house.link().filter(|link| link.session == session) else { return Ok(()) };
    let agent = house.records.look(move |look| Ok(look.execution(id)?.agent)).await?;
    match tokio::time::timeout(RELEASE_DEADLINE, link.release(agent, id, iteration, last)).await {
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
    Ok(())
}
