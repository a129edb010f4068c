//! `/v1/cost`: what model calls cost, summed up by agent, model, day or execution. Lost ones are counted at what was held for
//! them; what has no known price is counted apart, never as nothing.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use serde::Deserialize;
use tenure_core::budget::Day;
use tenure_core::id::AgentId;
use tenure_core::time::Time;
use tenure_store::Error;
use tenure_store::rows::agents;
use tenure_store::rows::costs::{self, By, Sum};
use tenure_store::sql::Sql;
use tenure_wire::api::cost::{Cost, CostBy, Costs};
use tenure_wire::api::moment::Moment;
use tenure_wire::problem::{Code, Problem};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::Viewer;
use super::body::Params;
use super::number::{self, Number};
use super::problem::{Answer, Failure};

/// Without `since`.
const SINCE_MS: i64 = 30 * 24 * 60 * 60 * 1000;

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(cost))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CostParams {
    /// `agent`, `model`, `day` or `execution`; `agent` without it.
    by: Option<String>,
    /// RFC 3339; 30 days ago without it. Whole days of UTC are counted, executions from their start on.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<String>,
    /// Only this agent's: name, id or short id.
    agent: Option<String>,
    /// 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<Number>,
}

/// What model calls cost: sums by agent, model, day or execution, and the sum of all.
#[utoipa::path(
    get, path = "/v1/cost", tag = "cost", params(CostParams),
    responses((status = 200, body = Costs), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn cost(State(api): State<Arc<ApiState>>, _: Viewer, Params(params): Params<CostParams>) -> Answer<Costs> {
    let wrong = |why: String| Failure::from(Code::ParameterWrong.problem(why));
    let by = params.by.as_deref().map_or(Ok(CostBy::Agent), str::parse).map_err(wrong)?;
    let since = params.since.as_deref().map(str::parse::<Moment>).transpose().map_err(wrong)?;
    let limit = number::limit(params.limit.as_ref())?;
    let agent = match &params.agent {
        Some(wanted) => Some(api.agent(wanted).await?.id),
        None => None,
    };
    let now = api.app.committer.now().at;
    let since = since.map_or(Time::from_millis(now.millis().saturating_sub(SINCE_MS)), |since| since.0);
    let read = api.reader().read(move |sql| {
        let items = items(sql, by, since, agent, limit)?;
        let total = shown(costs::total(sql, Day::of(since), agent)?, "total".to_string(), "total".to_string());
        Ok(Costs { by, since: since.into(), items, total })
    });
    Ok(Out(read.await?))
}

fn items(sql: &mut dyn Sql, by: CostBy, since: Time, agent: Option<AgentId>, limit: u32) -> Result<Vec<Cost>, Error> {
    let by = match by {
        CostBy::Agent => By::Agent,
        CostBy::Model => By::Model,
        CostBy::Day => By::Day,
        CostBy::Execution => {
            let found = costs::of_executions(sql, since, agent, limit)?;
            let of_execution = |(sum, name): (Sum, String)| {
                let id = sum.key.clone();
                Cost { calls: None, failed: None, lost: None, tokens_cached: None, ..shown(sum, id, name) }
            };
            return Ok(found.into_iter().map(of_execution).collect());
        }
    };
    let sums = costs::sums(sql, by, Day::of(since), agent, limit)?;
    let mut items = Vec::with_capacity(sums.len());
    for sum in sums {
        let id = match by {
            By::Day => sum.key.parse().map(|number| Day::from_number(number).to_string()).unwrap_or_default(),
            By::Agent | By::Model => sum.key.clone(),
        };
        let name = match by {
            By::Agent => sum.key.parse().ok().map(|id| agents::name_of(sql, id)).transpose()?.flatten(),
            By::Model | By::Day => None,
        };
        let name = name.unwrap_or_else(|| id.clone());
        items.push(shown(sum, id, name));
    }
    Ok(items)
}

fn shown(sum: Sum, id: String, name: String) -> Cost {
    Cost {
        id,
        name,
        calls: Some(sum.calls),
        failed: Some(sum.failed),
        lost: Some(sum.lost),
        unpriced: sum.unpriced,
        tokens_in: sum.input_tokens,
        tokens_out: sum.output_tokens,
        tokens_cached: Some(sum.cached_tokens),
        cost_micro_usd: sum.micro_usd,
    }
}
