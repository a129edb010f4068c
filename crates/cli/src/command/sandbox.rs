//! `tenure sandbox check`: what this host enforces, found out by opening one jail. No daemon is asked.
use tenure_sandbox::Identity;
use tenure_sandbox::probe;

use crate::args::{Format, Sandbox};
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::render::Look;

/// As root a jail's files belong to a uid of its own; this one is outside the ranges that agents get.
const TRIAL_ID: u32 = 65_533;

pub fn run(verb: &Sandbox, _settings: &Settings, look: Look) -> Result<Exit, Failure> {
    let Sandbox::Check { json } = verb;
    let failed = |why: String| {
        Failure::new(Exit::Failure, "the sandbox cannot be tried")
            .why(why)
            .next("run it as a user that may write to its temporary folder")
    };
    let exe = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let scratch = std::env::temp_dir();
    let identity = if rustix::process::geteuid().is_root() {
        Identity::Host { uid: TRIAL_ID, gid: TRIAL_ID }
    } else {
        Identity::Caller
    };
    let report = probe::check(&exe, &scratch, identity).map_err(|error| failed(error.to_string()))?;
    let format = if *json { Format::Json } else { look.format };
    Look { format, ..look }.show(&report, || {
        let verdict = match report.usable() {
            true => "Agents run here, held by what says yes.",
            false => "No jail opens here, so nothing that acts can run.",
        };
        format!("{report}{verdict}")
    });
    Ok(if report.usable() { Exit::Done } else { Exit::Failure })
}
