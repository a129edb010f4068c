//! What a person's configuration says of models: `[llm]` of the daemon's own tenure.toml, and what `tenure model` wrote
//! beside it. They are read anew when a file changes, and what cannot be used leaves what was there before.

use super::environment::Access;
use super::name::Provider;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Names that an alias may stand for; each may be asked once for a turn.
pub const CANDIDATES_MAX: usize = 5;

#[derive(Debug, Clone, Default)]
pub struct ModelSettings {
    /// Each with what it stands for, in the order in which that is tried.
    pub aliases: BTreeMap<String, Vec<String>>,
    pub models: BTreeMap<String, AddedModel>,
}

/// A model under a name of its own, at an address of its own.
#[derive(Debug, Clone)]
pub struct AddedModel {
    pub provider: Provider,
    /// The provider's own name for it.
    pub model: String,
    pub access: Access,
    /// Why its key is not there, where one was named.
    pub lacking: Option<String>,
}

/// Where they are read from.
#[derive(Clone)]
pub struct SettingsSource {
    paths: Vec<PathBuf>,
    read: Arc<dyn Fn() -> Result<ModelSettings, String> + Send + Sync>,
}

impl std::fmt::Debug for SettingsSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SettingsSource").field("paths", &self.paths).finish_non_exhaustive()
    }
}

/// What tells one state of the files from another.
pub type Stamp = Vec<Option<(u64, u64, i64, i64, u64, u32)>>;

impl SettingsSource {
    /// `read` reads `paths`, of which the last is the one that verbs write, and fails with a sentence.
    pub fn new(paths: Vec<PathBuf>, read: impl Fn() -> Result<ModelSettings, String> + Send + Sync + 'static) -> Self {
        SettingsSource { paths, read: Arc::new(read) }
    }

    /// The file that verbs write.
    pub fn written(&self) -> Option<&Path> {
        self.paths.last().map(PathBuf::as_path)
    }

    pub fn read(&self) -> Result<ModelSettings, String> {
        (self.read)()
    }

    pub fn stamp(&self) -> Stamp {
        let of = |path: &PathBuf| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.dev(), found.ino(), found.mtime(), found.mtime_nsec(), found.size(), found.mode()))
        };
        self.paths.iter().map(of).collect()
    }
}
