//! `tenure agent schedules`: the wakes that an agent planned itself.
use tenure_wire::api::item::PlannedWake;

use crate::args::Schedules;
use crate::command::each;
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::Output;
use crate::render::table::{Cell, Column, Table};
use crate::screen::one_line;

pub async fn run(wanted: Schedules, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    if !wanted.delete.is_empty() {
        let delete = async |name: &str| Ok(client.delete_schedule(&wanted.agent, name).await?);
        let text = |schedule: &PlannedWake| format!("Ended \"{}\"", one_line(&schedule.name));
        return each(&wanted.delete, output, delete, text).await;
    }
    let schedules = client.schedules(&wanted.agent).await?;
    let table = || {
        let columns = [
            Column::key("NAME"),
            Column::key("SCHEDULE"),
            Column::key("NEXT"),
            Column::text("INPUT"),
            Column::worth("LAST", 1),
            Column::detail("CREATED"),
        ];
        let rows = schedules.iter().map(|schedule| {
            [
                Cell::from(schedule.name.clone()),
                Cell::from(when(schedule)),
                Cell::from(schedule.next.to_string()),
                Cell::from(given(schedule)),
                Cell::from(schedule.last.clone().unwrap_or_else(|| "-".to_string())),
                Cell::from(schedule.created_at.to_string()),
            ]
        });
        Table::new(columns, rows)
    };
    output.list(
        &wanted.listing,
        &schedules,
        "It planned no wake of its own; `scheduler.cron_create` and `scheduler.delay` do",
        |schedule| schedule.name.clone(),
        table,
    )?;
    Ok(Exit::Done)
}

/// In one line each, for `agent show`.
pub fn lines(schedules: &[PlannedWake]) -> Option<String> {
    let shown = schedules.iter().map(|it| format!("{}: {}, next {}", one_line(&it.name), when(it), it.next));
    (!schedules.is_empty()).then(|| shown.collect::<Vec<_>>().join("; "))
}

fn when(schedule: &PlannedWake) -> String {
    match (&schedule.cron, &schedule.timezone) {
        (Some(cron), Some(timezone)) => one_line(&format!("{cron} ({timezone})")),
        _ => "once".to_string(),
    }
}

fn given(schedule: &PlannedWake) -> String {
    match &schedule.input {
        Some(serde_json::Value::String(text)) => one_line(text),
        Some(input) => one_line(&input.to_string()),
        None => "-".to_string(),
    }
}
