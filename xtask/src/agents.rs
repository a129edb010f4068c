//! Coding agents of others, for the tests to run in jails unchanged, and the Node that some of them want. They lie in a folder of the
//! build's, by the exact versions beside the tests; none of them depends on another package. Must never run a script of theirs, or
//! change anything of the host's own Node.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{demo, install};

/// Names the folder to the tests.
pub(crate) const VARIABLE: &str = "TENURE_TEST_AGENTS";
/// The versions.
const STATED: &str = "tests/agents";

/// Brings them where they are not there yet, and gives the folder.
///
/// # Errors
/// There is no npm, or no registry to have them from.
pub(crate) fn tools(root: &Path) -> Result<PathBuf> {
    let folder = demo::target(root)?.join("agent-tools");
    install::node_packages(STATED, &folder, &root.join(STATED), &["--omit=optional"])?;
    Ok(folder)
}
