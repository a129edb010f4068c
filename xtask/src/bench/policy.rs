//! What the gate costs: a decision as rules grow, beside plain Cedar over the whole set; its share of a governed call; and how fast
//! recorded calls are judged anew. Measured by an example of the policy crate and one of the store.

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Bench, Row, Section, number};

const REPLAY_S_AIM: f64 = 10.0;

pub(super) fn measure(bench: &Bench<'_>) -> Result<Section> {
    let said = bench.example("tenure-policy", "policy_rate", &["--json"])?;
    let all = said.first().context("the example printed nothing")?;
    let list = |name: &str| all.get(name).and_then(Value::as_array).with_context(|| format!("no `{name}` is measured"));
    let decisions = list("decisions")?;
    let mut rows: Vec<Row> = decisions.iter().map(decision).collect::<Result<_>>()?;
    let calls = bench.example("tenure-store", "ledger_rate", &["--json", "--only", "calls"])?;
    let calls = calls.first().and_then(|all| all.get("calls")).context("the store's example measures no call")?;
    let governed = number(calls, "alone_us")?;
    // A program's call is judged once, and read in two commits.
    let judged = number(decisions.get(2).context("a thousand rules are measured")?, "p50_us")?;
    rows.push(Row::plain(
        "the gate's share of a governed call, 1,000 rules",
        format!("{:.1} % ({judged:.0} µs of {governed:.0} µs)", 100.0 * judged / (governed + judged)),
    ));
    for replay in list("replays")? {
        let (calls, s) = (number(replay, "calls")?, number(replay, "s")?);
        let name = replay.get("name").and_then(Value::as_str).unwrap_or_default();
        let (what, measured) =
            (format!("replay of {calls:.0} recorded calls, {name}"), format!("{s:.1} s, {:.0} a second", calls / s));
        rows.push(Row::aimed(what, measured, format!("≤ {REPLAY_S_AIM} s"), s <= REPLAY_S_AIM));
    }
    let (past, rate) = (number(calls, "past_calls")?, number(calls, "past_calls_per_s")?);
    rows.push(Row::plain(
        "reading recorded calls from the store",
        format!("{rate:.0} a second ({past:.0} calls); a million in {:.0} s", 1e6 / rate),
    ));
    let notes = vec![format!(
        "A decision asks all layers of 100 agents' rules; plain Cedar has one set of the same rules, with its request made before. A replay \
         judges each call by the policy that holds and by one of 1,000 more rules, on {:.0} threads, from memory; a replay reads from the \
         store beside it, on one thread.",
        number(all, "threads")?
    )];
    Ok(Section { title: "The gate", command: "cargo xtask bench policy".to_owned(), rows, notes })
}

fn decision(decision: &Value) -> Result<Row> {
    let of = |key| number(decision, key);
    Ok(Row::plain(
        format!("a decision, {:.0} rules", of("rules")?),
        format!(
            "{:.1} µs (p99 {:.1}); plain Cedar {:.1} µs (p99 {:.1})",
            of("p50_us")?,
            of("p99_us")?,
            of("plain_p50_us")?,
            of("plain_p99_us")?
        ),
    ))
}
