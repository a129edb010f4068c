//! `[secrets]` of tenure.toml, and what the environment says of it: where the key is by which secrets are sealed.
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tenure_daemon::vault::KeySource;

use super::absolute;
use crate::failure::{Exit, Failure};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Secrets {
    key_file: Option<PathBuf>,
    passphrase_file: Option<PathBuf>,
}

impl Secrets {
    /// A file that is named here; else a passphrase of the environment, what systemd hands over, and last a key that the daemon makes.
    ///
    /// # Errors
    /// Both files are named.
    pub(super) fn source(self, variable: impl Fn(&str) -> Option<String>) -> Result<KeySource, Failure> {
        match (self.key_file, self.passphrase_file) {
            (Some(_), Some(_)) => {
                Err(Failure::new(Exit::Usage, "`secrets.key_file` and `secrets.passphrase_file` are both named")
                    .next("leave one of them out; see docs/secrets.md"))
            }
            (Some(path), None) => Ok(KeySource::File(absolute(&path)?)),
            (None, Some(path)) => Ok(KeySource::PassphraseFile(absolute(&path)?)),
            (None, None) => {
                if let Some(passphrase) = variable("TENURE_VAULT_PASSPHRASE") {
                    return Ok(KeySource::Passphrase(passphrase.into()));
                }
                let credential =
                    variable("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join("tenure-vault-key"));
                Ok(credential.filter(|path| path.is_file()).map_or(KeySource::Made, KeySource::Credential))
            }
        }
    }
}
