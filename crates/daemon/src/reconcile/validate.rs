//! Owed Validate: computes what a validator finds, or asks for the one call that it needs first.
mod check;

use crate::house::House;
use crate::records::{Error, Look};
use check::{Seen, SeenCall, Step};
use std::sync::Arc;
use tenure_core::actor::Actor;
use tenure_core::call::Proposal;
use tenure_core::capability;
use tenure_core::command::Command;
use tenure_core::execution::{self, Finding};
use tenure_core::fold::Stream;
use tenure_core::id::{CallId, ExecutionId};
use tenure_core::owed::Deed;

pub async fn validate(house: Arc<House>, stream: Stream, deed: Deed) -> Result<(), Error> {
    let (Stream::Execution(id), Deed::Validate { iteration, index, check }) = (stream, deed) else { return Ok(()) };
    let (word, step) = house
        .records
        .look(move |look| {
            let execution = look.execution(id)?;
            let manifest = look.manifest(execution.agent, execution.revision)?;
            let validator = manifest.validators().get(index as usize).ok_or(Error::Gone("validator"))?;
            let seen = seen(look, id, iteration, check)?;
            Ok((validator.as_str(), check::step(validator, &seen)))
        })
        .await?;
    let command = match step {
        Step::Call { capability, arguments } => {
            let attributes = capability::find(capability).map(|known| known.attributes(&arguments)).unwrap_or_default();
            let proposal = Proposal {
                capability: capability.to_string(),
                arguments: house.door.payload(arguments.to_string().into_bytes()),
                attributes,
                misfit: None,
            };
            execution::Command::Check { iteration, index, proposal }
        }
        Step::Found { pass, reasons } => {
            let reasons = house.door.payload(reasons.into_bytes());
            let score_milli = if pass { 1000 } else { 0 };
            let finding = Finding { validator: word.to_string(), pass, score_milli, reasons };
            execution::Command::Validate { iteration, index, finding }
        }
    };
    house.report(Actor::Daemon, Command::Execution(id, command)).await;
    Ok(())
}

fn seen(look: &mut Look<'_>, id: ExecutionId, iteration: u32, check: Option<CallId>) -> Result<Seen, Error> {
    let calls = look.calls(id, iteration)?;
    let output = match look.turns(id, iteration)?.last().and_then(|turn| turn.output) {
        Some(output) => look.text(output)?,
        None => String::new(),
    };
    let runs = calls.iter().filter(|call| !call.validator && call.capability == "process.run");
    let last_exit_code = runs.filter_map(|call| call.exit_code).next_back();
    let call = match check.and_then(|check| calls.iter().find(|call| call.id == check)) {
        None => None,
        Some(call) => {
            let result = call.result.map(|result| look.json(result)).transpose()?.unwrap_or_default();
            let outcome = call.outcome.clone().unwrap_or_else(|| call.state.clone());
            Some(SeenCall { outcome, exit_code: call.exit_code, result })
        }
    };
    Ok(Seen { output, last_exit_code, call })
}
