//! Owed Validate: computes what a validator finds, or asks for the one call that it needs first. What is computed is computed
//! outside the store's readers, on a few threads of its own kind and under a deadline.
mod check;

use crate::app::App;
use crate::platform::Blocking;
use crate::reconcile::think;
use crate::records::{Error, ReadTxn};
use check::{EndedCall, Evidence, Step};
use std::sync::Arc;
use std::time::Duration;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::call::{Proposal, attributes_json};
use tenure_core::capability;
use tenure_core::execution::{self, Finding};
use tenure_core::id::{CallId, ExecutionId};
use tenure_core::manifest::Validator;
use tenure_core::owed::Obligation;
use tenure_core::plan::Plan;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Validators that compute at the same time.
const PLACES: usize = 2;
/// A pattern or schema that takes longer fails its iteration.
const COMPUTE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where validators compute.
pub struct Computing {
    /// Each holds its place until it really ends, also past its deadline.
    places: Arc<Semaphore>,
    blocking: Blocking,
}

impl Computing {
    pub fn new(blocking: Blocking) -> Computing {
        Computing { places: Arc::new(Semaphore::new(PLACES)), blocking }
    }
}

pub async fn validate(app: Arc<App>, stream: Stream, obligation: Obligation) -> Result<(), Error> {
    let (Stream::Execution(id), Obligation::Validate { iteration, index, check }) = (stream, obligation) else {
        return Ok(());
    };
    let read = app.records.read(move |txn| {
        let execution = txn.execution(id)?;
        let plan = txn.plan(execution.agent, execution.revision)?;
        let validator = plan.validators.get(index as usize).cloned().ok_or(Error::Gone("validator"))?;
        Ok((validator, evidence(txn, id, &plan, iteration, check)?))
    });
    let (validator, evidence) = read.await?;
    let word = validator.as_str();
    let command = match compute(&app.computing, validator, evidence).await {
        Step::Call { capability, arguments } => {
            let attributes = capability::find(capability).map(|known| known.attributes(&arguments)).unwrap_or_default();
            let attributes = attributes_json(&attributes).unwrap_or_else(|_| b"{}".to_vec());
            let proposal = Proposal {
                capability: capability.to_string(),
                arguments: app.committer.payload(arguments.to_string().into_bytes()),
                attributes: app.committer.payload(attributes),
                misfit: None,
            };
            execution::Command::Check { iteration, index, proposal }
        }
        Step::Found { pass, reasons } => {
            let reasons = app.committer.payload(reasons.into_bytes());
            let score_milli = if pass { 1000 } else { 0 };
            let finding = Finding { validator: word.to_string(), pass, score_milli, reasons };
            execution::Command::Validate { iteration, index, finding }
        }
    };
    app.report(Actor::Daemon, Command::Execution(id, command)).await;
    Ok(())
}

async fn compute(computing: &Computing, validator: Validator, evidence: Evidence) -> Step {
    let late = || {
        let reasons = format!("The validator took longer than {} s.", COMPUTE_TIMEOUT.as_secs());
        Step::Found { pass: false, reasons }
    };
    // Waiting for a place counts as nobody's slowness; the iteration's own clock ends it.
    let place = Arc::clone(&computing.places).acquire_owned().await;
    let step = computing.blocking.spawn(move || {
        let step = check::step(&validator, &evidence);
        drop(place);
        step
    });
    let computed = async {
        step.await
            .unwrap_or_else(|error| Step::Found { pass: false, reasons: format!("The validator failed: {error}.") })
    };
    timeout(COMPUTE_TIMEOUT, computed).await.unwrap_or_else(|_| late())
}

fn evidence(
    txn: &mut ReadTxn<'_>,
    id: ExecutionId,
    plan: &Plan,
    iteration: u32,
    check: Option<CallId>,
) -> Result<Evidence, Error> {
    let calls = txn.calls(id, iteration)?;
    let output = think::output(txn, id, plan, iteration)?.unwrap_or_default();
    let runs = calls.iter().filter(|call| !call.validator && call.capability == "process.run");
    let last_exit_code = runs.filter_map(|call| call.exit_code).next_back();
    let call = match check.and_then(|check| calls.iter().find(|call| call.id == check)) {
        None => None,
        Some(call) => {
            let result = call.result.map(|result| txn.json(result)).transpose()?.unwrap_or_default();
            let outcome = call.outcome.clone().unwrap_or_else(|| call.state.clone());
            Some(EndedCall { outcome, exit_code: call.exit_code, result })
        }
    };
    Ok(Evidence { output, last_exit_code, call })
}
