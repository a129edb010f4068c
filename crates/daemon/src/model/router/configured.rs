//! What the configuration's words come to. It is made anew when the file changes; a file that cannot be used leaves what was
//! there, with the reason beside it.

use super::{Route, Router};
use crate::file_stamp::FileStamp;
use crate::model::Model;
use crate::model::failure::{Failure, Kind};
use crate::model::name::{ModelName, Provider};
use crate::model::price::{self, Price, SetPrice};
use crate::model::remote::address::Protocol;
use crate::model::remote::{ProviderClient, Remote};
use crate::model::settings::{AddedModel, CANDIDATES_MAX, ModelSettings, SettingsSource};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use tenure_core::time::Time;

#[derive(Clone)]
pub(super) struct Configured {
    /// None before the first look.
    stamp: Option<Vec<FileStamp>>,
    pub(super) aliases: BTreeMap<String, Route>,
    pub(super) added: BTreeMap<String, Added>,
    prices: Vec<SetPrice>,
    pub(super) default: Result<(Route, &'static str), Box<Failure>>,
    /// Why the newest file is not used.
    pub(super) failure: Option<String>,
}

impl Default for Configured {
    fn default() -> Configured {
        let unset = Failure::new(Kind::NotReady, "the configuration was not read yet", "");
        let (aliases, added) = (BTreeMap::new(), BTreeMap::new());
        let prices = Vec::new();
        Configured { stamp: None, aliases, added, prices, default: Err(Box::new(unset)), failure: None }
    }
}

/// A model that the configuration added.
#[derive(Clone)]
pub(super) struct Added {
    pub(super) name: ModelName,
    client: Arc<ProviderClient>,
    lacking: Option<String>,
}

impl Configured {
    /// What a person set that a model costs, for a call that is made now.
    pub(super) fn price(&self, name: &ModelName) -> Option<Price> {
        let now = Time::from_millis(jiff::Timestamp::now().as_millisecond());
        price::in_force(&self.prices, name, now)
    }
}

impl Added {
    pub(super) fn open(&self, configured: &Configured) -> Result<Arc<dyn Model>, Failure> {
        if let Some(why) = &self.lacking {
            let sentence = format!("the key of {} is not there: {why}", self.name);
            return Err(Failure::new(Kind::Auth, sentence, "put it there; a variable wants the daemon started again"));
        }
        if !self.client.can_be_asked() {
            let sentence = format!("there is no key for {}", self.name);
            return Err(Failure::new(Kind::Auth, sentence, "add it with --key-env or --key-file"));
        }
        let remote = Remote::new(Arc::clone(&self.client), &self.name.model);
        Ok(Arc::new(remote.at_price(configured.price(&self.name))))
    }
}

impl Router {
    /// Takes what the file says now, if it has changed.
    pub(super) fn look(&self) {
        let stamp = self.source.as_ref().map(SettingsSource::stamp).unwrap_or_default();
        let known = Arc::clone(&self.configured.read().unwrap_or_else(PoisonError::into_inner));
        if known.stamp.as_ref() == Some(&stamp) {
            return;
        }
        let settings = self.source.as_ref().map_or_else(|| Ok(ModelSettings::default()), |source| source.read());
        let meaning =
            settings.and_then(|settings| self.meaning(&settings)).and_then(|meaning| match &meaning.default {
                // A start says so itself.
                Err(failure) if known.stamp.is_some() => Err(format!("{}; {}", failure.sentence, failure.hint)),
                Ok(_) | Err(_) => Ok(meaning),
            });
        let next = match meaning {
            Ok(meaning) => Configured { stamp: Some(stamp), ..meaning },
            Err(why) => {
                tracing::warn!(why, "the configuration of models cannot be used; what was there before is");
                Configured { stamp: Some(stamp), failure: Some(why), ..Configured::clone(&known) }
            }
        };
        *self.configured.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }

    fn meaning(&self, settings: &ModelSettings) -> Result<Configured, String> {
        let mut configured = Configured::default();
        for (word, model) in &settings.models {
            check_word(word)?;
            if super::BUILT_IN.contains(&word.as_str()) {
                return Err(format!("[llm.models] {word}: the word is taken; choose another"));
            }
            let added = self.add(model).map_err(|why| format!("[llm.models] {word}: {why}"))?;
            configured.added.insert(word.clone(), added);
        }
        // Lists may name `default` only where it means no list itself.
        for (word, names) in &settings.aliases {
            check_word(word)?;
            let wrong = |why: &str| Err(format!("[llm.aliases] {word}: {why}"));
            if settings.models.contains_key(word) {
                return wrong("[llm.models] has the same word");
            }
            if names.is_empty() || names.len() > CANDIDATES_MAX {
                return wrong(&format!("it may stand for 1 to {CANDIDATES_MAX} models"));
            }
            let mut routes: Vec<Route> = Vec::with_capacity(names.len());
            for name in names {
                if name == "default" {
                    return wrong("`default` is an alias itself; write the model");
                }
                let route = self.candidate(&configured, name).map_err(|failure| {
                    let also = if settings.aliases.contains_key(name) {
                        "; an alias stands for models, not for aliases"
                    } else {
                        ""
                    };
                    format!("[llm.aliases] {word}: {}{also}; {}", failure.sentence, failure.hint)
                })?;
                if routes.contains(&route) {
                    return wrong(&format!("`{name}` stands in it twice"));
                }
                routes.push(route);
            }
            configured.aliases.insert(word.clone(), Route::Several(routes));
        }
        configured.prices.clone_from(&settings.prices);
        let default = self.default_route(&configured);
        configured.default = default.map_err(Box::new);
        Ok(configured)
    }

    fn add(&self, model: &AddedModel) -> Result<Added, String> {
        let protocol = match model.provider {
            Provider::Anthropic => Protocol::Anthropic,
            Provider::OpenAi => Protocol::OpenAi,
            Provider::Ollama => Protocol::Ollama,
            Provider::Local | Provider::Cassette => {
                return Err("its provider is none of anthropic, openai and ollama".to_owned());
            }
        };
        let name: ModelName =
            format!("{}/{}", model.provider.as_str(), model.model).parse().map_err(|error| format!("{error}"))?;
        let url = model.access.base_url.as_deref();
        let client = ProviderClient::new(protocol, model.access.key.clone(), url);
        let client = client.map_err(|failure| format!("{}; {}", failure.sentence, failure.hint))?;
        let proxy = self.proxies.of(client.base_url());
        Ok(Added { name, client: Arc::new(client.with_proxy_variable(proxy)), lacking: model.lacking.clone() })
    }
}

fn check_word(word: &str) -> Result<(), String> {
    let fits = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if fits && (1..=63).contains(&word.len()) {
        return Ok(());
    }
    Err(format!("`{word}` is no word for a model: use 1 to 63 letters, digits, `.`, `_` and `-`"))
}
