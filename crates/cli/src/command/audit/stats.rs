//! `tenure audit stats`: how many records there are of what, and the newest head.
use tenure_wire::api::audit::AuditStats;

use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::{Output, size};

pub(super) async fn run(settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let stats = settings.client()?.audit_stats().await?;
    output.show(&stats, || told(&stats))?;
    Ok(if stats.outside == "differs" { Exit::Failure } else { Exit::Done })
}

fn told(stats: &AuditStats) -> String {
    let mut text = format!(
        "{} records, {}; {} of them refusals\n  head       {} records at {}, root {}\n  outside    {}\n",
        stats.records,
        size(stats.bytes),
        stats.refusals,
        stats.head.size,
        stats.head.at,
        stats.head.root,
        match stats.outside.as_str() {
            "agrees" => "the head outside the database is on this chain",
            "missing" => "no head is kept outside the database: a cut tail would not show",
            "differs" => "the head outside the database is NOT on this chain: run `tenure audit verify`",
            _ => "the head outside the database cannot be read: run `tenure audit verify`",
        },
    );
    let mut part = |title: &str, rows: Vec<(String, String)>| {
        let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
        text.push_str(&format!("{title}\n"));
        rows.iter().for_each(|(name, figure)| text.push_str(&format!("  {name:width$}  {figure}\n")));
    };
    let mut kinds: Vec<(&String, &u64)> = stats.kinds.iter().collect();
    kinds.sort_by_key(|(kind, count)| (std::cmp::Reverse(**count), (*kind).clone()));
    part("By kind", kinds.iter().map(|(kind, count)| ((*kind).clone(), count.to_string())).collect());
    let agents = stats.agents.iter();
    part("By agent", agents.map(|of| (of.agent_name.clone(), format!("{:<8} {}", of.records, of.agent))).collect());
    let days = stats.days.iter();
    let day = |of: &tenure_wire::api::audit::DayRecords| {
        let date = of.day.to_string().chars().take(10).collect();
        let refused = if of.refusals > 0 { format!(", {} refused", of.refusals) } else { String::new() };
        (date, format!("{}{refused}", of.records))
    };
    part("By day", days.map(day).collect());
    text
}
