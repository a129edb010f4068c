//! `tenure state …`: what agents keep, and what they share. Every change is recorded as the supervisor's. Must never: show
//! a value otherwise than as it is kept.
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tenure_core::state::VALUE_BYTES_MAX;
use tenure_wire::api::state::{PutAcl, RESTORE_BYTES_MAX, SetQuota, SharedAcl, StateChange, StateQuota, StateValue};
use tenure_wire::client::{Client, SetState};

use super::{contents, happens, interrupted, typed};
use crate::args::{Acl, Format, Keys, Listing, NewValue, Shared, Since, State};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::table::{Cell, Column, Table};
use crate::render::{Output, size, table, when};
use crate::screen::one_line;

pub async fn run(verb: State, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = &settings.client()?;
    match verb {
        State::List { agent, keys } => list(client, Some(&agent), keys, output).await,
        State::Get { agent, key, version } => get(client, Some(&agent), &key, version, output).await,
        State::Set { agent, key, value, expected_version } => {
            set(client, Some(&agent), &key, value, expected_version, output).await
        }
        State::Delete { agent, key, expected_version } => {
            delete(client, Some(&agent), &key, expected_version, output).await
        }
        State::Quota { agent, set } => quota(client, Some(&agent), set, output).await,
        State::History { agent, key, listing } => history(client, Some(&agent), &key, &listing, output).await,
        State::Watch { agent, since } => watch(client, Some(&agent), since, output).await,
        State::Backup { agent, prefix } => {
            let backup = client.state_backup(&agent, prefix).await?;
            // A document for `restore`, so that it is JSON also where people look at it.
            let format = if output.format == Format::Table { Format::Json } else { output.format };
            Output { format, ..output }.show(&backup, String::new)?;
            Ok(Exit::Done)
        }
        State::Restore { agent, file } => restore(client, &agent, &file, output).await,
        State::Shared(verb) => shared(client, verb, output).await,
    }
}

async fn shared(client: &Client, verb: Shared, output: Output) -> Result<Exit, Failure> {
    match verb {
        Shared::List { keys } => list(client, None, keys, output).await,
        Shared::Get { key, version } => get(client, None, &key, version, output).await,
        Shared::Set { key, value, expected_version } => {
            set(client, None, &key, value, Some(expected_version), output).await
        }
        Shared::Delete { key, expected_version } => delete(client, None, &key, Some(expected_version), output).await,
        Shared::Quota { set } => quota(client, None, set, output).await,
        Shared::History { key, listing } => history(client, None, &key, &listing, output).await,
        Shared::Watch { since } => watch(client, None, since, output).await,
        Shared::Acl(verb) => acl(client, verb, output).await,
    }
}

async fn list(client: &Client, agent: Option<&str>, keys: Keys, output: Output) -> Result<Exit, Failure> {
    let set = agent.map_or_else(|| "tenure state shared set".to_string(), |agent| format!("tenure state set {agent}"));
    let none = format!("Nothing is kept; `{set} KEY VALUE` keeps a value, and agents do by `state.*`");
    let entries = client.state(agent, keys.prefix, keys.limit as usize).await?;
    output.list(
        &keys.listing,
        &entries,
        &none,
        |entry| entry.key.clone(),
        || {
            let columns = [
                Column::text("KEY"),
                Column::key("VERSION"),
                Column::worth("SIZE", 1),
                Column::worth("OWNER", 3),
                Column::worth("UPDATED", 2),
                Column::detail("EXPIRES"),
                Column::detail("BY"),
            ];
            let rows = entries.iter().map(|entry| {
                [
                    Cell::from(entry.key.clone()),
                    Cell::from(entry.version.to_string()),
                    Cell::from(entry.size.to_string()),
                    Cell::from(entry.owner_agent.clone().unwrap_or_else(|| "-".to_string())),
                    Cell::from(when(entry.updated_at, output)),
                    Cell::from(entry.expires_at.map_or_else(|| "-".to_string(), |at| at.to_string())),
                    Cell::from(entry.updated_by.clone()),
                ]
            });
            Table::new(columns, rows)
        },
    )?;
    Ok(Exit::Done)
}

async fn get(
    client: &Client,
    agent: Option<&str>,
    key: &str,
    version: Option<u64>,
    output: Output,
) -> Result<Exit, Failure> {
    let found = client.state_value(agent, key, version).await?;
    output.show(&found, || {
        let value = found.value.get();
        // A terminal may act on what a program reads as it is.
        let value = if output.terminal { one_line(value) } else { value.to_string() } + "\n";
        if output.verbose { described(&found, output) + &value } else { value }
    })?;
    Ok(Exit::Done)
}

fn described(found: &StateValue, output: Output) -> String {
    table::lines(
        output.width(),
        [
            ("key", Some(found.key.clone())),
            ("version", Some(found.version.to_string())),
            ("owner", found.owner_agent.clone()),
            ("updated", Some(found.updated_at.to_string())),
            ("by", Some(found.updated_by.clone())),
            ("expires", found.expires_at.map(|at| at.to_string())),
        ],
    )
}

async fn set(
    client: &Client,
    agent: Option<&str>,
    key: &str,
    value: NewValue,
    expected_version: Option<u64>,
    output: Output,
) -> Result<Exit, Failure> {
    let json = typed::json(&value.value, value.text, "value", VALUE_BYTES_MAX)?;
    let ttl_seconds = match value.ttl {
        Some(ttl) if ttl < Duration::from_secs(1) => {
            return Err(Failure::new(Exit::Usage, "--ttl is less than a second").next("give at least 1s"));
        }
        ttl => ttl.map(|ttl| ttl.as_secs()),
    };
    let set = SetState { key, value: &json, expected_version, ttl_seconds };
    let written = client.set_state(agent, set).await?;
    output.show(&written, || format!("Set {} (version {})", written.key, written.version))?;
    Ok(Exit::Done)
}

async fn delete(
    client: &Client,
    agent: Option<&str>,
    key: &str,
    expected_version: Option<u64>,
    output: Output,
) -> Result<Exit, Failure> {
    let written = client.delete_state(agent, key, expected_version).await?;
    output.show(&written, || format!("Deleted {} (version {})", written.key, written.version))?;
    Ok(Exit::Done)
}

async fn quota(client: &Client, agent: Option<&str>, set: Option<u64>, output: Output) -> Result<Exit, Failure> {
    let quota = match set {
        Some(bytes) => client.set_state_quota(agent, &SetQuota { bytes }).await?,
        None => client.state_quota(agent).await?,
    };
    output.show(&quota, || told_quota(&quota, output))?;
    Ok(Exit::Done)
}

fn told_quota(quota: &StateQuota, output: Output) -> String {
    let of = |used: u64, most: u64| format!("{} of {} ({}%)", size(used), size(most), percent(used, most));
    table::lines(
        output.width(),
        [
            ("keys", Some(format!("{} of {}", quota.keys, quota.keys_max))),
            ("values", Some(of(quota.used, quota.quota))),
            ("history", Some(of(quota.history_used, quota.history_quota))),
            ("quota", Some(if quota.set { "set by a person" } else { "the default" }.to_string())),
        ],
    )
}

fn percent(used: u64, most: u64) -> u64 {
    (u128::from(used) * 100).checked_div(u128::from(most)).and_then(|percent| u64::try_from(percent).ok()).unwrap_or(0)
}

async fn history(
    client: &Client,
    agent: Option<&str>,
    key: &str,
    listing: &Listing,
    output: Output,
) -> Result<Exit, Failure> {
    let versions = client.state_history(agent, key).await?.items;
    output.list(
        listing,
        &versions,
        "No version of it is kept; `tenure state get` says what there is",
        |version| version.version.to_string(),
        || {
            let columns = [
                Column::key("VERSION"),
                Column::key("WHAT"),
                Column::key("SIZE"),
                Column::key("AT"),
                Column::text("BY"),
            ];
            let rows = versions.iter().map(|version| {
                [
                    Cell::from(version.version.to_string()),
                    Cell::from(if version.deleted { "gone" } else { "set" }),
                    Cell::from(version.size.to_string()),
                    Cell::from(version.at.to_string()),
                    Cell::from(version.by.clone()),
                ]
            });
            Table::new(columns, rows)
        },
    )?;
    Ok(Exit::Done)
}

/// A line a change, each with its cursor, until it is interrupted.
async fn watch(client: &Client, agent: Option<&str>, since: Since, output: Output) -> Result<Exit, Failure> {
    let interrupted = interrupted()?;
    tokio::pin!(interrupted);
    let mut events = client.watch_all(agent, None, None);
    let mut after = match since.after {
        Some(after) => after,
        None => client.state_changes(agent, None, None).await?.cursor,
    };
    loop {
        let page = client.state_changes(agent, Some(after), since.prefix.clone()).await?;
        for change in &page.items {
            output.show_next(change, || told_change(change))?;
        }
        after = page.cursor;
        if page.more {
            continue;
        }
        if since.no_follow {
            return Ok(Exit::Done);
        }
        tokio::select! {
            () = &mut interrupted => return Ok(Exit::Done),
            moved = happens(&mut events, &["state."]) => moved?,
        }
    }
}

fn told_change(change: &StateChange) -> String {
    let by = change.by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
    let (index, at, what) = (change.index, change.at, change.what.as_str());
    format!("{index}  {at}  {what} {} (version {}, {} bytes){by}\n", one_line(&change.key), change.version, change.size)
}

async fn restore(client: &Client, agent: &str, file: &Path, output: Output) -> Result<Exit, Failure> {
    let bytes = contents(file, RESTORE_BYTES_MAX)?;
    let restored = client.restore_state(agent, bytes).await?;
    output.show(&restored, || {
        let mut text: String =
            restored.items.iter().map(|it| format!("Restored {} (version {})\n", it.key, it.version)).collect();
        for key in &restored.expired {
            text.push_str(&format!("Left out {key}: its time is over\n"));
        }
        if text.is_empty() { "The backup has no values\n".to_string() } else { text }
    })?;
    Ok(Exit::Done)
}

async fn acl(client: &Client, verb: Acl, output: Output) -> Result<Exit, Failure> {
    match verb {
        Acl::List { listing } => {
            let acls = client.acls().await?.items;
            output.list(
                &listing,
                &acls,
                "No rule: every agent reads and writes all shared keys; `tenure state shared acl set PREFIX` makes the first",
                |acl| acl.prefix.clone(),
                || table_of(&acls),
            )?;
        }
        Acl::Set { prefix, read, write } => {
            let set = client.set_acl(&PutAcl { prefix, read, write }).await?;
            output.show(&set, || {
                format!(
                    "Keys that begin with '{}': read by {}, written by {}",
                    set.prefix,
                    who(&set.read),
                    who(&set.write)
                )
            })?;
        }
        Acl::Delete { prefix } => {
            client.remove_acl(&prefix).await?;
            output.show(&json!({ "prefix": prefix, "removed": true }), || format!("Removed the rule of '{prefix}'"))?;
        }
    }
    Ok(Exit::Done)
}

fn who(agents: &[String]) -> String {
    if agents.is_empty() { "nobody".to_string() } else { agents.join(", ") }
}

fn table_of(acls: &[SharedAcl]) -> Table {
    let columns = [
        Column::text("PREFIX"),
        Column::text("READ"),
        Column::text("WRITE"),
        Column::key("STATUS"),
        Column::detail("BY"),
    ];
    let rows = acls.iter().map(|acl| {
        [
            Cell::from(if acl.prefix.is_empty() { "(all)".to_string() } else { acl.prefix.clone() }),
            Cell::from(who(&acl.read)),
            Cell::from(who(&acl.write)),
            Cell::from(if acl.forged { "forged" } else { "live" }),
            Cell::from(acl.by.clone()),
        ]
    });
    Table::new(columns, rows)
}
