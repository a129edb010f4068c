//! `/v1/agents/{agent}/messages`, `/v1/messages`, `/v1/dead-letters` and `/v1/channels`: people write to agents, and see
//! what agents write to each other.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Deserialize;
use tenure_core::actor::Actor;
use tenure_core::agent::{self, Post};
use tenure_core::aggregate::{Command, Event, Refusal};
use tenure_core::call::Holder;
use tenure_core::comms::{self, DEADLINE_SECONDS_MAX, MessageRow, Priority, Spoken};
use tenure_core::id::{AgentId, MessageId};
use tenure_store::rows::{Match, messages};
use tenure_store::sql::Sql;
use tenure_wire::api::List;
use tenure_wire::api::message::{Channel, Message, MessageFile, SendMessage};
use tenure_wire::problem::{Code, Problem};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::{Operator, Viewer};
use super::body::{Json, Params, Segment};
use super::executions::idempotency;
use super::lookup::{Names, misnamed, quoted};
use super::number::{self, Number};
use super::problem::{Answer, Failure};
use crate::commit;
use crate::records::Error;

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(send, of_agent))
        .routes(routes!(get))
        .routes(routes!(dead))
        .routes(routes!(resend))
        .routes(routes!(drop_letter))
        .routes(routes!(channels))
}

/// Write to an agent. With `comms` among its triggers the message wakes it.
#[utoipa::path(
    post, path = "/v1/agents/{agent}/messages", tag = "messages", request_body = SendMessage,
    params(
        ("agent" = String, Path, description = "Name, id or short id"),
        ("Idempotency-Key" = Option<String>, Header, max_length = 255, pattern = "^[!-~]([ -~]*[!-~])?$", description = "The same message to the same agent under the same key is sent once; another message is a conflict")
    ),
    responses((status = 200, body = Message), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn send(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
    headers: HeaderMap,
    Json(body): Json<SendMessage>,
) -> Answer<Message> {
    let idempotency = idempotency(&headers)?;
    let entry = api.agent(&wanted).await?;
    let priority = body.priority.as_deref().unwrap_or(Priority::Normal.as_str());
    let priority: Priority = priority.parse().map_err(|_| {
        let detail = format!("`priority` is low, normal or high, not {}", quoted(priority));
        Failure::from(Code::ParameterWrong.problem(detail))
    })?;
    if body.message.as_str().is_some_and(|text| text.trim().is_empty()) {
        let problem = Code::BodyWrong.problem("`message` is empty: whom it wakes would be told nothing");
        return Err(problem.hint("write what the agent is told").into());
    }
    if body.deadline_seconds.is_some_and(|seconds| seconds == 0 || seconds > DEADLINE_SECONDS_MAX) {
        let detail = format!("`deadline_seconds` is 1 to {DEADLINE_SECONDS_MAX}");
        return Err(Code::ParameterOutOfRange.problem(detail).into());
    }
    let deadline = body.deadline_seconds.map(|seconds| api.app.committer.now().at.plus_ms(seconds * 1000));
    let payload = api.app.committer.payload(body.message.to_string().into_bytes());
    let said = body.message;
    let post = Post { body: payload, priority, correlation: body.correlation, deadline, idempotency };
    let committed = api.app.committer.commit(caller.actor, Command::Agent(entry.id, agent::Command::Post(post)));
    let committed = match committed.await {
        Ok(committed) => committed,
        Err(commit::Error::Refused(Refusal::Agent(agent::Refusal::MessageRepeated { message }))) => {
            let sent = api.message_of(Actor::Agent(entry.id), message).await?;
            if sent.message.as_ref().is_some_and(|known| *known != said) {
                let detail = format!("it sent {message}, which says something else");
                return Err(Code::IdempotencyKeyReused.problem(detail).into());
            }
            return Ok(Out(sent));
        }
        Err(error) => return Err(error.into()),
    };
    let events = &committed.decision.events;
    let id = events.iter().find_map(|(_, event)| match event {
        Event::Agent(agent::Event::MessageQueued { envelope, .. }) => Some(envelope.message),
        _ => None,
    });
    let id = id.ok_or_else(|| Code::Internal.problem("a message that was sent has no id"))?;
    Ok(Out(api.message_of(Actor::Agent(entry.id), id).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// `waiting`, `received`, `dead` or `dropped`; all without it.
    state: Option<String>,
    /// 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<Number>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// An agent's messages, the newest first.
#[utoipa::path(
    get, path = "/v1/agents/{agent}/messages", tag = "messages",
    params(("agent" = String, Path, description = "Name, id or short id"), ListParams),
    responses((status = 200, body = List<Message>), (status = "4XX", body = Problem))
)]
async fn of_agent(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Segment(wanted): Segment,
    Params(params): Params<ListParams>,
) -> Answer<List<Message>> {
    let entry = api.agent(&wanted).await?;
    let wrong = |what: String| Failure::from(Code::ParameterWrong.problem(what));
    let state = params.state.as_deref().map(str::parse::<comms::State>).transpose();
    let state = state.map_err(|_| wrong("`state` is waiting, received, dead or dropped".to_string()))?;
    let before = params.cursor.as_deref().map(str::parse::<MessageId>).transpose();
    let before = before.map_err(|_| wrong("the cursor is none of a list of messages".to_string()))?;
    let limit = number::limit(params.limit.as_ref())?;
    let id = entry.id;
    let read = api.records.read(move |txn| {
        let (sql, blobs) = txn.parts();
        let page = messages::of_agent(sql, id, state, before, limit)?;
        let spoken = messages::spoken(sql, blobs, page.rows)?;
        Ok((shown(sql, spoken)?, page.next))
    });
    let (items, next) = read.await?;
    Ok(Out(List { items, next_cursor: next.map(|id| id.to_string()) }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WhoseParams {
    /// Whose it is, where several agents have it: name, id or short id.
    agent: Option<String>,
}

/// One message, with its answer.
#[utoipa::path(
    get, path = "/v1/messages/{message}", tag = "messages",
    params(("message" = String, Path, description = "Id or short id"), WhoseParams),
    responses((status = 200, body = MessageFile), (status = "4XX", body = Problem))
)]
async fn get(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Segment(wanted): Segment,
    Params(whose): Params<WhoseParams>,
) -> Answer<MessageFile> {
    let row = api.found(&wanted, whose.agent.as_deref()).await?;
    let id = row.id;
    let message = api.message_of(row.recipient, id).await?;
    let answer = api.reader().read(move |sql| messages::answer_to(sql, id)).await?;
    let reply = match answer {
        Some(answer) => Some(api.message_of(answer.recipient, answer.id).await?),
        None => None,
    };
    Ok(Out(MessageFile { message, reply }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PageParams {
    /// 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<Number>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Messages that could not be delivered, the oldest first.
#[utoipa::path(
    get, path = "/v1/dead-letters", tag = "messages", params(PageParams),
    responses((status = 200, body = List<Message>), (status = "4XX", body = Problem))
)]
async fn dead(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Params(params): Params<PageParams>,
) -> Answer<List<Message>> {
    let place = |cursor: &str| {
        let (id, recipient) = cursor.split_once('.')?;
        id.parse::<MessageId>().ok().zip(recipient.parse::<Actor>().ok())
    };
    let wrong = || Failure::from(Code::ParameterWrong.problem("the cursor is none of a list of dead letters"));
    let after = params.cursor.as_deref().map(|cursor| place(cursor).ok_or_else(wrong)).transpose()?;
    let limit = number::limit(params.limit.as_ref())?;
    let read = api.records.read(move |txn| {
        let (sql, blobs) = txn.parts();
        let page = messages::dead(sql, after, limit)?;
        let spoken = messages::spoken(sql, blobs, page.rows)?;
        Ok((shown(sql, spoken)?, page.next))
    });
    let (items, next) = read.await?;
    Ok(Out(List { items, next_cursor: next.map(|(id, recipient)| format!("{id}.{recipient}")) }))
}

/// Send a dead letter again: it waits anew, behind what came since, and its deadline is void.
#[utoipa::path(
    post, path = "/v1/dead-letters/{message}/resend", tag = "messages",
    params(("message" = String, Path, description = "Id or short id"), WhoseParams),
    responses((status = 200, body = Message), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn resend(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
    Params(whose): Params<WhoseParams>,
) -> Answer<Message> {
    let (agent, message) = api.letter(&wanted, whose.agent.as_deref()).await?;
    let command = Command::Agent(agent, agent::Command::ResendMessage { message });
    api.app.committer.commit(caller.actor, command).await?;
    Ok(Out(api.message_of(Actor::Agent(agent), message).await?))
}

/// Drop a dead letter for good. It stays in the agent's history.
#[utoipa::path(
    delete, path = "/v1/dead-letters/{message}", tag = "messages",
    params(("message" = String, Path, description = "Id or short id"), WhoseParams),
    responses((status = 200, body = Message), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn drop_letter(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
    Params(whose): Params<WhoseParams>,
) -> Answer<Message> {
    let (agent, message) = api.letter(&wanted, whose.agent.as_deref()).await?;
    let command = Command::Agent(agent, agent::Command::DropMessage { message });
    api.app.committer.commit(caller.actor, command).await?;
    Ok(Out(api.message_of(Actor::Agent(agent), message).await?))
}

/// Channels that some agent takes from, by name.
#[utoipa::path(
    get, path = "/v1/channels", tag = "messages", params(PageParams),
    responses((status = 200, body = List<Channel>), (status = "4XX", body = Problem))
)]
async fn channels(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Params(params): Params<PageParams>,
) -> Answer<List<Channel>> {
    let limit = number::limit(params.limit.as_ref())?;
    let after = params.cursor.unwrap_or_default();
    let page = api.reader().read(move |sql| messages::channels(sql, &after, limit)).await?;
    let items = page.rows.into_iter().map(|(name, subscribers)| Channel { name, subscribers }).collect();
    Ok(Out(List { items, next_cursor: page.next }))
}

impl ApiState {
    /// The one message of this id or short id, of this agent where one is named.
    async fn found(&self, wanted: &str, whose: Option<&str>) -> Result<MessageRow, Failure> {
        let text = wanted.to_string();
        let found = match self.reader().read(move |sql| messages::find(sql, &text)).await? {
            Match::None => Vec::new(),
            Match::One(row) => vec![row],
            Match::Many(rows) => rows,
        };
        let of = match whose {
            Some(agent) => Some(self.agent(agent).await?.id),
            None => None,
        };
        let mut ids: Vec<MessageId> = found.iter().map(|row| row.id).collect();
        ids.dedup();
        match (of, found.as_slice(), ids.as_slice()) {
            (Some(agent), _, [id]) => {
                let (recipient, id) = (Actor::Agent(agent), *id);
                let row = self.reader().read(move |sql| messages::get(sql, recipient, id)).await?;
                row.ok_or_else(|| {
                    Code::MessageUnknown.problem(format!("{} has no message {id}", quoted(whose.unwrap_or("")))).into()
                })
            }
            (None, [row], _) => Ok(row.clone()),
            (_, [], _) => Err(misnamed(Code::MessageUnknown, wanted, "message")
                .unwrap_or_else(|| Code::MessageUnknown.problem(format!("no message has the id {}", quoted(wanted))))
                .into()),
            _ => {
                let detail = format!("{} went to several agents, or is short for several messages", quoted(wanted));
                Err(Code::MessageAmbiguous.problem(detail).into())
            }
        }
    }

    /// The same, of an agent's mailbox.
    async fn letter(&self, wanted: &str, whose: Option<&str>) -> Result<(AgentId, MessageId), Failure> {
        let row = self.found(wanted, whose).await?;
        match row.recipient {
            Actor::Agent(agent) => Ok((agent, row.id)),
            Actor::Owner { .. }
            | Actor::Key(_)
            | Actor::Link(_)
            | Actor::Worker(_)
            | Actor::Daemon
            | Actor::Validator => {
                Err(Code::MessageNotDead.problem("it is an answer to a person, and was delivered").into())
            }
        }
    }

    async fn message_of(&self, recipient: Actor, id: MessageId) -> Result<Message, Failure> {
        let read = self.records.read(move |txn| {
            let (sql, blobs) = txn.parts();
            let row = messages::get(sql, recipient, id)?.ok_or(Error::Gone("message"))?;
            let spoken = messages::spoken(sql, blobs, vec![row])?;
            Ok(shown(sql, spoken)?)
        });
        let found = read.await?.pop();
        found.ok_or_else(|| Code::Internal.problem("a message that was read is not there").into())
    }
}

/// As people see them, with the names that agents have now.
fn shown(sql: &mut dyn Sql, spoken: Vec<Spoken>) -> Result<Vec<Message>, tenure_store::Error> {
    let mut names = Names::default();
    let mut items = Vec::with_capacity(spoken.len());
    for Spoken { row, body } in spoken {
        let to_name = match row.recipient.agent() {
            Some(agent) => names.of(sql, agent)?,
            None => None,
        };
        items.push(Message {
            id: row.id,
            to: row.recipient.to_string(),
            to_name,
            from: row.sender.to_string(),
            correlation: row.correlation(),
            from_name: row.sender_name,
            channel: row.channel,
            priority: row.priority.as_str().to_string(),
            state: row.state.as_str().to_string(),
            cause: row.cause.map(|cause| cause.as_str().to_string()),
            size: row.size,
            reply_to: row.reply_to,
            deadline: row.deadline.map(Into::into),
            hop: row.hop,
            execution: row.holder.and_then(Holder::execution),
            session: row.holder.and_then(Holder::session),
            answer: row.answer,
            expired: row.expired,
            sent_at: row.sent_at.into(),
            changed_at: row.changed_at.into(),
            message: body.and_then(|bytes| serde_json::from_slice(&bytes).ok()),
        });
    }
    Ok(items)
}
