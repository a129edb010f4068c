//! Which Python the programs inside get. Must never: look beyond the folders that a jail shows.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The host's `python3` that a jail shows, looked up as the jail's `PATH` does.
pub(crate) fn host_python() -> Option<PathBuf> {
    let folders = crate::spec::PATH.split(':').filter(|folder| folder.starts_with("/usr/"));
    let within = |path: &PathBuf| path.canonicalize().is_ok_and(|real| real.starts_with("/usr"));
    folders.map(|folder| Path::new(folder).join("python3")).find(within)
}

/// The version of the Python that programs inside get, for example `3.11.2`; None if there is none.
pub fn host_python_version() -> Option<String> {
    let mut command = Command::new(host_python()?);
    command.args(["-I", "-S", "-c", "import platform; print(platform.python_version())"]);
    let output = command.env_clear().stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let version = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && version.starts_with('3')).then_some(version)
}
