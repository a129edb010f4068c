//! `tenure audit …`. Verifying reads the data directory itself, beside a running daemon or without one: a proof that is
//! asked of the daemon would be the daemon's word.
mod check;
mod consistency;
mod export;
mod query;
mod rotate;
mod seal;
mod stats;
mod tail;

use serde_json::{Value, json};
use tenure_core::bound::Hash;
use tenure_core::id::SessionId;
use tenure_daemon::verify::{self, Depth, ReplaySummary, Report, Witness};
use tenure_wire::api::execution::Erase;

use super::confirm;
use crate::args::Audit;
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::{Output, duration};
use crate::screen::one_line;

pub async fn run(verb: Audit, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    match verb {
        Audit::Verify { file: Some(file), key, .. } => check::run(&file, key.as_deref(), output),
        Audit::Verify { file: None, chain, .. } => {
            verify_ledger(if chain { Depth::Chain } else { Depth::Whole }, settings, output)
        }
        Audit::Export(asked) => export::run(&asked, settings, output),
        Audit::Tail(wanted) => tail::run(wanted, settings, output).await,
        Audit::Query(wanted) => query::run(wanted, settings, output).await,
        Audit::History { id, limit, listing } => query::history(&id, limit, &listing, settings, output).await,
        Audit::Consistency(asked) => consistency::run(asked, settings, output).await,
        Audit::Stats => stats::run(settings, output).await,
        Audit::RotateKey { why } => rotate::run(&why, settings, output),
        Audit::Seal(asked) => seal::run(&asked, settings, output),
        Audit::Erase { id, why } => erase(&id, why, settings, output).await,
    }
}

async fn erase(id: &str, why: String, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let sure = |what: String, told: &str| {
        confirm(&format!("Erase what {what} {told}? Its records stay, and nothing else comes back."), settings)
    };
    let how = |is_whole: bool| if is_whole { "is erased" } else { "is being erased, page by page" };
    if id.parse::<Hash>().is_ok() {
        confirm(&format!("Erase payload {id}? Its records stay, and nothing else comes back."), settings)?;
        let erased = client.erase_payload(id, &Erase { reason: why }).await?;
        output.show(&erased, || {
            format!("Payload {} of record {} ({}) is erased; the record stays", erased.id, erased.record, erased.stream)
        })?;
        return Ok(Exit::Done);
    }
    if id.starts_with(SessionId::PREFIX) {
        let id = client.session(id).await?.id.to_string();
        sure(format!("the calls of session {id}"), "were asked and answered")?;
        let erased = client.erase_session(&id, &Erase { reason: why }).await?;
        output.show(&erased, || {
            let how = how(erased.erased_at.is_some());
            format!("What the calls of session {id} were asked and answered {how}; its records stay")
        })?;
        return Ok(Exit::Done);
    }
    let id = client.execution(id).await?.execution.id.to_string();
    sure(format!("execution {id}"), "was told and said")?;
    let erased = client.erase_execution(&id, &Erase { reason: why }).await?;
    output.show(&erased, || {
        format!("What execution {id} was told and said {}; its records stay", how(erased.erased_at.is_some()))
    })?;
    Ok(Exit::Done)
}

fn verify_ledger(depth: Depth, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let report =
        verify::verify(&settings.data_dir, depth).map_err(|error| unverifiable(&error, settings, "verified"))?;
    output.show(&shown(&report), || told(&report))?;
    Ok(if report.holds() { Exit::Done } else { Exit::Failure })
}

/// Why a data directory could not be looked at.
fn unverifiable(error: &verify::Error, settings: &Settings, done: &str) -> Failure {
    let missing = matches!(error, verify::Error::NoLedger { .. });
    let (exit, what) = match missing {
        true => (Exit::NotFound, format!("there is no ledger to be {done}")),
        false => (Exit::Failure, format!("{} cannot be {done}", settings.data_dir.display())),
    };
    let failure = Failure::new(exit, what).why(error.to_string());
    if missing { failure.next("name the data directory with --data-dir or TENURE_DATA_DIR") } else { failure }
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
    let replay = report.replay;
    json!({
        "status": if report.holds() { "holds" } else { "broken" },
        "holds": report.holds(),
        "records": report.records,
        "streams": replay.map(|replay| replay.streams),
        "rows": replay.map(|replay| replay.rows),
        "payloads": replay.map(|replay| replay.payloads),
        "macs": replay.map(|replay| replay.macs),
        "root": report.root,
        "outside_head": outside,
        "sealed": report.sealed.iter().map(|sealed| json!({
            "file": sealed.name,
            "records": sealed.records,
            "is_here": sealed.is_here,
        })).collect::<Vec<_>>(),
        "finding_count": report.findings.count(),
        "findings": findings,
    })
}

fn told(report: &Report) -> String {
    let took = duration(u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX));
    let proved = if report.replay.is_some() { "ledger" } else { "chain" };
    let mut text = match report.holds() {
        true => format!("The {proved} holds"),
        false => format!("The {proved} does not hold: {} findings", report.findings.count()),
    };
    text.push_str(&match report.replay {
        Some(ReplaySummary { streams, rows, payloads, .. }) => {
            format!(": {} records in {streams} streams, {rows} rows, {payloads} payloads", report.records)
        }
        None => format!(": {} records", report.records),
    });
    text.push_str(&format!(", checked in {took}\n  root {}\n", report.root));
    text.push_str(match report.replay {
        None if report.sealed.iter().any(|sealed| !sealed.is_here) => {
            "  folds, rows and texts were not looked at, for what they follow from is in a file that is not here\n"
        }
        None => "  folds, rows and texts were not looked at: leave --chain out for them\n",
        Some(ReplaySummary { macs: false, .. }) => {
            "  ledger.key could not be read: no MAC of a row or snapshot was checked\n"
        }
        Some(ReplaySummary { macs: true, .. }) => "",
    });
    text.push_str(&match &report.witness {
        Witness::None => "  no head was kept outside the database: a cut tail would not show\n".to_string(),
        Witness::Head { size, at } => format!("  held against the head outside: {size} records at {at}\n"),
    });
    for sealed in &report.sealed {
        let place = if sealed.is_here { "which is here" } else { "which is not here: put it back to read them" };
        text.push_str(&format!("  {} records are in sealed/{}, {place}\n", sealed.records, sealed.name));
    }
    let kept = report.findings.kept();
    kept.iter().for_each(|finding| text.push_str(&format!("  {}\n", one_line(&finding.to_string()))));
    let more = report.findings.count().saturating_sub(kept.len() as u64);
    if more > 0 {
        text.push_str(&format!("  and {more} more\n"));
    }
    text
}
