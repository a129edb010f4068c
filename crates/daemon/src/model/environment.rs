//! What a person set, read once by the program's main and handed in: nothing below reads the process environment.

use secrecy::SecretString;
use std::path::{Path, PathBuf};

/// A provider's key and address as they were given.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Shows as `[REDACTED]` when debugged.
    pub key: Option<SecretString>,
    pub base_url: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Environment {
    /// `TENURE_DEFAULT_MODEL`.
    pub default_model: Option<String>,
    /// `TENURE_CASSETTE`: `record:FILE` or `replay:FILE`.
    pub cassette: Option<String>,
    pub anthropic: Access,
    pub openai: Access,
    /// The program of the local model: `TENURE_LOCAL_MODEL_BIN`, else beside our own.
    pub local_program: PathBuf,
    /// Where weights are kept.
    pub models_folder: PathBuf,
}

impl Environment {
    /// `variable` looks a name up; a value of nothing but spaces counts as unset. `beside` is the folder of the
    /// running program.
    pub fn read(variable: impl Fn(&str) -> Option<String>, beside: &Path, models_folder: PathBuf) -> Environment {
        let text = |name: &str| variable(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let access = |key: &str, url: &str| Access { key: text(key).map(SecretString::from), base_url: text(url) };
        let named_program = text("TENURE_LOCAL_MODEL_BIN").map(PathBuf::from);
        Environment {
            default_model: text("TENURE_DEFAULT_MODEL"),
            cassette: text("TENURE_CASSETTE"),
            anthropic: access("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
            openai: access("OPENAI_API_KEY", "OPENAI_BASE_URL"),
            local_program: named_program.unwrap_or_else(|| beside.join("tenure-local-model")),
            models_folder,
        }
    }
}
