//! `tenure session …`, and `tenure agent rotate`.
use std::time::Duration;

use tenure_wire::api::session::{RotateKey, Session as Shown};

use super::each;
use super::key::check_seen;
use crate::args::Session;
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::table::{Cell, Column, Table};
use crate::render::{Output, duration, status_ink, table, when};

pub async fn run(verb: Session, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    match verb {
        Session::List { agent, limit, listing } => {
            let sessions = client.sessions(&[("agent", agent)], limit as usize).await?;
            output.list(
                &listing,
                &sessions,
                "No session; a program with an agent's key opens one: `POST /v1/agent/session`",
                |session| session.id.to_string(),
                || table_of(&sessions, output),
            )?;
            Ok(Exit::Done)
        }
        Session::Close { sessions } => {
            let close = async |id: &str| Ok(client.close_session(id).await?);
            let text = |closed: &Shown| format!("Closed session {} of agent \"{}\"", closed.id, closed.agent_name);
            each(&sessions, output, close, text).await
        }
    }
}

fn table_of(sessions: &[Shown], output: Output) -> Table {
    let columns = [
        Column::key("ID"),
        Column::key("AGENT"),
        Column::key("STATUS"),
        Column::worth("CALLS", 1),
        Column::worth("DURATION", 2),
        Column::worth("LAST", 1),
        Column::detail("OPEN CALLS"),
        Column::detail("OPENED"),
    ];
    let rows = sessions.iter().map(|session| {
        let word = session.ending.clone().unwrap_or_else(|| session.status.as_str().to_string());
        let ink = status_ink(session.status.as_str());
        [
            Cell::from(if output.verbose { session.id.to_string() } else { session.id.short() }),
            Cell::from(session.agent_name.clone()),
            Cell::inked(word, ink),
            Cell::from(session.invocations.to_string()),
            Cell::from(duration(session.duration_ms)),
            Cell::from(when(session.last_at, output)),
            Cell::from(session.calls.to_string()),
            Cell::from(when(session.opened_at, output)),
        ]
    });
    Table::new(columns, rows)
}

/// A new key for an agent. Where its text cannot be shown, rotating once more makes another.
pub async fn rotate(
    agent: &str,
    overlap: Option<Duration>,
    settings: &Settings,
    output: Output,
) -> Result<Exit, Failure> {
    check_seen()?;
    let overlap_ms = overlap.map_or(0, |overlap| u64::try_from(overlap.as_millis()).unwrap_or(u64::MAX));
    let key = settings.client()?.rotate_agent(agent, &RotateKey { overlap_ms }).await?;
    let shown = output.show(&key, || {
        let mut text = table::lines(
            output.width(),
            [
                ("agent", Some(key.agent_name.clone())),
                ("id", Some(key.id.to_string())),
                ("key", Some(key.secret.clone())),
                ("old key until", key.previous_until.map(|until| until.to_string())),
            ],
        );
        text.push_str("It is shown this once: keep it where only the agent can read it.\n");
        text
    });
    shown.map_err(|unwritten| {
        Failure::new(unwritten.exit, "the key's text could not be shown")
            .why(format!("the key {} lives, and nobody knows it", key.id))
            .next(format!("`tenure agent rotate {agent}` makes another"))
    })?;
    Ok(Exit::Done)
}
