//! `/v1/executions/{id}/logs` and `/output`: what iterations said and did, read back from rows and bound data.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::Deserialize;
use tenure_core::bound::Hash;
use tenure_core::id::ExecutionId;
use tenure_core::row::{TurnRow, ValidationRow};
use tenure_store::rows::calls::CallEntry;
use tenure_store::rows::iterations::{self, IterationEntry};
use tenure_wire::api::List;
use tenure_wire::api::execution::{Call, Iteration, IterationLog, IterationStatus, Target, TurnLog, Validation};
use tenure_wire::problem::{Code, Problem};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Rooms;
use super::auth::Viewer;
use super::body::{Params, Segment};
use super::problem::{Answer, Failure};
use crate::commit;
use crate::reconcile::think::Delta;
use crate::records::{Error, Look};

/// An execution has at most so many iterations.
const ITERATIONS_MAX: u32 = 1000;
const VALIDATIONS_MAX: u32 = 64 * ITERATIONS_MAX;
/// Of a call's result.
const RESULT_CHARS_MAX: usize = 4096;

pub(super) fn routes() -> OpenApiRouter<Arc<Rooms>> {
    OpenApiRouter::new().routes(routes!(logs)).routes(routes!(output))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LogParams {
    /// Only this one.
    iteration: Option<u32>,
}

/// What each iteration said and did.
#[utoipa::path(
    get, path = "/v1/executions/{execution}/logs", tag = "executions",
    params(("execution" = String, Path, description = "Id or short id"), LogParams),
    responses((status = 200, body = List<IterationLog>), (status = "4XX", body = Problem))
)]
async fn logs(
    State(rooms): State<Arc<Rooms>>,
    _: Viewer,
    Segment(wanted): Segment,
    Params(params): Params<LogParams>,
) -> Answer<List<IterationLog>> {
    let entry = rooms.execution(&wanted).await?;
    let attempts = rooms.iterations(entry.id, params.iteration).await?;
    if let (Some(number), true) = (params.iteration, attempts.is_empty()) {
        let detail = format!("{} has no iteration {number}", entry.id);
        return Err(Code::IterationUnknown.problem(detail).into());
    }
    let mut items = Vec::with_capacity(attempts.len());
    for attempt in attempts {
        // One look an iteration, so that a long log holds no snapshot of the database open.
        let log = rooms.records.look(move |look| attempt.into_log(look));
        items.push(log.await?);
    }
    Ok(Out(List { items, next_cursor: None }))
}

/// The final text of an execution that completed.
#[utoipa::path(
    get, path = "/v1/executions/{execution}/output", tag = "executions",
    params(("execution" = String, Path, description = "Id or short id")),
    responses((status = 200, body = String, content_type = "text/plain"), (status = "4XX", body = Problem))
)]
async fn output(
    State(rooms): State<Arc<Rooms>>,
    _: Viewer,
    Segment(wanted): Segment,
) -> Result<impl IntoResponse, Failure> {
    let entry = rooms.execution(&wanted).await?;
    match rooms.text(entry.output).await? {
        Some(text) => Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text)),
        None => {
            let detail = format!("{} is {}, and only a completed execution has an output", entry.id, entry.status);
            Err(Code::NotEnded.problem(detail).into())
        }
    }
}

/// One iteration as its rows tell it.
pub(super) struct Attempt {
    row: IterationEntry,
    turns: Vec<TurnRow>,
    calls: Vec<CallEntry>,
    validations: Vec<(ValidationRow, Option<String>)>,
}

impl Rooms {
    pub(super) async fn iterations(&self, execution: ExecutionId, only: Option<u32>) -> Result<Vec<Attempt>, Failure> {
        let (from, limit) = only.map_or((1, ITERATIONS_MAX), |number| (number, 1));
        let rows = self.reader().read(move |sql| {
            let rows = iterations::of(sql, execution, from, limit)?;
            let validations = iterations::validations_of(sql, execution, from, VALIDATIONS_MAX)?;
            Ok((rows, validations))
        });
        let (rows, validations) = rows.await?;
        let mut attempts = Vec::with_capacity(rows.len());
        for row in rows.into_iter().filter(|row| only.is_none_or(|number| row.number == number)) {
            let own: Vec<_> = validations.iter().filter(|found| found.iteration == row.number).cloned().collect();
            let read = self.records.look(move |look| attempt(look, execution, row, own));
            attempts.push(read.await?);
        }
        Ok(attempts)
    }
}

fn attempt(
    look: &mut Look<'_>,
    execution: ExecutionId,
    row: IterationEntry,
    validations: Vec<ValidationRow>,
) -> Result<Attempt, Error> {
    let (turns, calls) = (look.turns(execution, row.number)?, look.calls(execution, row.number)?);
    let validations = validations
        .into_iter()
        .map(|found| readable(look, found.reasons).map(|reasons| (found, reasons.filter(|text| !text.is_empty()))))
        .collect::<Result<_, _>>()?;
    Ok(Attempt { row, turns, calls, validations })
}

/// The bytes as text; none where they were erased.
fn readable(look: &mut Look<'_>, hash: Hash) -> Result<Option<String>, Error> {
    match look.text(hash) {
        Ok(text) => Ok(Some(text)),
        Err(Error::Gone(_)) => Ok(None),
        Err(error @ (Error::Store(_) | Error::Payload(_) | Error::Manifest(_))) => Err(error),
    }
}

impl Attempt {
    pub(super) fn into_iteration(self) -> Iteration {
        let row = &self.row;
        let status = match row.status.as_str() {
            "running" => IterationStatus::Running,
            "completed" => IterationStatus::Completed,
            _ => IterationStatus::Failed,
        };
        let ended = status != IterationStatus::Running;
        let until = if ended { row.at } else { commit::now() };
        let asked = self.calls.iter().filter(|call| !call.validator).count();
        Iteration {
            number: row.number,
            status,
            cause: row.cause.clone(),
            turns: u32::try_from(self.turns.len()).unwrap_or(u32::MAX),
            tool_calls: u32::try_from(asked).unwrap_or(u32::MAX),
            tokens_in: self.turns.iter().map(|turn| turn.input_tokens).sum(),
            tokens_out: self.turns.iter().map(|turn| turn.output_tokens).sum(),
            tokens_cached: self.turns.iter().map(|turn| turn.cached_tokens).sum(),
            cost_micro_usd: self.turns.iter().filter_map(|turn| turn.micro_usd).sum(),
            duration_ms: until.since_ms(row.started_at),
            started_at: row.started_at.into(),
            ended_at: ended.then(|| row.at.into()),
            validation: self.validations.into_iter().map(|(found, reasons)| validation(found, reasons)).collect(),
        }
    }

    fn into_log(self, look: &mut Look<'_>) -> Result<IterationLog, Error> {
        let mut log = Vec::with_capacity(self.turns.len());
        for turn in &self.turns {
            let text = match readable(look, turn.delta)? {
                Some(delta) => Some(serde_json::from_str::<Delta>(&delta).map_err(Error::Payload)?.text),
                None => None,
            };
            let asked = self.calls.iter().filter(|call| !call.validator && call.turn == turn.turn);
            log.push(TurnLog {
                turn: turn.turn,
                model: turn.model.clone(),
                cassette: turn.cassette,
                text: text.filter(|text| !text.is_empty()),
                tokens_in: turn.input_tokens,
                tokens_out: turn.output_tokens,
                took_ms: turn.took_ms,
                calls: asked.map(|entry| call(look, entry)).collect::<Result<_, _>>()?,
            });
        }
        let checks = self.calls.iter().filter(|call| call.validator);
        let checks = checks.map(|entry| call(look, entry)).collect::<Result<_, _>>()?;
        let last = self.turns.last().and_then(|turn| turn.output);
        let output = match last.or(self.row.output) {
            Some(hash) => readable(look, hash)?,
            None => None,
        };
        Ok(IterationLog { iteration: self.into_iteration(), log, checks, output })
    }
}

fn validation(found: ValidationRow, reasons: Option<String>) -> Validation {
    let score = f64::from(found.score_milli) / 1000.0;
    Validation { validator: found.validator, pass: found.pass, score, reasons }
}

fn call(look: &mut Look<'_>, entry: &CallEntry) -> Result<Call, Error> {
    let result = match entry.result {
        Some(hash) => readable(look, hash)?,
        None => entry.sentence.clone(),
    };
    let outcome = match (entry.state.as_str(), &entry.outcome) {
        ("ended", Some(outcome)) => outcome.clone(),
        ("blocked", Some(why)) => format!("blocked:{why}"),
        _ => "open".to_string(),
    };
    Ok(Call {
        id: entry.id,
        capability: entry.capability.clone(),
        target: Target {
            path: entry.path.clone(),
            command: entry.command.clone(),
            host: entry.host.clone(),
            bytes: entry.bytes,
        },
        outcome,
        exit_code: entry.exit_code,
        rules: entry.rules.clone(),
        level: entry.level.clone(),
        result: result.map(|text| clipped(&text)),
    })
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(RESULT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}
