//! `/v1/alerts` and `/v1/agents/{agent}/schedules`: what agents tell their supervisor, and the wakes that they plan themselves.
use std::sync::Arc;

use axum::Json as Out;
use axum::extract::State;
use serde::Deserialize;
use tenure_core::agent::alert::{self, Listed, Severity};
use tenure_core::agent::{self, PLANNED_MAX, WAITING, When};
use tenure_core::aggregate::{Command, Refusal};
use tenure_core::facts::Counter;
use tenure_core::id::{AgentId, AlertId};
use tenure_core::item::{Item, ItemKind};
use tenure_store::rows::{facts, items};
use tenure_store::sql::Sql;
use tenure_wire::api::List;
use tenure_wire::api::item::{Acknowledge, Alert, OpenAlerts, PlannedWake};
use tenure_wire::problem::{Code, Problem};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;
use super::auth::{Operator, Viewer};
use super::body::{JsonOrNothing, Params, Segment};
use super::lookup::{Names, Sought, quoted};
use super::number::{self, Number};
use super::problem::{Answer, Failure};
use crate::commit;
use crate::records::{Error, ReadTxn, found};

const ALERT: Sought = Sought {
    kind: ItemKind::Alert,
    prefix: AlertId::PREFIX,
    noun: "alert",
    unknown: Code::AlertUnknown,
    ambiguous: Code::AlertAmbiguous,
};

pub(super) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(list_alerts))
        .routes(routes!(acknowledge_alert))
        .routes(routes!(list_schedules))
        .routes(routes!(delete_schedule))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AlertParams {
    /// Name, id or short id.
    agent: Option<String>,
    /// `open`, `acknowledged` or `all`; `open` without it.
    state: Option<String>,
    /// `info`, `warning` or `critical`: of this severity in each page.
    severity: Option<String>,
    /// 50 without it.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<Number>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Alerts of agents, the newest first.
#[utoipa::path(
    get, path = "/v1/alerts", tag = "alerts", params(AlertParams),
    responses((status = 200, body = List<Alert>), (status = "4XX", body = Problem))
)]
async fn list_alerts(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Params(params): Params<AlertParams>,
) -> Answer<List<Alert>> {
    let wrong = |why: &str| Failure::from(Code::ParameterWrong.problem(why));
    let state = match params.state.as_deref() {
        None | Some(alert::OPEN) => Some(alert::OPEN.to_string()),
        Some(alert::ACKNOWLEDGED) => Some(alert::ACKNOWLEDGED.to_string()),
        Some("all") => None,
        Some(_) => return Err(wrong("`state` is open, acknowledged or all")),
    };
    let severity = params.severity.as_deref().map(str::parse::<Severity>).transpose();
    let severity = severity.map_err(|_| wrong("`severity` is info, warning or critical"))?;
    let before = params.cursor.as_deref().map(str::parse::<AlertId>).transpose();
    let before = before.map_err(|_| wrong("the cursor is none of a list of alerts"))?.map(|id| id.to_string());
    let agent = match &params.agent {
        Some(wanted) => Some(api.agent(wanted).await?.id),
        None => None,
    };
    let limit = number::limit(params.limit.as_ref())?;
    let filter = items::Filter { agent, state, before, due_after: None };
    let read = api.records.read(move |txn| {
        let page = items::list(txn.parts().0, ItemKind::Alert, &filter, limit)?;
        let of = |item: &Item| severity.is_none_or(|wanted| listed(item).severity == wanted);
        let rows: Vec<Item> = page.rows.into_iter().filter(of).collect();
        Ok((alerts(txn, rows)?, page.next))
    });
    let (items, next_cursor) = read.await?;
    Ok(Out(List { items, next_cursor }))
}

/// Somebody has seen to an alert; one that is acknowledged already stays as it is.
#[utoipa::path(
    post, path = "/v1/alerts/{alert}/acknowledge", tag = "alerts", request_body = Option<Acknowledge>,
    params(("alert" = String, Path, description = "Id or short id")),
    responses((status = 200, body = Alert), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn acknowledge_alert(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment(wanted): Segment,
    JsonOrNothing(body): JsonOrNothing<Acknowledge>,
) -> Answer<Alert> {
    let item = api.item(&ALERT, &wanted).await?;
    if item.state == alert::OPEN {
        let alert: AlertId = item.key.parse().map_err(|_| Code::Internal.problem("an alert's id is none"))?;
        let command = agent::Command::AcknowledgeAlert { alert, note: body.note };
        match api.app.committer.commit(caller.actor, Command::Agent(item.agent, command)).await {
            // Its agent, or another person, was quicker.
            Ok(_) | Err(commit::Error::Refused(Refusal::Agent(agent::Refusal::AlertAcknowledged {}))) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let (agent, key) = (item.agent, item.key);
    let read = api.records.read(move |txn| {
        let item = items::get(txn.parts().0, ItemKind::Alert, agent, &key)?.ok_or(Error::Gone("alert"))?;
        alerts(txn, vec![item])
    });
    let found = read.await?.pop();
    found.map(Out).ok_or_else(|| Code::Internal.problem("an alert that was read is not there").into())
}

fn listed(item: &Item) -> Listed {
    item.parse_data().unwrap_or(Listed { severity: Severity::Info, size: 0 })
}

/// As people see them, with the names that agents have now.
fn alerts(txn: &mut ReadTxn<'_>, rows: Vec<Item>) -> Result<Vec<Alert>, Error> {
    let mut names = Names::default();
    let mut shown = Vec::with_capacity(rows.len());
    for item in rows {
        let agent_name = names.of(txn.parts().0, item.agent)?;
        let message = item.text.map(|text| found(txn.text(text))).transpose()?.flatten();
        let Ok(id) = item.key.parse() else { continue };
        shown.push(Alert {
            id,
            agent: item.agent,
            agent_name,
            severity: listed(&item).severity.as_str().to_string(),
            acknowledged_at: (item.state != alert::OPEN).then(|| item.changed_at.into()),
            state: item.state,
            message,
            detail: item.detail,
            sent_at: item.at.into(),
        });
    }
    Ok(shown)
}

/// Alerts that nobody has acknowledged.
pub(super) fn open_alerts(sql: &mut dyn Sql) -> Result<OpenAlerts, tenure_store::Error> {
    let mut count = |severity: Severity| {
        let open = facts::counted(sql, Counter::AlertsOpen, severity.as_str(), 0)?;
        Ok::<_, tenure_store::Error>(u64::try_from(open).unwrap_or(0))
    };
    Ok(OpenAlerts {
        info: count(Severity::Info)?,
        warning: count(Severity::Warning)?,
        critical: count(Severity::Critical)?,
    })
}

/// The wakes that an agent planned itself.
#[utoipa::path(
    get, path = "/v1/agents/{agent}/schedules", tag = "agents",
    params(("agent" = String, Path, description = "Name, id or short id")),
    responses((status = 200, body = List<PlannedWake>), (status = "4XX", body = Problem))
)]
async fn list_schedules(
    State(api): State<Arc<ApiState>>,
    _: Viewer,
    Segment(wanted): Segment,
) -> Answer<List<PlannedWake>> {
    let id = api.agent(&wanted).await?.id;
    let items = api.records.read(move |txn| planned(txn, id)).await?;
    Ok(Out(List { items, next_cursor: None }))
}

/// An agent has few of them, so that they come in one piece.
pub(super) fn planned(txn: &mut ReadTxn<'_>, id: AgentId) -> Result<Vec<PlannedWake>, Error> {
    let most = u32::try_from(PLANNED_MAX).unwrap_or(u32::MAX);
    let mut shown = Vec::new();
    for item in items::of_agent(txn.parts().0, ItemKind::Schedule, id, WAITING, most)? {
        let (cron, timezone) = match item.parse_data::<When>() {
            Ok(When::Cron { cron, timezone }) => (Some(cron), Some(timezone)),
            Ok(When::Once) | Err(_) => (None, None),
        };
        let input = item.text.map(|text| found(txn.json(text))).transpose()?.flatten();
        shown.push(PlannedWake {
            name: item.key,
            cron,
            timezone,
            next: item.due.unwrap_or(item.at).into(),
            input: input.filter(|input: &serde_json::Value| !input.is_null()),
            last: item.detail,
            created_at: item.at.into(),
        });
    }
    Ok(shown)
}

/// End a wake that an agent planned itself. The agent may plan it again.
#[utoipa::path(
    delete, path = "/v1/agents/{agent}/schedules/{schedule}", tag = "agents",
    params(("agent" = String, Path, description = "Name, id or short id"), ("schedule" = String, Path, description = "Its name")),
    responses((status = 200, body = PlannedWake), (status = "4XX", body = Problem), (status = "5XX", body = Problem))
)]
async fn delete_schedule(
    State(api): State<Arc<ApiState>>,
    Operator(caller): Operator,
    Segment((wanted, name)): Segment<(String, String)>,
) -> Answer<PlannedWake> {
    let id = api.agent(&wanted).await?.id;
    let schedules = api.records.read(move |txn| planned(txn, id)).await?;
    let Some(schedule) = schedules.into_iter().find(|schedule| schedule.name == name) else {
        let detail = format!("{} planned no wake {}", quoted(&wanted), quoted(&name));
        return Err(Code::ScheduleUnknown.problem(detail).into());
    };
    let command = agent::Command::DeleteSchedule { name };
    api.app.committer.commit(caller.actor, Command::Agent(id, command)).await?;
    Ok(Out(schedule))
}
