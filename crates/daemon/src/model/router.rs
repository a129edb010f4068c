//! From the word in a manifest to the model that it means here.
//!
//! | word | model |
//! |---|---|
//! | `default` | `TENURE_DEFAULT_MODEL`, else Anthropic with a key, else OpenAI with a key, else local |
//! | `local`, `local-default` | the first entry of the catalogue |
//! | `anthropic`, `openai` | that provider's usual model; at a base URL, the only one that it serves |
//! | `openai-gpt4o-mini` | `openai/gpt-4o-mini` |
//! | `provider/model` | as written |

use super::cassette::{Cassette, CassetteWriter, RecordingModel};
use super::catalogue;
use super::environment::{Access, Environment, ProxyVariables};
use super::failure::{Failure, Kind};
use super::local::{Local, Settings};
use super::name::{ModelName, NameError, Provider};
use super::remote::address::Protocol;
use super::remote::{ProviderClient, Remote};
use super::{Model, Models};
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// The usual models of the providers, as their own addresses know them.
const ANTHROPIC_USUAL: &str = "claude-sonnet-4-5";
const OPENAI_USUAL: &str = "gpt-4o-mini";
const ALIASES: [&str; 6] = ["default", "local", "local-default", "anthropic", "openai", "openai-gpt4o-mini"];
/// Below this likeness a word is no near word.
const LIKENESS_MIN: f64 = 0.75;

/// What a word means before anyone is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    Model(ModelName),
    /// The only model of the server at this provider's base URL.
    OnlyOf(Provider),
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Route::Model(name) => name.fmt(f),
            Route::OnlyOf(provider) => write!(f, "{}/(the one at its base URL)", provider.as_str()),
        }
    }
}

/// An alias as `tenure model list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    pub word: &'static str,
    pub route: Route,
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
    default: Route,
    /// Why `default` means what it means.
    reason: &'static str,
    anthropic: Option<Server>,
    openai: Option<Server>,
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
        let mut router = Router {
            default: Route::Model(ModelName::new(Provider::Local, catalogue::WEIGHTS[0].name)),
            reason: "no key is set",
            anthropic,
            openai,
            local: local.collect(),
            cassette_mode: cassette_mode(environment.cassette.as_deref())?,
        };
        (router.default, router.reason) = router.default_route(environment)?;
        Ok(router)
    }

    fn default_route(&self, environment: &Environment) -> Result<(Route, &'static str), Failure> {
        if let Some(word) = environment.default_model.as_deref() {
            if word == "default" {
                let sentence = "TENURE_DEFAULT_MODEL=default means itself";
                return Err(Failure::new(Kind::UnknownModel, sentence, "name a model, such as openai/gpt-4o-mini"));
            }
            let route = self.route(word).map_err(|failure| Failure {
                sentence: format!("TENURE_DEFAULT_MODEL: {}", failure.sentence),
                ..failure
            })?;
            return Ok((route, "TENURE_DEFAULT_MODEL is set"));
        }
        if environment.anthropic.key.is_some() {
            return Ok((self.usual(Protocol::Anthropic), "ANTHROPIC_API_KEY is set"));
        }
        if environment.openai.key.is_some() {
            return Ok((self.usual(Protocol::OpenAi), "OPENAI_API_KEY is set"));
        }
        Ok((self.default.clone(), self.reason))
    }

    /// What `default` means, and why.
    pub fn default_route_and_reason(&self) -> (&Route, &'static str) {
        (&self.default, self.reason)
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
        let named = |provider, model: &str| Ok(Route::Model(ModelName::new(provider, model)));
        match word {
            "default" => return Ok(self.default.clone()),
            "local" | catalogue::DEFAULT => return named(Provider::Local, catalogue::WEIGHTS[0].name),
            "anthropic" => return Ok(self.usual(Protocol::Anthropic)),
            "openai" => return Ok(self.usual(Protocol::OpenAi)),
            "openai-gpt4o-mini" => return named(Provider::OpenAi, "gpt-4o-mini"),
            _ => {}
        }
        if word.starts_with("ollama") {
            return Err(Failure::new(
                Kind::UnknownModel,
                format!("`{word}`: Ollama is not built in yet"),
                "use its OpenAI side: OPENAI_BASE_URL=http://127.0.0.1:11434/v1 and the model openai/NAME",
            ));
        }
        let name: ModelName = word.parse().map_err(|error: NameError| unknown(word, &error.to_string()))?;
        match name.provider {
            Provider::Anthropic | Provider::OpenAi => Ok(Route::Model(name)),
            Provider::Local => match catalogue::find(&name.model) {
                Some(weights) => named(Provider::Local, weights.name),
                None => Err(unknown(word, "the catalogue of local weights has no such entry")),
            },
            Provider::Cassette => Err(unknown(word, "a cassette is chosen by TENURE_CASSETTE=replay:FILE")),
        }
    }

    /// The model that `word` means, ready to be asked. Asks a server for its only model where that is meant.
    ///
    /// # Errors
    /// As [`Router::route`]; [`Kind::Auth`] where a key is missing; what asking the server failed with.
    pub async fn resolve(&self, word: &str) -> Result<Arc<dyn Model>, Failure> {
        let route = self.route(word)?;
        if let CassetteMode::Replay(cassette) = &self.cassette_mode {
            return Ok(cassette.clone());
        }
        let name = match route {
            Route::Model(name) => name,
            Route::OnlyOf(provider) => {
                let server = self.server(provider)?;
                let only = server.only.get_or_try_init(|| server.client.only_model()).await?;
                ModelName::new(provider, only)
            }
        };
        let model = self.model(&name)?;
        Ok(match &self.cassette_mode {
            CassetteMode::Record(writer) => Arc::new(RecordingModel::new(model, writer.clone())),
            CassetteMode::Off | CassetteMode::Replay(_) => model,
        })
    }

    /// Every alias, what it means and what it lacks.
    pub fn aliases(&self) -> Vec<Alias> {
        let show = |word| {
            let route = self.route(word).expect("invariant: every alias has a route");
            let missing = match (&self.cassette_mode, &route) {
                (CassetteMode::Replay(_), _) => None,
                (CassetteMode::Off | CassetteMode::Record(_), Route::Model(name)) => self.missing(name),
                (CassetteMode::Off | CassetteMode::Record(_), Route::OnlyOf(provider)) => self.server(*provider).err(),
            };
            Alias { word, route, missing }
        };
        ALIASES.into_iter().map(show).collect()
    }

    fn missing(&self, name: &ModelName) -> Option<Failure> {
        match name.provider {
            Provider::Local => self.local.get(name.model.as_str()).and_then(|local| local.ready().err()),
            Provider::Anthropic | Provider::OpenAi | Provider::Cassette => self.model(name).err(),
        }
    }

    fn model(&self, name: &ModelName) -> Result<Arc<dyn Model>, Failure> {
        match name.provider {
            Provider::Anthropic | Provider::OpenAi => {
                let client = self.server(name.provider)?.client.clone();
                Ok(Arc::new(Remote::new(client, &name.model)))
            }
            Provider::Local => match self.local.get(name.model.as_str()) {
                Some(local) => Ok(local.clone()),
                None => Err(unknown(&name.to_string(), "the catalogue of local weights has no such entry")),
            },
            Provider::Cassette => Err(unknown(&name.to_string(), "it is no model that can be asked")),
        }
    }

    fn server(&self, provider: Provider) -> Result<&Server, Failure> {
        let (server, key) = match provider {
            Provider::Anthropic => (&self.anthropic, "ANTHROPIC_API_KEY"),
            Provider::OpenAi => (&self.openai, "OPENAI_API_KEY"),
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

fn unknown(word: &str, why: &str) -> Failure {
    let local = catalogue::WEIGHTS.iter().map(|weights| format!("local/{}", weights.name));
    let words: Vec<String> = ALIASES.iter().map(|alias| (*alias).to_owned()).chain(local).collect();
    let likeness = |known: &String| strsim::jaro_winkler(word, known);
    let near = words.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    let near = near.filter(|known| likeness(known) >= LIKENESS_MIN);
    let meant = near.map(|known| format!("did you mean `{known}`? ")).unwrap_or_default();
    let list = words.join(", ");
    let hint = format!("{meant}known are {list}, and any anthropic/MODEL or openai/MODEL");
    Failure::new(Kind::UnknownModel, format!("`{word}` is no model: {why}"), hint)
}

#[cfg(test)]
mod tests;
