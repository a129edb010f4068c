//! What the daemon's own configuration says of models: `[llm]` of tenure.toml, written by hand, and `models.toml` beside it,
//! written by `tenure model`. A word that stands in both means what tenure.toml says. Keys stand in neither: only where they are.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tenure_core::manifest::Money;
use tenure_core::time::Time;
use tenure_daemon::model::environment::Access;
use tenure_daemon::model::name::{ModelName, Provider};
use tenure_daemon::model::price::{Price, SetPrice};
use tenure_daemon::model::settings::{AddedModel, ModelSettings, SettingsSource};

use super::{Unread, text_of, write_own};
use crate::failure::{Exit, Failure};

pub const MODELS_FILE: &str = "models.toml";

#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Llm {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, Names>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, LlmModel>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prices: Vec<LlmPrice>,
}

/// One model, or several in the order in which they are tried.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(untagged, expecting = "an alias is a model's name, or a list of names")]
pub enum Names {
    One(String),
    Several(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LlmModel {
    /// anthropic, openai or ollama.
    pub provider: String,
    pub model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// The variable of the daemon's that has the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_env: Option<String>,
    /// The file that has the key, which nobody else may be able to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

/// What a model costs from a day of UTC on, in US dollars for a million tokens.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LlmPrice {
    /// provider/model.
    pub model: String,
    /// As in 2026-02-23.
    pub from: String,
    #[serde(rename = "in")]
    pub input: Usd,
    #[serde(rename = "out")]
    pub output: Usd,
    /// Of input that the provider had in its cache; as other input where it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached: Option<Usd>,
}

impl LlmPrice {
    /// # Errors
    /// Why it is no price.
    pub fn set(&self) -> Result<SetPrice, String> {
        let model: ModelName = self.model.parse().map_err(|error| format!("{error}"))?;
        match model.provider {
            Provider::Anthropic | Provider::OpenAi | Provider::Ollama => {}
            Provider::Local | Provider::Cassette => return Err("what runs here costs nothing".to_string()),
        }
        let wrong = |_| format!("`{}` is no day: write it as in 2026-02-23", self.from);
        let day: jiff::civil::Date = self.from.parse().map_err(wrong)?;
        let begins = jiff::tz::Offset::UTC.to_timestamp(day.at(0, 0, 0, 0)).map_err(wrong)?;
        let Usd(input) = self.input;
        let Usd(output) = self.output;
        let price = Price { input, output, cached: self.cached.map(|Usd(cached)| cached) };
        Ok(SetPrice { model, from: Time::from_millis(begins.as_millisecond()), price })
    }
}

/// An amount of US dollars, in millionths; written as in "0.15", and read as a number too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usd(pub u64);

/// For a million tokens; beyond it is a slip of the hand.
const USD_MAX: u64 = 100_000;

impl std::str::FromStr for Usd {
    type Err = String;

    fn from_str(text: &str) -> Result<Usd, String> {
        let wrong =
            || format!("`{text}` is no amount of US dollars: write it as in 3 or 0.15, with at most 6 decimals");
        let amount = text.trim();
        let amount = Money::parse(&format!("{amount} USD")).map_err(|_| wrong())?;
        if amount.as_micros() > USD_MAX * 1_000_000 {
            return Err(format!("`{text}` is more than {USD_MAX} US dollars for a million tokens"));
        }
        Ok(Usd(amount.as_micros()))
    }
}

impl std::fmt::Display for Usd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, part) = (self.0 / 1_000_000, self.0 % 1_000_000);
        match format!("{part:06}").trim_end_matches('0') {
            "" => write!(f, "{whole}"),
            part => write!(f, "{whole}.{part}"),
        }
    }
}

impl Serialize for Usd {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Usd, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a price is an amount such as 3, 0.15 or \"0.15\"")]
        enum Written {
            Text(String),
            Whole(u64),
            Decimal(f64),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Text(text) => text,
            Written::Whole(number) => number.to_string(),
            Written::Decimal(number) => number.to_string(),
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Llm {
    /// # Errors
    /// What is no provider, or names two places for a key.
    pub fn settings(&self) -> Result<ModelSettings, String> {
        let names = |names: &Names| match names {
            Names::One(name) => vec![name.clone()],
            Names::Several(names) => names.clone(),
        };
        let aliases = self.aliases.iter().map(|(word, stands_for)| (word.clone(), names(stands_for))).collect();
        let mut models = BTreeMap::new();
        for (word, model) in &self.models {
            let added = model.added().map_err(|why| format!("[llm.models] {word}: {why}"))?;
            models.insert(word.clone(), added);
        }
        let mut prices: Vec<SetPrice> = Vec::with_capacity(self.prices.len());
        for price in &self.prices {
            prices.push(price.set().map_err(|why| format!("[[llm.prices]] {}: {why}", price.model))?);
        }
        Ok(ModelSettings { aliases, models, prices })
    }
}

impl LlmModel {
    fn added(&self) -> Result<AddedModel, String> {
        let provider = match self.provider.as_str() {
            "anthropic" => Provider::Anthropic,
            "openai" => Provider::OpenAi,
            "ollama" => Provider::Ollama,
            other => return Err(format!("`{other}` is no provider; there are anthropic, openai and ollama")),
        };
        let key = match (&self.key_env, &self.key_file) {
            (Some(_), Some(_)) => return Err("key_env and key_file each name its key; leave one out".to_string()),
            (Some(name), None) => variable(name).map(Some),
            (None, Some(path)) => key_of(path).map(Some),
            (None, None) => Ok(None),
        };
        let (key, lacking) = match key {
            Ok(key) => (key, None),
            Err(why) => (None, Some(why)),
        };
        let access = Access { key: key.map(Into::into), base_url: self.base_url.clone() };
        Ok(AddedModel { provider, model: self.model.clone(), access, lacking })
    }
}

fn variable(name: &str) -> Result<String, String> {
    let value = std::env::var(name).ok().map(|value| value.trim().to_string()).filter(|value| !value.is_empty());
    value.ok_or_else(|| format!("the variable {name} is not set where the daemon runs"))
}

fn key_of(path: &Path) -> Result<String, String> {
    let told = |unread| match unread {
        Unread::Others(why) | Unread::Not(why) => format!("{}: {why}", path.display()),
    };
    let text = text_of(path, 0o077).map_err(told)?;
    let key = text.trim();
    if key.is_empty() { Err(format!("{} is empty", path.display())) } else { Ok(key.to_string()) }
}

/// What `tenure model` wrote.
///
/// # Errors
/// It is there and cannot be used.
pub fn read_models(path: &Path) -> Result<Llm, Failure> {
    if path.symlink_metadata().is_err() {
        return Ok(Llm::default());
    }
    let refuse = |exit, why: String| Failure::new(exit, format!("{} cannot be used: {why}", path.display()));
    let text = text_of(path, 0o022).map_err(|unread| match unread {
        Unread::Others(why) => {
            refuse(Exit::NotAllowed, why).next(format!("look at it, then: chmod go-w {}", path.display()))
        }
        Unread::Not(why) => refuse(Exit::Usage, why),
    })?;
    toml::from_str(&text)
        .map_err(|error| refuse(Exit::Usage, error.to_string().trim().to_string()).next("mend it or remove it"))
}

/// # Errors
/// It cannot be written.
pub fn write_models(path: &Path, llm: &Llm) -> Result<(), Failure> {
    let written = write_own(path, "Written by `tenure model alias`, `add`, `remove` and `prices`.", llm);
    written.map_err(|error| Failure::new(Exit::Failure, format!("{} cannot be written: {error}", path.display())))
}

/// Both files together, read as often as one changes.
pub fn source(config: Option<PathBuf>, models: PathBuf) -> SettingsSource {
    let paths = config.iter().cloned().chain([models.clone()]).collect();
    SettingsSource::new(paths, move || {
        let by_hand = match &config {
            Some(path) if path.symlink_metadata().is_ok() => {
                super::read(path).map_err(|failure| failure.sentence())?.llm
            }
            Some(_) | None => Llm::default(),
        };
        let mut both = read_models(&models).map_err(|failure| failure.sentence())?;
        both.aliases.retain(|word, _| !by_hand.models.contains_key(word));
        both.models.retain(|word, _| !by_hand.aliases.contains_key(word));
        both.aliases.extend(by_hand.aliases);
        both.models.extend(by_hand.models);
        // Of two from the same day the last holds.
        both.prices.extend(by_hand.prices);
        both.settings()
    })
}
