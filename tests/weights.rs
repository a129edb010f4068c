//! A daemon with the real local model, where its weights are: `TENURE_TEST_MODEL` names the file; `cargo xtask test` fetches them.
use crate::daemon::{Daemon, program};
use std::path::{Path, PathBuf};

pub struct LocalDaemon {
    pub daemon: Daemon,
    folder: tempfile::TempDir,
}

impl LocalDaemon {
    /// None where there are no weights; it says so. In CI there must be.
    pub fn start() -> Option<LocalDaemon> {
        let Some(weights) = std::env::var_os("TENURE_TEST_MODEL").map(PathBuf::from) else {
            assert!(std::env::var_os("CI").is_none(), "CI must bring the weights: TENURE_TEST_MODEL is not set");
            eprintln!("skipped: TENURE_TEST_MODEL names no file of weights");
            return None;
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let local = program("tenure-local-model");
        let data = folder.path().join("data");
        let cache = folder.path().join("cache");
        let models = cache.join("tenure/models");
        std::fs::create_dir_all(&models).expect("it can be made");
        let name = weights.file_name().expect("a file has a name");
        std::os::unix::fs::symlink(&weights, models.join(name)).expect("it can be linked");
        let environment = [("HOME", folder.path()), ("XDG_CACHE_HOME", &cache), ("TENURE_LOCAL_MODEL_BIN", &local)]
            .map(|(name, value)| (name, value.to_str().expect("UTF-8")));
        let daemon = Daemon::start(&data, &environment);
        Some(LocalDaemon { daemon, folder })
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}
