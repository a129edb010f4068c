//! `/v1/agents`.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use serde::Deserialize;
use tenure_core::actor::Actor;
use tenure_core::agent::{self, AgentRow, Deployment, Expectation, Listed, RevisionRow};
use tenure_core::aggregate::{Command, Refusal};
use tenure_core::bound::Hash;
use tenure_core::draft::Committed;
use tenure_core::id::AgentId;
use tenure_core::manifest::{Backend, Engine, Isolation, Manifest};
use tenure_core::plan::{self, Plan};
use tenure_core::row::Row;
use tenure_core::secret::BindingRow;
use tenure_core::time::Time;
use tenure_store::rows::agents;
use tenure_store::rows::executions::Filter;
use tenure_wire::api::List;
use tenure_wire::api::agent::{
    Agent, AgentFile, AgentFilter, AgentSandbox, Deployed, LabelFilter, Limits, Pause, Quarantine, Revision, Schedule,
    Supervise, Supervised, WantedSecret,
};
use tenure_wire::api::key::{KeyText, Secret};
use tenure_wire::confinement::Confinement;
use tenure_wire::problem::{Code, Problem};
use utoipa::IntoParams;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::{Operator, Viewer};
use super::body::{Json, Params, Segment, Text};
use super::items::planned;
use super::lookup::quoted;
use super::manifests;
use super::number::{self, Number};
use super::problem::{Answer, Failure, of_manifest};
use super::sessions::fresh_key;
use crate::commit;

const REVISIONS_SHOWN: u32 = 50;
const RUNS_SHOWN: usize = 5;
const TASKS_SHOWN: u32 = 5;

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(deploy, list))
        .routes(routes!(get, revise, delete))
        .routes(routes!(sandbox))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(kill))
        .routes(routes!(quarantine))
        .routes(routes!(recover))
        .routes(routes!(revoke))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeployParams {
    /// Check everything, write nothing.
    dry_run: Option<bool>,
    /// Only a new agent: where the name is taken, nothing changes.
    create: Option<bool>,
    /// `native` or `docker`, whatever the manifest says; kept in the revision's annotations.
    isolation: Option<String>,
    /// `true`: an agent that is new gets a key to connect with, whose text is in the answer and nowhere else.
    key: Option<bool>,
}

/// Deploy a manifest: a new agent, or a new revision of the one with its name.
#[utoipa::path(
    post, path = "/v1/agents", tag = "agents", params(DeployParams),
    request_body(content = String, content_type = "application/yaml", description = "A manifest, YAML or JSON, canonical, AEGIS or kAI"),
    responses((status = 200, body = Deployed), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn deploy(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Params(params): Params<DeployParams>,
    Text(text): Text,
) -> Answer<Deployed> {
    let (manifest, notes) = manifests::parse_noting(&text)?;
    let manifest = match params.isolation.as_deref() {
        None => manifest,
        Some("native") => manifest.isolated(Isolation::Native),
        Some("docker") => manifest.isolated(Isolation::Docker),
        Some(other) => {
            let detail = format!("`isolation` is native or docker, not {}", quoted(other));
            return Err(Code::ParameterWrong.problem(detail).into());
        }
    };
    let expect = if params.create.unwrap_or(false) { Expectation::New } else { Expectation::Any };
    let holder = api.holder(manifest.name()).await?;
    let (dry_run, key) = (params.dry_run.unwrap_or(false), params.key.unwrap_or(false));
    let wanted = Wanted { id: api.app.committer.mint_agent(), holder, expect, dry_run, key, notes };
    put(&api, caller.actor, &manifest, wanted).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ReviseParams {
    /// The newest revision as it was read: where another has come since, nothing changes.
    #[param(value_type = u32, minimum = 1)]
    revision: Number,
    /// Check everything, write nothing.
    dry_run: Option<bool>,
}

/// Revise this very agent: the manifest becomes its next revision, if nobody else made one since.
#[utoipa::path(
    put, path = "/v1/agents/{agent}", tag = "agents",
    params(("agent" = String, Path, description = "Name, id or short id"), ReviseParams),
    request_body(content = String, content_type = "application/yaml", description = "A manifest, YAML or JSON, canonical, AEGIS or kAI"),
    responses((status = 200, body = Deployed), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn revise(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
    Params(params): Params<ReviseParams>,
    Text(text): Text,
) -> Answer<Deployed> {
    let expect = Expectation::Revision(number::revision("revision", &params.revision)?);
    let entry = api.agent(&wanted).await?;
    let (manifest, notes) = manifests::parse_noting(&text)?;
    if !manifest.name().eq_ignore_ascii_case(&entry.name) {
        let detail = format!("an agent keeps its name for good, and the manifest says {}", quoted(manifest.name()));
        return Err(Code::AgentNameTaken.problem(detail).into());
    }
    let dry_run = params.dry_run.unwrap_or(false);
    let wanted = Wanted { id: entry.id, holder: Some(entry), expect, dry_run, key: false, notes };
    put(&api, caller.actor, &manifest, wanted).await
}

/// What a deploy is of.
struct Wanted {
    /// The agent's, or a fresh one.
    id: AgentId,
    /// Who has the name now.
    holder: Option<AgentRow>,
    expect: Expectation,
    dry_run: bool,
    /// A new agent gets a key.
    key: bool,
    /// What whoever deploys it is told of the manifest.
    notes: Vec<String>,
}

async fn put(api: &ApiState, actor: Actor, manifest: &Manifest, wanted: Wanted) -> Answer<Deployed> {
    let Wanted { id, holder, expect, dry_run, key, mut notes } = wanted;
    manifests::check(api, manifest, holder.as_ref().and_then(|row| row.standing.home)).await?;
    notes.extend(manifests::depended_on(api, manifest).await?);
    let bytes = manifest.canonical_json();
    let digest = Hash::of(&bytes);
    if dry_run {
        let Out(found) = self::dry_run(api, holder, digest, expect).await?;
        return Ok(Out(Deployed { notes, ..found }));
    }
    let plan = Plan::compile(manifest);
    let key = key.then(fresh_key);
    let deployment = Deployment {
        name: manifest.name().to_string(),
        listed: listed(manifest),
        manifest: api.app.committer.payload(bytes),
        plan: api.app.committer.payload(plan.to_bytes()),
        digest,
        schedule: plan.schedule,
        triggers: plan.triggers,
        retention: plan.retention,
        key: key.as_ref().map(KeyText::hash),
        expect,
        repeats: None,
    };
    let Out(deployed) = commit_deployment(api, actor, id, deployment, holder, key).await?;
    Ok(Out(Deployed { notes, ..deployed }))
}

/// `key`: the text of the one that a new agent gets.
pub(super) async fn commit_deployment(
    api: &ApiState,
    actor: Actor,
    id: AgentId,
    deployment: Deployment,
    holder: Option<AgentRow>,
    key: Option<KeyText>,
) -> Answer<Deployed> {
    let command = Command::Agent(id, agent::Command::Deploy(deployment));
    let (changed, agent, made) = match api.app.committer.commit(actor, command).await {
        Ok(committed) => {
            let made = committed.decision.rows.iter().any(|row| matches!(row, Row::AgentKey(_)));
            (true, deployed(&committed, holder)?, made)
        }
        Err(commit::Error::Refused(Refusal::Agent(agent::Refusal::Unchanged { agent }))) => {
            (false, api.agent(&agent.to_string()).await?, false)
        }
        Err(error) => return Err(error.into()),
    };
    let key = key.filter(|_| made).map(|key| Secret(key.reveal().to_string()));
    Ok(Out(Deployed { agent: Some(shown(&agent)), changed, dry_run: false, key, notes: Vec::new() }))
}

pub(super) fn listed(manifest: &Manifest) -> Listed {
    Listed {
        version: manifest.metadata.version.as_ref().map(ToString::to_string),
        labels: manifest.metadata.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        provides: manifest.spec.provides.clone(),
        runtime: manifests::runtime(manifest).to_string(),
        model: manifest.model().to_string(),
    }
}

/// The agent as a deploy has left it.
fn deployed(committed: &Committed, before: Option<AgentRow>) -> Result<AgentRow, Failure> {
    let (mut found, mut standing) = (None, before.as_ref().map(|row| row.standing.clone()));
    for row in &committed.decision.rows {
        if let Row::Standing { standing: now, .. } = row {
            standing = Some(now.clone());
        }
        let Row::Deployed { agent, name, listed, at } = row else { continue };
        found = Some((*agent, name.clone(), listed.clone(), *at));
    }
    let (Some((id, name, listed, at)), Some(standing)) = (found, standing) else {
        return Err(Code::Internal.problem("a deploy has no row").into());
    };
    let created_at = before.filter(|row| row.id == id).map_or(at, |row| row.created_at);
    Ok(AgentRow { id, name, listed, standing, created_at, at })
}

/// What a deploy would do, found without a command: it may be another by the time that one comes.
async fn dry_run(api: &ApiState, holder: Option<AgentRow>, digest: Hash, expect: Expectation) -> Answer<Deployed> {
    let would = |agent, changed| Ok(Out(Deployed { agent, changed, dry_run: true, key: None, notes: Vec::new() }));
    let Some(row) = holder else { return would(None, true) };
    if matches!(row.standing.state.as_str(), "deleting" | "archived") {
        return Err(Code::AgentArchived.problem(format!("`{}` was deleted, and is never restored", row.name)).into());
    }
    let found = row.standing.revision;
    match expect {
        Expectation::New => return Err(commit::Error::Refused(Refusal::Agent(agent::Refusal::NameTaken {})).into()),
        Expectation::Revision(known) if known != found => {
            return Err(
                commit::Error::Refused(Refusal::Agent(agent::Refusal::RevisedMeanwhile { revision: found })).into()
            );
        }
        Expectation::Any | Expectation::Revision(_) => {}
    }
    let newest = api.revisions(row.id, None, 1).await?.rows;
    let changed = newest.first().is_none_or(|revision| revision.digest != digest);
    would(Some(shown(&row)), changed)
}

impl ApiState {
    /// Whoever has this very name; ids and short ids are not looked at.
    async fn holder(&self, name: &str) -> Result<Option<AgentRow>, Failure> {
        let name = name.to_string();
        Ok(self.reader().read(move |sql| agents::named(sql, &name)).await?)
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListParams {
    #[param(schema_with = statuses)]
    status: Option<String>,
    /// `key=value,key2`: all of these labels, a key alone with any value.
    labels: Option<String>,
    /// Those alone whose manifest says that they provide this: `scheduleEvent`.
    provides: Option<String>,
    /// 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<Number>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

fn statuses() -> Object {
    let words = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(AgentFilter::words()));
    words
        .description(Some(
            "`deployed` (registered, active or idle) or one status; without it all that are not archived.",
        ))
        .build()
}

/// Agents by name.
#[utoipa::path(
    get, path = "/v1/agents", tag = "agents", params(ListParams),
    responses((status = 200, body = List<Agent>), (status = "4XX", body = Problem))
)]
async fn list(State(api): State<Arc<ApiState>>, _: Viewer, Params(params): Params<ListParams>) -> Answer<List<Agent>> {
    let wrong = |why: String| Failure::from(Code::ParameterWrong.problem(why));
    let status = params.status.as_deref().map(str::parse::<AgentFilter>).transpose().map_err(wrong)?;
    let labels = params.labels.as_deref().map(str::parse::<LabelFilter>).transpose().map_err(wrong)?;
    let limit = number::limit(params.limit.as_ref())?;
    let statuses = status.map(AgentFilter::statuses);
    let labels = labels.map(|LabelFilter(labels)| labels).unwrap_or_default();
    let filter = agents::Filter { statuses, labels, after: params.cursor }.providing(params.provides.as_deref());
    let page = api.agents(filter, limit).await?;
    let connected = page.rows.iter().filter(|row| row.standing.last_session_at.is_some()).map(|row| row.id).collect();
    let mut items: Vec<Agent> = page.rows.iter().map(shown).collect();
    api.with_sessions(&mut items, connected).await?;
    Ok(Out(List { items, next_cursor: page.next }))
}

/// One agent with its limits, revisions and canonical manifest.
#[utoipa::path(
    get, path = "/v1/agents/{agent}", tag = "agents",
    params(("agent" = String, Path, description = "Name, id or short id")),
    responses((status = 200, body = AgentFile), (status = "4XX", body = Problem))
)]
async fn get(State(api): State<Arc<ApiState>>, _: Viewer, Segment(wanted): Segment) -> Answer<AgentFile> {
    let entry = api.agent(&wanted).await?;
    let revisions = api.revisions(entry.id, None, REVISIONS_SHOWN).await?.rows;
    let (id, number, newest) = (entry.id, entry.standing.revision, revisions.first().map(|revision| revision.manifest));
    let read = api.records.read(move |txn| {
        let manifest = newest.map(|manifest| txn.bytes(manifest)).transpose()?;
        Ok((txn.plan(id, number)?, manifest, planned(txn, id)?, txn.secret_bindings(id)?))
    });
    let (plan, manifest, planned, bound) = read.await?;
    let manifest = manifest.map(|stored| manifests::readable(&stored)).transpose()?.unwrap_or_default();
    let of_it = Filter { agent: Some(entry.id), ..Filter::default() };
    let tasks = api.executions(of_it, TASKS_SHOWN).await?;
    let limits = plan.limits;
    let mut agents = [shown(&entry)];
    api.with_sessions(&mut agents, entry.standing.last_session_at.map(|_| entry.id).into_iter().collect()).await?;
    let [agent] = agents;
    Ok(Out(AgentFile {
        agent,
        purpose: manifest["metadata"]["description"].as_str().map(str::to_string),
        limits: Limits {
            max_iterations: limits.max_iterations,
            max_turns: limits.max_turns,
            tool_calls: limits.tool_calls,
            tokens: limits.tokens,
            iteration_timeout_ms: limits.iteration_timeout_ms,
            timeout_ms: limits.timeout_ms,
            micro_usd: limits.micro_usd,
            messages_per_minute: plan.comms.messages_per_minute,
            hop_limit: plan.comms.hop_limit,
        },
        tools: plan.tools.clone(),
        triggers: plan.triggers.iter().map(|trigger| trigger.as_str().to_string()).collect(),
        planned,
        schedule: plan.schedule.as_ref().map(|schedule| scheduled(schedule, &entry, api.app.committer.now().at)),
        secrets: plan.secrets.iter().map(|wanted| wanted_secret(wanted, &bound)).collect(),
        revisions: revisions.into_iter().map(revision).collect(),
        manifest,
        tasks: api.shown(tasks.rows).await?,
    }))
}

pub(super) fn wanted_secret(wanted: &plan::WantedSecret, bound: &[BindingRow]) -> WantedSecret {
    let plan::WantedSecret { name, capability, host } = wanted.clone();
    let is_it =
        |row: &BindingRow| row.name.eq_ignore_ascii_case(&name) && row.capability == capability && row.host == host;
    let bound = bound.iter().any(is_it);
    WantedSecret { name, capability, host, bound }
}

/// What would hold the agent's programs on the worker's host now.
#[utoipa::path(
    get, path = "/v1/agents/{agent}/sandbox", tag = "agents",
    params(("agent" = String, Path, description = "Name, id or short id")),
    responses((status = 200, body = AgentSandbox), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn sandbox(State(api): State<Arc<ApiState>>, _: Viewer, Segment(wanted): Segment) -> Answer<AgentSandbox> {
    let entry = api.agent(&wanted).await?;
    let (id, number) = (entry.id, entry.standing.revision);
    let plan = api.records.read(move |txn| txn.plan(id, number)).await?;
    let host = manifests::host(&api, entry.standing.home).await?;
    let confinement = Confinement::of(&plan.sandbox, &host)
        .map_err(|problem| of_manifest(Code::ManifestUnenforced, vec![problem]))?;
    let level = match (&confinement.backend, &host.engine) {
        (Backend::Container { .. }, Engine::Present { name, version, guards, .. }) => {
            let guards: Vec<&str> = guards.iter().map(|guard| guard.as_str()).collect();
            format!("{name} {version}: {}", guards.join(", "))
        }
        (Backend::Container { .. } | Backend::Native, _) => {
            api.greeting.borrow().as_ref().map(|greeting| greeting.hello.level.clone()).unwrap_or_default()
        }
    };
    let quota = host.quota.as_str().to_string();
    let mounts = host.mounts.clone();
    let Agent { name, status, .. } = shown(&entry);
    Ok(Out(AgentSandbox { id, name, status, revision: number, level, quota, mounts, confinement }))
}

/// Delete an agent: its open executions are cancelled, then it is archived. Its history stays.
#[utoipa::path(
    delete, path = "/v1/agents/{agent}", tag = "agents",
    params(("agent" = String, Path, description = "Name, id or short id")),
    responses((status = 200, body = Agent), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn delete(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
) -> Answer<Agent> {
    let entry = api.agent(&wanted).await?;
    let delete = Command::Agent(entry.id, agent::Command::Delete { home_grace_ms: api.installation.home_grace_ms });
    api.app.committer.commit(caller.actor, delete).await?;
    let entry = api.agent(&entry.id.to_string()).await?;
    Ok(Out(shown(&entry)))
}

/// Pause an agent: nothing of it begins until it is resumed or the time is over; what runs goes on.
#[utoipa::path(
    post, path = "/v1/agents/{agent}/pause", tag = "agents", request_body = Pause,
    params(("agent" = String, Path, description = "Name, id or short id")),
    responses((status = 200, body = Agent), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn pause(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
    Json(pause): Json<Pause>,
) -> Answer<Agent> {
    let command = agent::Command::Pause { note: pause.note, until: pause.until.map(|until| until.0) };
    supervised(&api, caller.actor, &wanted, command).await
}

/// Resume a paused agent.
#[utoipa::path(
    post, path = "/v1/agents/{agent}/resume", tag = "agents", request_body = Supervise,
    params(("agent" = String, Path, description = "Name, id or short id")),
    responses((status = 200, body = Agent), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn resume(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
    Json(body): Json<Supervise>,
) -> Answer<Agent> {
    supervised(&api, caller.actor, &wanted, agent::Command::Resume { note: body.note }).await
}

/// Kill what runs of an agent: its executions are cancelled. It may begin again afterwards.
#[utoipa::path(
    post, path = "/v1/agents/{agent}/kill", tag = "agents", request_body = Supervise,
    params(("agent" = String, Path, description = "Name, id or short id")),
    responses((status = 200, body = Agent), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn kill(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
    Json(body): Json<Supervise>,
) -> Answer<Agent> {
    supervised(&api, caller.actor, &wanted, agent::Command::Kill { note: body.note }).await
}

/// Put an agent into quarantine: what runs of it is cancelled, its sessions end, and nothing of it begins until it is recovered.
#[utoipa::path(
    post, path = "/v1/agents/{agent}/quarantine", tag = "agents", request_body = Quarantine,
    params(("agent" = String, Path, description = "Name, id or short id")),
    responses((status = 200, body = Agent), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn quarantine(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
    Json(body): Json<Quarantine>,
) -> Answer<Agent> {
    let Quarantine { cause, severity, description } = body;
    supervised(&api, caller.actor, &wanted, agent::Command::Quarantine { cause, severity, description }).await
}

/// Let an agent begin again that is in quarantine.
#[utoipa::path(
    post, path = "/v1/agents/{agent}/recover", tag = "agents", request_body = Supervise,
    params(("agent" = String, Path, description = "Name, id or short id")),
    responses((status = 200, body = Agent), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn recover(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
    Json(body): Json<Supervise>,
) -> Answer<Agent> {
    supervised(&api, caller.actor, &wanted, agent::Command::Recover { note: body.note }).await
}

/// Revoke an agent for good: its executions are cancelled and nothing of it begins any more. Its history and state stay.
#[utoipa::path(
    post, path = "/v1/agents/{agent}/revoke", tag = "agents", request_body = Supervise,
    params(("agent" = String, Path, description = "Name, id or short id")),
    responses((status = 200, body = Agent), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn revoke(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
    Json(body): Json<Supervise>,
) -> Answer<Agent> {
    supervised(&api, caller.actor, &wanted, agent::Command::Revoke { note: body.note }).await
}

async fn supervised(api: &ApiState, actor: Actor, wanted: &str, command: agent::Command) -> Answer<Agent> {
    let entry = api.agent(wanted).await?;
    match api.app.committer.commit(actor, Command::Agent(entry.id, command)).await {
        // As it was wanted already.
        Ok(_)
        | Err(commit::Error::Refused(Refusal::Agent(
            agent::Refusal::AlreadyPaused {} | agent::Refusal::NotPaused {} | agent::Refusal::AlreadyQuarantined {},
        ))) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Out(shown(&api.agent(&entry.id.to_string()).await?)))
}

/// A schedule with its next times as they come: without jitter, and whether or not it is held back now.
fn scheduled(schedule: &plan::Schedule, entry: &AgentRow, now: Time) -> Schedule {
    let next = schedule.timetable().map(|timetable| timetable.upcoming(now, RUNS_SHOWN)).unwrap_or_default();
    Schedule {
        cron: schedule.cron.clone(),
        timezone: schedule.timezone.clone(),
        overlap: schedule.overlap.as_str().to_string(),
        missed: schedule.missed.as_str().to_string(),
        jitter_ms: schedule.jitter_ms,
        next: next.into_iter().map(Into::into).collect(),
        last_woken_at: entry.standing.last_woken_at.map(Into::into),
    }
}

pub(super) fn revision(entry: RevisionRow) -> Revision {
    Revision { number: entry.number, version: entry.version, digest: entry.digest.to_string(), at: entry.at.into() }
}

/// The row as people see it: one word for its state and its presence.
pub(super) fn shown(row: &AgentRow) -> Agent {
    let Listed { version, labels, provides, runtime, model } = row.listed.clone();
    Agent {
        id: row.id,
        name: row.name.clone(),
        status: row.standing.status.into(),
        revision: row.standing.revision,
        version,
        runtime,
        model,
        labels: labels.into_iter().collect(),
        provides,
        messages_waiting: row.standing.messages_waiting,
        supervised: row.standing.supervised.as_ref().map(|supervised| Supervised {
            by: supervised.by.to_string(),
            note: supervised.note.clone(),
            until: supervised.until.map(Into::into),
        }),
        next_run_at: row.standing.next_run_at.map(Into::into),
        session: None,
        created_at: row.created_at.into(),
        updated_at: row.at.into(),
    }
}
