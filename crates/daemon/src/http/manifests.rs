//! `/v1/manifests`, and what a deploy asks of a manifest before it becomes a command.
use std::sync::Arc;
use std::time::Duration;

use axum::Json as Out;
use axum::extract::State;
use serde_json::Value;
use tenure_core::agent::dependency::{self, Lack, Registered, Unmet};
use tenure_core::id::WorkerId;
use tenure_core::manifest::{self, Fault, Host, Isolation, Manifest};
use tenure_core::plan::Dependency;
use tenure_store::rows::{agents, workers};
use tenure_wire::api::agent::Validated;
use tenure_wire::problem::{Code, Problem};
use tokio::time::timeout;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::Viewer;
use super::body::Text;
use super::problem::{Answer, Failure, of_manifest, of_model};
use crate::{records, schema};

/// A worker greets within this after the daemon's start, as a rule in far less.
const GREETING_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(validate)).routes(routes!(schema))
}

/// Check a manifest without deploying it. Fields that this host would not enforce are listed, and are no failure here.
#[utoipa::path(
    post, path = "/v1/manifests/validate", tag = "manifests",
    request_body(content = String, content_type = "application/yaml", description = "A manifest, YAML or JSON, canonical, AEGIS or kAI"),
    responses((status = 200, body = Validated), (status = "4XX", body = Problem))
)]
async fn validate(State(api): State<Arc<ApiState>>, _: Viewer, Text(text): Text) -> Answer<Validated> {
    let (manifest, notes) = parse_noting(&text)?;
    known_model(&api, &manifest)?;
    Ok(Out(Validated {
        notes,
        valid: true,
        name: manifest.name().to_string(),
        version: manifest.metadata.version.as_ref().map(ToString::to_string),
        unenforced: manifest.unenforced(&host(&api, None).await?).into_iter().map(Into::into).collect(),
        manifest: canonical(&manifest),
    }))
}

/// The JSON Schema of the canonical form.
#[utoipa::path(get, path = "/v1/manifests/schema", tag = "manifests", responses((status = 200, body = Value)))]
async fn schema(_: Viewer) -> Out<&'static Value> {
    Out(manifest::schema())
}

/// The manifest, and what whoever sent it is told of it.
pub(super) fn parse_noting(text: &str) -> Result<(Manifest, Vec<String>), Failure> {
    let (manifest, notes) =
        Manifest::parse_noting(text).map_err(|problems| of_manifest(Code::ManifestInvalid, problems))?;
    let problems = schema::problems(&manifest);
    if !problems.is_empty() {
        return Err(of_manifest(Code::ManifestInvalid, problems));
    }
    let notes = notes.into_iter().chain(manifest.left_to_its_start());
    Ok((manifest, notes.map(|note| note.to_string()).collect()))
}

/// Refuses a manifest whose agent depends on what is not registered; tells of what it can do without. The decision looks
/// again: this names each place in the file, and is what a dry run has.
pub(super) async fn depended_on(api: &ApiState, manifest: &Manifest) -> Result<Vec<String>, Failure> {
    let name = manifest.name().to_string();
    let wanted: Vec<Dependency> = manifest.spec.dependencies.iter().map(Dependency::of).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let unmet = api.records.read(move |txn| {
        dependency::unmet(&name, &wanted, &mut |other: &str| {
            let Some(row) = agents::named(txn.parts().0, other)? else { return Ok::<_, records::Error>(None) };
            let lives = !matches!(row.standing.state.as_str(), "revoked" | "deleting" | "archived");
            let plan = txn.plan(row.id, row.standing.revision)?;
            Ok(Some(Registered { name: row.name, lives, plan }))
        })
    });
    let (required, optional): (Vec<Unmet>, Vec<Unmet>) = unmet.await?.into_iter().partition(|unmet| unmet.required);
    if !required.is_empty() {
        return Err(of_manifest(Code::DependencyUnmet, required.iter().map(problem_of).collect()));
    }
    Ok(optional.iter().map(|unmet| format!("dependencies[{}]: {unmet}; it does without", unmet.index)).collect())
}

fn problem_of(unmet: &Unmet) -> manifest::Problem {
    let fault = Fault::new(manifest::Code::Unenforced, unmet.to_string());
    let way_out = match unmet.lack {
        Lack::Circle { .. } => "take one of them out of the circle",
        Lack::Missing | Lack::Gone => "deploy it first, or write `required: false`",
        Lack::NoService { .. } => "write `type: agent`, or give it the persona `utility`",
        Lack::Unversioned { .. } | Lack::OtherVersion { .. } => "deploy the version that is wanted, or widen the range",
        Lack::TooDeep => "let fewer agents depend on each other",
    };
    fault.hint(way_out).at(format!("spec.dependencies[{}]", unmet.index))
}

/// Refuses what would be accepted and then ignored: fields that nothing enforces here, a model that nobody knows.
pub(super) async fn check(api: &ApiState, manifest: &Manifest, home: Option<WorkerId>) -> Result<(), Failure> {
    known_model(api, manifest)?;
    let host = host(api, home).await?;
    let unenforced = manifest.unenforced(&host);
    if unenforced.is_empty() { Ok(()) } else { Err(of_manifest(Code::ManifestUnenforced, unenforced)) }
}

fn known_model(api: &ApiState, manifest: &Manifest) -> Result<(), Failure> {
    api.models.route(manifest.model()).map(|_| ()).map_err(|failure| of_model(Code::ModelUnknown, &failure))
}

/// What the agent's home can do now, or, where it has none, a connected worker's host; waited for while the worker starts:
/// nothing is guessed.
pub(super) async fn host(api: &ApiState, home: Option<WorkerId>) -> Result<Host, Failure> {
    let missing = || Failure::from(Code::NotReady.problem("the worker has not said yet what this host can do"));
    let connected = timeout(GREETING_TIMEOUT, api.app.fleet.any_of(home)).await.map_err(|_| missing())?;
    connected.survey().await.ok_or_else(missing)?;
    let worker = connected.worker;
    let read = api.records.read(move |txn| {
        let row = workers::get(txn.parts().0, worker)?;
        row.and_then(|row| row.host).map(|host| txn.json(host)).transpose()
    });
    read.await?.ok_or_else(missing)
}

pub(super) fn canonical(manifest: &Manifest) -> Value {
    serde_json::to_value(manifest).expect("invariant: a manifest has text keys and finite numbers only")
}

/// A stored manifest for people, in the order in which they write one; as it is stored where today's reader refuses it.
pub(super) fn readable(stored: &[u8]) -> Result<Value, Failure> {
    match Manifest::parse_bytes(stored) {
        Ok(manifest) if manifest.canonical_json() == stored => Ok(canonical(&manifest)),
        Ok(_) | Err(_) => Ok(serde_json::from_slice(stored).map_err(records::Error::Payload)?),
    }
}

/// The word that lists show for what an agent runs in.
pub(super) fn runtime(manifest: &Manifest) -> &'static str {
    let runtime = manifest.spec.runtime.as_ref();
    match runtime.and_then(|runtime| runtime.isolation) {
        None | Some(Isolation::Inherit) if runtime.is_some_and(|runtime| runtime.image.is_some()) => {
            Isolation::Docker.as_str()
        }
        None | Some(Isolation::Inherit) => Isolation::Native.as_str(),
        Some(stated @ (Isolation::Native | Isolation::Docker | Isolation::Wasm)) => stated.as_str(),
    }
}
