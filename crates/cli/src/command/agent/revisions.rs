//! `tenure agent revisions` and `rollback`: what an agent was, and the way back there.
use tenure_core::manifest::changes::Difference;
use tenure_wire::api::agent::{FieldChange, Revision, Rollback as Body};
use tenure_wire::client::Client;

use super::make::told;
use crate::args::{Format, Revisions, Rollback};
use crate::command::more;
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::table::{Cell, Column, Table};
use crate::render::{Output, when};

pub(super) async fn run(wanted: Revisions, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    match (wanted.show, wanted.diff) {
        (Some(number), _) => {
            let revision = client.revision(&wanted.agent, number, None).await?;
            let format = if output.format == Format::Json { Format::Json } else { Format::Yaml };
            Output { format, ..output }.show(&revision.manifest, String::new)?;
        }
        (None, Some((from, to))) => {
            let changes = client.revision(&wanted.agent, to, Some(from)).await?.changes.unwrap_or_default();
            output.show(&changes, || match changes.is_empty() {
                true => format!("Revisions {from} and {to} are the same"),
                false => told(&changes.iter().map(difference).collect::<Vec<_>>()),
            })?;
        }
        (None, None) => list(&client, wanted, output).await?,
    }
    Ok(Exit::Done)
}

fn difference(change: &FieldChange) -> Difference {
    let FieldChange { path, before, after } = change.clone();
    Difference { path, before, after }
}

async fn list(client: &Client, wanted: Revisions, output: Output) -> Result<(), Failure> {
    let Revisions { agent, after, limit, listing, .. } = wanted;
    let query = [("cursor", after)];
    let page = client.list_of::<Revision>(&["agents", &agent, "revisions"], &query, limit as usize).await?;
    let revisions = page.items;
    let rows = || {
        let rows = revisions.iter().enumerate().map(|(place, revision)| {
            // One that repeats an older manifest says whose: a rollback, or a file that was deployed again.
            let same = revisions.iter().skip(place + 1).find(|older| older.digest == revision.digest);
            [
                Cell::from(revision.number.to_string()),
                Cell::from(revision.version.clone().unwrap_or_else(|| "-".to_string())),
                Cell::from(revision.digest.chars().take(12).collect::<String>()),
                Cell::from(same.map_or_else(|| "-".to_string(), |older| older.number.to_string())),
                Cell::from(when(revision.at, output)),
            ]
        });
        let columns = [
            Column::key("NUMBER"),
            Column::worth("VERSION", 2),
            Column::worth("DIGEST", 3),
            Column::worth("SAME AS", 1),
            Column::key("DEPLOYED"),
        ];
        Table::new(columns, rows)
    };
    output.list(
        &listing,
        &revisions,
        "No revision; `tenure agent deploy FILE` makes one",
        |revision| revision.number.to_string(),
        rows,
    )?;
    more(page.next_cursor.as_deref());
    Ok(())
}

pub(super) async fn roll_back(wanted: &Rollback, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let deployed = settings.client()?.roll_back_agent(&wanted.agent, &Body { to: wanted.to }).await?;
    output.show(&deployed, || {
        let Some(agent) = &deployed.agent else { return String::new() };
        let (name, newest) = (&agent.name, agent.revision);
        if !deployed.changed {
            return format!("Agent \"{name}\" is unchanged (revision {newest})");
        }
        // Without a number it is the one before what was the newest.
        let to = wanted.to.unwrap_or(newest.saturating_sub(2));
        format!("Rolled agent \"{name}\" back to revision {to}, as its revision {newest}; what runs keeps its own")
    })?;
    Ok(Exit::Done)
}
