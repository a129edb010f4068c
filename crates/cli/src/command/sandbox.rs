//! `tenure sandbox`: what this host enforces, found out by opening one jail, and what holds one agent.
pub(super) mod trial;
mod terminal;
mod scratch;

pub use scratch::clean;

use std::path::Path;
use std::time::Duration;

use tenure_core::manifest::Quota;
use tenure_sandbox::Identity;
use tenure_sandbox::probe::{self, Finding};

use crate::args::{Format, Sandbox};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::{Output, confinement};
use trial::Trial;

/// As root a jail's files belong to a uid of its own; this one is outside the ranges that agents get.
const TRIAL_ID: u32 = 65_533;

pub async fn run(verb: &Sandbox, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    match verb {
        Sandbox::Check { json } => check(*json, settings, output),
        Sandbox::Run { profile, timeout, allow_mounts, command } => {
            let sandbox = settings.client()?.agent_sandbox(profile).await?;
            let stated = if allow_mounts.is_empty() { &settings.allow_mounts } else { allow_mounts };
            let mut mounts = stated.clone();
            // What the daemon of this directory allows, its operator allows; another one's word counts for its own host alone.
            if settings.meant()?.is_own {
                mounts.extend(sandbox.mounts.into_iter().filter(|mount| !stated.contains(mount)));
            }
            let time = timeout.map(Duration::from_secs);
            Trial { confinement: sandbox.confinement, mounts, command: command.clone(), time }.run().await
        }
        Sandbox::Clean { folder } => clean(folder),
        Sandbox::Explain { agent } => explain(agent, settings, output).await,
    }
}

async fn explain(agent: &str, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let sandbox = settings.client()?.agent_sandbox(agent).await?;
    output.show(&sandbox, || confinement::explain(&sandbox))?;
    Ok(Exit::Done)
}

/// No daemon is asked.
fn check(json: bool, settings: &Settings, output: Output) -> Result<Exit, Failure> {
    let failed = |why: String| {
        Failure::new(Exit::Failure, "the sandbox cannot be tried")
            .why(why)
            .next("run it as a user that may write to its temporary folder")
    };
    let exe = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let scratch = std::env::temp_dir();
    let mut report = probe::check(&exe, &scratch, trial_identity()).map_err(|error| failed(error.to_string()))?;
    if report.usable() {
        report.findings.push(disk(&exe, &settings.data_dir));
    }
    let format = if json { Format::Json } else { output.format };
    Output { format, ..output }.show(&report, || {
        let verdict = match report.usable() {
            true => "Agents run here, held by what says yes.",
            false => "No jail opens here, so nothing that acts can run.",
        };
        format!("{report}{verdict}")
    })?;
    Ok(if report.usable() { Exit::Done } else { Exit::Failure })
}

/// Whose a jail's files are that holds no agent.
pub(super) fn trial_identity() -> Identity {
    if rustix::process::geteuid().is_root() {
        Identity::Host { uid: TRIAL_ID, gid: TRIAL_ID }
    } else {
        Identity::Caller
    }
}

/// Who keeps agents to their disk, on the file system that the data directory is on, or will be.
fn disk(exe: &Path, data_dir: &Path) -> Finding {
    let there = data_dir.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
    let hard = "for limits that the kernel keeps, put the data directory on ext4 or XFS mounted with `usrquota`, and run as root";
    let (enforced, why, advice) = match tenure_worker::try_quota(exe, there) {
        Ok(Quota::Hard) => (true, format!("hard: the file system of {} keeps them", there.display()), None),
        Ok(Quota::Soft) => {
            (true, "soft: the worker looks at each file call and while programs run".to_owned(), Some(hard))
        }
        Ok(Quota::None) => (false, "nobody keeps them".to_owned(), Some(hard)),
        Err(error) => {
            (false, format!("not tried in {}: {error}", there.display()), Some("name another with --data-dir"))
        }
    };
    Finding { name: "disk", enforced, why, advice: advice.map(str::to_owned), required: false }
}
