//! `/v1/models`: what there is, what `default` means and why, and one short call to try a model.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use tenure_wire::api::model::{DefaultModel, Model as Shown, ModelStatus, Models, TestModel, TestedModel};
use tenure_wire::problem::{Code, Problem};
use tokio::time::Instant;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::{Operator, Viewer};
use super::body::Json;
use super::problem::{Answer, of_model};
use crate::model::failure::Kind;
use crate::model::name::Provider;
use crate::model::piece::PieceSink;
use crate::model::request::{Message, Request, Tag};
use crate::model::router::Route;

/// A model may have to be loaded first.
pub(super) const TEST_SECONDS_MAX: u64 = 240;
const TEST_TOKENS_MAX: u32 = 64;

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(test))
}

/// The models that aliases stand for, and whether each could be called. No call is made to find out.
#[utoipa::path(get, path = "/v1/models", tag = "models", responses((status = 200, body = Models), (status = "4XX", body = Problem)))]
async fn list(State(api): State<Arc<ApiState>>, _: Viewer) -> Answer<Models> {
    let mut items: Vec<Shown> = Vec::new();
    for alias in api.models.aliases() {
        let name = alias.route.to_string();
        if let Some(known) = items.iter_mut().find(|known| known.name == name) {
            known.aliases.push(alias.word.to_string());
            continue;
        }
        let provider = match &alias.route {
            Route::Model(name) => name.provider,
            Route::OnlyOf(provider) => *provider,
        };
        items.push(Shown {
            id: name.clone(),
            name,
            status: if alias.missing.is_none() { ModelStatus::Ready } else { ModelStatus::NotReady },
            provider: provider.as_str().to_string(),
            aliases: vec![alias.word.to_string()],
            ready: alias.missing.is_none(),
            note: alias.missing.map(|failure| format!("{}; {}", failure.sentence, failure.hint)),
        });
    }
    Ok(Out(Models { default: default_model(&api), items }))
}

pub(super) fn default_model(api: &ApiState) -> DefaultModel {
    let (route, because) = api.models.default_route_and_reason();
    DefaultModel { model: route.to_string(), because: because.to_string(), cassette: api.models.cassette() }
}

/// Ask a model for one short answer. It is no execution's: nothing of it is kept.
#[utoipa::path(
    post, path = "/v1/models/test", tag = "models", request_body = TestModel,
    responses((status = 200, body = TestedModel), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn test(State(api): State<Arc<ApiState>>, _: Operator, Json(test): Json<TestModel>) -> Answer<TestedModel> {
    let refused = |failure: crate::model::failure::Failure| {
        let code = if failure.kind == Kind::UnknownModel { Code::ModelUnknown } else { Code::ModelFailed };
        of_model(code, &failure)
    };
    let model = api.models.resolve(&test.model).await.map_err(refused)?;
    if model.name().provider == Provider::Cassette {
        return Err(Code::ModelReplayed.problem(format!("`{}` is answered from a cassette", model.name())).into());
    }
    let request = Request {
        system: String::new(),
        messages: vec![Message::User { text: "Answer with the one word: ready".to_string() }],
        tools: Vec::new(),
        max_tokens: TEST_TOKENS_MAX,
        tag: Tag { execution: "test".to_string(), iteration: 1, turn: 1, attempt: 1 },
    };
    let started = Instant::now();
    let deadline = started + std::time::Duration::from_secs(TEST_SECONDS_MAX);
    let answer = model.generate(&request, &PieceSink::none(), deadline).await.map_err(refused)?;
    Ok(Out(TestedModel {
        model: answer.model.to_string(),
        text: answer.text,
        tokens_in: answer.usage.input.unwrap_or(0),
        tokens_out: answer.usage.output.unwrap_or(0),
        cost_micro_usd: answer.cost_micro_usd,
        took_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    }))
}
