//! `/v1/executions/{id}/logs` and `/output`: what iterations said and did, read back from rows and bound data. Never
//! more than a page of it is in memory at once.
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::Deserialize;
use tenure_core::bound::Hash;
use tenure_core::call::CallRow;
use tenure_core::execution::{ExecutionRow, Status};
use tenure_core::id::ExecutionId;
use tenure_core::time::Stamp;
use tenure_store::rows::calls;
use tenure_store::rows::iterations::{self, IterationSummary, ValidationEntry};
use tenure_store::rows::turns;
use tenure_wire::api::List;
use tenure_wire::api::execution::{
    Call, Iteration, IterationLog, IterationStatus, TurnLog, Validation, cause_from_one,
};
use tenure_wire::problem::{Code, Problem};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::Viewer;
use super::body::{Params, Segment};
use super::number::{self, Number};
use super::problem::{Answer, Failure};
use crate::reconcile::think::Delta;
use crate::records::{Error, ReadTxn};

/// Text of a page; the turn that goes beyond it is the page's last.
const PAGE_BYTES: usize = 1024 * 1024;
/// Of the reasons that one iteration's validators gave.
const REASONS_BYTES_MAX: usize = 256 * 1024;
/// Rows of turns that are read at a time.
const TURNS_READ: u32 = 32;
/// Calls of validators in one iteration: one each, and what was lost.
const CHECKS_MAX: u32 = 256;
/// Of a call's result.
const RESULT_CHARS_MAX: usize = 4096;

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(logs)).routes(routes!(output))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LogParams {
    /// Only this one.
    #[param(value_type = Option<u32>, minimum = 1)]
    iteration: Option<Number>,
    /// Iterations; 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<Number>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^[0-9]{1,9}\\.[0-9]{1,9}$")]
    cursor: Option<String>,
}

/// What each iteration said and did. A page has some 1 MiB of text at most: an iteration with more goes on as the first
/// of the next page, under the same number.
#[utoipa::path(
    get, path = "/v1/executions/{execution}/logs", tag = "executions",
    params(("execution" = String, Path, description = "Id or short id"), LogParams),
    responses((status = 200, body = List<IterationLog>), (status = "4XX", body = Problem))
)]
async fn logs(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Segment(wanted): Segment,
    Params(params): Params<LogParams>,
) -> Answer<List<IterationLog>> {
    let cursor = params.cursor.as_deref().map(str::parse::<Place>).transpose();
    let cursor = cursor.map_err(|why| Failure::from(Code::ParameterWrong.problem(why)))?;
    let limit = number::limit(params.limit.as_ref())?;
    let only = params.iteration.map(|number| number.within("iteration", 1..=u64::from(u32::MAX))).transpose()?;
    let only = only.map(|number| u32::try_from(number).expect("invariant: it was held against the range"));
    let entry = api.execution(&wanted).await?;
    let id = entry.id;
    let from = cursor.unwrap_or(Place { iteration: only.unwrap_or(1), turn: 0 });
    let mut page = api.log_page(id, from, only, limit, PAGE_BYTES).await?;
    let open = page.items.last_mut().filter(|last| last.iteration.status == IterationStatus::Running);
    if let (Some(open), None) = (open, entry.ended_at) {
        open.asked_again = entry.detail;
    }
    if let (Some(number), true) = (only, page.items.is_empty()) {
        return Err(Code::IterationUnknown.problem(format!("{id} has no iteration {number}")).into());
    }
    Ok(Out(page))
}

/// Where a page of logs begins. People see it as a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    iteration: u32,
    turn: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.iteration, self.turn)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        let parts =
            text.split_once('.').and_then(|(iteration, turn)| Some((iteration.parse().ok()?, turn.parse().ok()?)));
        let (iteration, turn) = parts.ok_or_else(|| "the cursor is none of a list of logs".to_string())?;
        Ok(Place { iteration, turn })
    }
}

/// The final text of an execution that completed.
#[utoipa::path(
    get, path = "/v1/executions/{execution}/output", tag = "executions",
    params(("execution" = String, Path, description = "Id or short id")),
    responses((status = 200, body = String, content_type = "text/plain"), (status = "4XX", body = Problem))
)]
async fn output(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Segment(wanted): Segment,
) -> Result<impl IntoResponse, Failure> {
    let entry = api.execution(&wanted).await?;
    match (entry.status, api.text(entry.output).await?) {
        (Status::Completed, Some(text)) => Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text)),
        (Status::Completed, None) => Err(Code::NoOutput.problem(format!("that of {} is erased", entry.id)).into()),
        (Status::Failed | Status::Cancelled, _) => Err(without_output(&entry)),
        (Status::Queued | Status::Running | Status::Waiting, _) => {
            let detail = format!("{} is {}, and only a completed execution has an output", entry.id, entry.status);
            Err(Code::NotEnded.problem(detail).into())
        }
    }
}

/// How it ended instead of with an output.
fn without_output(entry: &ExecutionRow) -> Failure {
    let reason = entry.reason.map(|reason| format!(" ({})", reason.as_str())).unwrap_or_default();
    let detail = entry.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
    Code::NoOutput.problem(format!("{} {}{reason}{detail}", entry.id, entry.status)).into()
}

/// A part of an iteration's log, and the turn at which the next part begins, if there is one.
struct Part {
    log: IterationLog,
    bytes: usize,
    next: Option<u32>,
}

impl ApiState {
    async fn log_page(
        &self,
        execution: ExecutionId,
        from: Place,
        only: Option<u32>,
        limit: u32,
        bytes_max: usize,
    ) -> Result<List<IterationLog>, Failure> {
        // One more than is shown, to know whether there is a next page.
        let last = only.unwrap_or_else(|| from.iteration.saturating_add(limit));
        let summaries = self.reader().read(move |sql| iterations::summaries(sql, execution, from.iteration, last));
        let (mut items, mut left, mut turn, now) = (Vec::new(), bytes_max, from.turn, self.app.committer.now());
        for summary in summaries.await? {
            let place = Place { iteration: summary.row.number, turn };
            if items.len() >= limit as usize || left == 0 {
                return Ok(List { items, next_cursor: Some(place.to_string()) });
            }
            // One look an iteration, so that a long log holds no snapshot of the database open.
            let part = self.records.read(move |txn| part(txn, execution, summary, place.turn, left, now)).await?;
            items.push(part.log);
            if let Some(turn) = part.next {
                return Ok(List { items, next_cursor: Some(Place { turn, ..place }.to_string()) });
            }
            (left, turn) = (left.saturating_sub(part.bytes), 0);
        }
        Ok(List { items, next_cursor: None })
    }
}

/// The log of an iteration from a turn on, until `bytes_max` is reached; what stands at its end comes with its last part.
fn part(
    txn: &mut ReadTxn<'_>,
    execution: ExecutionId,
    summary: IterationSummary,
    from: u32,
    bytes_max: usize,
    now: Stamp,
) -> Result<Part, Error> {
    let number = summary.row.number;
    let (mut log, mut bytes, mut last) = (Vec::new(), 0, summary.row.output);
    let mut next = from;
    loop {
        let rows = turns::page(txn.parts().0, execution, number, next, TURNS_READ)?;
        let whole = rows.len() < TURNS_READ as usize;
        for row in rows {
            if bytes >= bytes_max {
                let iteration = header(txn, execution, summary, now)?;
                let log = IterationLog { iteration, log, checks: Vec::new(), output: None, asked_again: None };
                return Ok(Part { log, bytes, next: Some(row.turn) });
            }
            next = row.turn + 1;
            last = row.output.or(summary.row.output);
            let calls = calls::of_turn(txn.parts().0, execution, number, row.turn)?;
            let delta = match readable(txn, row.delta)? {
                Some(delta) => Some(serde_json::from_str::<Delta>(&delta).map_err(Error::Payload)?),
                None => None,
            };
            let tokens_estimated = delta.as_ref().is_some_and(|delta| delta.estimated);
            let turn = TurnLog {
                turn: row.turn + 1,
                model: row.model,
                cassette: row.cassette,
                text: delta.map(|delta| delta.text).filter(|text| !text.is_empty()),
                tokens_in: row.input_tokens,
                tokens_out: row.output_tokens,
                tokens_estimated,
                took_ms: row.took_ms,
                calls: calls.iter().map(|entry| call(txn, entry)).collect::<Result<_, _>>()?,
            };
            bytes += bytes_of(&turn);
            log.push(turn);
        }
        if whole {
            break;
        }
    }
    let checks = calls::of_validators(txn.parts().0, execution, number, CHECKS_MAX)?;
    let checks = checks.iter().map(|entry| call(txn, entry)).collect::<Result<_, _>>()?;
    let output = match last {
        Some(hash) => readable(txn, hash)?,
        None => None,
    };
    bytes += output.as_ref().map_or(0, String::len);
    Ok(Part {
        log: IterationLog { iteration: header(txn, execution, summary, now)?, log, checks, output, asked_again: None },
        bytes,
        next: None,
    })
}

/// What a turn adds to a page, near enough to bound it.
fn bytes_of(turn: &TurnLog) -> usize {
    let calls = turn.calls.iter().map(|call| 256 + call.result.as_ref().map_or(0, String::len));
    256 + turn.text.as_ref().map_or(0, String::len) + calls.sum::<usize>()
}

fn header(
    txn: &mut ReadTxn<'_>,
    execution: ExecutionId,
    summary: IterationSummary,
    now: Stamp,
) -> Result<Iteration, Error> {
    let number = summary.row.number;
    let (sql, blobs) = txn.parts();
    let found = iterations::validations_with_reasons(sql, blobs, execution, (number, number), REASONS_BYTES_MAX)?;
    Ok(iteration(summary, found, now))
}

/// All iterations of an execution, with reasons up to `reasons_bytes_max` in all: a few statements, however many.
pub(super) fn iterations(
    txn: &mut ReadTxn<'_>,
    execution: ExecutionId,
    reasons_bytes_max: usize,
    now: Stamp,
) -> Result<Vec<Iteration>, Error> {
    let (sql, blobs) = txn.parts();
    let summaries = iterations::summaries(sql, execution, 0, u32::MAX)?;
    let found = iterations::validations_with_reasons(sql, blobs, execution, (0, u32::MAX), reasons_bytes_max)?;
    let mut found = found.into_iter().peekable();
    let with_own = summaries.into_iter().map(|summary| {
        let mut own = Vec::new();
        while let Some(entry) = found.next_if(|entry| entry.row.iteration <= summary.row.number) {
            own.push(entry);
        }
        iteration(summary, own, now)
    });
    Ok(with_own.collect())
}

/// The bytes as text; none where they were erased.
pub(super) fn readable(txn: &mut ReadTxn<'_>, hash: Hash) -> Result<Option<String>, Error> {
    match txn.text(hash) {
        Ok(text) => Ok(Some(text)),
        Err(Error::Gone(_)) => Ok(None),
        Err(error @ (Error::Store(_) | Error::Payload(_))) => Err(error),
    }
}

fn iteration(summary: IterationSummary, found: Vec<ValidationEntry>, now: Stamp) -> Iteration {
    let row = summary.row;
    let status = match row.status.as_str() {
        "running" => IterationStatus::Running,
        "completed" => IterationStatus::Completed,
        _ => IterationStatus::Failed,
    };
    Iteration {
        number: row.number,
        status,
        cause: row.cause.as_deref().map(cause_from_one),
        turns: summary.turns,
        tool_calls: summary.calls,
        tokens_in: summary.input_tokens,
        tokens_out: summary.output_tokens,
        tokens_cached: summary.cached_tokens,
        cost_micro_usd: summary.micro_usd,
        duration_ms: row.clock.used_ms_at(now.run),
        started_at: row.started_at.into(),
        ended_at: row.ended_at.map(Into::into),
        validation: found.into_iter().map(validation).collect(),
    }
}

fn validation(found: ValidationEntry) -> Validation {
    let score = f64::from(found.row.score_milli) / 1000.0;
    let reasons = found.reasons.filter(|text| !text.is_empty());
    Validation { validator: found.row.validator, pass: found.row.pass, score, reasons }
}

fn call(txn: &mut ReadTxn<'_>, entry: &CallRow) -> Result<Call, Error> {
    let result = match entry.result {
        Some(hash) => readable(txn, hash)?,
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
        target: entry.shown.clone().into(),
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

#[cfg(test)]
mod tests;
