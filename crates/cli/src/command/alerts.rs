//! `tenure alerts …`: what agents tell their supervisor, until somebody has seen to it.
use tenure_wire::api::item::{Acknowledge, Alert};

use super::each;
use crate::args::{AlertFilter, AlertVerb, Alerts};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::table::{Cell, Column, Table};
use crate::render::{Output, status_ink, when};
use crate::screen::one_line;

pub async fn run(alerts: Alerts, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    match alerts.verb {
        None => list(alerts.wanted, settings, output).await,
        Some(AlertVerb::List(wanted)) => list(wanted, settings, output).await,
        Some(AlertVerb::Ack { alerts, note }) => {
            let client = settings.client()?;
            let body = Acknowledge { note };
            let acknowledge = async |id: &str| Ok(client.acknowledge_alert(id, &body).await?);
            let text = |alert: &Alert| format!("Acknowledged {} of \"{}\"", alert.id, one_line(&whose(alert)));
            each(&alerts, output, acknowledge, text).await
        }
    }
}

async fn list(wanted: AlertFilter, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let state = wanted.all.then(|| "all".to_string());
    let query = [("agent", wanted.agent), ("severity", wanted.severity), ("state", state)];
    let alerts = settings.client()?.alerts(&query, wanted.limit as usize).await?;
    let table = || {
        let columns = [
            Column::key("ID"),
            Column::key("SEVERITY"),
            Column::key("AGENT"),
            Column::text("MESSAGE"),
            Column::worth("STATE", 2),
            Column::worth("SENT", 1),
            Column::detail("ACKNOWLEDGED"),
        ];
        let rows = alerts.iter().map(|alert| {
            let ink = match alert.severity.as_str() {
                "critical" => "failed",
                "warning" => "waiting",
                _ => "completed",
            };
            [
                Cell::from(if output.verbose { alert.id.to_string() } else { alert.id.short() }),
                Cell::inked(alert.severity.clone(), status_ink(ink)),
                Cell::from(whose(alert)),
                Cell::from(alert.message.as_deref().map_or_else(|| "(erased)".to_string(), one_line)),
                Cell::from(alert.state.clone()),
                Cell::from(when(alert.sent_at, output)),
                Cell::from(alert.detail.clone().unwrap_or_else(|| "-".to_string())),
            ]
        });
        Table::new(columns, rows)
    };
    output.list(
        &wanted.listing,
        &alerts,
        "No open alert; --all shows those that somebody has seen to, and agents send them by `alerts.send`",
        |alert| alert.id.to_string(),
        table,
    )?;
    Ok(Exit::Done)
}

fn whose(alert: &Alert) -> String {
    alert.agent_name.clone().unwrap_or_else(|| alert.agent.to_string())
}
