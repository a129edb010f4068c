//! `/v1/agents/{agent}/briefing`, and `/v1/agent/briefing` for itself: what an agent missed since it was last there.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use serde::Deserialize;
use tenure_core::briefing::{self, Briefing};
use tenure_core::id::AgentId;
use tenure_core::time::Time;
use tenure_store::BriefingReader;
use tenure_wire::api::moment::Moment;
use tenure_wire::problem::{Code, Problem};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::{AgentCaller, Viewer};
use super::body::{Params, Segment};
use super::problem::{Answer, Failure};

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(briefing)).routes(routes!(own))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct BriefingParams {
    /// RFC 3339; without it the end of the agent's last execution.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<String>,
}

/// What an agent missed: messages, failures, what people and the daemon did. The same ledger gives the same bytes.
#[utoipa::path(
    get, path = "/v1/agents/{agent}/briefing", tag = "agents",
    params(("agent" = String, Path, description = "Name, id or short id"), BriefingParams),
    responses((status = 200, body = serde_json::Value), (status = "4XX", body = Problem))
)]
async fn briefing(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Segment(wanted): Segment,
    Params(params): Params<BriefingParams>,
) -> Answer<Briefing> {
    let since = params.since()?;
    let id = api.agent(&wanted).await?.id;
    Ok(Out(api.briefing(id, since).await?))
}

/// What you missed: as it is told when a session is opened.
#[utoipa::path(
    get, path = "/v1/agent/briefing", tag = "agent", params(BriefingParams), operation_id = "own_briefing",
    responses((status = 200, body = serde_json::Value), (status = "4XX", body = Problem))
)]
async fn own(
    State(api): State<Arc<ApiState>>,
    caller: AgentCaller,
    Params(params): Params<BriefingParams>,
) -> Answer<Briefing> {
    let since = params.since()?;
    Ok(Out(api.briefing(caller.agent, since).await?))
}

impl BriefingParams {
    fn since(&self) -> Result<Option<Time>, Failure> {
        let read = self.since.as_deref().map(str::parse::<Moment>).transpose();
        let since = read.map_err(|why| Failure::from(Code::ParameterWrong.problem(why)))?;
        Ok(since.map(|since| since.0))
    }
}

impl ApiState {
    /// What an agent missed since then, or since its last execution ended.
    pub(super) async fn briefing(&self, agent: AgentId, since: Option<Time>) -> Result<Briefing, Failure> {
        let macs = self.reader().macs().clone();
        let read = self.reader().read(move |sql| briefing::of(&mut BriefingReader { sql, macs: &macs }, agent, since));
        read.await?.ok_or_else(|| Code::AgentUnknown.problem("no agent has this id").into())
    }
}
