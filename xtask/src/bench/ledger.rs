//! What the ledger costs: a governed call beside its two bare commits, steps a second beside bare batched commits, opening
//! and verifying a million events. Measured by an example of the store, in turns.

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Bench, Row, Section, number};

const ALONE_AIM: f64 = 1.3;
const AT_ONCE_AIM: f64 = 0.4;
const STEPS_AIM: f64 = 10_000.0;
const READY_MS_AIM: f64 = 50.0;

pub(super) fn measure(bench: &Bench<'_>) -> Result<Section> {
    let said = bench.example("tenure-store", "ledger_rate", &["--json"])?;
    let all = said.first().context("the example printed nothing")?;
    let part = |name: &str| all.get(name).with_context(|| format!("the example does not measure `{name}`"));
    let mut rows = calls(part("calls")?)?;
    rows.extend(steps(part("steps")?)?);
    rows.extend(start(part("start")?)?);
    let notes = vec![
        "A governed call is two commits, `call.called` and `call.ended`, with folds, rows, hash, tree and signature; bare is SQLite (WAL, \
         FULL) writing rows of the same size and number and nothing else. A step is a command that moves an execution."
            .to_owned(),
    ];
    Ok(Section { title: "Ledger", command: "cargo xtask bench ledger".to_owned(), rows, notes })
}

fn calls(calls: &Value) -> Result<Vec<Row>> {
    let of = |key| number(calls, key);
    let (alone, at_once) = (of("alone_ratio")?, of("at_once_ratio")?);
    Ok(vec![
        Row::aimed(
            "a governed call alone",
            format!("{:.0} µs; {alone:.2} × its two bare commits ({:.0} µs)", of("alone_us")?, of("bare_alone_us")?),
            format!("≤ {ALONE_AIM} ×"),
            alone <= ALONE_AIM,
        ),
        Row::aimed(
            "governed calls, 64 at once",
            format!(
                "{:.0}/s; {at_once:.2} × bare batched commits ({:.0}/s)",
                of("at_once_calls_per_s")?,
                of("bare_batched_calls_per_s")?
            ),
            format!("≥ {AT_ONCE_AIM} ×"),
            at_once >= AT_ONCE_AIM,
        ),
    ])
}

fn steps(steps: &Value) -> Result<Vec<Row>> {
    let of = |key| number(steps, key);
    let (one, many) = (of("steps_per_s_1")?, of("steps_per_s_256")?);
    let said = |rate: f64, records: f64| format!("{rate:.0}/s, {records:.1} records a commit");
    Ok(vec![
        Row::plain("steps, 1 execution", said(one, of("records_a_commit_1")?)),
        Row::aimed(
            "steps, 256 executions",
            said(many, of("records_a_commit_256")?),
            format!("≥ {STEPS_AIM:.0}/s"),
            many >= STEPS_AIM,
        ),
    ])
}

fn start(start: &Value) -> Result<Vec<Row>> {
    let of = |key| number(start, key);
    let (empty, events) = (of("empty_ms")?, of("events")?);
    Ok(vec![
        Row::aimed("open the store, empty", format!("{empty:.1} ms"), "≤ 50 ms", empty <= READY_MS_AIM),
        Row::plain(format!("open the store, {events:.0} events"), format!("{:.1} ms", of("with_events_ms")?)),
        Row::plain("append, 256 at once", format!("{:.0} records/s", of("append_records_per_s")?)),
        Row::plain(
            "verify chain, heads, folds and rows",
            format!("{:.0} records/s", of("verify_folds_records_per_s")?),
        ),
        Row::plain("export, each with its path", format!("{:.0} records/s", of("export_records_per_s")?)),
    ])
}
