//! The official libraries of model providers, for the tests to ask the model proxy by. They lie in folders of the build's. Must never
//! change anything of the host's own Python or Node.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{demo, install};

/// Names the folder to the tests.
pub(crate) const VARIABLE: &str = "TENURE_TEST_SDKS";
/// The same for those of Node, with a Node that is new enough for them.
pub(crate) const NODE_VARIABLE: &str = "TENURE_TEST_NODE_SDKS";
/// Where their lock file is.
const LOCKED: &str = "tests/programs";
const PYTHON: [&str; 2] = ["openai==3.57.0", "anthropic==2.14.0"];

/// Brings them where they are not there yet, and gives the folder of the virtual environment.
///
/// # Errors
/// There is no Python, or no registry to have them from.
pub(crate) fn python(root: &Path) -> Result<PathBuf> {
    let folder = demo::target(root)?.join("sdk-tools").join("python");
    install::python_packages(&folder, &PYTHON)?;
    Ok(folder)
}

/// Brings those of Node, and gives the folder of their packages.
///
/// # Errors
/// There is no npm, or no registry to have them from.
pub(crate) fn node(root: &Path) -> Result<PathBuf> {
    let folder = demo::target(root)?.join("sdk-node");
    install::node_packages(LOCKED, &folder, &root.join(LOCKED), &["--omit=peer"])?;
    Ok(folder)
}
