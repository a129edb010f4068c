//! `/v1/status`, `/health` and `/health/ready`. Health tells nobody anything but whether to wait.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use axum::http::StatusCode;
use tenure_core::manifest::Engine;
use tenure_store::rows::{agents, executions};
use tenure_wire::api::status::{Health, Status, Worker};
use tenure_wire::problem::Problem;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Rooms;
use super::auth::Viewer;
use super::models::default_model;
use super::problem::Answer;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Agents that are counted one by one.
const AGENTS_COUNTED_MAX: u32 = 100_000;

pub(super) fn routes() -> OpenApiRouter<Arc<Rooms>> {
    OpenApiRouter::new().routes(routes!(status)).routes(routes!(health)).routes(routes!(ready))
}

/// What the daemon is, holds and does.
#[utoipa::path(get, path = "/v1/status", tag = "status", responses((status = 200, body = Status), (status = "4XX", body = Problem)))]
async fn status(State(rooms): State<Arc<Rooms>>, _: Viewer) -> Answer<Status> {
    let counts = rooms.reader().read(|sql| {
        let agents = agents::list(sql, None, None, AGENTS_COUNTED_MAX)?.rows.len();
        Ok((agents as u64, executions::open_count(sql)?))
    });
    let (agents, executions_open) = counts.await?;
    Ok(Out(Status {
        version: VERSION.to_string(),
        pid: std::process::id(),
        started_at: rooms.facts.started_at.into(),
        data_dir: rooms.facts.data_dir.display().to_string(),
        listening: rooms.facts.listening.clone(),
        records: rooms.house.watch.records(),
        worker: worker(&rooms),
        model: default_model(&rooms),
        agents,
        executions_open,
    }))
}

fn worker(rooms: &Rooms) -> Option<Worker> {
    let link = rooms.house.link();
    let connected = link.is_some();
    let greeted = rooms.greeted.borrow();
    let hello = &greeted.as_ref()?.hello;
    // What the last survey found, which a deploy asks for, is newer than the greeting.
    let host = link.map_or_else(|| Arc::new(hello.host.clone()), |link| Arc::clone(&link.host.borrow()));
    Some(Worker {
        name: hello.name.clone(),
        connected,
        slots: hello.slots,
        level: hello.level.clone(),
        toolchains: host.toolchains.iter().map(|found| format!("{} {}", found.language, found.version)).collect(),
        engine: match &host.engine {
            Engine::Present { name, version, .. } => format!("{name} {version}"),
            Engine::Absent { why } => format!("none: {why}"),
        },
        limits_memory: host.memory,
        limits_cpu: host.cpu,
        limits_pids: host.pids,
        quota: host.quota.as_str().to_string(),
    })
}

/// Whether the daemon lives.
#[utoipa::path(get, path = "/health", tag = "status", responses((status = 200, body = Health)))]
async fn health() -> Out<Health> {
    Out(Health { status: "ok".to_string(), missing: Vec::new(), version: VERSION.to_string() })
}

/// Whether it could run an execution now.
#[utoipa::path(
    get, path = "/health/ready", tag = "status",
    responses((status = 200, body = Health), (status = 503, body = Health, description = "Not yet, or no more"))
)]
async fn ready(State(rooms): State<Arc<Rooms>>) -> (StatusCode, Out<Health>) {
    let mut missing = Vec::new();
    if rooms.house.link().is_none() {
        missing.push("worker".to_string());
    }
    if rooms.house.is_closing() {
        missing.push("daemon".to_string());
    }
    let (code, word) = match (missing.is_empty(), rooms.house.is_closing()) {
        (true, _) => (StatusCode::OK, "ok"),
        (false, true) => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
    };
    (code, Out(Health { status: word.to_string(), missing, version: VERSION.to_string() }))
}
