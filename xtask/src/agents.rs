//! Coding agents of others, for the tests to run in jails unchanged, and the Node that some of them want. They lie in a folder of the
//! build's, by the exact versions beside the tests; none of them depends on another package. Must never run a script of theirs, or
//! change anything of the host's own Node.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::{demo, install, step};

/// Names the folder to the tests.
pub(crate) const VARIABLE: &str = "TENURE_TEST_AGENTS";
/// The versions.
const STATED: &str = "tests/agents/package.json";

/// Brings them where they are not there yet, and gives the folder.
///
/// # Errors
/// There is no npm, or no registry to have them from.
pub(crate) fn tools(root: &Path) -> Result<PathBuf> {
    let folder = demo::target(root)?.join("agent-tools");
    fs::create_dir_all(&folder)?;
    let stated = fs::read(root.join(STATED))?;
    let done = folder.join("installed");
    if fs::read(&done).is_ok_and(|installed| installed == stated) {
        return Ok(folder);
    }
    if !install::on_path("npm") {
        install::packages(&["npm"])?;
    }
    fs::write(folder.join("package.json"), &stated)?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--omit=optional", "--no-package-lock", "--ignore-scripts"]);
    npm.args(["--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&folder);
    step::quiet("npm install (tests/agents)", &mut npm)?;
    fs::write(done, stated)?;
    Ok(folder)
}
