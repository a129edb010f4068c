//! What others have made for MCP, for the tests to hold Tenure against: the protocol's conformance suite, SDKs in two languages, and
//! a server from a registry. All of it lies in a folder of the build's, by the lock file beside the tests. Must never change anything
//! of the host's own Node or Python.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{demo, install};

/// Names the folder to the tests.
pub(crate) const VARIABLE: &str = "TENURE_TEST_MCP";
/// Where the lock file is.
const LOCKED: &str = "tests/mcp";
/// The two lines of the Python SDK: for the form of the protocol with a greeting, and for the one without.
const PYTHON: [(&str, &str); 2] = [("py-old", "mcp==1.30.0"), ("py-new", "mcp==2.3.0")];

/// A small IMAP server and a small SMTP server, for the mailbox of examples/mail.
const MAIL: [&str; 2] = ["aiosmtpd==1.4.6", "pymap==0.36.7"];

/// Brings it where it is not there yet, and gives the folder.
///
/// # Errors
/// There is no npm or Python, or no registry to have it from.
pub(crate) fn tools(root: &Path) -> Result<PathBuf> {
    let folder = demo::target(root)?.join("mcp-tools");
    for (name, package) in PYTHON {
        install::python_packages(&folder.join(name), &[package])?;
    }
    install::python_packages(&folder.join("mail"), &MAIL)?;
    install::node_packages(LOCKED, &folder, &root.join(LOCKED), &[])?;
    Ok(folder)
}
