//! `tenure worker --stdio`: the built-in worker, started by the daemon and by nobody else.
use std::path::Path;

use crate::args::Worker;
use crate::failure::{Exit, Failure};

pub fn run(worker: &Worker, data_dir: Option<&Path>) -> Result<Exit, Failure> {
    let data_dir = data_dir.ok_or_else(|| Failure::new(Exit::Usage, "a worker is told its data directory"))?;
    super::up::log("warn");
    let failed = |error: String| Failure::new(Exit::Failure, format!("the worker ended: {error}"));
    let socket = tenure_worker::stdin_socket().map_err(|error| failed(error.to_string()))?;
    let exe = std::env::current_exe().map_err(|error| failed(format!("its own program is not known: {error}")))?;
    let options = tenure_worker::Options {
        data_dir: data_dir.to_path_buf(),
        exe,
        name: tenure_daemon::BUILT_IN.to_string(),
        slots: worker.slots,
        mounts: worker.allow_mounts.clone(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // One jail's looks at its disk, its opening and its end leave every other jail a thread.
        .max_blocking_threads(16 + 2 * worker.slots as usize)
        .enable_all()
        .build()
        .map_err(|error| failed(error.to_string()))?;
    runtime.block_on(tenure_worker::run(options, socket)).map_err(|error| failed(error.to_string()))?;
    Ok(Exit::Done)
}
