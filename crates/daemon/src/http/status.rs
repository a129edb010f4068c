//! `/v1/status`, `/health` and `/health/ready`. Health tells nobody anything but whether to wait.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use axum::http::StatusCode;
use tenure_core::manifest::Engine;
use tenure_store::ScrubState;
use tenure_store::rows::{agents, executions, messages};
use tenure_wire::api::status::{Health, LedgerCheck, LedgerCheckState, Sink, Status, Unusable, Worker};
use tenure_wire::problem::Problem;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::Viewer;
use super::items::open_alerts;
use super::models::default_model;
use super::problem::Answer;
use crate::fleet::Greeting;

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(status)).routes(routes!(health)).routes(routes!(ready))
}

/// What the daemon is, holds and does.
#[utoipa::path(get, path = "/v1/status", tag = "status", responses((status = 200, body = Status), (status = "4XX", body = Problem)))]
async fn status(State(api): State<Arc<ApiState>>, _: Viewer) -> Answer<Status> {
    let counts = api.reader().read(|sql| {
        let (dead, alerts) = (messages::count_dead(sql)?, open_alerts(sql)?);
        Ok((agents::count(sql)?, executions::open_count(sql)?, dead, alerts))
    });
    let (agents, executions_open, dead_letters, alerts) = counts.await?;
    let worker = worker(&api);
    let look = {
        let api = Arc::clone(&api);
        move || api.disk.look(&api.installation.data_dir)
    };
    // A look that fails is none: it is no promise, and no reason to tell nothing else.
    let disk = tokio::task::spawn_blocking(look).await.unwrap_or_default();
    Ok(Out(Status {
        disk,
        id: api.app.committer.project(),
        status: readiness(&api).0.to_string(),
        version: VERSION.to_string(),
        pid: std::process::id(),
        started_at: api.installation.started_at.into(),
        data_dir: api.installation.data_dir.display().to_string(),
        listening: api.installation.listening.clone(),
        fingerprint: api.installation.certificates.as_ref().map(|certificates| certificates.fingerprint()),
        records: api.app.watch.records(),
        ledger_check: ledger_check(api.reader().scrub_state()),
        sinks: sinks(&api),
        unusable: unusable(&api, worker.as_ref()),
        worker,
        model: default_model(&api),
        agents,
        executions_open,
        dead_letters,
        alerts,
    }))
}

fn ledger_check(scrub_state: ScrubState) -> LedgerCheck {
    use LedgerCheckState as State;
    let (state, records, findings) = match scrub_state {
        ScrubState::Running { records } => (State::Running, records, Vec::new()),
        ScrubState::Clean { records, .. } => (State::Clean, records, Vec::new()),
        ScrubState::Damaged { records, mut findings, count } => {
            let more = count.saturating_sub(findings.len() as u64);
            findings.extend((more > 0).then(|| format!("and {more} more")));
            (State::Damaged, records, findings)
        }
        ScrubState::Failed { why } => (State::Failed, 0, vec![why]),
    };
    LedgerCheck { state, records, findings }
}

fn worker(api: &ApiState) -> Option<Worker> {
    let greeting = api.greeting.borrow();
    let Greeting { hello, connection } = greeting.as_ref()?;
    let connection = api.app.fleet.by_connection(*connection);
    // What the last survey found, which a deploy asks for, is newer than the greeting.
    let host = match &connection {
        Some(connection) => Arc::clone(&connection.host.borrow()),
        None => Arc::new(hello.host.clone()),
    };
    Some(Worker {
        id: connection.as_ref().map(|connection| connection.worker),
        name: hello.name.clone(),
        status: if connection.is_some() { "connected" } else { "away" }.to_string(),
        connected: connection.is_some(),
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

fn sinks(api: &ApiState) -> Vec<Sink> {
    let records = api.app.watch.records();
    let shown = api.app.sinks.states().into_iter().map(|sink| Sink {
        kind: sink.kind.to_string(),
        to: sink.to,
        delivered: sink.delivered,
        behind: records.saturating_sub(sink.delivered),
        failing_since: sink.failing.as_ref().map(|(since, _)| (*since).into()),
        failing: sink.failing.map(|(_, why)| why),
    });
    shown.collect()
}

fn unusable(api: &ApiState, worker: Option<&Worker>) -> Vec<Unusable> {
    let item = |what: &str, why: &str, next: Option<&str>| Unusable {
        what: what.to_string(),
        why: why.to_string(),
        next: next.map(ToString::to_string),
    };
    let mut found = Vec::new();
    match worker {
        Some(worker) if worker.connected => {
            if let Some(why) = worker.engine.strip_prefix("none: ") {
                found.push(item("containers", why, Some("install Docker or Podman, or leave `runtime.image` out")));
            }
            for (holds, what) in [
                (worker.limits_memory, "limits of memory"),
                (worker.limits_cpu, "limits of processor time"),
                (worker.limits_pids, "limits of processes"),
            ] {
                if !holds {
                    found.push(item(
                        what,
                        "this host gives no control group for it",
                        Some("`tenure sandbox check` says more"),
                    ));
                }
            }
        }
        Some(_) => found.push(item("executions", "the worker is away; it is started again by itself", None)),
        None => found.push(item("executions", "the worker has not come up yet", Some("the daemon's log says why"))),
    }
    if let Some(why) = api.installation.certificates.as_ref().and_then(|certificates| certificates.failure()) {
        found.push(item("the new certificate", &why, Some("until then the one before is shown")));
    }
    if let Some(why) = api.models.settings_failure() {
        found.push(item("the newest configuration of models", &why, Some("until then the one before is used")));
    }
    if let Err(locked) = api.app.vault.state() {
        found.push(item("secrets", &locked.why, Some(&locked.next)));
    }
    let gone = api.app.vault.gone();
    if gone > 0 {
        let what = format!("the values of {gone} are gone from the store, and nothing can use them");
        found.push(item(
            "secrets",
            &what,
            Some("`tenure secret list` names them; `tenure secret rotate NAME` gives one another"),
        ));
    }
    for sink in sinks(api) {
        if let Some(why) = sink.failing {
            let what = format!("audit sink {}", sink.kind);
            found.push(item(
                &what,
                &format!("{} records behind: {why}", sink.behind),
                Some("it is tried again by itself"),
            ));
        }
    }
    for alias in api.models.aliases() {
        if let Some(failure) = alias.missing {
            found.push(item(&format!("model {}", alias.word), &failure.sentence, Some(&failure.hint)));
        }
    }
    found
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
async fn ready(State(api): State<Arc<ApiState>>) -> (StatusCode, Out<Health>) {
    let (word, missing) = readiness(&api);
    let code = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Out(Health { status: word.to_string(), missing, version: VERSION.to_string() }))
}

/// In a word, with what is not there.
fn readiness(api: &ApiState) -> (&'static str, Vec<String>) {
    let mut missing = Vec::new();
    if api.app.fleet.connections().is_empty() {
        missing.push("worker".to_string());
    }
    if api.app.is_closing() {
        missing.push("daemon".to_string());
    }
    let word = match (missing.is_empty(), api.app.is_closing()) {
        (true, _) => "ok",
        (false, true) => "stopping",
        (false, false) => "starting",
    };
    (word, missing)
}
