//! What many agents cost: registered and asleep, woken by the clock and by messages, and the values that they keep. Measured by an
//! example of the store, and from outside a whole daemon by an example of the client.

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Bench, Row, Section, number};

const LATE_AGENTS: f64 = 10_000.0;
const LATE_P99_MS_AIM: f64 = 10.0;
const QUEUED_S_AIM: f64 = 10.0;
const API_P99_MS_AIM: f64 = 20.0;
const ACTION_P50_MS_AIM: f64 = 8.0;
const WAKE_P50_MS_AIM: f64 = 4.0;
const AGENT_BYTES_AIM: f64 = 2_000.0;
const OPEN_MS_AIM: f64 = 1_000.0;

pub(super) fn measure(bench: &Bench<'_>) -> Result<Section> {
    let said = bench.example("tenure-store", "staff_rate", &["--json"])?;
    let store = said.first().context("staff_rate printed nothing")?;
    bench.build(&["--package", "tenure"])?;
    bench.build(&["--package", "tenure-wire", "--features", "client", "--example", "staff_latency"])?;
    let program = bench.programs.join("tenure");
    let program = program.to_str().context("the target folder has a path of odd bytes")?;
    let said = bench.said("staff_latency", &["--json", "--program", program])?;
    let daemon = said.first().context("staff_latency printed nothing")?;
    let part = |all: &Value, name: &str| all.get(name).cloned().with_context(|| format!("`{name}` was not measured"));
    let mut rows = late(&part(daemon, "late")?)?;
    rows.extend(due(&part(daemon, "due")?, &part(store, "wakes")?)?);
    rows.extend(message(&part(daemon, "message")?)?);
    rows.extend(registered(&part(store, "registered")?)?);
    rows.extend(values(&part(store, "values")?)?);
    let notes = vec![
        "Lateness is the time of the record that a time of a schedule is over with, less when it was due; each agent comes once a minute at \
         a moment of its own. `/v1/agents` is asked without a pause while all are queued. A message is timed by a watcher, from before it is sent \
         until `agent.woken` and until the first `call.ended` of a program in a jail; the model is a cassette. Memory is what is resident once the \
         store is open, less that of an empty one. Bare is SQLite (WAL, FULL) with one upsert of the same value."
            .to_owned(),
    ];
    Ok(Section { title: "Staff", command: "cargo xtask bench staff".to_owned(), rows, notes })
}

fn each(figures: &Value) -> &[Value] {
    figures.as_array().map_or(&[], Vec::as_slice)
}

fn late(figures: &Value) -> Result<Vec<Row>> {
    let row = |figure: &Value| {
        let of = |key| number(figure, key);
        let (agents, p99) = (of("agents")?, of("p99_ms")?);
        let what = format!("late, {agents:.0} scheduled agents");
        let measured = format!("p50 {:.0} ms, p99 {p99:.0} ms at {:.0} times/s", of("p50_ms")?, of("times_per_s")?);
        let is_aimed = agents <= LATE_AGENTS;
        Ok(if is_aimed {
            Row::aimed(what, measured, format!("p99 ≤ {LATE_P99_MS_AIM} ms"), p99 <= LATE_P99_MS_AIM)
        } else {
            Row::plain(what, measured)
        })
    };
    each(figures).iter().map(row).collect()
}

fn due(daemon: &Value, store: &Value) -> Result<Vec<Row>> {
    let (queued, p99) = (number(daemon, "all_queued_s")?, number(daemon, "list_p99_ms")?);
    let agents = number(daemon, "due")?;
    Ok(vec![
        Row::aimed(
            format!("{agents:.0} due in one minute, until all are queued"),
            format!("{queued:.1} s"),
            format!("≤ {QUEUED_S_AIM} s"),
            queued <= QUEUED_S_AIM,
        ),
        Row::aimed(
            "`/v1/agents` meanwhile",
            format!("p50 {:.1} ms, p99 {p99:.1} ms", number(daemon, "list_p50_ms")?),
            format!("p99 ≤ {API_P99_MS_AIM} ms"),
            p99 <= API_P99_MS_AIM,
        ),
        Row::plain(
            format!("{:.0} due, the store alone", number(store, "due")?),
            format!(
                "{:.1} s; a write meanwhile p99 {:.1} ms",
                number(store, "all_queued_s")?,
                number(store, "write_meanwhile_p99_ms")?
            ),
        ),
    ])
}

fn message(figures: &Value) -> Result<Vec<Row>> {
    let row = |what: &str, of: &str, aim: f64| -> Result<Row> {
        let (p50, p99) = (number(figures, &format!("{of}_p50_ms"))?, number(figures, &format!("{of}_p99_ms"))?);
        Ok(Row::aimed(what, format!("p50 {p50:.1} ms, p99 {p99:.1} ms"), format!("p50 ≤ {aim} ms"), p50 <= aim))
    };
    Ok(vec![
        row("message to a sleeping agent until it is woken", "woken", WAKE_P50_MS_AIM)?,
        row("message until its first sandboxed call is done", "first_action", ACTION_P50_MS_AIM)?,
    ])
}

fn registered(figures: &Value) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for figure in each(figures) {
        let of = |key| number(figure, key);
        let (agents, open) = (of("agents")?, of("open_ms")?);
        if let Ok(made) = of("made_per_s") {
            rows.push(Row::plain(format!("make agents, up to {agents:.0}"), format!("{made:.0}/s")));
        }
        let opened = format!("{open:.1} ms");
        rows.push(Row::aimed(
            format!("open the store, {agents:.0} registered"),
            opened,
            format!("≤ {OPEN_MS_AIM:.0} ms"),
            open <= OPEN_MS_AIM,
        ));
        if let Ok(bytes) = of("resident_bytes_an_agent") {
            rows.push(Row::aimed(
                format!("memory for each of {agents:.0}"),
                format!("{bytes:.0} B"),
                format!("≤ {AGENT_BYTES_AIM:.0} B"),
                bytes <= AGENT_BYTES_AIM,
            ));
        }
        rows.push(Row::plain(
            format!("lists of 50, {agents:.0} registered"),
            format!(
                "{:.0} pages/s; by label {:.0}/s; none of a status {:.0}/s",
                of("pages_per_s")?,
                of("labelled_pages_per_s")?,
                of("none_is_paused_lists_per_s")?
            ),
        ));
    }
    Ok(rows)
}

fn values(figures: &Value) -> Result<Vec<Row>> {
    let of = |key| number(figures, key);
    let said = |ours: f64, ratio: f64, bare: f64| format!("{ours:.0}/s; {ratio:.2} × bare ({bare:.0}/s)");
    Ok(vec![
        Row::plain("values set, alone", said(of("sets_per_s_alone")?, of("alone_ratio")?, of("bare_per_s_alone")?)),
        Row::plain("values set, 64 at once", said(of("sets_per_s_64")?, of("at_once_ratio")?, of("bare_per_s_64")?)),
    ])
}
