//! `tenure pause|resume|kill` and `tenure agent quarantine|recover|revoke`: how people hold agents.
use tenure_wire::api::agent::{Act, Agent, Pause as Body, Quarantine as Reason, Supervise as Note};

use super::{confirm, each, moment};
use crate::args::{Pause, Quarantine, Supervise};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::Output;

pub async fn pause(pause: Pause, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let body = Body { note: pause.whom.note, until: pause.until.as_deref().map(moment::ahead).transpose()? };
    let act = async |name: &str| Ok(client.pause_agent(name, &body).await?);
    let text = |agent: &Agent| {
        let until = agent.supervised.as_ref().and_then(|supervised| supervised.until);
        let end =
            until.map_or_else(|| format!("`tenure resume {}` ends it", agent.name), |until| format!("until {until}"));
        format!("Paused agent \"{}\": nothing of it begins, what runs goes on; {end}", agent.name)
    };
    each(&pause.whom.agents, output, act, text).await
}

pub async fn quarantine(wanted: Quarantine, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let description = wanted.whom.note.unwrap_or_default();
    let body = Reason { cause: wanted.cause, severity: wanted.severity, description };
    let act = async |name: &str| Ok(client.quarantine_agent(name, &body).await?);
    let text = |agent: &Agent| {
        let way_out = match wanted.severity.tries_max() {
            0 => "nothing recovers it".to_string(),
            _ => format!("`tenure agent recover {}` lets it begin again", agent.name),
        };
        format!("Agent \"{}\" is in quarantine: what ran is cancelled, its sessions have ended; {way_out}", agent.name)
    };
    each(&wanted.whom.agents, output, act, text).await
}

pub async fn run(act: Act, whom: Supervise, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let client = settings.client()?;
    let body = Note { note: whom.note };
    let supervise = async |name: &str| {
        if act == Act::Revoke {
            confirm(
                &format!("Revoke agent `{name}`? What runs is cancelled, and nothing of it begins ever again."),
                settings,
            )?;
        }
        Ok(client.supervise_agent(name, act, &body).await?)
    };
    let text = |agent: &Agent| told(act, &agent.name);
    each(&whom.agents, output, supervise, text).await
}

/// What was done to the agent.
pub fn told(act: Act, name: &str) -> String {
    match act {
        Act::Resume => format!("Resumed agent \"{name}\""),
        Act::Kill => format!("Killed what ran of agent \"{name}\"; it may begin again"),
        Act::Recover => format!("Recovered agent \"{name}\": it may begin again"),
        Act::Revoke => format!("Revoked agent \"{name}\" for good; its history and state stay"),
    }
}
