//! `tenure pause|resume|kill` and `tenure agent revoke`: how people hold agents.
use jiff::{SignedDuration, Timestamp};
use tenure_core::manifest;
use tenure_core::time::Time;
use tenure_wire::api::agent::{Agent, Pause as Body, Supervise as Note};
use tenure_wire::api::moment::Moment;

use super::{confirm, each};
use crate::args::{Pause, Supervise};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::Output;

pub async fn pause(pause: Pause, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let body = Body { note: pause.whom.note, until: pause.until.as_deref().map(moment).transpose()? };
    let act = async |name: &str| Ok(client.pause_agent(name, &body).await?);
    let text = |agent: &Agent| {
        let until = agent.supervised.as_ref().and_then(|supervised| supervised.until);
        let end =
            until.map_or_else(|| format!("`tenure resume {}` ends it", agent.name), |until| format!("until {until}"));
        format!("Paused agent \"{}\": nothing of it begins, what runs goes on; {end}", agent.name)
    };
    each(&pause.whom.agents, output, act, text).await
}

/// `verb`: resume, kill or revoke.
pub async fn run(verb: &str, whom: Supervise, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let body = Note { note: whom.note };
    let act = async |name: &str| {
        if verb == "revoke" {
            confirm(
                &format!("Revoke agent `{name}`? What runs is cancelled, and nothing of it begins ever again."),
                settings,
            )?;
        }
        Ok(client.supervise_agent(name, verb, &body).await?)
    };
    let text = |agent: &Agent| match verb {
        "resume" => format!("Resumed agent \"{}\"", agent.name),
        "kill" => format!("Killed what ran of agent \"{}\"; it may begin again", agent.name),
        _ => format!("Revoked agent \"{}\" for good; its history and state stay", agent.name),
    };
    each(&whom.agents, output, act, text).await
}

/// A time, or how long from now.
fn moment(text: &str) -> Result<Moment, Failure> {
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    let wrong = || {
        Failure::new(Exit::Usage, format!("`{text}` is no time"))
            .next("write 2026-02-23T10:00:00Z, or 30m, 24h, 7d from now")
    };
    let ms = manifest::Duration::parse(text).map_err(|_| wrong())?.as_millis();
    let span = SignedDuration::from_millis(i64::try_from(ms).map_err(|_| wrong())?);
    let end = Timestamp::now().checked_add(span).map_err(|_| wrong())?;
    Ok(Moment(Time::from_millis(end.as_millisecond())))
}
