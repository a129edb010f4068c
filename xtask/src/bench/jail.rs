//! A jail's start, cold and from the pool, beside a plain spawn, bubblewrap and the container engines that are installed, and
//! what a thousand idle jails cost; measured by an example of the sandbox, in turns.

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Bench, Row, Section, number};
use crate::install;

const ROUNDS: &str = "300";
const IDLE: &str = "1000";
const RUN_AIM: f64 = 0.6;
const COLD_MS: f64 = 2.0;
const COLD_CPU_MS: f64 = 1.5;
const POOLED_MS: f64 = 0.5;
const TAIL: f64 = 3.0;

pub(super) fn measure(bench: &Bench<'_>) -> Result<Section> {
    install::packages(&["bubblewrap"])?;
    let mut words = vec!["--rounds", ROUNDS, "--at-once", "1,8,64", "--peers", "--json"];
    if let Some(srt) = &bench.srt {
        words.extend(["--srt", srt]);
    }
    let ways = bench.example("tenure-sandbox", "jail_start", &words)?;
    let bubblewrap = of(&ways, "bubblewrap")?;
    let bubblewrap = number(bubblewrap, "wall_ms_p50")?;
    let mut rows = ways.iter().map(|way| row(way, bubblewrap)).collect::<Result<Vec<Vec<Row>>>>()?.concat();
    for cost in bench.example("tenure-sandbox", "jail_start", &["--idle", IDLE, "--json"])? {
        let (own, host) = (number(&cost, "pss_kib")?, number(&cost, "host_kib")?);
        let seconds = number(&cost, "seconds")?;
        let measured = format!("{own:.0} KiB each (PSS), {host:.0} KiB less on the host; opened in {seconds:.1} s");
        rows.push(Row::plain(format!("{IDLE} idle jails at once"), measured));
    }
    let notes = vec![format!(
        "Each way runs `/bin/true`, {ROUNDS} rounds in turns (podman and sandbox-runtime a tenth of them); wall time is the median. \
         bubblewrap has the same namespaces and mounts, but no system call filter, Landlock or limits. CPU-ms are of the whole start: \
         opener, jail and burial. At 8 and 64 at once a start waits for the others on this machine's processors."
    )];
    Ok(Section { title: "Jail start", command: "cargo xtask bench jail".to_owned(), rows, notes })
}

fn of<'w>(ways: &'w [Value], name: &str) -> Result<&'w Value> {
    let named = |way: &&Value| way.get("way").and_then(Value::as_str) == Some(name);
    ways.iter().find(named).with_context(|| format!("the example does not measure `{name}`"))
}

fn row(way: &Value, bubblewrap: f64) -> Result<Vec<Row>> {
    let name = way.get("way").and_then(Value::as_str).unwrap_or_default();
    let at_once = number(way, "at_once")?;
    let (p50, p99) = (number(way, "wall_ms_p50")?, number(way, "wall_ms_p99")?);
    let cpu = number(way, "cpu_ms_mean")?;
    let measured = format!("{p50:.2} ms (p99 {p99:.1}), {cpu:.1} CPU-ms");
    if at_once > 1.0 {
        return Ok(vec![Row::plain(name, measured)]);
    }
    Ok(match name {
        "jail, open + run + killed" => {
            let ratio = p50 / bubblewrap;
            let measured = format!("{measured}; {ratio:.2} × bubblewrap");
            vec![Row::aimed(name, measured, "≤ 0.6 × bubblewrap", ratio <= RUN_AIM)]
        }
        "jail, cold, open to ready" => vec![
            Row::aimed(name, measured, "≤ 2.0 ms", p50 <= COLD_MS),
            Row::aimed(format!("{name}: CPU"), format!("{cpu:.2} CPU-ms"), "≤ 1.5 CPU-ms", cpu <= COLD_CPU_MS),
        ],
        "jail, pooled, open to ready" => vec![
            Row::aimed(name, measured, "≤ 0.5 ms", p50 <= POOLED_MS),
            Row::aimed(format!("{name}: tail"), format!("p99 {:.1} × p50", p99 / p50), "≤ 3 ×", p99 <= TAIL * p50),
        ],
        other => vec![Row::plain(other, measured)],
    })
}
