//! What the worker's gates cost: a file read through a call beside a bare read, and the egress proxy beside a direct connection.

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Bench, Row, Section, number};

pub(super) fn measure(bench: &Bench<'_>) -> Result<Section> {
    let rows = bench.example("tenure-worker", "way_out", &[])?;
    let named = |name: &str| -> Result<&Value> {
        let found = rows.iter().find(|row| row.get("row").and_then(Value::as_str) == Some(name));
        found.with_context(|| format!("the example does not measure `{name}`"))
    };
    let times = |row: &Value| -> Result<String> {
        Ok(format!("{:.3} ms (p99 {:.2})", number(row, "ms_p50")?, number(row, "ms_p99")?))
    };
    let (direct, proxied) = (named("direct connection")?, named("through the proxy")?);
    let added = number(proxied, "ms_p50")? - number(direct, "ms_p50")?;
    let rate = |row: &Value| -> Result<String> { Ok(format!("{:.0} MB/s", number(row, "mb_per_s")?)) };
    let read = |name: &str| -> Result<Row> { Ok(Row::plain(name, times(named(name)?)?)) };
    let rows = vec![
        read("bare read of 4 KiB")?,
        read("filesystem.read of 4 KiB")?,
        Row::plain("a request on an open connection, direct", times(direct)?),
        Row::plain("the same through the proxy", format!("{}; {added:.3} ms more", times(proxied)?)),
        Row::plain("256 MiB, direct", rate(direct)?),
        Row::plain("256 MiB through the proxy", rate(proxied)?),
    ];
    let notes = vec![
        "The read goes from the daemon's side of the frames to the worker, its jail and back, without the ledger's two commits \
         (those are under `ledger`). The same Python client asks the same server on loopback, outside directly and in a jail through \
         the proxy."
            .to_owned(),
    ];
    Ok(Section { title: "The worker's gates", command: "cargo xtask bench gates".to_owned(), rows, notes })
}
