//! `/v1/budgets`: what agents, and all of them together, may use up in a day and a month. Each change is a command with the
//! person as its actor.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use serde::Deserialize;
use tenure_core::actor::Actor;
use tenure_core::aggregate::Command;
use tenure_core::budget::{Day, Line, NEAR_PERCENT, Whose};
use tenure_core::{agent, project};
use tenure_store::rows::agents;
use tenure_store::rows::budgets::{self, BudgetRow};
use tenure_wire::api::List;
use tenure_wire::api::budget::{Budget, BudgetStatus, SetBudget};
use tenure_wire::problem::Problem;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::{Operator, Viewer};
use super::body::{Json, Params, Segment};
use super::number::{self, Number};
use super::problem::{Answer, Failure};

/// An agent has at most so many limits: tokens and money, a day and a month.
const LINES_MAX: u32 = 4;

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(set_project)).routes(routes!(set_agent))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Only this agent's: name, id or short id.
    agent: Option<String>,
    /// 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<Number>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// All limits, and what of each is used: the agents', then the project's.
#[utoipa::path(
    get, path = "/v1/budgets", tag = "budgets", params(ListParams),
    responses((status = 200, body = List<Budget>), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn list(State(api): State<Arc<ApiState>>, _: Viewer, Params(params): Params<ListParams>) -> Answer<List<Budget>> {
    let limit = number::limit(params.limit.as_ref())?;
    let of = match &params.agent {
        Some(wanted) => Some(Whose::Agent(api.agent(wanted).await?.id)),
        None => None,
    };
    Ok(Out(api.budgets(of, params.cursor.unwrap_or_default(), limit).await?))
}

/// Limit what all agents together may use up.
#[utoipa::path(
    put, path = "/v1/budgets/project", tag = "budgets", request_body = SetBudget,
    responses((status = 200, body = List<Budget>), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn set_project(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Json(set): Json<SetBudget>,
) -> Answer<List<Budget>> {
    api.set_budget(Whose::Project, caller.actor, set).await
}

/// Limit what an agent may use up.
#[utoipa::path(
    put, path = "/v1/agents/{agent}/budget", tag = "budgets", request_body = SetBudget,
    params(("agent" = String, Path, description = "Name, id or short id")),
    responses((status = 200, body = List<Budget>), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn set_agent(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
    Json(set): Json<SetBudget>,
) -> Answer<List<Budget>> {
    let agent = api.agent(&wanted).await?.id;
    api.set_budget(Whose::Agent(agent), caller.actor, set).await
}

impl ApiState {
    async fn set_budget(&self, whose: Whose, actor: Actor, set: SetBudget) -> Answer<List<Budget>> {
        let lines: Vec<Line> = set.lines.into_iter().map(Line::from).collect();
        let command = match whose {
            Whose::Agent(id) => Command::Agent(id, agent::Command::SetBudget { lines }),
            Whose::Project => Command::Project(self.app.committer.project(), project::Command::SetBudget { lines }),
        };
        self.app.committer.commit(actor, command).await?;
        Ok(Out(self.budgets(Some(whose), String::new(), LINES_MAX).await?))
    }

    async fn budgets(&self, of: Option<Whose>, after: String, limit: u32) -> Result<List<Budget>, Failure> {
        let day = Day::of(self.app.committer.now().at);
        let read = self.reader().read(move |sql| {
            let page = budgets::page(sql, day, of, &after, limit)?;
            let mut items = Vec::with_capacity(page.rows.len());
            for row in page.rows {
                let name = match row.whose {
                    Whose::Agent(id) => agents::name_of(sql, id)?,
                    Whose::Project => None,
                };
                items.push(shown(row, name, day));
            }
            Ok(List { items, next_cursor: page.next })
        });
        Ok(read.await?)
    }
}

fn shown(row: BudgetRow, agent: Option<String>, day: Day) -> Budget {
    let BudgetRow { whose, measure, period, limit, used, .. } = row;
    let status = match u128::from(used) * 100 {
        _ if used >= limit => BudgetStatus::Spent,
        hundredfold if hundredfold >= u128::from(limit) * u128::from(NEAR_PERCENT) => BudgetStatus::Near,
        _ => BudgetStatus::Open,
    };
    let agent_id = match whose {
        Whose::Agent(id) => Some(id),
        Whose::Project => None,
    };
    Budget { agent, agent_id, measure, period, status, used, limit, opens_at: day.over(period).into() }
}
