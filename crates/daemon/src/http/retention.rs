//! `/v1/retention`: how long, and how much, of what ended executions and sessions of all agents were told and said is kept; and
//! the erasing of one of them. Each change is a command with the person as its actor.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use tenure_core::aggregate::Command;
use tenure_core::budget::Whose;
use tenure_core::facts::Counter;
use tenure_core::project::Project;
use tenure_core::{execution, project, retention, session};
use tenure_store::rows::facts;
use tenure_wire::api::execution::{Erase, Execution};
use tenure_wire::api::retention::{Retention, SetRetention};
use tenure_wire::api::session::Session;
use tenure_wire::problem::Problem;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::{Owner, Viewer};
use super::body::{Json, Segment};
use super::executions::committed_row;
use super::problem::{Answer, Failure};

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(show, set)).routes(routes!(erase)).routes(routes!(erase_session))
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

impl ApiState {
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
