//! `/v1/models`: what there is, what `default` means and why, and one short call to try a model.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use tenure_wire::api::model::{DefaultModel, Model as Shown, ModelStatus, Models, TestModel, TestedModel, Weights};
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
use crate::model::settings::CANDIDATES_MAX;

/// A model may have to be loaded first.
pub(super) const TEST_SECONDS_MAX: u64 = 240;
const TEST_TOKENS_MAX: u32 = 64;

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(test))
}

/// The models that words stand for, the local weights, and whether each could be used. No call is made to find out.
#[utoipa::path(get, path = "/v1/models", tag = "models", responses((status = 200, body = Models), (status = "4XX", body = Problem)))]
async fn list(State(api): State<Arc<ApiState>>, _: Viewer) -> Answer<Models> {
    let mut items: Vec<Shown> = Vec::new();
    for alias in api.models.aliases() {
        let name = match &alias.route {
            Route::Several(_) | Route::Added { .. } => alias.word.clone(),
            Route::Model(_) | Route::OnlyOf(_) => alias.route.to_string(),
        };
        if let Some(known) = items.iter_mut().find(|known| known.name == name) {
            known.aliases.push(alias.word);
            continue;
        }
        let candidates = match &alias.route {
            Route::Several(routes) => routes.iter().map(ToString::to_string).collect(),
            Route::Added { name, .. } => vec![name.to_string()],
            Route::Model(_) | Route::OnlyOf(_) => Vec::new(),
        };
        items.push(Shown {
            id: name.clone(),
            name,
            status: status(alias.missing.is_none()),
            provider: provider(&alias.route).as_str().to_string(),
            aliases: vec![alias.word],
            candidates,
            ready: alias.missing.is_none(),
            note: alias.missing.map(|failure| format!("{}; {}", failure.sentence, failure.hint)),
            weights: None,
        });
    }
    for (weights, missing) in api.models.weights() {
        let name = format!("{}/{}", Provider::Local.as_str(), weights.name);
        let told = Weights {
            title: weights.title.to_string(),
            licence: weights.licence.to_string(),
            bytes: weights.bytes,
            sha256: weights.sha256.to_string(),
        };
        match items.iter_mut().find(|known| known.name == name) {
            Some(known) => known.weights = Some(told),
            None => items.push(Shown {
                id: name.clone(),
                name,
                status: status(missing.is_none()),
                provider: Provider::Local.as_str().to_string(),
                aliases: Vec::new(),
                candidates: Vec::new(),
                ready: missing.is_none(),
                note: missing.map(|failure| format!("{}; {}", failure.sentence, failure.hint)),
                weights: Some(told),
            }),
        }
    }
    Ok(Out(Models {
        default: default_model(&api),
        settings_file: api.models.settings_file().map(|path| path.display().to_string()),
        settings_failure: api.models.settings_failure(),
        items,
    }))
}

fn status(ready: bool) -> ModelStatus {
    if ready { ModelStatus::Ready } else { ModelStatus::NotReady }
}

fn provider(route: &Route) -> Provider {
    match route {
        Route::Model(name) | Route::Added { name, .. } => name.provider,
        Route::OnlyOf(provider) => *provider,
        Route::Several(routes) => routes.first().map_or(Provider::Local, provider),
    }
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
    let request = Request {
        system: String::new(),
        messages: vec![Message::User { text: "Answer with the one word: ready".to_string() }],
        tools: Vec::new(),
        max_tokens: TEST_TOKENS_MAX,
        wishes: Default::default(),
        tag: Tag { execution: "test".to_string(), iteration: 1, turn: 1, attempt: 1 },
    };
    let started = Instant::now();
    let deadline = started + std::time::Duration::from_secs(TEST_SECONDS_MAX);
    let mut failed = Vec::new();
    loop {
        let model = api.models.resolve(&test.model).await.map_err(refused)?;
        if model.name().provider == Provider::Cassette {
            return Err(Code::ModelReplayed.problem(format!("`{}` is answered from a cassette", model.name())).into());
        }
        let answer = match model.generate(&request, &PieceSink::none(), deadline).await {
            Ok(answer) => answer,
            Err(failure) if failure.elsewhere && failed.len() < CANDIDATES_MAX => {
                failed.push(format!("{}: {}", model.name(), failure.sentence));
                continue;
            }
            Err(failure) => return Err(refused(failure)),
        };
        return Ok(Out(TestedModel {
            model: answer.model.to_string(),
            failed,
            text: answer.text,
            tokens_in: answer.usage.input.unwrap_or(0),
            tokens_out: answer.usage.output.unwrap_or(0),
            tokens_estimated: answer.usage.estimated,
            cost_micro_usd: answer.cost_micro_usd,
            took_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        }));
    }
}
