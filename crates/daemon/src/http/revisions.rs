//! `/v1/agents/{agent}/revisions`: what an agent was, and the way back there. A rollback is a new revision that repeats an
//! older one with its own plan: must never compile an old manifest anew.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use serde::Deserialize;
use serde_json::Value;
use tenure_core::agent::{AgentRow, Deployment, Expectation, RevisionRow};
use tenure_core::manifest::{Manifest, changes};
use tenure_core::plan::Plan;
use tenure_wire::api::List;
use tenure_wire::api::agent::{Deployed, Revision, RevisionFile, Rollback};
use tenure_wire::problem::{Code, Problem};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::agents::{commit_deployment, listed, revision};
use super::auth::{Operator, Viewer};
use super::body::{JsonOrNothing, Params, Segment};
use super::number::{self, Number};
use super::problem::{Answer, Failure};
use super::{ApiState, manifests};
use crate::records;

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get)).routes(routes!(roll_back))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<Number>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<u32>, minimum = 1)]
    cursor: Option<Number>,
}

/// The revisions of an agent, newest first.
#[utoipa::path(
    get, path = "/v1/agents/{agent}/revisions", operation_id = "revision_list", tag = "agents",
    params(("agent" = String, Path, description = "Name, id or short id"), ListParams),
    responses((status = 200, body = List<Revision>), (status = "4XX", body = Problem))
)]
async fn list(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Segment(wanted): Segment,
    Params(params): Params<ListParams>,
) -> Answer<List<Revision>> {
    let before = params.cursor.as_ref().map(|cursor| number::revision("cursor", cursor)).transpose()?;
    let limit = number::limit(params.limit.as_ref())?;
    let entry = api.agent(&wanted).await?;
    let page = api.revisions(entry.id, before, limit).await?;
    let next_cursor = page.next.map(|number| number.to_string());
    Ok(Out(List { items: page.rows.into_iter().map(revision).collect(), next_cursor }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct GetParams {
    /// Another revision: `changes` tells what this one has differently.
    #[param(value_type = Option<u32>, minimum = 1)]
    against: Option<Number>,
}

/// One revision with its manifest, and how it differs from another.
#[utoipa::path(
    get, path = "/v1/agents/{agent}/revisions/{revision}", operation_id = "revision_get", tag = "agents",
    params(
        ("agent" = String, Path, description = "Name, id or short id"),
        ("revision" = u32, Path, minimum = 1, description = "Its number"), GetParams
    ),
    responses((status = 200, body = RevisionFile), (status = "4XX", body = Problem))
)]
async fn get(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Segment((wanted, number)): Segment<(String, String)>,
    Params(params): Params<GetParams>,
) -> Answer<RevisionFile> {
    let number = number::revision("revision", &Number::new(&number))?;
    let against = params.against.as_ref().map(|number| number::revision("against", number)).transpose()?;
    let entry = api.agent(&wanted).await?;
    let (row, manifest) = shown(&api, &entry, number).await?;
    let changes = match against {
        Some(other) => {
            let (_, before) = shown(&api, &entry, other).await?;
            let differences = changes::differences(&before, &manifest);
            Some(differences.into_iter().map(Into::into).collect())
        }
        None => None,
    };
    Ok(Out(RevisionFile { revision: revision(row), manifest, changes }))
}

async fn shown(api: &ApiState, entry: &AgentRow, number: u32) -> Result<(RevisionRow, Value), Failure> {
    let (row, manifest, _) = read(api, entry, number).await?;
    Ok((row, manifests::readable(&manifest)?))
}

/// A revision with the bytes of its manifest and of its plan.
async fn read(api: &ApiState, entry: &AgentRow, number: u32) -> Result<(RevisionRow, Vec<u8>, Vec<u8>), Failure> {
    let (id, newest) = (entry.id, entry.standing.revision);
    if !(1..=newest).contains(&number) {
        return Err(Code::RevisionUnknown.problem(format!("its revisions are 1 to {newest}")).into());
    }
    let read = api.records.read(move |txn| {
        let row = txn.revision(id, number)?;
        let (manifest, plan) = (txn.bytes(row.manifest)?, txn.bytes(row.plan)?);
        Ok((row, manifest, plan))
    });
    Ok(read.await?)
}

/// Go back to an older revision: the next one repeats its manifest and its plan. What runs keeps its own.
#[utoipa::path(
    post, path = "/v1/agents/{agent}/rollback", tag = "agents", request_body = Option<Rollback>,
    params(("agent" = String, Path, description = "Name, id or short id")),
    responses((status = 200, body = Deployed), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn roll_back(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
    JsonOrNothing(body): JsonOrNothing<Rollback>,
) -> Answer<Deployed> {
    let entry = api.agent(&wanted).await?;
    let newest = entry.standing.revision;
    let to = match body.to {
        Some(to) => to,
        None if newest > 1 => newest - 1,
        None => return Err(Code::RevisionUnknown.problem("it has one revision, and none before that").into()),
    };
    let (row, manifest, plan) = read(&api, &entry, to).await?;
    // As it was stored, whether or not today's reader would take it at a deploy.
    let stored: Manifest = serde_json::from_slice(&manifest).map_err(records::Error::Payload)?;
    let unreadable = |why: String| Failure::from(Code::LedgerBroken.problem(why));
    let Plan { schedule, triggers, retention, .. } = Plan::read(&plan).map_err(unreadable)?;
    let deployment = Deployment {
        name: entry.name.clone(),
        listed: listed(&stored),
        manifest: api.app.committer.payload(manifest),
        plan: api.app.committer.payload(plan),
        digest: row.digest,
        schedule,
        triggers,
        retention,
        key: None,
        expect: Expectation::Revision(newest),
        repeats: Some(to),
    };
    commit_deployment(&api, caller.actor, entry.id, deployment, Some(entry), None).await
}
