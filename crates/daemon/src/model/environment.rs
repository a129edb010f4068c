//! What a person set, read once by the program's main and handed in: nothing below reads the process environment.

use super::settings::SettingsSource;
use secrecy::SecretString;
use std::path::{Path, PathBuf};

/// A provider's key and address as they were given.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Shows as `[REDACTED]` when debugged.
    pub key: Option<SecretString>,
    pub base_url: Option<String>,
}

/// The variables that name a proxy, of those that are set.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProxyVariables {
    pub http: Option<&'static str>,
    pub https: Option<&'static str>,
}

impl ProxyVariables {
    fn read(is_set: impl Fn(&str) -> bool) -> ProxyVariables {
        let first = |names: [&'static str; 4]| names.into_iter().find(|name| is_set(name));
        ProxyVariables {
            http: first(["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
            https: first(["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
        }
    }

    /// Of requests to this address.
    pub fn of(self, url: &str) -> Option<&'static str> {
        if url.starts_with("https:") { self.https } else { self.http }
    }
}

#[derive(Debug, Clone)]
pub struct Environment {
    /// `TENURE_DEFAULT_MODEL`.
    pub default_model: Option<String>,
    /// `TENURE_CASSETTE`: `record:FILE` or `replay:FILE`.
    pub cassette: Option<String>,
    pub anthropic: Access,
    pub openai: Access,
    /// `OLLAMA_HOST`.
    pub ollama_host: Option<String>,
    /// What the configuration says of models.
    pub settings: Option<SettingsSource>,
    /// Which variables lead requests through a proxy. Their values are the HTTP client's business.
    pub proxies: ProxyVariables,
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
            ollama_host: text("OLLAMA_HOST"),
            settings: None,
            proxies: ProxyVariables::read(|name| text(name).is_some()),
            local_program: named_program.unwrap_or_else(|| beside.join("tenure-local-model")),
            models_folder,
        }
    }
}
