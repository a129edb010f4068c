//! Reads the rows and payloads of one iteration into the story that a prompt is made of. Only stored data, so that a
//! daemon that starts again asks the same.
use super::prompt::{self, Delta, PastCall, PastTurn, Story};
use crate::house::House;
use crate::manifests::Error;
use crate::model::failure::{Failure, Kind};
use crate::model::request::{Request, Tag};
use tenure_core::bound::Hash;
use tenure_core::execution::Turn;
use tenure_core::id::ExecutionId;
use tenure_core::manifest::Manifest;
use tenure_store::rows;

/// The request of this turn; a template that cannot be rendered is a failure of the model call.
pub(super) async fn request(
    house: &House,
    id: ExecutionId,
    manifest: &Manifest,
    turn: Turn,
    result_bytes_max: usize,
) -> Result<Result<Request, Failure>, Error> {
    let execution = house.readers.execution(id).await?.ok_or(Error::Gone("execution"))?;
    let input = text(house, execution.input).await?;
    let previous_error = previous_error(house, id, turn.iteration).await?;
    let turns = past_turns(house, id, turn.iteration).await?;
    let tools = manifest.tools();
    let story = Story {
        manifest,
        tools: &tools,
        input: &input,
        iteration: turn.iteration,
        previous_error: &previous_error,
        turns: &turns,
        result_bytes_max,
        tag: Tag {
            execution: id.to_string(),
            iteration: turn.iteration,
            turn: turn.turn + 1,
            attempt: turn.attempt,
        },
    };
    Ok(prompt::request(&story).map_err(|error| {
        let hint = "shorten the instruction, the template or the input";
        Failure::new(Kind::ContextTooLong, format!("the prompt cannot be made: {error}"), hint)
    }))
}

async fn text(house: &House, hash: Hash) -> Result<String, Error> {
    Ok(String::from_utf8_lossy(&house.readers.payload(hash).await?).into_owned())
}

async fn past_turns(house: &House, id: ExecutionId, iteration: u32) -> Result<Vec<PastTurn>, Error> {
    let calls = house.readers.calls(id, iteration).await?;
    let lost = house.readers.notes(id, iteration).await?;
    let mut past = Vec::new();
    for turn in house.readers.turns(id, iteration).await? {
        let delta: Delta =
            serde_json::from_slice(&house.readers.payload(turn.delta).await?).map_err(Error::Payload)?;
        let mut results = Vec::new();
        for call in calls.iter().filter(|call| !call.validator && call.turn == turn.turn) {
            results.push(past_call(house, call).await?);
        }
        let sandbox_lost = lost.iter().any(|note| note.turn == turn.turn + 1);
        past.push(PastTurn { delta, results, sandbox_lost });
    }
    Ok(past)
}

async fn past_call(house: &House, call: &rows::Call) -> Result<PastCall, Error> {
    let result = match call.result {
        Some(result) => {
            Some(serde_json::from_slice(&house.readers.payload(result).await?).map_err(Error::Payload)?)
        }
        None => None,
    };
    let outcome = call.outcome.clone().unwrap_or_else(|| "lost".to_string());
    Ok(PastCall { outcome, exit_code: call.exit_code, result, sentence: call.sentence.clone() })
}

/// Why the attempt before this one failed, in the words that its validator or its clock gave.
async fn previous_error(house: &House, id: ExecutionId, iteration: u32) -> Result<String, Error> {
    if iteration <= 1 {
        return Ok(String::new());
    }
    let before = house.readers.iterations(id).await?.into_iter().find(|row| row.number == iteration - 1);
    let cause = before.and_then(|row| row.cause).unwrap_or_default();
    let failed = house.readers.validations(id, iteration - 1).await?.into_iter().find(|row| !row.pass);
    Ok(match (cause.as_str(), failed) {
        ("max_turns", _) => "The attempt used up its turns without a final answer. Be quicker.".to_string(),
        ("iteration_timeout", _) => "The attempt ran out of time.".to_string(),
        (_, Some(failed)) => format!("{} failed: {}", failed.validator, text(house, failed.reasons).await?),
        (_, None) => String::new(),
    })
}
