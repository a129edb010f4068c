//! State of shared beginnings (system text and tools) on disk, so that the first turn after a start is warm too.
//!
//! A cache and no more: any file may be missing, old or broken, and then the beginning is computed. Files are readable by
//! their owner alone, for they hold what agents were told.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::token::LlamaToken;

/// Files kept; each takes about 28 KiB a token with the default model.
const FILES_MAX: usize = 8;
const ENDING: &str = "state";

pub(crate) struct Warm {
    folder: PathBuf,
    /// Stands for the weights and this build: state of others is never read.
    origin: blake3::Hash,
}

impl Warm {
    /// # Errors
    /// When the folder cannot be made or the weights' file not be looked at.
    pub(crate) fn new(folder: &Path, model: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let seen = fs::metadata(model)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(model.as_os_str().as_encoded_bytes());
        hasher.update(env!("CARGO_PKG_VERSION").as_bytes());
        for number in [i64::try_from(seen.len()).unwrap_or(i64::MAX), seen.mtime(), seen.mtime_nsec()] {
            hasher.update(&number.to_le_bytes());
        }
        Ok(Self { folder: folder.to_owned(), origin: hasher.finalize() })
    }

    fn path(&self, beginning: &[LlamaToken]) -> PathBuf {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.origin.as_bytes());
        for token in beginning {
            hasher.update(&token.0.to_le_bytes());
        }
        self.folder.join(format!("{}.{ENDING}", &hasher.finalize().to_hex()[..32]))
    }

    /// Brings `beginning` into the sequence: `None` when there is no file, `Some(false)` when it was of no use and the
    /// sequence's content is unknown.
    pub(crate) fn read(&self, context: &mut LlamaContext<'_>, seq: i32, beginning: &[LlamaToken]) -> Option<bool> {
        let path = self.path(beginning);
        if !path.is_file() {
            return None;
        }
        let good =
            context.state_seq_load_file(&path, seq, beginning.len()).is_ok_and(|(tokens, _)| tokens == beginning);
        if !good {
            let _ = fs::remove_file(&path);
        }
        Some(good)
    }

    /// Keeps `beginning`, which the sequence holds and nothing more. A failure is logged: there is just no warm start.
    pub(crate) fn write(&self, context: &LlamaContext<'_>, seq: i32, beginning: &[LlamaToken]) {
        let path = self.path(beginning);
        let half = path.with_extension("half");
        let written = context
            .state_seq_save_file(&half, seq, beginning)
            .map_err(|e| io::Error::other(e.to_string()))
            .and_then(|_| fs::rename(&half, &path))
            .and_then(|()| self.trim());
        if let Err(error) = written {
            let _ = fs::remove_file(&half);
            tracing::warn!(%error, folder = %self.folder.display(), "the state of a beginning was not kept");
        }
    }

    fn trim(&self) -> io::Result<()> {
        let mut kept: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|e| e == ENDING) {
                kept.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        kept.sort();
        let surplus = kept.len().saturating_sub(FILES_MAX);
        kept.iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
    }
}
