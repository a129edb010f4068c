//! Reads the rows and payloads of one iteration into the context that a prompt is made of. Only stored data, so that a
//! daemon that starts again asks the same.
use super::prompt::{self, Exchange, PastCall, PastTurn, PromptContext};
use crate::model::failure::{Failure, Kind};
use crate::model::request::{Request, Tag};
use crate::reconcile::program;
use crate::records::{Error, ReadTxn, found};
use crate::upstream::Upstream;
use serde_json::{Value, json};
use std::sync::Arc;
use tenure_core::bound::Hash;
use tenure_core::call::{CallRow, Holder};
use tenure_core::execution::Turn;
use tenure_core::id::ExecutionId;
use tenure_core::manifest::AgentKind;
use tenure_core::plan::Plan;
use tenure_core::row::Note;
use tenure_store::rows::conversations;
use tenure_store::rows::turns::NoteEntry;

/// Of the former attempt's output that the next one is shown.
const OUTPUT_BYTES_MAX: usize = 2048;
/// Of a conversation, what the model is shown: so many turns, and as many texts as could be of a result's length.
const EXCHANGES_MAX: u32 = 20;
const EXCHANGE_TEXTS_MAX: usize = 6;

pub(super) fn plan(txn: &mut ReadTxn<'_>, id: ExecutionId) -> Result<Arc<Plan>, Error> {
    let execution = txn.execution(id)?;
    txn.plan(execution.agent, execution.revision)
}

/// What a turn asks, and what an answer to it goes on with.
pub(super) struct Question {
    pub(super) request: Request,
    /// The text of the turns before it that were not finished.
    pub(super) carried: String,
    /// What MCP servers bring.
    pub(super) upstream: Upstream,
}

/// The shortest request of a plan: the first turn on no input. None where its template cannot be rendered.
pub(super) fn shortest(plan: &Plan, result_bytes_max: usize) -> Option<Request> {
    let context = PromptContext {
        plan,
        upstream: &Upstream::default(),
        said: &[],
        input: "",
        briefing: None,
        iteration: 1,
        previous_error: "",
        notes: &[],
        turns: &[],
        result_bytes_max,
        tag: Tag::default(),
    };
    prompt::request(&context).ok()
}

/// The question of this turn; a template that cannot be rendered is a failure of the model call.
pub(super) fn request(
    txn: &mut ReadTxn<'_>,
    id: ExecutionId,
    plan: &Arc<Plan>,
    turn: Turn,
    result_bytes_max: usize,
) -> Result<Result<Question, Failure>, Error> {
    let execution = txn.execution(id)?;
    let input = plain(txn.text(execution.input)?);
    let briefing = execution.briefing.map(|briefing| txn.text(briefing)).transpose()?;
    let said = said_before(txn, id, result_bytes_max)?;
    let previous_error = previous_error(txn, id, plan, turn.iteration)?;
    let notes = notes_before(&txn.notes(id, turn.iteration)?, 0);
    let turns = past_turns(txn, id, turn.iteration)?;
    let upstream = Upstream::of(txn, plan, Holder::Execution(id), Some(turn.iteration))?;
    let tag = Tag { execution: id.to_string(), iteration: turn.iteration, turn: turn.turn + 1, attempt: turn.attempt };
    let context = PromptContext {
        plan,
        upstream: &upstream,
        said: &said,
        input: &input,
        briefing: briefing.as_deref(),
        iteration: turn.iteration,
        previous_error: &previous_error,
        notes: &notes,
        turns: &turns,
        result_bytes_max,
        tag,
    };
    let rendered = prompt::request(&context);
    let question = rendered.map(|request| Question { request, carried: prompt::carried(&turns), upstream });
    Ok(question.map_err(|error| {
        let hint = "shorten the instruction, the template or the input";
        Failure::new(Kind::ContextTooLong, format!("the prompt cannot be made: {error}"), hint)
    }))
}

/// What a program is asked with, in one text; none where the template cannot be rendered, with why.
pub(crate) fn program_prompt(
    txn: &mut ReadTxn<'_>,
    id: ExecutionId,
    plan: &Plan,
    iteration: u32,
) -> Result<Result<String, String>, Error> {
    let execution = txn.execution(id)?;
    let input = plain(txn.text(execution.input)?);
    let briefing = execution.briefing.map(|briefing| txn.text(briefing)).transpose()?;
    let previous_error = previous_error(txn, id, plan, iteration)?;
    let task = prompt::task(plan, &input, iteration, &previous_error);
    Ok(task.map(|task| briefing.into_iter().chain(task).collect::<Vec<_>>().join("\n\n")).map_err(|error| {
        format!("its prompt cannot be made: {error}; shorten the instruction, the template or the input")
    }))
}

/// An input that is a JSON string is shown as its text, anything else as the JSON that was given.
fn plain(input: String) -> String {
    serde_json::from_str::<String>(&input).unwrap_or(input)
}

/// In the place of what is kept no longer.
const ERASED: &str = "(erased)";

/// What was said before in the conversation that the execution is a turn of, oldest first: so much of it as the model is shown.
fn said_before(txn: &mut ReadTxn<'_>, id: ExecutionId, result_bytes_max: usize) -> Result<Vec<Exchange>, Error> {
    let Some(place) = conversations::of_execution(txn.parts().0, id)? else { return Ok(Vec::new()) };
    let turns = conversations::turns_before(txn.parts().0, place.conversation, place.turn, EXCHANGES_MAX)?;
    let (mut said, mut left) = (Vec::new(), result_bytes_max.saturating_mul(EXCHANGE_TEXTS_MAX));
    for turn in turns {
        let row = txn.execution(turn.execution)?;
        let shown = |text: Option<String>| text.map(|text| prompt::head_and_tail(text.trim(), result_bytes_max, ""));
        let message = shown(found(txn.text(row.input))?.map(plain)).unwrap_or_else(|| ERASED.to_string());
        let answer = match row.output {
            Some(output) => shown(found(txn.text(output))?).unwrap_or_else(|| ERASED.to_string()),
            None => format!("(no answer: {})", row.status.as_str()),
        };
        // What does not fit whole is left out with all that came before it.
        let Some(rest) = left.checked_sub(message.len() + answer.len()) else { break };
        left = rest;
        said.push(Exchange { message, answer });
    }
    said.reverse();
    Ok(said)
}

fn past_turns(txn: &mut ReadTxn<'_>, id: ExecutionId, iteration: u32) -> Result<Vec<PastTurn>, Error> {
    let (calls, notes) = (txn.calls(id, iteration)?, txn.notes(id, iteration)?);
    let mut past = Vec::new();
    for turn in txn.turns(id, iteration)? {
        let delta = txn.json(turn.delta)?;
        let asked = calls.iter().filter(|call| !call.validator && call.turn == turn.turn);
        let results = asked.map(|call| past_call(txn, call)).collect::<Result<_, _>>()?;
        let notes = notes_before(&notes, turn.turn + 1);
        past.push(PastTurn { delta, results, notes });
    }
    Ok(past)
}

/// What is said right before this turn. A word that this program does not know says nothing.
fn notes_before(notes: &[NoteEntry], turn: u32) -> Vec<Note> {
    notes.iter().filter(|note| note.turn == turn).filter_map(|note| note.note.parse().ok()).collect()
}

fn past_call(txn: &mut ReadTxn<'_>, call: &CallRow) -> Result<PastCall, Error> {
    let result = call.result.map(|result| result_of(txn, result)).transpose()?;
    let outcome = call.outcome.clone().unwrap_or_else(|| call.state.clone());
    let capability = call.capability.clone();
    let detail = call.detail.as_deref().map(serde_json::from_str).transpose().map_err(Error::Payload)?;
    let (exit_code, sentence) = (call.exit_code, call.sentence.clone());
    Ok(PastCall { capability, outcome, exit_code, result, detail, sentence })
}

/// What a call gave. A stored value that it read may be kept no longer: it was replaced or deleted since.
fn result_of(txn: &mut ReadTxn<'_>, result: Hash) -> Result<Value, Error> {
    match txn.json(result) {
        Err(Error::Gone(_)) if txn.is_erased(result)? => {
            Ok(json!({ "error": "what it gave is kept no longer: the value was changed since; read it again" }))
        }
        read => read,
    }
}

/// Why the attempt before this one failed, in the words that its validator or its clock gave.
fn previous_error(txn: &mut ReadTxn<'_>, id: ExecutionId, plan: &Plan, iteration: u32) -> Result<String, Error> {
    if iteration <= 1 {
        return Ok(String::new());
    }
    let cause = txn.iteration(id, iteration - 1)?.and_then(|row| row.cause).unwrap_or_default();
    let failed = txn.validations(id, iteration - 1)?.into_iter().find(|row| !row.pass);
    Ok(match (cause.as_str(), failed) {
        ("max_turns", _) => "The attempt used up its turns without a final answer. Be quicker.".to_string(),
        ("iteration_timeout", _) => "The attempt ran out of time.".to_string(),
        ("program", _) => program::failure(txn, id, iteration - 1)?,
        (cause, _) if cause.starts_with("model:") => "The attempt ended without an answer. Be brief.".to_string(),
        (_, Some(failed)) => {
            let reasons = format!("{} failed: {}", failed.validator, txn.text(failed.reasons)?);
            match output(txn, id, plan, iteration - 1)? {
                Some(output) => {
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

/// What the attempt has given, if anything.
pub(crate) fn output(
    txn: &mut ReadTxn<'_>,
    id: ExecutionId,
    plan: &Plan,
    iteration: u32,
) -> Result<Option<String>, Error> {
    match plan.kind() {
        AgentKind::Command | AgentKind::Hooks | AgentKind::Acp => program::output(txn, id, iteration),
        AgentKind::Llm => {
            let output = txn.turns(id, iteration)?.last().and_then(|turn| turn.output);
            output.map(|output| txn.text(output)).transpose()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::App;
    use crate::model::request::Message;
    use crate::testing::{Driven, app};

    async fn asked(app: &App, id: ExecutionId, result_bytes_max: usize) -> Vec<String> {
        let turn = Turn { iteration: 1, turn: 0, attempt: 1 };
        let read = app.records.read(move |txn| {
            let plan = plan(txn, id)?;
            request(txn, id, &plan, turn, result_bytes_max)
        });
        let messages = read.await.unwrap().unwrap().request.messages;
        let text = |message| match message {
            Message::User { text } => format!("user: {text}"),
            Message::Assistant { text, .. } => format!("model: {text}"),
            Message::Parts { .. } | Message::Tool { .. } => "tool".to_string(),
        };
        messages.into_iter().map(text).collect()
    }

    #[tokio::test]
    async fn a_turn_of_a_conversation_is_asked_with_what_was_said_before_it_and_no_more_than_fits() {
        let folder = tempfile::tempdir().unwrap();
        let (app, _store) = app(folder.path());
        let mut driven = Driven::start(&app).await;
        driven.converse("My name is Ada.", None).await;
        let conversation = driven.id;
        driven.begin_iteration().await;
        // A call makes a jail, whose end is what ends the iteration.
        driven.turn("I look.", 1, "{}").await;
        driven.turn("Hello Ada.", 0, "").await;
        driven.end_iteration(true, "fine").await;
        driven.converse("What is my name?", Some(conversation)).await;
        let messages = asked(&app, driven.id, 2048).await;
        assert_eq!(messages[..2], ["user: My name is Ada.", "model: Hello Ada."]);
        assert!(messages.len() == 3 && messages[2].contains("What is my name?"), "{messages:?}");
        let short = asked(&app, driven.id, 4).await;
        assert_eq!(short.len(), 1, "the control: what does not fit is left out, {short:?}");
        driven.converse("Hello?", None).await;
        assert_eq!(asked(&app, driven.id, 2048).await.len(), 1, "another conversation knows nothing of it");
    }
}
