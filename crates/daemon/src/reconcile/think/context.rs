//! Reads the rows and payloads of one iteration into the context that a prompt is made of. Only stored data, so that a
//! daemon that starts again asks the same.
use super::prompt::{self, PastCall, PastTurn, PromptContext};
use crate::model::failure::{Failure, Kind};
use crate::model::request::{Request, Tag};
use crate::records::{Error, ReadTxn};
use std::sync::Arc;
use tenure_core::call::CallRow;
use tenure_core::execution::Turn;
use tenure_core::id::ExecutionId;
use tenure_core::plan::Plan;
use tenure_core::row::Note;

/// Of the former attempt's output that the next one is shown.
const OUTPUT_BYTES_MAX: usize = 2048;

pub(super) fn plan(txn: &mut ReadTxn<'_>, id: ExecutionId) -> Result<Arc<Plan>, Error> {
    let execution = txn.execution(id)?;
    txn.plan(execution.agent, execution.revision)
}

/// What a turn asks, and what an answer to it goes on with.
pub(super) struct Question {
    pub(super) request: Request,
    /// The text of the turns before it that were not finished.
    pub(super) carried: String,
}

/// The question of this turn; a template that cannot be rendered is a failure of the model call.
pub(super) fn request(
    txn: &mut ReadTxn<'_>,
    id: ExecutionId,
    plan: &Plan,
    turn: Turn,
    result_bytes_max: usize,
) -> Result<Result<Question, Failure>, Error> {
    let input = txn.execution(id)?.input;
    let input = plain(txn.text(input)?);
    let previous_error = previous_error(txn, id, turn.iteration)?;
    let turns = past_turns(txn, id, turn.iteration)?;
    let tag = Tag { execution: id.to_string(), iteration: turn.iteration, turn: turn.turn + 1, attempt: turn.attempt };
    let context = PromptContext {
        plan,
        input: &input,
        iteration: turn.iteration,
        previous_error: &previous_error,
        turns: &turns,
        result_bytes_max,
        tag,
    };
    let rendered = prompt::request(&context);
    let question = rendered.map(|request| Question { request, carried: prompt::carried(&turns) });
    Ok(question.map_err(|error| {
        let hint = "shorten the instruction, the template or the input";
        Failure::new(Kind::ContextTooLong, format!("the prompt cannot be made: {error}"), hint)
    }))
}

/// An input that is a JSON string is shown as its text, anything else as the JSON that was given.
fn plain(input: String) -> String {
    serde_json::from_str::<String>(&input).unwrap_or(input)
}

fn past_turns(txn: &mut ReadTxn<'_>, id: ExecutionId, iteration: u32) -> Result<Vec<PastTurn>, Error> {
    let (calls, notes) = (txn.calls(id, iteration)?, txn.notes(id, iteration)?);
    let mut past = Vec::new();
    for turn in txn.turns(id, iteration)? {
        let delta = txn.json(turn.delta)?;
        let asked = calls.iter().filter(|call| !call.validator && call.turn == turn.turn);
        let results = asked.map(|call| past_call(txn, call)).collect::<Result<_, _>>()?;
        let lost = |note: &tenure_store::rows::turns::NoteEntry| {
            note.turn == turn.turn + 1 && note.note == Note::SandboxLost.as_str()
        };
        past.push(PastTurn { delta, results, sandbox_lost: notes.iter().any(lost) });
    }
    Ok(past)
}

fn past_call(txn: &mut ReadTxn<'_>, call: &CallRow) -> Result<PastCall, Error> {
    let result = call.result.map(|result| txn.json(result)).transpose()?;
    let outcome = call.outcome.clone().unwrap_or_else(|| call.state.clone());
    let capability = call.capability.clone();
    let detail = call.detail.as_deref().map(serde_json::from_str).transpose().map_err(Error::Payload)?;
    let (exit_code, sentence) = (call.exit_code, call.sentence.clone());
    Ok(PastCall { capability, outcome, exit_code, result, detail, sentence })
}

/// Why the attempt before this one failed, in the words that its validator or its clock gave.
fn previous_error(txn: &mut ReadTxn<'_>, id: ExecutionId, iteration: u32) -> Result<String, Error> {
    if iteration <= 1 {
        return Ok(String::new());
    }
    let cause = txn.iteration(id, iteration - 1)?.and_then(|row| row.cause).unwrap_or_default();
    let failed = txn.validations(id, iteration - 1)?.into_iter().find(|row| !row.pass);
    Ok(match (cause.as_str(), failed) {
        ("max_turns", _) => "The attempt used up its turns without a final answer. Be quicker.".to_string(),
        ("iteration_timeout", _) => "The attempt ran out of time.".to_string(),
        (cause, _) if cause.starts_with("model:") => "The attempt ended without an answer. Be brief.".to_string(),
        (_, Some(failed)) => {
            let reasons = format!("{} failed: {}", failed.validator, txn.text(failed.reasons)?);
            match txn.turns(id, iteration - 1)?.last().and_then(|turn| turn.output) {
                Some(output) => {
                    let output = txn.text(output)?;
                    format!(
                        "{reasons}\nThe output was:\n{}",
                        prompt::head_and_tail(output.trim(), OUTPUT_BYTES_MAX, "")
                    )
                }
                None => reasons,
            }
        }
        (_, None) => String::new(),
    })
}
