//! `/v1/retention`: how long, and how much, of what ended executions and sessions of all agents were told and said is kept; and
//! the erasing of one of them. Each change is a command with the person as its actor.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use tenure_core::aggregate::{Command, Stream};
use tenure_core::bound::Hash;
use tenure_core::budget::Whose;
use tenure_core::facts::Counter;
use tenure_core::ledger::Meta;
use tenure_core::project::Project;
use tenure_core::{execution, project, retention, session};
use tenure_store::Selection;
use tenure_store::audit::{self, Order};
use tenure_store::rows::facts;
use tenure_store::sql::Sql;
use tenure_wire::api::execution::{Erase, ErasedPayload, Execution};
use tenure_wire::api::retention::{Retention, SetRetention};
use tenure_wire::api::session::Session;
use tenure_wire::problem::{Code, Problem};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::{Owner, Viewer};
use super::body::{Json, Segment};
use super::executions::committed_row;
use super::problem::{Answer, Failure};

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(show, set))
        .routes(routes!(erase))
        .routes(routes!(erase_session))
        .routes(routes!(erase_payload))
}

/// How long, and how much, of ended executions and sessions is kept.
#[utoipa::path(
    get, path = "/v1/retention", tag = "retention",
    responses((status = 200, body = Retention), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn show(State(api): State<Arc<ApiState>>, _: Viewer) -> Answer<Retention> {
    Ok(Out(api.retention().await?))
}

/// Say how long, and how much, of ended executions and sessions of all agents is kept; what is beyond it is erased at once.
#[utoipa::path(
    put, path = "/v1/retention", tag = "retention", request_body = SetRetention,
    responses((status = 200, body = Retention), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn set(
    State(api): State<Arc<ApiState>>,
    Owner(caller): Owner,
    Json(SetRetention { age_ms, bytes }): Json<SetRetention>,
) -> Answer<Retention> {
    let command = project::Command::SetRetention { retention: retention::Retention { age_ms, bytes } };
    api.app.committer.commit(caller.actor, Command::Project(api.app.committer.project(), command)).await?;
    Ok(Out(api.retention().await?))
}

/// Erase what an ended execution was told and said. Its records stay.
#[utoipa::path(
    post, path = "/v1/executions/{execution}/erase", tag = "executions", request_body = Erase,
    params(("execution" = String, Path, description = "Id or short id")),
    responses((status = 200, body = Execution), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn erase(
    State(api): State<Arc<ApiState>>,
    Owner(caller): Owner,
    Segment(wanted): Segment,
    Json(Erase { reason }): Json<Erase>,
) -> Answer<Execution> {
    let entry = api.execution(&wanted).await?;
    let command = Command::Execution(entry.id, execution::Command::Erase { reason });
    let committed = api.app.committer.commit(caller.actor, command).await?;
    Ok(Out(api.shown(vec![committed_row(&committed)?]).await?.remove(0)))
}

/// Erase what the calls of an ended session were asked and answered. Its records stay.
#[utoipa::path(
    post, path = "/v1/sessions/{session}/erase", tag = "sessions", request_body = Erase,
    params(("session" = String, Path, description = "Id or short id")),
    responses((status = 200, body = Session), (status = "4XX", body = Problem))
)]
async fn erase_session(
    State(api): State<Arc<ApiState>>,
    Owner(caller): Owner,
    Segment(wanted): Segment,
    Json(Erase { reason }): Json<Erase>,
) -> Answer<Session> {
    let id = api.session(&wanted).await?.id;
    let command = Command::Session(id, session::Command::Erase { reason });
    api.app.committer.commit(caller.actor, command).await?;
    let row = api.session(&id.to_string()).await?;
    Ok(Out(api.shown_session(row)))
}

/// Erase one thing that an ended execution or session was told or said, by its hash as records name it. Records are looked through
/// for the one that brought it; they stay.
#[utoipa::path(
    post, path = "/v1/payloads/{payload}/erase", tag = "retention", request_body = Erase,
    params(("payload" = String, Path, description = "Its hash: 64 hexadecimal digits")),
    responses((status = 200, body = ErasedPayload), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn erase_payload(
    State(api): State<Arc<ApiState>>,
    Owner(caller): Owner,
    Segment(wanted): Segment,
    Json(Erase { reason }): Json<Erase>,
) -> Answer<ErasedPayload> {
    let unknown = |what: &str| Failure::from(Code::PayloadUnknown.problem(what.to_string()));
    let payload = wanted.parse::<Hash>().map_err(|_| unknown("it is no hash of 64 hexadecimal digits"))?;
    let meta = api.naming(payload).await?.ok_or_else(|| unknown("no record names it"))?;
    let n = meta.n;
    let command = if let Stream::Execution(id) = meta.stream {
        Command::Execution(id, execution::Command::ErasePayload { payload, n, reason })
    } else if let Stream::Session(id) = meta.stream {
        Command::Session(id, session::Command::ErasePayload { payload, n, reason })
    } else {
        return Err(unknown(&format!("record {} of {} brought it", meta.index, meta.stream)));
    };
    api.app.committer.commit(caller.actor, command).await?;
    let (stream, status) = (meta.stream.to_string(), "erased".to_string());
    Ok(Out(ErasedPayload { id: payload, status, stream, record: meta.index }))
}

impl ApiState {
    /// The first record that names a payload, page by page through all of them.
    async fn naming(&self, payload: Hash) -> Result<Option<Meta>, Failure> {
        let reader = self.reader().background();
        let (named, mut from) = (payload.to_string(), Some(0));
        while let Some(at) = from {
            let selection = Selection { about: Some(named.clone()), ..Selection::default() };
            let read = move |sql: &mut dyn Sql| audit::records(sql, &selection, Order::OldestFirst, Some(at), 1);
            let page = reader.read(read).await?;
            if let Some(record) = page.records.into_iter().next() {
                return Ok(Some(record.meta));
            }
            from = page.next;
        }
        Ok(None)
    }

    async fn retention(&self) -> Result<Retention, Failure> {
        let project = self.app.committer.project();
        let macs = self.reader().macs().clone();
        let read = self.reader().read(move |sql| {
            let keeping = tenure_store::fold::<Project>(sql, &macs, project)?.map(|project| project.keeping);
            Ok((keeping.unwrap_or_default(), facts::counted(sql, Counter::KeptBytes, &Whose::Project.key(), 0)?))
        });
        let (keeping, kept) = read.await?;
        let kept_bytes = u64::try_from(kept).unwrap_or(0);
        let retention::Keeping { retention: retention::Retention { age_ms, bytes }, due } = keeping;
        Ok(Retention { age_ms, bytes, kept_bytes, due_at: due.map(Into::into) })
    }
}
