//! From the word in a manifest to the model that it means here.
//!
//! | word | model |
//! |---|---|
//! | an alias of `[llm.aliases]` | the first of its list that can be used; the next ones where it cannot |
//! | a name of `[llm.models]` | that provider's model, at that address |
//! | `default` | `TENURE_DEFAULT_MODEL`, else the alias, else Anthropic with a key, else OpenAI with a key, else Ollama where `OLLAMA_HOST` says so, else local |
//! | `local`, `local-default` | the first entry of the catalogue |
//! | `anthropic`, `openai`, `ollama` | that provider's usual model; at a base URL, the only one that it serves |
//! | `openai-gpt4o-mini` | `openai/gpt-4o-mini` |
//! | `provider/model` | as written |
//!
//! What a list holds is looked up among all but the aliases, so that none can lead to itself.

use super::cassette::{Cassette, CassetteWriter, RecordingModel};
use super::catalogue::{self, Weights};
use super::environment::{Access, Environment, ProxyVariables};
use super::failure::{Failure, Kind};
use super::local::{Local, Settings};
use super::name::{ModelName, NameError, Provider};
use super::remote::address::{Protocol, ollama_url};
use super::remote::{ProviderClient, Remote};
use super::settings::{ModelSettings, SettingsSource};
use super::{Model, Models};
use candidate::{Aside, Candidate};
use configured::Configured;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::OnceCell;

mod candidate;
mod configured;

/// The usual models of the providers, as their own addresses know them.
const ANTHROPIC_USUAL: &str = "claude-sonnet-4-5";
const OPENAI_USUAL: &str = "gpt-4o-mini";
/// Words that are known without any configuration.
const BUILT_IN: [&str; 7] = ["default", "local", "local-default", "anthropic", "openai", "openai-gpt4o-mini", "ollama"];
/// Below this likeness a word is no near word.
const LIKENESS_MIN: f64 = 0.75;

/// What a word means before anyone is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    Model(ModelName),
    /// The only model of the server at this provider's base URL.
    OnlyOf(Provider),
    /// One that the configuration added.
    Added {
        word: String,
        name: ModelName,
    },
    /// An alias: each in turn.
    Several(Vec<Route>),
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Route::Model(name) => name.fmt(f),
            Route::OnlyOf(provider) => write!(f, "{}/(the one at its base URL)", provider.as_str()),
            Route::Added { word, name } => write!(f, "{name} ({word})"),
            Route::Several(routes) => {
                let words: Vec<String> = routes.iter().map(ToString::to_string).collect();
                f.write_str(&words.join(", then "))
            }
        }
    }
}

/// An alias as `tenure model list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    pub word: String,
    pub route: Route,
    /// The configuration made it.
    pub configured: bool,
    /// Why it cannot be used now, if so.
    pub missing: Option<Failure>,
}

enum CassetteMode {
    Off,
    Record(Arc<CassetteWriter>),
    Replay(Arc<Cassette>),
}

/// One provider behind HTTP, with the name of its only model once it was asked for.
struct Server {
    client: Arc<ProviderClient>,
    only: OnceCell<String>,
}

pub struct Router {
    anthropic: Option<Server>,
    openai: Option<Server>,
    ollama: Option<Server>,
    /// `OLLAMA_HOST` was set.
    ollama_named: bool,
    default_word: Option<String>,
    configured: RwLock<Arc<Configured>>,
    source: Option<SettingsSource>,
    proxies: ProxyVariables,
    aside: Arc<Aside>,
    local: BTreeMap<&'static str, Arc<Local>>,
    cassette_mode: CassetteMode,
}

impl Router {
    /// # Errors
    /// [`Kind::NotReady`] or [`Kind::UnknownModel`] for anything set that cannot be meant: the daemon does not start.
    pub fn new(environment: &Environment) -> Result<Router, Failure> {
        let anthropic = server(Protocol::Anthropic, &environment.anthropic, environment.proxies)?;
        let openai = server(Protocol::OpenAi, &environment.openai, environment.proxies)?;
        let local = catalogue::WEIGHTS.iter().map(|weights| {
            let settings = Settings {
                program: environment.local_program.clone(),
                folder: environment.models_folder.clone(),
                weights,
                idle: Settings::IDLE_TIMEOUT,
                load: Settings::LOAD_TIMEOUT,
            };
            (weights.name, Arc::new(Local::new(settings)))
        });
        let host = environment.ollama_host.as_deref();
        let ollama = Access { key: None, base_url: Some(ollama_url(host.unwrap_or_default())) };
        let router = Router {
            anthropic,
            openai,
            ollama: server(Protocol::Ollama, &ollama, environment.proxies)?,
            ollama_named: host.is_some(),
            default_word: environment.default_model.clone(),
            configured: RwLock::default(),
            source: environment.settings.clone(),
            proxies: environment.proxies,
            aside: Arc::default(),
            local: local.collect(),
            cassette_mode: cassette_mode(environment.cassette.as_deref())?,
        };
        router.look();
        let configured = router.configured();
        match &configured.failure {
            Some(why) => Err(Failure::new(
                Kind::NotReady,
                format!("[llm] cannot be used: {why}"),
                "mend it and start the daemon again",
            )),
            None => configured.default.clone().map(|_| router).map_err(|failure| *failure),
        }
    }

    /// What `default` means, and why.
    fn default_route(&self, configured: &Configured) -> Result<(Route, &'static str), Failure> {
        if let Some(word) = self.default_word.as_deref() {
            if word == "default" {
                let sentence = "TENURE_DEFAULT_MODEL=default means itself";
                return Err(Failure::new(Kind::UnknownModel, sentence, "name a model, such as openai/gpt-4o-mini"));
            }
            let route = self.route_in(configured, word).map_err(|failure| Failure {
                sentence: format!("TENURE_DEFAULT_MODEL: {}", failure.sentence),
                ..failure
            })?;
            return Ok((route, "TENURE_DEFAULT_MODEL is set"));
        }
        if let Some(route) = configured.aliases.get("default") {
            return Ok((route.clone(), "[llm.aliases] says so"));
        }
        let has_key = |server: &Option<Server>| server.as_ref().is_some_and(|server| server.client.has_key());
        Ok(if has_key(&self.anthropic) {
            (self.usual(Protocol::Anthropic), "ANTHROPIC_API_KEY is set")
        } else if has_key(&self.openai) {
            (self.usual(Protocol::OpenAi), "OPENAI_API_KEY is set")
        } else if self.ollama_named {
            (self.usual(Protocol::Ollama), "OLLAMA_HOST is set")
        } else {
            (Route::Model(ModelName::new(Provider::Local, catalogue::WEIGHTS[0].name)), "no key is set")
        })
    }

    /// What `default` means, and why.
    pub fn default_route_and_reason(&self) -> (Route, &'static str) {
        let unset = (Route::Model(ModelName::new(Provider::Local, catalogue::WEIGHTS[0].name)), "no key is set");
        self.configured().default.clone().unwrap_or(unset)
    }

    /// Where `[llm]` is read from.
    pub fn settings_file(&self) -> Option<&Path> {
        self.source.as_ref().and_then(SettingsSource::written)
    }

    /// Why the newest configuration is not used, if so.
    pub fn settings_failure(&self) -> Option<String> {
        self.configured().failure.clone()
    }

    /// As it is now.
    fn configured(&self) -> Arc<Configured> {
        self.look();
        Arc::clone(&self.configured.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The cassette that answers or is written, as a sentence for people.
    pub fn cassette(&self) -> Option<String> {
        match &self.cassette_mode {
            CassetteMode::Off => None,
            CassetteMode::Record(writer) => Some(format!("answers are recorded on {}", writer.path().display())),
            CassetteMode::Replay(cassette) => Some(format!("answers come from the cassette {}", cassette.file())),
        }
    }

    /// What `word` means, without asking anyone: good for checking a manifest.
    ///
    /// # Errors
    /// [`Kind::UnknownModel`] with the near word and the list.
    pub fn route(&self, word: &str) -> Result<Route, Failure> {
        self.route_in(&self.configured(), word)
    }

    fn route_in(&self, configured: &Configured, word: &str) -> Result<Route, Failure> {
        match configured.aliases.get(word) {
            Some(route) if word != "default" => Ok(route.clone()),
            Some(_) | None => self.candidate(configured, word),
        }
    }

    /// What a word means that is no alias.
    fn candidate(&self, configured: &Configured, word: &str) -> Result<Route, Failure> {
        let named = |provider, model: &str| Ok(Route::Model(ModelName::new(provider, model)));
        if let Some(added) = configured.added.get(word) {
            return Ok(Route::Added { word: word.to_owned(), name: added.name.clone() });
        }
        match word {
            "default" => {
                let default = configured.default.clone().map(|(route, _)| route);
                return default.map_err(|failure| *failure);
            }
            "local" | catalogue::DEFAULT => return named(Provider::Local, catalogue::WEIGHTS[0].name),
            "anthropic" => return Ok(self.usual(Protocol::Anthropic)),
            "openai" => return Ok(self.usual(Protocol::OpenAi)),
            "ollama" => return Ok(self.usual(Protocol::Ollama)),
            "openai-gpt4o-mini" => return named(Provider::OpenAi, "gpt-4o-mini"),
            _ => {}
        }
        let unknown = |why: &str| unknown(configured, word, why);
        let name: ModelName = word.parse().map_err(|error: NameError| unknown(&error.to_string()))?;
        match name.provider {
            Provider::Anthropic | Provider::OpenAi | Provider::Ollama => Ok(Route::Model(name)),
            Provider::Local => match catalogue::find(&name.model) {
                Some(weights) => named(Provider::Local, weights.name),
                None => Err(unknown("the catalogue of local weights has no such entry")),
            },
            Provider::Cassette => Err(unknown("a cassette is chosen by TENURE_CASSETTE=replay:FILE")),
        }
    }

    /// The model that `word` means, ready to be asked. Asks a server for its only model where that is meant.
    ///
    /// # Errors
    /// As [`Router::route`]; [`Kind::Auth`] where a key is missing; what asking the server failed with.
    pub async fn resolve(&self, word: &str) -> Result<Arc<dyn Model>, Failure> {
        let configured = self.configured();
        let route = self.route_in(&configured, word)?;
        if let CassetteMode::Replay(cassette) = &self.cassette_mode {
            return Ok(cassette.clone());
        }
        let model = match &route {
            Route::Several(routes) => self.first(&configured, word, routes).await?,
            Route::Model(_) | Route::OnlyOf(_) | Route::Added { .. } => self.open(&configured, &route).await?,
        };
        Ok(match &self.cassette_mode {
            CassetteMode::Record(writer) => Arc::new(RecordingModel::new(model, writer.clone())),
            CassetteMode::Off | CassetteMode::Replay(_) => model,
        })
    }

    /// The first that can be used and is not set aside; else the one whose time is over first.
    async fn first(&self, configured: &Configured, word: &str, routes: &[Route]) -> Result<Arc<dyn Model>, Failure> {
        let until = |route: &Route| self.aside.until(&route.to_string());
        let mut order: Vec<&Route> = routes.iter().collect();
        // The sort is stable: those that are not set aside keep their order, and come first.
        order.sort_by_key(|route| until(route));
        let (mut usable, mut lacking) = (Vec::new(), Vec::new());
        for route in order {
            let opened = match self.missing(configured, route) {
                Some(failure) => Err(failure),
                None => self.open(configured, route).await,
            };
            match opened {
                Ok(model) => usable.push((route.to_string(), model)),
                Err(failure) => lacking.push(format!("{route}: {}; {}", failure.sentence, failure.hint)),
            }
        }
        let mut usable = usable.into_iter();
        let Some((route, model)) = usable.next() else {
            let sentence = format!("none of the models of `{word}` can be used");
            return Err(Failure::new(Kind::NotReady, sentence, lacking.join("; ")));
        };
        let others = usable.map(|(other, _)| other).collect();
        Ok(Arc::new(Candidate { model, route, others, aside: Arc::clone(&self.aside) }))
    }

    /// One model, ready to be asked.
    async fn open(&self, configured: &Configured, route: &Route) -> Result<Arc<dyn Model>, Failure> {
        match route {
            Route::Model(name) => self.model(configured, name),
            Route::OnlyOf(provider) => {
                let server = self.server(*provider)?;
                let only = server.only.get_or_try_init(|| server.client.only_model()).await?;
                self.model(configured, &ModelName::new(*provider, only))
            }
            Route::Added { word, .. } => match configured.added.get(word) {
                Some(added) => added.open(configured),
                None => Err(unknown(configured, word, "it was removed")),
            },
            Route::Several(_) => Err(unknown(configured, &route.to_string(), "an alias stands for models alone")),
        }
    }

    /// Every alias, what it means and what it lacks.
    pub fn aliases(&self) -> Vec<Alias> {
        let configured = self.configured();
        let is_shown = |word: &&str| *word != "ollama" || self.ollama_named;
        let own = configured.aliases.keys().chain(configured.added.keys()).map(String::as_str);
        let mut words: Vec<&str> = BUILT_IN.into_iter().filter(is_shown).collect();
        words.extend(own.filter(|word| !BUILT_IN.contains(word)));
        let show = |word: &str| {
            let route = self.route_in(&configured, word).ok()?;
            let missing = match &self.cassette_mode {
                CassetteMode::Replay(_) => None,
                CassetteMode::Off | CassetteMode::Record(_) => self.missing(&configured, &route),
            };
            let is_configured = configured.aliases.contains_key(word) || configured.added.contains_key(word);
            Some(Alias { word: word.to_owned(), route, configured: is_configured, missing })
        };
        words.into_iter().filter_map(show).collect()
    }

    /// The catalogue of local weights, and what each lacks.
    pub fn weights(&self) -> Vec<(&'static Weights, Option<Failure>)> {
        let lacks = |weights: &Weights| self.local.get(weights.name).and_then(|local| local.ready().err());
        catalogue::WEIGHTS.iter().map(|weights| (weights, lacks(weights))).collect()
    }

    /// Whether these settings can be meant, wherever the daemon is.
    ///
    /// # Errors
    /// Why not.
    pub fn check(settings: &ModelSettings) -> Result<(), Failure> {
        let settings = settings.clone();
        let source = SettingsSource::new(Vec::new(), move || Ok(settings.clone()));
        let bare = Environment::read(|_| None, Path::new("/"), PathBuf::from("/"));
        Router::new(&Environment { settings: Some(source), ..bare }).map(|_| ())
    }

    fn missing(&self, configured: &Configured, route: &Route) -> Option<Failure> {
        match route {
            Route::Model(name) if name.provider == Provider::Local => {
                self.local.get(name.model.as_str()).and_then(|local| local.ready().err())
            }
            Route::Model(name) => self.model(configured, name).err(),
            Route::OnlyOf(provider) => self.server(*provider).err(),
            Route::Added { word, .. } => configured.added.get(word).and_then(|added| added.open(configured).err()),
            // One that can be used is enough.
            Route::Several(routes) => {
                let mut missing: Vec<Failure> = Vec::with_capacity(routes.len());
                for route in routes {
                    missing.push(self.missing(configured, route)?);
                }
                let told: Vec<String> = missing.iter().map(|failure| failure.sentence.clone()).collect();
                missing.first().map(|first| Failure { sentence: told.join("; "), ..first.clone() })
            }
        }
    }

    fn model(&self, configured: &Configured, name: &ModelName) -> Result<Arc<dyn Model>, Failure> {
        match name.provider {
            Provider::Anthropic | Provider::OpenAi | Provider::Ollama => {
                let client = self.server(name.provider)?.client.clone();
                Ok(Arc::new(Remote::new(client, &name.model).at_price(configured.price(name))))
            }
            Provider::Local => match self.local.get(name.model.as_str()) {
                Some(local) => Ok(local.clone()),
                None => Err(unknown(configured, &name.to_string(), "the catalogue of local weights has no such entry")),
            },
            Provider::Cassette => Err(unknown(configured, &name.to_string(), "it is no model that can be asked")),
        }
    }

    fn server(&self, provider: Provider) -> Result<&Server, Failure> {
        let (server, key) = match provider {
            Provider::Anthropic => (&self.anthropic, "ANTHROPIC_API_KEY"),
            Provider::OpenAi => (&self.openai, "OPENAI_API_KEY"),
            Provider::Ollama => (&self.ollama, "OLLAMA_HOST"),
            Provider::Local | Provider::Cassette => (&None, ""),
        };
        server.as_ref().ok_or_else(|| {
            let sentence = format!("there is no key for {}", provider.as_str());
            Failure::new(Kind::Auth, sentence, format!("set {key} and start the daemon again, or use the model local"))
        })
    }

    fn usual(&self, protocol: Protocol) -> Route {
        let (server, usual) = match protocol {
            Protocol::Anthropic => (&self.anthropic, ANTHROPIC_USUAL),
            Protocol::OpenAi => (&self.openai, OPENAI_USUAL),
            Protocol::Ollama => return Route::OnlyOf(Provider::Ollama),
        };
        match server {
            Some(server) if !server.client.is_official() => Route::OnlyOf(protocol.provider()),
            Some(_) | None => Route::Model(ModelName::new(protocol.provider(), usual)),
        }
    }
}

impl Models for Router {
    fn resolve<'a>(&'a self, word: &'a str) -> BoxFuture<'a, Result<Arc<dyn Model>, Failure>> {
        Box::pin(Router::resolve(self, word))
    }

    fn words(&self) -> Vec<String> {
        let ready = self.aliases().into_iter().filter(|alias| alias.missing.is_none());
        ready.map(|alias| alias.word).collect()
    }
}

/// A provider is there when it has a key, or an address of its own that may want none.
fn server(protocol: Protocol, access: &Access, proxies: ProxyVariables) -> Result<Option<Server>, Failure> {
    if access.key.is_none() && access.base_url.is_none() {
        return Ok(None);
    }
    let client = ProviderClient::new(protocol, access.key.clone(), access.base_url.as_deref())?;
    let proxy = proxies.of(client.base_url());
    let client = client.with_proxy_variable(proxy);
    if !client.can_be_asked() {
        return Ok(None);
    }
    Ok(Some(Server { client: Arc::new(client), only: OnceCell::new() }))
}

fn cassette_mode(cassette: Option<&str>) -> Result<CassetteMode, Failure> {
    let Some(text) = cassette else { return Ok(CassetteMode::Off) };
    let refuse = |why: String| {
        let hint = "write TENURE_CASSETTE=record:FILE or replay:FILE";
        Failure::new(Kind::NotReady, format!("TENURE_CASSETTE: {why}"), hint)
    };
    match text.split_once(':') {
        Some(("record", file)) if !file.is_empty() => {
            let writer = CassetteWriter::create(Path::new(file)).map_err(|error| refuse(error.to_string()))?;
            Ok(CassetteMode::Record(Arc::new(writer)))
        }
        Some(("replay", file)) if !file.is_empty() => {
            let cassette = Cassette::open(Path::new(file)).map_err(|error| refuse(error.to_string()))?;
            Ok(CassetteMode::Replay(Arc::new(cassette)))
        }
        Some(_) | None => Err(refuse(format!("`{text}` is neither record:FILE nor replay:FILE"))),
    }
}

fn unknown(configured: &Configured, word: &str, why: &str) -> Failure {
    let local = catalogue::WEIGHTS.iter().map(|weights| format!("local/{}", weights.name));
    let own = configured.aliases.keys().chain(configured.added.keys());
    let mut words: Vec<String> = BUILT_IN.iter().map(|word| (*word).to_owned()).collect();
    words.extend(own.filter(|word| !BUILT_IN.contains(&word.as_str())).cloned());
    words.extend(local);
    let likeness = |known: &String| strsim::jaro_winkler(word, known);
    let near = words.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    let near = near.filter(|known| likeness(known) >= LIKENESS_MIN);
    let meant = near.map(|known| format!("did you mean `{known}`? ")).unwrap_or_default();
    let list = words.join(", ");
    let hint = format!(
        "{meant}known are {list}, and any anthropic/MODEL, openai/MODEL or ollama/MODEL; `tenure model alias` makes a word of your own"
    );
    Failure::new(Kind::UnknownModel, format!("`{word}` is no model: {why}"), hint)
}

#[cfg(test)]
mod tests;
