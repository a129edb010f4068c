//! `/v1/executions`: start, list, look at, cancel. What happened inside is in `logs`, what happens now in `events`.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use tenure_core::aggregate::{Command, Refusal, Stream};
use tenure_core::bound::Hash;
use tenure_core::capability;
use tenure_core::draft::Committed;
use tenure_core::execution::{self, ExecutionRow, Status};
use tenure_core::id::{ExecutionId, WorkerId};
use tenure_core::owed::Kind;
use tenure_core::row::Row;
use tenure_core::time::Stamp;
use tenure_store as store;
use tenure_store::rows::executions::{self as rows, Filter};
use tenure_store::sql::Sql;
use tenure_wire::api::INPUT_BYTES_MAX;
use tenure_wire::api::List;
use tenure_wire::api::execution::{
    Below, Cancel, Execution, ExecutionFile, ExecutionFilter, ExecutionStatus, IDEMPOTENCY_KEY,
    IDEMPOTENCY_KEY_BYTES_MAX, Start, Started,
};
use tenure_wire::api::moment::Moment;
use tenure_wire::problem::{Code, Problem};
use utoipa::IntoParams;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::{Operator, Viewer};
use super::body::{Json, JsonOrNothing, Params, Segment};
use super::logs;
use super::number::{self, Number};
use super::problem::{Answer, Failure};
use crate::commit;
use crate::reconcile::place;
use crate::records::found;

/// Of the reasons that are shown of all iterations together.
const REASONS_BYTES_MAX: usize = 1024 * 1024;
/// Of the executions that one started.
const CHILDREN_SHOWN: u32 = 200;

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(start, list)).routes(routes!(get)).routes(routes!(cancel))
}

/// Start an execution. It answers at once with the id; follow its events to see it work.
#[utoipa::path(
    post, path = "/v1/executions", tag = "executions", request_body = Start,
    params(("Idempotency-Key" = Option<String>, Header, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$", description = "A repeated start of the same agent with the same key and body answers with the first execution; another body is a conflict")),
    responses((status = 201, body = Started), (status = 200, body = Started, description = "Started before with this idempotency key"), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn start(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    headers: HeaderMap,
    Json(start): Json<Start>,
) -> Result<(StatusCode, Out<Started>), Failure> {
    let idempotency = idempotency(&headers)?;
    let size = start.input.get().len();
    if size > INPUT_BYTES_MAX {
        let detail = format!("the input has {size} bytes as JSON; at most {INPUT_BYTES_MAX} are taken");
        return Err(Code::BodyTooLarge.problem(detail).into());
    }
    let agent = api.agent(&start.agent).await?;
    let input = api.app.committer.payload(start.input.get().as_bytes().to_vec());
    let id = api.app.committer.mint_execution();
    let trigger = execution::Trigger::Manual;
    let (agent, revision, max_iterations) = (agent.id, start.revision, start.max_iterations);
    let command = execution::Start { agent, revision, input, max_iterations, idempotency, trigger };
    let committed = api.app.committer.commit(caller.actor, Command::Execution(id, execution::Command::Start(command)));
    let (row, repeated) = match committed.await {
        Ok(committed) => (committed_row(&committed)?, false),
        Err(commit::Error::Refused(Refusal::Execution(execution::Refusal::Repeated { execution }))) => {
            let row = api.execution_row(execution).await?;
            api.check_same(&row, &start).await?;
            (row, true)
        }
        Err(error) => return Err(error.into()),
    };
    let execution = api.shown(vec![row]).await?.remove(0);
    let status = if repeated { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Out(Started { execution, repeated })))
}

pub(super) fn idempotency(headers: &HeaderMap) -> Result<Option<Hash>, Failure> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    idempotency_of("the Idempotency-Key header", key.as_bytes()).map(Some)
}

/// `place`: where the key stands, for whoever sent it.
pub(super) fn idempotency_of(place: &str, key: &[u8]) -> Result<Hash, Failure> {
    let fits =
        (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) && key.iter().all(|byte| (0x20..0x7f).contains(byte));
    if !fits {
        return Err(Code::IdempotencyKeyWrong.problem(format!("{place} is empty, too long or not ASCII")).into());
    }
    Ok(Hash::of(key))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Name, id or short id.
    agent: Option<String>,
    #[param(schema_with = statuses)]
    status: Option<String>,
    /// Started at this time or later (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<String>,
    /// 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<Number>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^exe_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    cursor: Option<String>,
}

fn statuses() -> Object {
    let words = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(ExecutionFilter::words()));
    words.description(Some("A status, or the reason of a failure.")).build()
}

/// Executions, the latest first.
#[utoipa::path(
    get, path = "/v1/executions", tag = "executions", params(ListParams),
    responses((status = 200, body = List<Execution>), (status = "4XX", body = Problem))
)]
async fn list(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Params(params): Params<ListParams>,
) -> Answer<List<Execution>> {
    let wrong = |why: String| Failure::from(Code::ParameterWrong.problem(why));
    let agent = match &params.agent {
        Some(wanted) => Some(api.agent(wanted).await?.id),
        None => None,
    };
    let status = params.status.as_deref().map(str::parse::<ExecutionFilter>).transpose().map_err(wrong)?;
    let since = params.since.as_deref().map(str::parse::<Moment>).transpose().map_err(wrong)?;
    let before = params.cursor.as_deref().map(str::parse::<ExecutionId>).transpose();
    let filter = Filter {
        agent,
        status: status.and_then(|filter| filter.status()),
        reason: status.and_then(|filter| filter.reason()),
        since: since.map(|moment| moment.0),
        before: before.map_err(|error| wrong(error.to_string()))?,
    };
    let limit = number::limit(params.limit.as_ref())?;
    let page = api.executions(filter, limit).await?;
    Ok(Out(List { items: api.shown(page.rows).await?, next_cursor: page.next.map(|id| id.to_string()) }))
}

/// One execution with its input, iterations and output. Reasons of validators beyond 1 MiB in all are cut to `…`; the
/// logs have them.
#[utoipa::path(
    get, path = "/v1/executions/{execution}", tag = "executions",
    params(("execution" = String, Path, description = "Id or short id")),
    responses((status = 200, body = ExecutionFile), (status = "4XX", body = Problem))
)]
async fn get(State(api): State<Arc<ApiState>>, _: Viewer, Segment(wanted): Segment) -> Answer<ExecutionFile> {
    let entry = api.execution(&wanted).await?;
    let (id, input, output, now) = (entry.id, entry.input, entry.output, api.app.committer.now());
    let read = api.records.read(move |txn| {
        let input = logs::readable(txn, input)?;
        let output = output.map(|output| logs::readable(txn, output)).transpose()?.flatten();
        let mut children = rows::children_of(txn.parts().0, id, CHILDREN_SHOWN + 1)?;
        let children_cut = children.len() > CHILDREN_SHOWN as usize;
        children.truncate(CHILDREN_SHOWN as usize);
        let below = if children.is_empty() { None } else { Some(rows::spent_below(txn.parts().0, id)?) };
        Ok((logs::iterations(txn, id, REASONS_BYTES_MAX, now)?, input, output, (children, children_cut, below)))
    });
    let (iterations, input, output, (children, children_cut, below)) = read.await?;
    let input = input.map(json_of);
    let mut execution = api.shown(vec![entry]).await?.remove(0);
    if execution.status == ExecutionStatus::Queued && execution.waiting_for.is_none() {
        let connections = api.app.fleet.connections();
        execution.waiting_for = api.records.read(move |txn| place::waits_for(txn, connections, id)).await?;
    }
    let children = api.shown(children).await?;
    let below = below.map(|(tokens, cost_micro_usd)| Below { tokens, cost_micro_usd });
    Ok(Out(ExecutionFile { execution, input, iterations, output, children, children_cut, below }))
}

/// A stored input, which is JSON as it was received.
fn json_of(input: String) -> Box<RawValue> {
    RawValue::from_string(input).unwrap_or_else(|error| {
        let told = format!("the stored input is no JSON: {error}");
        serde_json::value::to_raw_value(&told).expect("invariant: a string is JSON")
    })
}

/// Cancel an execution. Its status follows when its sandbox is gone.
#[utoipa::path(
    post, path = "/v1/executions/{execution}/cancel", tag = "executions", request_body = Option<Cancel>,
    params(("execution" = String, Path, description = "Id or short id")),
    responses((status = 200, body = Execution), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn cancel(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
    JsonOrNothing(cancel): JsonOrNothing<Cancel>,
) -> Answer<Execution> {
    let entry = api.execution(&wanted).await?;
    let why = cancel.why.filter(|why| !why.trim().is_empty()).unwrap_or_else(|| "no reason was given".to_string());
    let command = execution::Command::Cancel { why: capability::clip(&why) };
    let committed = api.app.committer.commit(caller.actor, Command::Execution(entry.id, command)).await?;
    Ok(Out(api.shown(vec![committed_row(&committed)?]).await?.remove(0)))
}

/// The list row that a commit has left.
pub(super) fn committed_row(committed: &Committed) -> Result<ExecutionRow, Failure> {
    let found = committed
        .decision
        .rows
        .iter()
        .rev()
        .find_map(|row| if let Row::Execution(row) = row { Some(row.as_ref().clone()) } else { None });
    found.ok_or_else(|| Code::Internal.problem("a changed execution has no row").into())
}

impl ApiState {
    /// Whether a start asks for what the execution was started with that its idempotency key names.
    pub(super) async fn check_same(&self, row: &ExecutionRow, start: &Start) -> Result<(), Failure> {
        let (agent, revision, input) = (row.agent, row.revision, row.input);
        let read = self.records.read(move |txn| Ok((txn.plan(agent, revision)?, txn.bytes(input))));
        let (plan, input) = read.await?;
        let differs = |what: &str| {
            let detail = format!("it started {} with another {what}", row.id);
            Err(Code::IdempotencyKeyReused.problem(detail).into())
        };
        match found(input)? {
            Some(input) if input == start.input.get().as_bytes() => {}
            Some(_) => return differs("input"),
            None => return differs("input, or one that cannot be read any more"),
        }
        if start.revision.is_some_and(|wanted| wanted != row.revision) {
            return differs("revision");
        }
        if start.max_iterations.unwrap_or(plan.limits.max_iterations) != row.max_iterations {
            return differs("max_iterations");
        }
        Ok(())
    }

    /// Rows as people see them; one that waits for its agent's home says where that is. A worker that is gone holds what it
    /// was given until its next process has proven the jails dead, so the fleet says which are there, not the rows.
    pub(super) async fn shown(&self, found: Vec<ExecutionRow>) -> Result<Vec<Execution>, Failure> {
        let (now, fleet) = (self.app.committer.now(), self.app.fleet.clone());
        let is_apart = {
            let fleet = fleet.clone();
            move |row: &ExecutionRow| match row.status {
                Status::Queued | Status::Running | Status::Waiting => {
                    row.connection.is_none_or(|connection| fleet.by_connection(connection).is_none())
                }
                Status::Completed | Status::Failed | Status::Cancelled => false,
            }
        };
        if !found.iter().any(&is_apart) {
            return Ok(found.into_iter().map(|row| shown(row, None, now)).collect());
        }
        let read = self.reader().read(move |sql| {
            let homes = found.into_iter().map(|row| {
                let waits = is_apart(&row) && needs_worker(sql, &row)?;
                let home = if waits { rows::home(sql, row.agent)? } else { None };
                Ok((row, home))
            });
            homes.collect::<Result<Vec<_>, _>>()
        });
        let absent = |home: Option<(WorkerId, String)>| {
            home.filter(|(worker, _)| fleet.connection(*worker).is_none()).map(|(_, name)| name)
        };
        Ok(read.await?.into_iter().map(|(row, home)| shown(row, absent(home), now)).collect())
    }
}

/// It can go on only where its agent's work folder is; a model's answer is waited for without.
fn needs_worker(sql: &mut dyn Sql, row: &ExecutionRow) -> Result<bool, store::Error> {
    if row.connection.is_none() {
        return Ok(true);
    }
    for kind in [Kind::Dispatch, Kind::Release] {
        if !store::owed_by(sql, kind, Stream::Execution(row.id))?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn shown(row: ExecutionRow, absent_home: Option<String>, now: Stamp) -> Execution {
    let status = match (row.status, &absent_home) {
        (Status::Queued | Status::Running, Some(_)) => ExecutionStatus::Waiting,
        (status, _) => status.into(),
    };
    let waiting_for = match absent_home {
        Some(home) => Some(format!("worker {home}, where its agent's files are")),
        None => row.waiting_for,
    };
    Execution {
        id: row.id,
        agent: row.agent,
        agent_name: row.agent_name,
        revision: row.revision,
        status,
        trigger: row.trigger,
        parent: row.parent,
        reason: row.reason.map(|reason| reason.as_str().to_string()),
        remedy: row.reason.map(|reason| reason.remedy().to_string()),
        detail: row.detail,
        waiting_for,
        cancel_requested: row.cancel_requested,
        iteration: row.iterations,
        max_iterations: row.max_iterations,
        tool_calls: row.tool_calls,
        tokens_in: row.input_tokens,
        tokens_out: row.output_tokens,
        cost_micro_usd: row.micro_usd,
        unpriced_model_calls: row.unpriced,
        tokens_estimated: row.tokens_estimated,
        duration_ms: row.wall.used_ms_at(now.run),
        started_at: row.started_at.into(),
        ended_at: row.ended_at.map(Into::into),
        erased_at: row.erased_at.map(Into::into),
    }
}
