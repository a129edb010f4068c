//! `tenure audit …`. Verifying reads the data directory itself, beside a running daemon or without one: a proof that is
//! asked of the daemon would be the daemon's word.
use std::time::Duration;

use serde_json::{Value, json};
use tenure_daemon::verify::{self, Depth, Report, Witness};

use crate::args::Audit;
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::{Output, duration};
use crate::screen::one_line;

/// Records asked for at a time, and the pause between looks when following.
const PAGE: u32 = 500;
const PAUSE: Duration = Duration::from_millis(500);

pub async fn run(verb: Audit, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    match verb {
        Audit::Verify { quick } => verify_ledger(quick, settings, output),
        Audit::Tail { limit, follow } => tail(limit, follow, settings, output).await,
    }
}

fn verify_ledger(quick: bool, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let depth = if quick { Depth::Folds } else { Depth::Payloads };
    let report = verify::verify(&settings.data_dir, depth).map_err(|error| {
        Failure::new(Exit::Failure, format!("{} cannot be verified", settings.data_dir.display()))
            .why(error.to_string())
            .next("name the data directory with --data-dir or TENURE_DATA_DIR")
    })?;
    output.show(&shown(&report), || told(&report))?;
    Ok(if report.holds() { Exit::Done } else { Exit::Failure })
}

fn shown(report: &Report) -> Value {
    let findings: Vec<Value> = report
        .findings
        .kept()
        .iter()
        .map(|finding| {
            let stream = finding.stream.map(|stream| stream.to_string());
            json!({ "index": finding.index, "stream": stream, "what": finding.what })
        })
        .collect();
    let outside = match &report.witness {
        Witness::None => Value::Null,
        Witness::Head { size, at } => json!({ "size": size, "at": at.to_string() }),
    };
    json!({
        "status": if report.holds() { "holds" } else { "broken" },
        "holds": report.holds(),
        "records": report.records,
        "streams": report.streams,
        "payloads": report.payloads,
        "root": report.root,
        "outside_head": outside,
        "finding_count": report.findings.count(),
        "findings": findings,
    })
}

fn told(report: &Report) -> String {
    let took = duration(u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX));
    let mut text = match report.holds() {
        true => "The ledger holds".to_string(),
        false => format!("The ledger does not hold: {} findings", report.findings.count()),
    };
    text.push_str(&format!(
        ": {} records in {} streams, {} payloads, checked in {took}\n  root {}\n",
        report.records, report.streams, report.payloads, report.root
    ));
    text.push_str(&match &report.witness {
        Witness::None => "  no head was kept outside the database: a cut tail would not show\n".to_string(),
        Witness::Head { size, at } => format!("  held against the head outside: {size} records at {at}\n"),
    });
    let kept = report.findings.kept();
    kept.iter().for_each(|finding| text.push_str(&format!("  {}\n", one_line(&finding.to_string()))));
    let more = report.findings.count().saturating_sub(kept.len() as u64);
    if more > 0 {
        text.push_str(&format!("  and {more} more\n"));
    }
    text
}

async fn tail(limit: u32, follow: bool, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let mut page = client.records(None, Some(limit.into()), PAGE).await?;
    if !follow {
        output.show(&page.items, || page.items.iter().map(record).collect::<Vec<_>>().join("\n"))?;
        return Ok(Exit::Done);
    }
    let mut next = 0;
    loop {
        for item in &page.items {
            next = item["index"].as_u64().map_or(next, |index| index + 1);
            output.show_next(item, || record(item))?;
        }
        if page.items.is_empty() {
            tokio::time::sleep(PAUSE).await;
        }
        page = client.records(Some(next), None, PAGE).await?;
    }
}

/// `index time stream kind actor`.
fn record(record: &Value) -> String {
    let word = |key: &str| match &record[key] {
        Value::String(text) => one_line(text),
        other => other.to_string(),
    };
    format!("{:>8} {} {} {} {}", word("index"), word("at"), word("stream"), word("kind"), word("actor"))
}
