//! Models behind HTTP: Anthropic, OpenAI and whatever speaks OpenAI's protocol at a base URL.
//!
//! One request is one attempt: no retry, no redirect, no fallback; only a parameter that the endpoint refuses is left out
//! at once, since nothing was answered. Whatever does not end as the protocol says is a failure, so that a cut stream
//! never passes for an answer. Nothing here logs what a provider sends, which may echo the key; what we keep of an error
//! is scrubbed and clipped.

use super::Model;
use super::answer::{Answer, Usage};
use super::failure::{Failure, Kind, Spent};
use super::lookup::Lookups;
use super::name::ModelName;
use super::piece::PieceSink;
use super::price::Price;
use super::request::Request;
use super::spelling::Spelling;
use super::wire::{self, Reply, Wire, WireError};
use super::{estimate, price};
use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;

pub mod address;
mod conclude;
mod dialects;
mod error;

use address::{Protocol, is_loopback, normal_url};
use dialects::Dialects;
use error::{ErrorContext, ProviderError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Asking a server which models it has must not hold up a start.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);
const LIST_BYTES_MAX: usize = 1024 * 1024;
/// Of the body of an error.
const ERROR_BYTES_MAX: usize = 64 * 1024;
/// Requests of one attempt, each without one more parameter that was refused.
const REFUSALS_MAX: u32 = 6;
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// One provider: where it is and what opens it. Built once, shared by its models; connects at the first call.
pub struct ProviderClient {
    protocol: Protocol,
    key: Option<SecretString>,
    base_url: String,
    official: bool,
    /// The variable that names a proxy for this address, if one is set.
    proxy_variable: Option<&'static str>,
    client: OnceLock<reqwest::Client>,
    dialects: Dialects,
}

impl std::fmt::Debug for ProviderClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProviderClient").field("protocol", &self.protocol).field("base_url", &self.base_url).finish()
    }
}

impl ProviderClient {
    /// # Errors
    /// [`Kind::NotReady`] for a base URL that cannot be used.
    pub fn new(protocol: Protocol, key: Option<SecretString>, base_url: Option<&str>) -> Result<Self, Failure> {
        let chosen = match base_url {
            Some(url) => normal_url(protocol, url)?,
            None => protocol.official_url().to_owned(),
        };
        let official = protocol != Protocol::Ollama && chosen == protocol.official_url();
        let (client, dialects) = (OnceLock::new(), Dialects::new(protocol, official));
        Ok(ProviderClient { protocol, key, base_url: chosen, official, proxy_variable: None, client, dialects })
    }

    /// Says which variable may lead requests through a proxy, so that a failure can name it.
    #[must_use]
    pub fn with_proxy_variable(self, variable: Option<&'static str>) -> Self {
        let proxy_variable = variable.filter(|_| !is_loopback(&self.base_url));
        ProviderClient { proxy_variable, ..self }
    }

    /// Whether this is the provider's own address, whose models and prices are known.
    pub fn is_official(&self) -> bool {
        self.official
    }

    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// Whether there is a key, or a server that may want none.
    pub fn can_be_asked(&self) -> bool {
        match self.protocol {
            Protocol::Anthropic => self.key.is_some(),
            Protocol::OpenAi => self.key.is_some() || !self.official,
            Protocol::Ollama => true,
        }
    }

    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The one model of a server that has one.
    ///
    /// # Errors
    /// [`Kind::UnknownModel`] with the list where it has several or none; else what asking failed with.
    pub async fn only_model(&self) -> Result<String, Failure> {
        let mut names = match tokio::time::timeout(LIST_TIMEOUT, self.list()).await {
            Ok(listed) => listed?,
            Err(_) => {
                let sentence = format!("{} did not list its models within 10 s", self.base_url);
                return Err(Failure::new(Kind::Transport, sentence, self.name_wanted()));
            }
        };
        if names.len() == 1 {
            return Ok(names.remove(0));
        }
        names.truncate(20);
        let list = if names.is_empty() { "no model".to_owned() } else { names.join(", ") };
        Err(Failure::new(
            Kind::UnknownModel,
            format!("{} serves {list}, so the model must be named", self.base_url),
            self.name_wanted(),
        ))
    }

    async fn list(&self) -> Result<Vec<String>, Failure> {
        let request = self.client()?.get(self.url("models"));
        let response = self.opened(request)?.send().await.map_err(|error| self.broken(&error, false))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let most = if status.is_success() { LIST_BYTES_MAX } else { ERROR_BYTES_MAX };
        let body = bounded(response, most).await.map_err(|error| self.broken(&error, false))?;
        if !status.is_success() {
            return Err(self.refused(status, &headers, &body));
        }
        let listed: Value = serde_json::from_str(&body).map_err(|_| self.failure(&ProviderError::NotTheProtocol))?;
        let items = ["data", "models"].iter().find_map(|field| listed.get(field)).unwrap_or(&listed);
        let name = |item: &Value| {
            let field = ["id", "name", "model"].iter().find_map(|field| item.get(field).and_then(Value::as_str));
            field.or_else(|| item.as_str()).map(|name| name.chars().take(200).collect())
        };
        Ok(items.as_array().into_iter().flatten().filter_map(name).collect())
    }

    fn name_wanted(&self) -> String {
        format!("set TENURE_DEFAULT_MODEL={}/NAME, or write {0}/NAME as the model", self.protocol.provider().as_str())
    }

    fn client(&self) -> Result<&reqwest::Client, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .dns_resolver(Arc::new(Lookups::system()))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .user_agent(concat!("tenure/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&self.base_url) {
            // A proxy's own loopback is another one.
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| {
            let sentence = format!("the HTTPS client does not start: {error}");
            Failure::new(Kind::NotReady, sentence, "check that the host has CA certificates (package ca-certificates)")
        })?;
        Ok(self.client.get_or_init(|| client))
    }

    /// The request with what opens the door.
    fn opened(&self, request: RequestBuilder) -> Result<RequestBuilder, Failure> {
        let Some(key) = &self.key else {
            if self.can_be_asked() {
                return Ok(request);
            }
            return Err(Failure::new(
                Kind::Auth,
                format!("there is no key for {}", self.protocol.provider().as_str()),
                format!("set {} and start the daemon again", self.protocol.key_variable()),
            ));
        };
        let (name, text) = match self.protocol {
            Protocol::Anthropic => ("x-api-key", key.expose_secret().to_owned()),
            Protocol::OpenAi | Protocol::Ollama => (AUTHORIZATION.as_str(), format!("Bearer {}", key.expose_secret())),
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            let variable = self.protocol.key_variable();
            let sentence = format!("the key of {} has letters that no key has", self.protocol.provider().as_str());
            Failure::new(Kind::Auth, sentence, format!("set {variable} anew and start the daemon again"))
        })?;
        value.set_sensitive(true);
        let request = request.header(name, value);
        Ok(match self.protocol {
            Protocol::Anthropic => request.header("anthropic-version", ANTHROPIC_VERSION),
            Protocol::OpenAi | Protocol::Ollama => request,
        })
    }

    fn url(&self, path: &str) -> String {
        match self.base_url.split_once('?') {
            Some((base, query)) => format!("{base}{path}?{query}"),
            None => format!("{}{path}", self.base_url),
        }
    }

    fn failure(&self, error: &ProviderError<'_>) -> Failure {
        let context = ErrorContext {
            protocol: self.protocol,
            base_url: &self.base_url,
            key: self.key.as_ref(),
            proxy_variable: self.proxy_variable,
        };
        context.failure(error)
    }

    fn broken(&self, error: &(dyn std::error::Error + 'static), begun: bool) -> Failure {
        self.failure(&ProviderError::Broken { error, begun })
    }

    fn refused(&self, status: StatusCode, headers: &HeaderMap, body: &str) -> Failure {
        self.failure(&ProviderError::Status { status, headers, body })
    }
}

/// A body's beginning; what is beyond is not waited for.
async fn bounded(response: Response, most: usize) -> Result<String, reqwest::Error> {
    let (mut body, mut bytes) = (response.bytes_stream(), Vec::new());
    while let Some(more) = body.next().await {
        let more = more?;
        let room = most - bytes.len();
        bytes.extend_from_slice(&more[..more.len().min(room)]);
        if bytes.len() == most {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// One model of a provider.
pub struct Remote {
    name: ModelName,
    client: Arc<ProviderClient>,
    /// Instead of the wire that the model's name and the endpoint call for.
    wire: Option<Wire>,
    /// What a person set that it costs, as it held when the call was made.
    price: Option<Price>,
}

impl Remote {
    /// `model` is the provider's own name for it, sent as it is.
    pub fn new(client: Arc<ProviderClient>, model: &str) -> Self {
        Remote { name: ModelName::new(client.protocol.provider(), model), client, wire: None, price: None }
    }

    /// Costs this, whatever else is known of its price.
    #[must_use]
    pub fn at_price(self, price: Option<Price>) -> Self {
        Remote { price, ..self }
    }

    fn cost(&self, usage: &Usage) -> Option<u64> {
        match self.price {
            Some(price) => price.cost(usage),
            None => price::cost(&self.name, self.address(), usage),
        }
    }

    /// Speaks this wire, whatever the model's name calls for.
    #[must_use]
    pub fn speaking(self, wire: Wire) -> Self {
        Remote { wire: Some(wire), ..self }
    }

    fn address(&self) -> price::Address<'_> {
        match self.client.official {
            true => price::Address::Official,
            false => price::Address::Url(&self.client.base_url),
        }
    }

    async fn ask(&self, request: &Request, pieces: &PieceSink) -> Result<Answer, Failure> {
        let (client, model) = (&self.client, self.name.model.as_str());
        let mut refusals = 0;
        let response = loop {
            let wire = self.wire.unwrap_or_else(|| client.dialects.wire(model));
            let dialect = client.dialects.of(model);
            if let Some(lacking) = wire::lacks(wire, request) {
                let sentence = format!("{} cannot be asked for {lacking}", self.name);
                return Err(Failure::new(Kind::Rejected, sentence, "leave it out, or name another model"));
            }
            let body = wire::encode(wire, model, request, dialect).to_string();
            let sent = client.client()?.post(client.url(wire.path())).body(body);
            let sent =
                sent.header(CONTENT_TYPE, "application/json").header(ACCEPT, "text/event-stream, application/json");
            let response = client.opened(sent)?.send().await.map_err(|error| client.broken(&error, false))?;
            let (status, headers) = (response.status(), response.headers().clone());
            if status.is_success() {
                break (wire, response);
            }
            // An error is told even where its body breaks off.
            let words = bounded(response, ERROR_BYTES_MAX).await.unwrap_or_default();
            refusals += 1;
            let learned =
                refusals <= REFUSALS_MAX && client.dialects.learn(model, wire, dialect, status.as_u16(), &words);
            if !learned {
                return Err(client.refused(status, &headers, &words));
            }
        };
        let (wire, response) = response;
        let reply = self.reply(wire, request, response, pieces).await?;
        self.answer(request, reply).await
    }

    async fn reply(
        &self,
        wire: Wire,
        request: &Request,
        response: Response,
        pieces: &PieceSink,
    ) -> Result<Reply, Failure> {
        let spelling = Spelling::of(&request.tools);
        let offered = request.tools.iter().map(|tool| spelling.spell(&tool.name)).collect();
        let mut text = |piece: &str| pieces.push(piece);
        let outcome = wire::read(wire, offered, response.bytes_stream(), &mut text).await;
        pieces.flush();
        outcome.map_err(|error| match error {
            WireError::Told(words) => self.client.failure(&ProviderError::Told(&words)),
            WireError::NotTheProtocol => self.client.failure(&ProviderError::NotTheProtocol),
            WireError::TooLarge => conclude::too_large(&self.client.base_url),
            WireError::Cut => conclude::cut(&self.name),
            WireError::Nothing => conclude::nothing(&self.client.base_url, self.client.protocol.url_variable()),
            WireError::Broken { error, begun } => self.client.broken(error.as_ref(), begun),
        })
    }

    /// An answer that failed has its price where the provider counted it.
    fn spent(&self, failure: Failure, usage: Usage) -> Failure {
        if usage.input.is_none() && usage.output.is_none() {
            return failure;
        }
        let spent = Spent { usage, micro_usd: self.cost(&usage) };
        Failure { spent: Some(Box::new(spent)), ..failure }
    }

    async fn answer(&self, request: &Request, reply: Reply) -> Result<Answer, Failure> {
        let counted = reply.usage;
        let mut answer =
            conclude::conclude(&self.name, request, reply).map_err(|failure| self.spent(failure, counted))?;
        if answer.usage.input.is_none() || answer.usage.output.is_none() {
            answer = estimated(request.clone(), answer).await;
        }
        answer.cost_micro_usd = self.cost(&answer.usage);
        Ok(answer)
    }
}

/// With what the provider did not count. Counting takes time that the runtime's threads are not kept from others for.
async fn estimated(request: Request, answer: Answer) -> Answer {
    let fallback = answer.clone();
    let count = move || {
        let thought = answer.reasoning.as_ref().map(|thought| serde_json::json!(thought).to_string());
        let input = answer.usage.input.unwrap_or_else(|| estimate::request(&request));
        let output = answer
            .usage
            .output
            .unwrap_or_else(|| estimate::answer(&answer.text, thought.as_deref().unwrap_or_default(), &answer.calls));
        let usage = Usage { input: Some(input), output: Some(output), estimated: true, ..answer.usage };
        Answer { usage, ..answer }
    };
    // It cannot fail but with the runtime, at whose end no answer is recorded any more.
    tokio::task::spawn_blocking(count).await.unwrap_or(fallback)
}

impl Model for Remote {
    fn name(&self) -> &ModelName {
        &self.name
    }

    fn reserve_micro_usd(&self, request: &Request) -> Option<u64> {
        self.cost(&price::reserved_usage(request))
    }

    fn generate<'a>(
        &'a self,
        request: &'a Request,
        pieces: &'a PieceSink,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Answer, Failure>> {
        async move {
            match tokio::time::timeout_at(deadline, self.ask(request, pieces)).await {
                Ok(outcome) => outcome,
                // It may be at work on it, and counts that.
                Err(_) => Err(Failure::new(
                    Kind::Deadline,
                    format!("{} did not finish its answer in time", self.name),
                    "it is asked again while the execution has time; give the iteration more if this repeats",
                )
                .begun()),
            }
        }
        .boxed()
    }
}
