//! The times of our schedules against those of PyPI's cronsim, which means what Debian's cron(8) means: random expressions around
//! the changes of many zones. Both packages come into a folder of the build's. Must never take what cronsim could not answer
//! for agreement.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};

use crate::{demo, install, step};

/// The zones' data are of the release that core has bundled, 2026e.
const PACKAGES: [&str; 2] = ["cronsim==2.8", "tzdata==2026.5"];
const SCRIPT: &str = "xtask/schedules.py";
const EXPRESSIONS: &str = "20000";

pub(crate) enum Failure {
    /// They could not be had, so nothing was compared.
    NoTools(anyhow::Error),
    Found(anyhow::Error),
}

pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    match figures(root) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Failure::NoTools(error) | Failure::Found(error)) => Err(error),
    }
}

/// Says itself what was compared.
///
/// # Errors
/// A time differs, or the packages could not be had.
pub(crate) fn figures(root: &Path) -> Result<(), Failure> {
    let folder = demo::target(root).map_err(Failure::Found)?.join("schedules-tools");
    let programs = install::python_packages(&folder, &PACKAGES).map_err(Failure::NoTools)?;
    compared(root, &programs).map_err(Failure::Found)
}

fn compared(root: &Path, programs: &Path) -> Result<()> {
    let mut build = Command::new("cargo");
    build.args(["build", "--quiet", "--package", "tenure-core", "--example", "next_runs"]).current_dir(root);
    step::quiet("cargo build --example next_runs", &mut build)?;
    let program = demo::target(root)?.join("debug/examples/next_runs");
    let mut comparing = Command::new(programs.join("python"));
    let (holds, _) = step::overheard(comparing.arg(root.join(SCRIPT)).arg(program).arg(EXPRESSIONS))?;
    ensure!(holds, "a schedule has other times than cron(8)");
    Ok(())
}
