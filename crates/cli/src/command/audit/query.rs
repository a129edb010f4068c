//! `tenure audit query` and `audit history`: records that are looked for in the ledger by what they say. Must never: leave records
//! out without a word.
use serde_json::Value;
use tenure_core::id::kind_of;
use tenure_wire::client::Client;

use super::super::moment;
use super::tail::table_of;
use crate::args::{Listing, Query};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::Output;
use crate::screen::{self, Ink};

type Parameter = (&'static str, Option<String>);

pub(super) async fn run(wanted: Query, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let time = |text: Option<&str>| -> Result<Option<String>, Failure> {
        Ok(text.map(moment::past).transpose()?.map(|moment| moment.to_string()))
    };
    let kinds = (!wanted.kind.is_empty()).then(|| wanted.kind.join(","));
    let parameters = vec![
        ("agent", wanted.agent),
        ("execution", wanted.execution),
        ("kind", kinds),
        ("actor", wanted.actor),
        ("lifecycle", wanted.lifecycle),
        ("since", time(wanted.since.as_deref())?),
        ("until", time(wanted.until.as_deref())?),
        ("refused", wanted.refused.then(|| "true".to_string())),
        ("order", (!wanted.oldest).then(|| "newest".to_string())),
    ];
    let (mut records, more) = pages(&client, parameters, wanted.limit as usize).await?;
    if !wanted.oldest {
        records.reverse();
    }
    show(&records, &wanted.listing, output)?;
    if more {
        let which = if wanted.oldest { "the first" } else { "the newest" };
        screen::tell(&[(Ink::Next, "next: "), (Ink::Plain, &format!("these are {which}; --limit shows more\n"))]);
    }
    Ok(Exit::Done)
}

/// All that ever happened to one agent, execution, session or call, also once it is deleted.
pub(super) async fn history(
    name: &str,
    limit: u32,
    listing: &Listing,
    settings: &Settings,
    output: Output,
) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let about = match kind_of(name) {
        None | Some("agent") => client.agent(name).await?.agent.id.to_string(),
        Some("execution") => client.execution(name).await?.execution.id.to_string(),
        Some(_) => name.to_string(),
    };
    let (records, more) = pages(&client, vec![("about", Some(about))], limit as usize).await?;
    show(&records, listing, output)?;
    if more {
        screen::tell(&[(Ink::Next, "next: "), (Ink::Plain, "these are the first; --limit shows more\n")]);
    }
    Ok(Exit::Done)
}

fn show(records: &[Value], listing: &Listing, output: Output) -> Result<(), Failure> {
    let name = |record: &Value| record["index"].to_string();
    output.list(listing, records, "No record fits", name, || table_of(records, output))
}

/// Page by page, some of which may be empty: how far the daemon looks for one is bounded. True where there are more.
async fn pages(client: &Client, parameters: Vec<Parameter>, limit: usize) -> Result<(Vec<Value>, bool), Failure> {
    const PAGE: usize = 500;
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let mut query = parameters.clone();
        query.push(("limit", Some((limit - found.len()).clamp(1, PAGE).to_string())));
        query.push(("cursor", cursor));
        let page = client.records_of(&query).await?;
        found.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() || found.len() >= limit {
            return Ok((found, cursor.is_some()));
        }
    }
}
