//! `/v1/budgets`: what agents, and all of them together, may use up in a day and a month. Each change is a command with the
//! person as its actor.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json as Out;
use axum::extract::State;
use serde::Deserialize;
use tenure_core::actor::Actor;
use tenure_core::aggregate::Command;
use tenure_core::budget::{Day, Line, Measure, NEAR_PERCENT, Whose};
use tenure_core::id::AgentId;
use tenure_core::{agent, project};
use tenure_store::rows::agents;
use tenure_store::rows::budgets::{self, BudgetRow};
use tenure_wire::api::List;
use tenure_wire::api::budget::{Budget, BudgetStatus, SetBudget};
use tenure_wire::problem::Problem;
use tokio::time::{Instant, timeout_at};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::{Operator, Viewer};
use super::body::{Json, Params, Segment};
use super::number::{self, Number};
use super::problem::{Answer, Failure};
use crate::reconcile::think::{Held, held_at_least};
use crate::records::found;

/// An agent has at most so many limits: tokens and money, a day and a month.
pub(super) const LINES_MAX: u32 = 4;
/// A list waits so long in all for what models are asked by; what is not known by then is left out.
const MODELS_TIMEOUT: Duration = Duration::from_secs(2);

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

    pub(super) async fn budgets(&self, of: Option<Whose>, after: String, limit: u32) -> Result<List<Budget>, Failure> {
        let day = Day::of(self.app.committer.now().at);
        let read = self.reader().read(move |sql| {
            let page = budgets::page(sql, day, of, &after, limit)?;
            let mut items = Vec::with_capacity(page.rows.len());
            for row in page.rows {
                let name = match row.whose {
                    Whose::Agent(id) => agents::name_of(sql, id)?,
                    Whose::Project => None,
                };
                items.push((row, name));
            }
            Ok((items, page.next))
        });
        let (rows, next_cursor) = read.await?;
        let (mut held, deadline) = (BTreeMap::new(), Instant::now() + MODELS_TIMEOUT);
        let mut items = Vec::with_capacity(rows.len());
        for (row, name) in rows {
            let least = match row.whose {
                // Its agents may differ in what they hold.
                Whose::Project => None,
                Whose::Agent(id) => match held.get(&id) {
                    Some(known) => *known,
                    None => *held.entry(id).or_insert(self.held_at_least(id, deadline).await?),
                },
            };
            items.push(shown(row, name, least, day));
        }
        Ok(List { items, next_cursor })
    }

    /// What each model call of an agent's newest revision holds at least, where its model can be looked at by then.
    async fn held_at_least(&self, id: AgentId, deadline: Instant) -> Result<Option<Held>, Failure> {
        let read = self.records.read(move |txn| {
            let agent = agents::get(txn.parts().0, id)?;
            agent.map(|agent| txn.plan(id, agent.standing.revision)).transpose()
        });
        let Some(plan) = found(read.await)?.flatten() else { return Ok(None) };
        let model = timeout_at(deadline, self.models.resolve(&plan.model)).await.ok().and_then(Result::ok);
        Ok(model.and_then(|model| held_at_least(&plan, model.as_ref())))
    }
}

fn shown(row: BudgetRow, agent: Option<String>, least: Option<Held>, day: Day) -> Budget {
    let BudgetRow { whose, measure, period, limit, used, .. } = row;
    let call_holds = least.and_then(|held| match measure {
        Measure::Tokens => Some(held.tokens),
        Measure::Money => held.micro_usd,
    });
    let status = match u128::from(used) * 100 {
        _ if call_holds.is_some_and(|holds| holds > limit) => BudgetStatus::TooSmall,
        _ if used >= limit => BudgetStatus::Spent,
        hundredfold if hundredfold >= u128::from(limit) * u128::from(NEAR_PERCENT) => BudgetStatus::Near,
        _ => BudgetStatus::Open,
    };
    let agent_id = match whose {
        Whose::Agent(id) => Some(id),
        Whose::Project => None,
    };
    Budget { agent, agent_id, measure, period, status, used, limit, call_holds, opens_at: day.over(period).into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenure_core::budget::Period;

    #[test]
    fn a_limit_that_no_call_fits_in_is_too_small_whatever_is_used_of_it() {
        let status = |measure, limit, used, least| {
            let (whose, period, key) = (Whose::Project, Period::Day, String::new());
            let row = BudgetRow { key, whose, measure, period, limit, used };
            let shown = shown(row, None, least, Day::from_number(1));
            (shown.status.as_str(), shown.call_holds)
        };
        let held = Some(Held { tokens: 1_200, micro_usd: Some(30) });
        assert_eq!(status(Measure::Tokens, 1_199, 0, held), ("too_small", Some(1_200)));
        assert_eq!(status(Measure::Tokens, 1_199, 1_199, held), ("too_small", Some(1_200)), "to wait does not help");
        assert_eq!(status(Measure::Tokens, 1_200, 0, held), ("open", Some(1_200)));
        assert_eq!(status(Measure::Tokens, 1_200, 1_000, held), ("near", Some(1_200)));
        assert_eq!(status(Measure::Money, 29, 0, held), ("too_small", Some(30)));
        assert_eq!(status(Measure::Money, 1, 0, Some(Held { tokens: 9, micro_usd: None })), ("open", None));
        assert_eq!(status(Measure::Money, 1, 1, None), ("spent", None));
    }
}
