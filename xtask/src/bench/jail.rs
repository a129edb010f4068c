//! A jail's cold start beside a plain spawn and bubblewrap's, measured by an example of the sandbox, in turns.

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Bench, Row, Section, number};
use crate::install;

const ROUNDS: &str = "300";
const AIM: f64 = 0.6;

pub(super) fn measure(bench: &Bench<'_>) -> Result<Section> {
    install::packages(&["bubblewrap"])?;
    let ways = bench.example("tenure-sandbox", "jail_start", &["--rounds", ROUNDS, "--json"])?;
    let of = |name: &str| {
        let named = |way: &&Value| way.get("way").and_then(Value::as_str) == Some(name);
        ways.iter().find(named).with_context(|| format!("the example does not measure `{name}`"))
    };
    let bubblewrap = number(of("bubblewrap")?, "wall_ms_p50")?;
    let mut rows = Vec::new();
    for way in &ways {
        let name = way.get("way").and_then(Value::as_str).unwrap_or_default();
        let p50 = number(way, "wall_ms_p50")?;
        let (p99, cpu) = (number(way, "wall_ms_p99")?, number(way, "cpu_ms_mean")?);
        let measured = format!("{p50:.2} ms (p99 {p99:.1}), {cpu:.1} CPU-ms");
        rows.push(if name == "jail, open + run + killed" {
            let ratio = p50 / bubblewrap;
            Row::aimed(name, format!("{measured}; {ratio:.2} × bubblewrap"), "≤ 0.6 × bubblewrap", ratio <= AIM)
        } else {
            Row::plain(name, measured)
        });
    }
    let notes = vec![format!(
        "Each way runs `/bin/true`, {ROUNDS} rounds in turns; wall time is the median. bubblewrap has the same namespaces and mounts, \
         but no system call filter, Landlock or limits. CPU-ms are the whole machine's, neighbours included."
    )];
    Ok(Section { title: "Jail start", command: "cargo xtask bench jail".to_owned(), rows, notes })
}
