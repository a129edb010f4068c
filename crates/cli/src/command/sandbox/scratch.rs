//! The folder of one trial, and the process that removes it when the trial ends, however that ends: this process may be killed at any
//! moment, and the other is there before the folder is. Must never: let the two share a terminal's signals.
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use tenure_worker::{SCRATCH, remove_scratch};

use super::trial::failed;
use crate::failure::{Exit, Failure};

/// A data directory that is gone when its trial is.
pub(super) struct Scratch {
    path: PathBuf,
    cleaner: Option<(Child, ChildStdin)>,
}

impl Scratch {
    pub(super) fn make() -> Result<Scratch, Failure> {
        let path = std::env::temp_dir().join(format!("{SCRATCH}{}", std::process::id()));
        // An earlier process of this number may have been killed together with its cleaner.
        remove_scratch(&path).map_err(|error| failed(error.to_string()))?;
        let exe = std::env::current_exe().map_err(|error| failed(format!("its own program is not known: {error}")))?;
        let mut command = Command::new(exe);
        command.args(["sandbox", "clean"]).arg(&path).current_dir("/");
        let cleaner = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        let mut cleaner = cleaner.map_err(|error| failed(format!("its cleaner does not start: {error}")))?;
        let alive = cleaner.stdin.take().expect("invariant: it was asked for");
        let scratch = Scratch { path, cleaner: Some((cleaner, alive)) };
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&scratch.path)
            .map_err(|error| failed(format!("{} cannot be made: {error}", scratch.path.display())))?;
        Ok(scratch)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Nothing of the trial lives any more.
    pub(super) async fn remove(mut self) -> Result<(), Failure> {
        let removed = tokio::task::spawn_blocking(move || self.end()).await;
        removed.map_err(|error| failed(error.to_string()))?
    }

    fn end(&mut self) -> Result<(), Failure> {
        let Some((mut cleaner, alive)) = self.cleaner.take() else { return Ok(()) };
        drop(alive);
        // It has bounds of its own. What it did not do, because somebody killed it, is done here.
        let _ = cleaner.wait();
        remove_scratch(&self.path)
            .map_err(|error| failed(format!("{} could not be removed: {error}", self.path.display())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(failure) = self.end() {
            failure.print(crate::args::Format::Table);
        }
    }
}

/// The other process: waits for the trial's end and removes what it left.
pub fn clean(path: &Path) -> Result<Exit, Failure> {
    // A terminal's interrupt is for the trial.
    let _ = rustix::process::setsid();
    let mut end = [0];
    let _ = std::io::stdin().lock().read(&mut end);
    remove_scratch(path).map_err(|error| failed(error.to_string()))?;
    Ok(Exit::Done)
}
