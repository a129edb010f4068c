//! `/v1/agents/{agent}/instance`: the program of a code agent, started, stopped, asked for its health, and looked into.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use serde_json::Value;
use tenure_core::agent::State as Standing;
use tenure_core::aggregate::Command;
use tenure_core::capability::hook::PREFIX;
use tenure_core::id::{CallId, InstanceId};
use tenure_core::instance::{self, InstanceRow};
use tenure_store::fold;
use tenure_store::rows::{calls, instances, sessions};
use tenure_wire::api::instance::{Inspection, Instance, InstanceCall, Known, SeedStatus};
use tenure_wire::problem::{Code, Problem};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::{Operator, Viewer};
use super::body::Segment;
use super::problem::{Answer, Failure};
use crate::records::{self, ReadTxn, found};

/// Calls of its program's session that are shown.
const CALLS_SHOWN: u32 = 100;

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(instance_of, start, stop)).routes(routes!(check)).routes(routes!(inspect))
}

/// The program of a code agent: where it stands, its health as it was found last.
#[utoipa::path(
    get, path = "/v1/agents/{agent}/instance", tag = "agents",
    params(("agent" = String, Path, description = "Name, id or short id")),
    responses((status = 200, body = Instance), (status = "4XX", body = Problem))
)]
async fn instance_of(State(api): State<Arc<ApiState>>, _: Viewer, Segment(wanted): Segment) -> Answer<Instance> {
    let agent = api.agent(&wanted).await?;
    let row = api.reader().read(move |sql| instances::last_of(sql, agent.id)).await?;
    let row = row.ok_or_else(|| Code::InstanceNone.problem("its program was never started"))?;
    api.shown_instance(row).await.map(Out)
}

/// Start the program of a code agent; what it is asked first goes on by itself.
#[utoipa::path(
    put, path = "/v1/agents/{agent}/instance", tag = "agents",
    params(("agent" = String, Path, description = "Name, id or short id")),
    responses((status = 200, body = Instance), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn start(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
) -> Answer<Instance> {
    let agent = api.agent(&wanted).await?.id;
    let id = api.app.committer.mint_instance();
    let start = Command::Instance(id, instance::Command::Start { agent });
    api.app.committer.commit(caller.actor, start).await?;
    api.instance(id).await.map(Out)
}

/// Stop the program of a code agent: it is told, and has its time to end.
#[utoipa::path(
    delete, path = "/v1/agents/{agent}/instance", tag = "agents",
    params(("agent" = String, Path, description = "Name, id or short id")),
    responses((status = 200, body = Instance), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn stop(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
) -> Answer<Instance> {
    let id = api.live_instance(&wanted).await?;
    api.app.committer.commit(caller.actor, Command::Instance(id, instance::Command::Stop {})).await?;
    api.instance(id).await.map(Out)
}

/// Ask the program for its health now; what it answers is in the instance soon after.
#[utoipa::path(
    post, path = "/v1/agents/{agent}/instance/check", tag = "agents",
    params(("agent" = String, Path, description = "Name, id or short id")),
    responses((status = 200, body = Instance), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn check(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
) -> Answer<Instance> {
    let id = api.live_instance(&wanted).await?;
    api.app.committer.commit(caller.actor, Command::Instance(id, instance::Command::Check {})).await?;
    api.instance(id).await.map(Out)
}

/// Look into the program of a code agent: what it has in hand, and its last 100 calls.
#[utoipa::path(
    get, path = "/v1/agents/{agent}/instance/inspection", tag = "agents",
    params(("agent" = String, Path, description = "Name, id or short id")),
    responses((status = 200, body = Inspection), (status = "4XX", body = Problem))
)]
async fn inspect(State(api): State<Arc<ApiState>>, _: Viewer, Segment(wanted): Segment) -> Answer<Inspection> {
    let id = api.live_instance(&wanted).await?;
    let macs = api.reader().macs().clone();
    let read = api.records.read(move |txn| {
        let sql = txn.parts().0;
        let known = fold::<instance::Instance>(sql, &macs, id)?;
        let session = known.as_ref().and_then(instance::Instance::program).map(|program| program.session);
        let calls = match session {
            Some(session) => calls::last_of_session(sql, session, CALLS_SHOWN)?,
            None => Vec::new(),
        };
        Ok((known.map(|known| known.messages).unwrap_or_default(), calls))
    });
    let (messages, calls) = read.await?;
    let instance = api.instance(id).await?;
    let messages = messages.into_iter().map(|message| message.execution).collect();
    let calls = calls.into_iter().map(InstanceCall::of).collect();
    Ok(Out(Inspection { instance, messages, calls }))
}

impl ApiState {
    async fn live_instance(&self, wanted: &str) -> Result<InstanceId, Failure> {
        let agent = self.agent(wanted).await?;
        let row = self.reader().read(move |sql| instances::last_of(sql, agent.id)).await?;
        let live = row.filter(|row| row.stopped_at.is_none());
        Ok(live.ok_or_else(|| Code::InstanceNone.problem("its program is stopped, or was never started"))?.id)
    }

    async fn instance(&self, id: InstanceId) -> Result<Instance, Failure> {
        let row = self.reader().read(move |sql| instances::get(sql, id)).await?;
        let row = row.ok_or_else(|| Code::Internal.problem("an instance has no row"))?;
        self.shown_instance(row).await
    }

    async fn shown_instance(&self, row: InstanceRow) -> Result<Instance, Failure> {
        let (agent, revision) = (row.agent, row.revision);
        let version = match revision {
            0 => None,
            _ => self.records.read(move |txn| Ok(txn.plan(agent, revision)?.release.clone())).await?,
        };
        let macs = self.reader().macs().clone();
        let standing = self.reader().read(move |sql| fold::<tenure_core::agent::Agent>(sql, &macs, agent)).await?;
        let status = match standing.map(|agent| agent.state) {
            Some(Standing::Quarantined(_)) => SeedStatus::Quarantined,
            Some(Standing::Deployed | Standing::Paused { .. }) if row.stopped_at.is_none() => SeedStatus::Active,
            Some(
                Standing::Deployed
                | Standing::Paused { .. }
                | Standing::Revoked(_)
                | Standing::Deleting { .. }
                | Standing::Archived { .. },
            ) => SeedStatus::Terminated,
            None => SeedStatus::NotFound,
        };
        let last_crash = match row.crashed_by {
            Some(call) => self.records.read(move |txn| crash(txn, call)).await?,
            None => None,
        };
        let session = match row.session {
            Some(session) => self.reader().read(move |sql| sessions::get(sql, session)).await?,
            None => None,
        };
        let waits = session.is_some_and(|session| session.waiting_since.is_some() && session.connection.is_none());
        let waits_for = waits.then(|| "a worker with a free slot: each program that runs holds one".to_string());
        let known = Known { version: version.map(|version| version.to_string()), last_crash, waits_for };
        Ok(Instance::of(row, status, known, self.app.committer.now().at))
    }
}

/// What its worker said of the end of a program, or of the hook that failed. None once that is erased.
fn crash(txn: &mut ReadTxn<'_>, call: CallId) -> Result<Option<String>, records::Error> {
    let row = txn.call(call)?;
    let result = row.result.map(|result| found(txn.json::<Value>(result))).transpose()?.flatten().unwrap_or_default();
    let how = match (row.exit_code, result["error"].as_str(), row.outcome.as_deref()) {
        (Some(code), _, _) => format!("exit code {code}"),
        (None, Some(error), _) => error.to_string(),
        (None, None, outcome) => outcome.unwrap_or("it is not known how").to_string(),
    };
    let said = result["said"].as_str().map(str::trim).filter(|said| !said.is_empty());
    let hook = row.capability.strip_prefix(PREFIX).unwrap_or(&row.capability);
    Ok(Some(format!("`{hook}`: {how}{}", said.map(|said| format!("; it said: {said}")).unwrap_or_default())))
}
