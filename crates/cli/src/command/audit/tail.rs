//! `tenure audit tail`: the newest records that are wanted, found by walking back from the end. Must never: walk further than
//! it says that it did.
use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tenure_wire::api::moment::Moment;
use tenure_wire::client::Client;

use super::super::moment;
use crate::args::{Format, Listing, Tail};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::table::{Cell, Column, Table};
use crate::render::{Output, status_ink, when};
use crate::screen::{self, Ink};

/// Records asked for at a time, and the pause between looks when following.
const PAGE: u32 = 500;
const PAUSE: Duration = Duration::from_millis(500);
/// Records that a filter looks back through.
const LOOKED_MAX: u64 = 200_000;
/// Executions of one agent that are known by it, and sessions.
const HOLDERS_MAX: usize = 100_000;

pub(super) async fn run(wanted: Tail, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let mut filter = Filter::of(&wanted, &client).await?;
    let (mut records, next) = newest(&client, &mut filter, wanted.limit as usize).await?;
    if !wanted.follow {
        let name = |record: &Value| record["index"].to_string();
        output.list(&wanted.listing, &records, "No record fits", name, || table_of(&records, output))?;
        return Ok(Exit::Done);
    }
    let (mut next, mut first) = (next, true);
    loop {
        show_next(&records, &wanted.listing, first, output)?;
        first = false;
        let page = client.records(Some(next), None, PAGE).await?.items;
        if page.is_empty() {
            tokio::time::sleep(PAUSE).await;
        }
        next = page.last().and_then(|last| last["index"].as_u64()).map_or(next, |index| index + 1);
        records = page.into_iter().filter(|record| filter.admits(record)).collect();
    }
}

/// What is wanted of the ledger.
struct Filter {
    /// Streams; none for all.
    streams: Option<BTreeSet<String>>,
    /// Whose executions' and sessions' streams are wanted too, also of those that begin later.
    agent: Option<String>,
    kinds: Vec<String>,
    since: Option<Moment>,
}

impl Filter {
    async fn of(wanted: &Tail, client: &Client) -> Result<Filter, Failure> {
        let (mut streams, mut agent) = (None, None);
        if let Some(name) = &wanted.agent {
            let id = client.agent(name).await?.agent.id.to_string();
            let query = [("agent", Some(id.clone()))];
            let executions = client.executions(&query, HOLDERS_MAX).await?;
            let sessions = client.sessions(&query, HOLDERS_MAX).await?;
            let executions = executions.iter().map(|execution| execution.id.to_string());
            let sessions = sessions.iter().map(|session| session.id.to_string());
            streams = Some(executions.chain(sessions).chain([id.clone()]).collect::<BTreeSet<_>>());
            agent = Some(id);
        }
        if let Some(wanted) = &wanted.execution {
            let id = client.execution(wanted).await?.execution.id.to_string();
            let of_agent = streams.as_ref().is_none_or(|streams| streams.contains(&id));
            streams = Some(if of_agent { BTreeSet::from([id]) } else { BTreeSet::new() });
            agent = None;
        }
        let since = wanted.since.as_deref().map(moment::past).transpose()?;
        Ok(Filter { streams, agent, kinds: wanted.kind.clone(), since })
    }

    fn is_any(&self) -> bool {
        self.streams.is_none() && self.kinds.is_empty() && self.since.is_none()
    }

    fn admits(&mut self, record: &Value) -> bool {
        let text = |key: &str| record[key].as_str().unwrap_or_default();
        if let (Some(streams), Some(agent)) = (&mut self.streams, &self.agent)
            && matches!(text("kind"), "execution.started" | "session.opened")
            && record["data"]["agent"] == agent.as_str()
        {
            streams.insert(text("stream").to_string());
        }
        let of_stream = self.streams.as_ref().is_none_or(|streams| streams.contains(text("stream")));
        let of_kind = self.kinds.is_empty() || self.kinds.iter().any(|kind| is_kind(kind, text("kind")));
        of_stream && of_kind && !self.is_before(record)
    }

    fn is_before(&self, record: &Value) -> bool {
        let at = record["at"].as_str().and_then(|at| at.parse::<Moment>().ok());
        matches!((self.since, at), (Some(since), Some(at)) if at.0 < since.0)
    }
}

/// `call.called` is itself; `call.` and `call.*` are all that begin so.
fn is_kind(wanted: &str, kind: &str) -> bool {
    match wanted.strip_suffix('*').unwrap_or(wanted) {
        prefix if prefix.ends_with('.') => kind.starts_with(prefix),
        whole => whole == kind,
    }
}

/// The newest that are admitted, oldest first, and the index after the last record.
async fn newest(client: &Client, filter: &mut Filter, limit: usize) -> Result<(Vec<Value>, u64), Failure> {
    let last = client.records(None, Some(1), 1).await?.items;
    let end = last.first().and_then(|last| last["index"].as_u64()).map_or(0, |index| index + 1);
    let (mut found, mut from, mut over) = (Vec::new(), end, false);
    let page = if filter.is_any() { u64::try_from(limit).unwrap_or(u64::MAX) } else { u64::from(PAGE) };
    while from > 0 && found.len() < limit && !over {
        if end - from >= LOOKED_MAX {
            let note = format!("note: only the newest {LOOKED_MAX} records were looked through\n");
            screen::tell(&[(Ink::Plain, &note)]);
            break;
        }
        let before = from.saturating_sub(page);
        let count = u32::try_from(from - before).unwrap_or(PAGE);
        let items = client.records(Some(before), None, count).await?.items;
        over = items.first().is_some_and(|first| filter.is_before(first));
        found.extend(items.into_iter().rev().filter(|record| filter.admits(record)));
        from = before;
    }
    found.truncate(limit);
    found.reverse();
    Ok((found, end))
}

fn show_next(records: &[Value], listing: &Listing, first: bool, output: Output) -> Result<(), Failure> {
    if output.format != Format::Table || listing.quiet {
        for record in records {
            if listing.quiet {
                screen::print(&record["index"].to_string())?;
            } else {
                output.show_next(record, String::new)?;
            }
        }
        return Ok(());
    }
    let listing = Listing { no_headers: listing.no_headers || !first, ..Listing::default() };
    output.table(&table_of(records, output), &listing)
}

pub(super) fn table_of(records: &[Value], output: Output) -> Table {
    let columns = [
        Column::key("INDEX"),
        Column::worth("AT", 1),
        Column::key("STREAM"),
        Column::key("KIND"),
        Column::worth("ACTOR", 2),
        Column { wraps: true, ..Column::detail("DATA") },
    ];
    let rows = records.iter().map(|record| {
        let word = |key: &str| match &record[key] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let at = record["at"].as_str().and_then(|at| at.parse::<Moment>().ok());
        [
            Cell::from(word("index")),
            Cell::from(at.map_or_else(|| word("at"), |at| when(at, output))),
            Cell::from(word("stream")),
            Cell::inked(word("kind"), kind_ink(&word("kind"))),
            Cell::from(word("actor")),
            Cell::from(record["data"].to_string()),
        ]
    });
    Table::new(columns, rows)
}

fn kind_ink(kind: &str) -> Ink {
    match kind.rsplit('.').next().unwrap_or_default() {
        word @ ("failed" | "revoked" | "quarantined" | "completed" | "cancelled") => status_ink(word),
        "refused" | "blocked" | "lost" => Ink::Bad,
        _ => Ink::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::is_kind;

    #[test]
    fn a_kind_is_itself_or_all_that_begin_so() {
        assert!(
            is_kind("call.called", "call.called") && is_kind("call.", "call.ended") && is_kind("call.*", "call.ended")
        );
        assert!(!is_kind("call", "call.called") && !is_kind("call.", "callback.made"));
    }
}
