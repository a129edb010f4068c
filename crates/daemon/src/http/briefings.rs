//! `/v1/agents/{agent}/briefing`: what an agent missed since it was last there.
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
use super::auth::Viewer;
use super::body::{Params, Segment};
use super::problem::{Answer, Failure};

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(briefing))
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
    let since: Option<Moment> = params
        .since
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|why: String| Failure::from(Code::ParameterWrong.problem(why)))?;
    let since: Option<Time> = since.map(|since| since.0);
    let id = api.agent(&wanted).await?.id;
    Ok(Out(api.briefing(id, since).await?))
}

impl ApiState {
    /// What an agent missed since then, or since its last execution ended.
    pub(super) async fn briefing(&self, agent: AgentId, since: Option<Time>) -> Result<Briefing, Failure> {
        let macs = self.reader().macs().clone();
        let read = self.reader().read(move |sql| briefing::of(&mut BriefingReader { sql, macs: &macs }, agent, since));
        read.await?.ok_or_else(|| Code::AgentUnknown.problem("no agent has this id").into())
    }
}
