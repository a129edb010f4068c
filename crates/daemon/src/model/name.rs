//! The resolved name of a model: who serves it, and what they call it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Who serves a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provider {
    Anthropic,
    OpenAi,
    Ollama,
    Local,
    /// Recorded answers; the rest of the name is that of the model that gave them.
    Cassette,
}

impl Provider {
    pub const ALL: [Provider; 5] =
        [Provider::Anthropic, Provider::OpenAi, Provider::Ollama, Provider::Local, Provider::Cassette];

    pub fn as_str(self) -> &'static str {
        match self {
            Provider::Anthropic => "anthropic",
            Provider::OpenAi => "openai",
            Provider::Ollama => "ollama",
            Provider::Local => "local",
            Provider::Cassette => "cassette",
        }
    }

    /// What a model of this provider is shown of one call's result: a local prompt costs seconds, a remote one money.
    pub fn result_bytes_max(self) -> usize {
        match self {
            Provider::Local => 2 * 1024,
            Provider::Anthropic | Provider::OpenAi | Provider::Ollama | Provider::Cassette => 16 * 1024,
        }
    }

    fn parse(word: &str) -> Option<Provider> {
        Provider::ALL.into_iter().find(|provider| provider.as_str() == word)
    }
}

/// `provider/model`, as events and tables show it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName {
    pub provider: Provider,
    pub model: String,
}

/// Bytes of the part after the slash.
const MODEL_BYTES_MAX: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("{0:?} names no provider; a model is written provider/model, such as openai/gpt-4o-mini")]
    NoProvider(String),
    #[error("{0:?} is no provider; there are anthropic, openai, ollama and local")]
    UnknownProvider(String),
    #[error("the part after the slash must have 1 to {MODEL_BYTES_MAX} bytes and no spaces or control characters")]
    Malformed,
}

impl ModelName {
    pub fn new(provider: Provider, model: impl Into<String>) -> Self {
        ModelName { provider, model: model.into() }
    }

    /// The same model, said to come from a cassette.
    pub fn as_cassette(&self) -> ModelName {
        match self.provider {
            Provider::Cassette => self.clone(),
            Provider::Anthropic | Provider::OpenAi | Provider::Ollama | Provider::Local => {
                ModelName::new(Provider::Cassette, self.to_string())
            }
        }
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider.as_str(), self.model)
    }
}

impl FromStr for ModelName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (provider, model) = text.split_once('/').ok_or_else(|| NameError::NoProvider(text.to_owned()))?;
        let provider = Provider::parse(provider).ok_or_else(|| NameError::UnknownProvider(provider.to_owned()))?;
        let fits = (1..=MODEL_BYTES_MAX).contains(&model.len());
        if !fits || model.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
            return Err(NameError::Malformed);
        }
        Ok(ModelName::new(provider, model))
    }
}

impl TryFrom<String> for ModelName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ModelName> for String {
    fn from(name: ModelName) -> String {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_further_slashes_in_the_model() {
        let name: ModelName = "openai/meta/llama-3".parse().unwrap();
        assert_eq!((name.provider, name.model.as_str()), (Provider::OpenAi, "meta/llama-3"));
        assert_eq!(name.as_cassette().to_string(), "cassette/openai/meta/llama-3");
        assert_eq!(name.as_cassette().as_cassette(), name.as_cassette());
    }

    #[test]
    fn a_name_that_cannot_be_meant_is_refused() {
        assert!(matches!("gpt".parse::<ModelName>(), Err(NameError::NoProvider(_))));
        assert!(matches!("azure/gpt".parse::<ModelName>(), Err(NameError::UnknownProvider(_))));
        assert_eq!("openai/".parse::<ModelName>(), Err(NameError::Malformed));
        assert_eq!("openai/a b".parse::<ModelName>(), Err(NameError::Malformed));
    }
}
