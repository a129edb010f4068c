//! Rules that nobody has written yet: what recorded calls ask for, and what the settings of other tools say. Must never apply one.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use tenure_policy::{Foreign, Learned};
use tenure_wire::api::policy::{
    ImportPolicy, LearnPolicy, PolicyImported, PolicyLearned, PolicyLeftOut, PolicyProposal,
};
use tenure_wire::problem::{Code, Problem};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::ApiState;
use super::super::auth::Operator;
use super::super::body::Json;
use super::super::problem::Answer;
use super::{one_at_a_time, replayed};
use crate::policy::{self, documents_of, invalid};

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(learn)).routes(routes!(import))
}

/// Rules that recorded calls ask for: what was blocked for want of one, what people allow again and again, and what an agent
/// really does. They are loaded and held against the same calls before they are shown. Nothing is applied.
#[utoipa::path(
    post, path = "/v1/policy/learn", tag = "policy", request_body = LearnPolicy,
    responses((status = 200, body = PolicyLearned), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn learn(State(api): State<Arc<ApiState>>, _: Operator, Json(body): Json<LearnPolicy>) -> Answer<PolicyLearned> {
    let _one = one_at_a_time()?;
    let only = match &body.agent {
        Some(wanted) => Some(api.agent(wanted).await?.id),
        None => None,
    };
    let (bundle, _) = api.bundle_that_holds().await?;
    let holds = api.candidate(None).await?;
    let (app, since) = (Arc::clone(&api.app), body.since.0);
    let (learned, cut) = policy::learned(Arc::clone(&app), since, only, Arc::clone(&holds), bundle).await?;
    let Learned { candidate, proposals, notes, diff, seen, unjudgeable } = learned;
    let documents = documents_of(&candidate);
    let replay = if proposals.is_empty() {
        None
    } else {
        let compiled = policy::compile(candidate).await.map_err(invalid)?;
        let past = policy::replay(app, since, holds, compiled).await?;
        Some(replayed(past.summary, past.cut))
    };
    let proposals = proposals.into_iter().map(|one| PolicyProposal {
        layer: one.layer.to_string(),
        document: one.document,
        rule: one.id,
        ground: one.ground.as_str().to_string(),
        about: one.about,
        count: one.count,
        examples: one.examples,
    });
    let proposals = proposals.collect();
    Ok(Out(PolicyLearned { seen, unjudgeable, cut, proposals, notes, diff, documents, replay }))
}

/// The settings of another tool as a document of ours, with every line that it cannot say. Nothing is applied.
#[utoipa::path(
    post, path = "/v1/policy/import", tag = "policy", request_body = ImportPolicy,
    responses((status = 200, body = PolicyImported), (status = "4XX", body = Problem))
)]
async fn import(_: Operator, Json(body): Json<ImportPolicy>) -> Answer<PolicyImported> {
    let from: Foreign = body.from.parse().map_err(|why: String| Code::ParameterWrong.problem(why))?;
    let imported = tokio::task::spawn_blocking(move || tenure_policy::import(from, &body.text)).await;
    let imported = imported.expect("invariant: reading settings does not panic");
    let imported = imported.map_err(|why| Code::PolicyInvalid.problem(why))?;
    let left_out =
        imported.left_out.into_iter().map(|one| PolicyLeftOut { line: one.line, what: one.what, why: one.why });
    Ok(Out(PolicyImported {
        text: imported.text,
        rules: imported.rules,
        left_out: left_out.collect(),
        notes: imported.notes,
    }))
}
