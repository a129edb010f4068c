//! `/v1/doctor` and `/v1/agents/{agent}/doctor`: what is in force now, not what is configured. The judge is asked, listeners are
//! connected to, figures are read, the worker looks at its host anew. Must never: call it in force because somebody wrote it down.
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Json as Out;
use axum::extract::State;
use serde::Deserialize;
use tenure_core::agent::AgentRow;
use tenure_core::budget::Whose;
use tenure_core::call::{Holder, HolderKind};
use tenure_core::capability::{self, mcp};
use tenure_core::judge::Verdict;
use tenure_core::plan::{Limits, Plan};
use tenure_core::secret;
use tenure_core::time::Time;
use tenure_policy::Explanation;
use tenure_store::ScrubState;
use tenure_store::rows::{executions, sessions};
use tenure_wire::api::budget::BudgetStatus;
use tenure_wire::api::doctor::{Check, Diagnosis};
use tenure_wire::confinement::Confinement;
use tenure_wire::problem::{Code, Problem};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::agents::wanted_secret;
use super::auth::Viewer;
use super::body::{Params, Segment};
use super::manifests;
use super::problem::{Answer, Failure};
use crate::policy;
use crate::upstream::{Known, Upstream};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const MODEL_TIMEOUT: Duration = Duration::from_secs(5);
/// Of the file system under the ledger.
const FREE_BYTES_MIN: u64 = 256 << 20;
/// Files that only the daemon's user may open.
const OWN_FILES: [&str; 3] = ["", "tenure.db", "ledger.key"];
/// Where no other key was stated, once there is a secret.
const VAULT_KEY: &str = "vault.key";

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(daemon)).routes(routes!(agent))
}

/// What of the daemon is in force, tried now.
#[utoipa::path(get, path = "/v1/doctor", tag = "doctor", responses((status = 200, body = Diagnosis), (status = "4XX", body = Problem)))]
async fn daemon(State(api): State<Arc<ApiState>>, _: Viewer) -> Answer<Diagnosis> {
    let mut checks = vec![ledger(&api), reserve(&api)];
    checks.extend(own_files(&api.installation.data_dir, api.installation.owner));
    for place in &api.installation.listening {
        checks.push(listener(place).await);
    }
    checks.push(policy_that_holds(&api).await?);
    checks.push(worker(&api));
    checks.extend(sinks(&api));
    let refused = api.attempts.refused();
    let found = format!("{refused} requests were refused for their key since the start; failures are bounded");
    checks.push(Check::in_force("keys", "failing keys", found));
    let project = api.app.committer.project().to_string();
    Ok(Out(Diagnosis::new(project, "daemon".to_string(), checks)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CallParams {
    /// The call to ask the judge about; without it, all that the agent may be offered.
    capability: Option<String>,
    /// Its arguments, as JSON.
    input: Option<String>,
}

/// What would hold the agent's next call, tried now.
#[utoipa::path(
    get, path = "/v1/agents/{agent}/doctor", tag = "doctor",
    params(("agent" = String, Path, description = "Name, id or short id"), CallParams),
    responses((status = 200, body = Diagnosis), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn agent(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Segment(wanted): Segment,
    Params(params): Params<CallParams>,
) -> Answer<Diagnosis> {
    let row = api.agent(&wanted).await?;
    let (id, revision) = (row.id, row.standing.revision);
    let plan = api.records.read(move |txn| txn.plan(id, revision)).await?;
    let mut checks = vec![standing(&row)];
    checks.extend(rules(&api, &row, &plan, &params).await?);
    checks.extend(limits(&plan.limits));
    checks.extend(budgets(&api, &row).await?);
    checks.extend(secrets(&api, &row, &plan).await?);
    checks.extend(servers(&api, &row, &plan).await?);
    checks.push(model(&api, &plan).await);
    checks.push(sandbox(&api, &row, &plan).await);
    Ok(Out(Diagnosis::new(row.id.to_string(), row.name, checks)))
}

fn ledger(api: &ApiState) -> Check {
    let next = "run `tenure audit verify`, and keep what it prints";
    match api.reader().scrub_state() {
        ScrubState::Clean { records, .. } => {
            Check::in_force("ledger", "chain", format!("the {records} records that were there at the start hold"))
        }
        ScrubState::Running { records } => {
            Check::in_force("ledger", "chain", format!("{records} records hold so far; the look goes on"))
        }
        ScrubState::Damaged { findings, .. } => {
            let first = findings.first().cloned().unwrap_or_default();
            Check::not_in_force("ledger", "chain", format!("it does not hold: {first}"), next)
        }
        ScrubState::Failed { why } => Check::not_in_force("ledger", "chain", format!("not looked at: {why}"), next),
    }
}

/// What lets it still stop things on a full disk.
fn reserve(api: &ApiState) -> Check {
    let next = "make room on the disk under the data directory";
    if api.app.committer.space().is_full() {
        return Check::not_in_force("disk", "reserve", "the disk is full: nothing new is done", next);
    }
    match rustix::fs::statvfs(&api.installation.data_dir) {
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let told = format!("the reserve is held, and {} MiB are free", free >> 20);
            if free < FREE_BYTES_MIN {
                Check::not_in_force("disk", "reserve", told, next)
            } else {
                Check::in_force("disk", "reserve", told)
            }
        }
        Err(error) => Check::not_in_force("disk", "reserve", format!("not looked at: {error}"), next),
    }
}

fn own_files(data_dir: &Path, owner: u32) -> Vec<Check> {
    let vault = data_dir.join(VAULT_KEY).exists().then_some(VAULT_KEY);
    let checks = OWN_FILES.into_iter().chain(vault).map(|name| {
        let path = data_dir.join(name);
        let part = if name.is_empty() { "data directory" } else { name };
        match std::fs::metadata(&path) {
            Ok(found) if found.mode() & 0o077 != 0 || found.uid() != owner => {
                let told = format!("mode {:03o}, of uid {}", found.mode() & 0o777, found.uid());
                Check::not_in_force("files", part, told, "close it to others: chmod go-rwx, and chown it to the daemon")
            }
            Ok(found) => Check::in_force("files", part, format!("mode {:03o}, the daemon's own", found.mode() & 0o777)),
            Err(error) => Check::not_in_force("files", part, error.to_string(), "put it back from where you keep it"),
        }
    });
    checks.collect()
}

/// It is connected to as a client would.
async fn listener(place: &str) -> Check {
    let tried = match place.strip_prefix("unix:") {
        Some(path) => timeout(CONNECT_TIMEOUT, UnixStream::connect(path)).await.map(|tried| tried.map(drop)),
        None => {
            let address = place.rsplit_once("//").map_or(place, |(_, address)| address);
            timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await.map(|tried| tried.map(drop))
        }
    };
    let next = "look at the daemon's log, and start it again";
    match tried {
        Ok(Ok(())) => Check::in_force("listener", place, "it takes connections"),
        Ok(Err(error)) => Check::not_in_force("listener", place, error.to_string(), next),
        Err(_) => Check::not_in_force("listener", place, "it takes no connection in time", next),
    }
}

async fn policy_that_holds(api: &ApiState) -> Result<Check, Failure> {
    let applied = policy::applied(&api.app).await?;
    let name = applied.as_ref().map_or("built in".to_string(), |applied| format!("number {}", applied.number));
    Ok(match api.app.policies.policy(applied.map(|applied| applied.digest)) {
        Some(policy) => Check::in_force("policy", &name, format!("{} rules are loaded", policy.rules_count())),
        None => Check::not_in_force(
            "policy",
            &name,
            "it could not be loaded: every call is blocked",
            "the daemon's log says why; `tenure policy rollback NUMBER` applies an earlier one",
        ),
    })
}

fn worker(api: &ApiState) -> Check {
    let greeting = api.greeting.borrow();
    let level = greeting.as_ref().map(|greeting| greeting.hello.level.clone()).unwrap_or_default();
    match api.app.fleet.connections().len() {
        0 => Check::not_in_force(
            "worker",
            "workers",
            "none is connected: nothing that acts runs",
            "look at the daemon's log",
        ),
        count => Check::in_force("worker", "workers", format!("{count} connected; jails there reach {level}")),
    }
}

fn sinks(api: &ApiState) -> Vec<Check> {
    let states = api.app.sinks.states();
    let next = "set [audit] in tenure.toml: whoever holds this host can cut what no other place has";
    let is_none = states.iter().all(|sink| sink.kind == "approvals");
    let none = is_none.then(|| Check::not_set("audit", "sink", "records go nowhere else", next));
    let checks = states.into_iter().map(|sink| {
        let name = format!("{} {}", sink.kind, sink.to);
        match sink.failing {
            Some((since, why)) => Check::not_in_force(
                "audit",
                &name,
                format!("it takes nothing since {since}: {why}"),
                "mend it; it is tried again by itself",
            ),
            None => Check::in_force("audit", &name, format!("{} records are told there", sink.delivered)),
        }
    });
    none.into_iter().chain(checks).collect()
}

fn standing(row: &AgentRow) -> Check {
    let found = format!("{}, revision {}", row.standing.state, row.standing.revision);
    Check::in_force("agent", "standing", found)
}

async fn rules(api: &ApiState, row: &AgentRow, plan: &Plan, params: &CallParams) -> Result<Vec<Check>, Failure> {
    let input = match &params.input {
        None => serde_json::json!({}),
        Some(text) => {
            let wrong = |error: serde_json::Error| Code::CallArgumentsWrong.problem(format!("`input`: {error}"));
            serde_json::from_str(text).map_err(wrong)?
        }
    };
    let brought = plan.mcp.iter().map(|server| mcp::capability(&server.name, mcp::Method::ListTools));
    let asked: Vec<String> = match &params.capability {
        Some(name) => vec![name.clone()],
        // Of a request with a secret it is the host that counts.
        None => capability::offered(&plan.tools, HolderKind::Execution)
            .map(|known| known.name.to_string())
            .filter(|name| !secret::USED_BY.contains(&name.as_str()))
            .chain(brought)
            .collect(),
    };
    let judge = api.candidate(None).await.ok();
    let mut checks = Vec::with_capacity(asked.len());
    for capability in &asked {
        let attributes = capability::attributes(capability, &input);
        let attributes = attributes.ok_or_else(|| super::policies::no_capability(capability))?;
        let Some(judge) = &judge else {
            let next = "`tenure policy rollback NUMBER` applies a policy that loads";
            checks.push(Check::not_in_force("rule", capability, "blocked: no policy is loaded", next));
            continue;
        };
        let ask = super::policies::Asked::new(row, plan, capability, attributes, api.app.committer.now().at);
        let explanation = ask.explain(api, judge).await?;
        checks.push(judged(capability, &explanation));
        if params.capability.is_some() {
            checks.extend(layers(capability, &explanation));
        }
    }
    Ok(checks)
}

/// A rule that errs is no rule.
fn judged(capability: &str, explanation: &Explanation) -> Check {
    let judgement = &explanation.judgement;
    let by = if judgement.rules.is_empty() { "no rule".to_string() } else { judgement.rules.join(", ") };
    let told = format!("{} by {by}", judgement.verdict.as_str());
    let erred = explanation.layers.iter().flat_map(|layer| &layer.rules).find_map(|rule| {
        rule.error.as_ref().map(|error| format!("{}:{} cannot be evaluated: {error}", rule.file, rule.line))
    });
    match erred {
        Some(error) => {
            let next = "guard it with `context has`, as `tenure policy validate` says";
            Check::not_in_force("rule", capability, format!("{told}; {error}"), next)
        }
        None => Check::in_force("rule", capability, told),
    }
}

fn layers(capability: &str, explanation: &Explanation) -> Vec<Check> {
    let of = explanation.layers.iter().map(|layer| {
        let name = format!("{} layer", layer.layer);
        match layer.verdict {
            Some(verdict) => {
                let rules: Vec<String> =
                    layer.rules.iter().map(|rule| format!("{}:{}", rule.file, rule.line)).collect();
                Check::in_force(
                    "rule",
                    &name,
                    format!("{capability}: {} by {}", Verdict::as_str(verdict), rules.join(", ")),
                )
            }
            None => Check::not_set(
                "rule",
                &name,
                format!("no opinion of {capability}"),
                "`tenure policy explain` shows all layers",
            ),
        }
    });
    of.collect()
}

fn limits(limits: &Limits) -> Vec<Check> {
    let seconds = |ms: u64| format!("{} s", ms / 1000);
    let told = [
        ("iterations", limits.max_iterations.to_string()),
        ("turns", limits.max_turns.to_string()),
        ("tool calls", limits.tool_calls.to_string()),
        ("tokens", limits.tokens.to_string()),
        ("time of an iteration", seconds(limits.iteration_timeout_ms)),
        ("time", seconds(limits.timeout_ms)),
    ];
    let mut checks: Vec<Check> = told
        .into_iter()
        .map(|(name, most)| Check::in_force("limit", name, format!("{most} in an execution")))
        .collect();
    checks.push(match limits.micro_usd {
        Some(most) => Check::in_force("limit", "money", format!("{most} millionths of a US dollar in an execution")),
        None => Check::not_set("limit", "money", "none in an execution", "state spec.limits.money in the manifest"),
    });
    checks
}

async fn budgets(api: &ApiState, row: &AgentRow) -> Result<Vec<Check>, Failure> {
    let mut checks = Vec::new();
    for (whose, name) in [(Whose::Agent(row.id), "agent"), (Whose::Project, "project")] {
        let found = api.budgets(Some(whose), String::new(), super::budgets::LINES_MAX).await?;
        if found.items.is_empty() {
            checks.push(Check::not_set("budget", name, "none", "`tenure budget set` limits a day or a month"));
        }
        checks.extend(found.items.into_iter().map(|budget| {
            let name = format!("{name} {} a {}", budget.measure, budget.period);
            let left = budget.limit.saturating_sub(budget.used);
            let told = format!("{left} of {} left, {}", budget.limit, budget.status.as_str().replace('_', " "));
            match budget.status {
                BudgetStatus::TooSmall => Check::not_in_force(
                    "budget",
                    &name,
                    told,
                    "no model call fits in it: raise it with `tenure budget set`",
                ),
                BudgetStatus::Open | BudgetStatus::Near | BudgetStatus::Spent => Check::in_force("budget", &name, told),
            }
        }));
    }
    Ok(checks)
}

/// Those that it may use, and those that its manifest asks for and nobody bound.
async fn secrets(api: &ApiState, row: &AgentRow, plan: &Plan) -> Result<Vec<Check>, Failure> {
    let id = row.id;
    let bound = api.records.read(move |txn| txn.secret_bindings(id)).await?;
    let vault = api.app.vault.state();
    let used = bound.iter().map(|binding| {
        let told = format!("bound: {} with {}", binding.capability, binding.host);
        match &vault {
            Ok(_) if api.app.vault.is_gone(binding.secret) => {
                let told = format!("{told}; its value is gone from the store");
                let next = format!("`tenure secret rotate {}` gives it another", binding.name);
                Check::not_in_force("secret", &binding.name, told, &next)
            }
            Ok(key) => Check::in_force("secret", &binding.name, format!("{told}; the vault is open, by {key}")),
            Err(locked) => {
                let told = format!("{told}; the vault opens nothing: {locked}");
                Check::not_in_force("secret", &binding.name, told, &locked.next)
            }
        }
    });
    let mut checks: Vec<Check> = used.collect();
    for wanted in plan.secrets.iter().map(|wanted| wanted_secret(wanted, &bound)).filter(|wanted| !wanted.bound) {
        let told = format!("asked for by the manifest, for {} with {}, and not bound", wanted.capability, wanted.host);
        let by = match secret::USED_BY.contains(&wanted.capability.as_str()) {
            true => String::new(),
            false => format!(" --capability '{}'", wanted.capability),
        };
        let next = format!("`tenure secret bind {} --agent {}{by} --host {}`", wanted.name, row.name, wanted.host);
        checks.push(Check::not_set("secret", &wanted.name, told, &next));
    }
    Ok(checks)
}

/// What the agent's MCP servers said when they were last asked. A server runs in the agent's sandbox, so that only the agent's own
/// work starts it.
async fn servers(api: &ApiState, row: &AgentRow, plan: &Arc<Plan>) -> Result<Vec<Check>, Failure> {
    let (id, plan) = (row.id, Arc::clone(plan));
    let read = api.records.read(move |txn| {
        let filter = executions::Filter { agent: Some(id), ..executions::Filter::default() };
        let execution = executions::list(txn.parts().0, &filter, 1)?.rows.into_iter().next();
        let session = sessions::last_of(txn.parts().0, id)?;
        let mut holders: Vec<(Time, Holder, Option<u32>)> = Vec::new();
        holders.extend(execution.map(|row| (row.started_at, Holder::Execution(row.id), Some(row.iterations))));
        holders.extend(session.map(|row| (row.opened_at, Holder::Session(row.id), None)));
        holders.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
        let mut seen = Vec::new();
        for (_, holder, iteration) in holders {
            seen.push((holder, Upstream::of(txn, &plan, holder, iteration)?));
        }
        Ok((plan, seen))
    });
    let (plan, seen) = read.await?;
    let of = |server: &str| {
        let asked = seen.iter().find_map(|(holder, upstream)| {
            let found = upstream.servers.iter().find(|found| found.name == server)?;
            (!matches!(found.known, Known::Unasked)).then_some((holder, &found.known))
        });
        match asked {
            Some((holder, Known::Tools { tools, at })) => Check::in_force(
                "mcp",
                server,
                format!("{} tools of it are offered, as it said in {holder} at {at}", tools.len()),
            ),
            Some((holder, Known::Failed(why))) => {
                let next = "docs/mcp.md says how a server gets into the work folder, to its packages and to its login; the next execution asks it anew";
                Check::not_in_force("mcp", server, format!("it could not be used in {holder}: {why}"), next)
            }
            Some((_, Known::Unasked)) | None => {
                Check::not_set("mcp", server, "it was never asked what it has", "`tenure execute` starts it")
            }
        }
    };
    Ok(plan.mcp.iter().map(|server| of(&server.name)).collect())
}

/// Whether there is one; whether it answers costs something, and `tenure doctor` asks it beside this.
async fn model(api: &ApiState, plan: &Plan) -> Check {
    let next = "`tenure model list` shows what there is";
    match timeout(MODEL_TIMEOUT, api.models.resolve(&plan.model)).await {
        Ok(Ok(found)) => Check::in_force("model", &plan.model, format!("it means {}", found.name())),
        Ok(Err(failure)) => Check::not_in_force("model", &plan.model, failure.sentence, next),
        Err(_) => Check::not_in_force("model", &plan.model, "it is not known in time what it means", next),
    }
}

/// By what the worker finds on its host now; `tenure doctor` opens a jail beside this, where it is on that host.
async fn sandbox(api: &ApiState, row: &AgentRow, plan: &Plan) -> Check {
    let next = "`tenure sandbox check` on the worker's host tells what it enforces";
    let host = match manifests::host(api, row.standing.home).await {
        Ok(host) => host,
        Err(failure) => return Check::not_in_force("sandbox", "worker's host", failure.0.detail.clone(), next),
    };
    match Confinement::of(&plan.sandbox, &host) {
        Ok(_) => {
            let greeting = api.greeting.borrow();
            let level = greeting.as_ref().map(|greeting| greeting.hello.level.clone()).unwrap_or_default();
            Check::in_force("sandbox", "worker's host", format!("all that the manifest states can be held: {level}"))
        }
        Err(problem) => Check::not_in_force("sandbox", "worker's host", problem.to_string(), next),
    }
}
