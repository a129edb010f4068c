//! What a person's configuration says of models: `[llm]` of the daemon's own tenure.toml, and what `tenure model` wrote
//! beside it. They are read anew when a file changes, and what cannot be used leaves what was there before.

use super::environment::Access;
use super::name::Provider;
use super::price::SetPrice;
use crate::file_stamp::FileStamp;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Names that an alias may stand for; each may be asked once for a turn.
pub const CANDIDATES_MAX: usize = 5;

#[derive(Debug, Clone, Default)]
pub struct ModelSettings {
    /// Each with what it stands for, in the order in which that is tried.
    pub aliases: BTreeMap<String, Vec<String>>,
    pub models: BTreeMap<String, AddedModel>,
    /// What models cost, by whoever wrote it; of two from the same moment the last holds.
    pub prices: Vec<SetPrice>,
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

    pub fn stamp(&self) -> Vec<FileStamp> {
        self.paths.iter().map(|path| FileStamp::of(path)).collect()
    }
}
