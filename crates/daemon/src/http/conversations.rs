//! `/v1/conversations`: a person talks with an agent. Each message starts an execution, whose prompt has what was said before
//! it; what it does goes through the same gate, and is followed as any other's.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use tenure_core::actor::Actor;
use tenure_core::aggregate::{Command, Refusal};
use tenure_core::execution::{self, ConversationRow, ExecutionRow, Trigger};
use tenure_core::id::{AgentId, ExecutionId};
use tenure_store::rows::{conversations, executions as rows};
use tenure_wire::api::conversation::{Conversation, ConversationFile, Exchange, Said, Say};
use tenure_wire::api::execution::Start;
use tenure_wire::api::{INPUT_BYTES_MAX, List};
use tenure_wire::problem::{Code, Problem};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::{Operator, Viewer};
use super::body::{Json, Params, Segment};
use super::executions::{committed_row, idempotency};
use super::number::{self, Number};
use super::problem::{Answer, Failure};
use crate::commit;
use crate::records::{Error, ReadTxn, found};

/// Exchanges of one conversation that are shown.
const EXCHANGES_MAX: u32 = 50;
const MESSAGE_SHOWN_MAX: usize = 200;

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(begin, list)).routes(routes!(say, get))
}

/// Begin a conversation with an agent.
#[utoipa::path(
    post, path = "/v1/agents/{agent}/conversations", tag = "conversations", request_body = Say,
    params(
        ("agent" = String, Path, description = "Name, id or short id"),
        ("Idempotency-Key" = Option<String>, Header, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$", description = "The same message with the same key is said once")
    ),
    responses((status = 200, body = Said, description = "It was said before"), (status = 201, body = Said), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn begin(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
    headers: HeaderMap,
    Json(said): Json<Say>,
) -> Result<(StatusCode, Out<Said>), Failure> {
    let agent = api.agent(&wanted).await?.id;
    api.converse(caller.actor, agent, None, &headers, said).await
}

/// Say something more, once the last was answered.
#[utoipa::path(
    post, path = "/v1/conversations/{conversation}", tag = "conversations", request_body = Say,
    params(
        ("conversation" = String, Path, description = "Its id or short id: that of any execution of it"),
        ("Idempotency-Key" = Option<String>, Header, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$", description = "The same message with the same key is said once")
    ),
    responses((status = 200, body = Said, description = "It was said before"), (status = 201, body = Said), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn say(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
    headers: HeaderMap,
    Json(said): Json<Say>,
) -> Result<(StatusCode, Out<Said>), Failure> {
    let place = api.conversation(&wanted).await?;
    api.converse(caller.actor, place.agent, Some(place.conversation), &headers, said).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<Number>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^exe_[0-7][0-9a-hjkmnp-tv-z]{25}$")]
    cursor: Option<String>,
}

/// The conversations with an agent; the one that was begun last comes first.
#[utoipa::path(
    get, path = "/v1/agents/{agent}/conversations", tag = "conversations",
    params(("agent" = String, Path, description = "Name, id or short id"), ListParams),
    responses((status = 200, body = List<Conversation>), (status = "4XX", body = Problem))
)]
async fn list(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Segment(wanted): Segment,
    Params(params): Params<ListParams>,
) -> Answer<List<Conversation>> {
    let agent = api.agent(&wanted).await?.id;
    let after = params.cursor.as_deref().map(str::parse::<ExecutionId>).transpose();
    let after = after.map_err(|error| Failure::from(Code::ParameterWrong.problem(error.to_string())))?;
    let limit = number::limit(params.limit.as_ref())?;
    let read = api.records.read(move |txn| {
        let page = conversations::list(txn.parts().0, agent, after, limit)?;
        let items = page.rows.into_iter().map(|last| shown(txn, last)).collect::<Result<Vec<_>, _>>()?;
        Ok(List { items, next_cursor: page.next.map(|id| id.to_string()) })
    });
    Ok(Out(read.await?))
}

/// One conversation with its last 50 exchanges.
#[utoipa::path(
    get, path = "/v1/conversations/{conversation}", tag = "conversations",
    params(("conversation" = String, Path, description = "Its id or short id: that of any execution of it")),
    responses((status = 200, body = ConversationFile), (status = "4XX", body = Problem))
)]
async fn get(State(api): State<Arc<ApiState>>, _: Viewer, Segment(wanted): Segment) -> Answer<ConversationFile> {
    let place = api.conversation(&wanted).await?;
    let read = api.records.read(move |txn| {
        let mut turns = conversations::turns_before(txn.parts().0, place.conversation, u32::MAX, EXCHANGES_MAX)?;
        let conversation = shown(txn, turns.first().cloned().unwrap_or(place))?;
        turns.reverse();
        let exchanges = turns.into_iter().map(|turn| exchange(txn, &turn)).collect::<Result<_, _>>()?;
        Ok(ConversationFile { conversation, exchanges })
    });
    Ok(Out(read.await?))
}

impl ApiState {
    /// The place of an execution in its conversation.
    async fn conversation(&self, wanted: &str) -> Result<ConversationRow, Failure> {
        let id = self.execution(wanted).await.map_err(|mut failure| {
            if failure.0.code == Code::ExecutionUnknown {
                failure.0 = Box::new(Code::ConversationUnknown.problem(failure.0.detail.clone()));
            }
            failure
        })?;
        let id = id.id;
        let place = self.reader().read(move |sql| conversations::of_execution(sql, id)).await?;
        place
            .ok_or_else(|| Code::ConversationUnknown.problem(format!("{id} is an execution of no conversation")).into())
    }

    async fn converse(
        &self,
        actor: Actor,
        agent: AgentId,
        conversation: Option<ExecutionId>,
        headers: &HeaderMap,
        said: Say,
    ) -> Result<(StatusCode, Out<Said>), Failure> {
        let idempotency = idempotency(headers)?;
        let input = serde_json::to_string(&said.message).expect("invariant: a text is JSON");
        if said.message.trim().is_empty() || input.len() > INPUT_BYTES_MAX {
            let detail = format!("a message is not empty, and has at most {INPUT_BYTES_MAX} bytes");
            return Err(Code::BodyWrong.problem(detail).into());
        }
        let id = self.app.committer.mint_execution();
        let payload = self.app.committer.payload(input.clone().into_bytes());
        let start =
            execution::Start { agent, input: payload, max_iterations: None, idempotency, trigger: Trigger::Manual };
        let command = execution::Command::Converse { start, conversation };
        let (row, repeated) = match self.app.committer.commit(actor, Command::Execution(id, command)).await {
            Ok(committed) => (committed_row(&committed)?, false),
            Err(commit::Error::Refused(Refusal::Execution(execution::Refusal::Repeated { execution }))) => {
                let row = self.execution_row(execution).await?;
                let input = RawValue::from_string(input).expect("invariant: it was made as JSON");
                self.check_same(&row, &Start { agent: agent.to_string(), input, max_iterations: None }).await?;
                (row, true)
            }
            Err(error) => return Err(error.into()),
        };
        let status = if repeated { StatusCode::OK } else { StatusCode::CREATED };
        Ok((status, Out(self.said(row, repeated).await?)))
    }

    async fn said(&self, row: ExecutionRow, repeated: bool) -> Result<Said, Failure> {
        let id = row.id;
        let place = self.reader().read(move |sql| conversations::of_execution(sql, id)).await?;
        let place =
            place.ok_or_else(|| Code::IdempotencyKeyReused.problem(format!("it started {id}, which is no message")))?;
        let execution = self.shown(vec![row]).await?.remove(0);
        Ok(Said { conversation: place.conversation, turn: place.turn, execution, repeated })
    }
}

fn message(txn: &mut ReadTxn<'_>, row: &ExecutionRow) -> Result<Option<String>, Error> {
    found(txn.json::<String>(row.input))
}

/// By its last turn.
fn shown(txn: &mut ReadTxn<'_>, last: ConversationRow) -> Result<Conversation, Error> {
    let row = txn.execution(last.execution)?;
    let last_message = message(txn, &row)?.map(|text| text.chars().take(MESSAGE_SHOWN_MAX).collect());
    Ok(Conversation {
        id: last.conversation,
        agent: last.agent,
        agent_name: last.agent_name,
        turns: last.turn,
        last_at: last.at.into(),
        last_message,
    })
}

fn exchange(txn: &mut ReadTxn<'_>, turn: &ConversationRow) -> Result<Exchange, Error> {
    let row = rows::get(txn.parts().0, turn.execution)?.ok_or(Error::Gone("execution"))?;
    let answer = row.output.map(|output| found(txn.text(output))).transpose()?.flatten();
    Ok(Exchange {
        turn: turn.turn,
        execution: turn.execution,
        status: row.status.into(),
        at: turn.at.into(),
        message: message(txn, &row)?,
        answer,
    })
}
