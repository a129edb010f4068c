//! Models behind HTTP: Anthropic, OpenAI and whatever speaks OpenAI's protocol at a base URL.
//!
//! The only file that knows `genai`. One request is one attempt: no retry, no redirect, no fallback. Whatever does not
//! end as the protocol says is a failure, so that a cut stream never passes for an answer. `genai` logs provider
//! bodies, which may echo the key: it runs under no subscriber, and what we keep of a body is scrubbed and clipped.

use super::answer::{Answer, StopReason, Usage};
use super::failure::{Failure, Kind};
use super::lookup::Lookups;
use super::name::ModelName;
use super::piece::PieceSink;
use super::request::{Message, Request, ToolCall};
use super::spelling::Spelling;
use super::{ANSWER_BYTES_MAX, CALLS_MAX, Model, price};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use genai::adapter::AdapterKind;
use genai::chat::{
    CacheControl, ChatMessage, ChatOptions, ChatRequest, ChatStreamEvent, ContentPart, FrameCtx, MessageContent,
    RawFrameRef, StopReason as GenaiStop, StreamEnd, ToolResponse,
};
use genai::resolver::{AuthData, Endpoint, ProviderConfig};
use genai::{Client, Headers, ModelIden, ServiceTarget, webc};
use secrecy::{ExposeSecret, SecretString};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

pub mod address;
mod error;

use address::{Protocol, normal_url};
use error::{ErrorContext, ProviderError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Asking a server which models it has must not hold up a start.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// One provider: where it is and what opens it. Built once, shared by its models; connects at the first call.
pub struct ProviderClient {
    protocol: Protocol,
    key: Option<SecretString>,
    base_url: String,
    official: bool,
    client: OnceLock<Client>,
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
        let official = chosen == protocol.official_url();
        Ok(ProviderClient { protocol, key, base_url: chosen, official, client: OnceLock::new() })
    }

    /// Whether this is the provider's own address, whose models and prices are known.
    pub fn is_official(&self) -> bool {
        self.official
    }

    /// Whether there is a key, or a server that may want none.
    pub fn can_be_asked(&self) -> bool {
        self.key.is_some() || (self.protocol == Protocol::OpenAi && !self.official)
    }

    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The one model of a server that has one.
    ///
    /// # Errors
    /// [`Kind::UnknownModel`] with the list where it has several or none; else what asking failed with.
    pub async fn only_model(&self) -> Result<String, Failure> {
        let config = ProviderConfig::from((Endpoint::from_owned(self.base_url.as_str()), self.auth("models")?));
        let listing =
            self.client()?.all_model_names(adapter(self.protocol), config).with_subscriber(NoSubscriber::new());
        let mut names = match tokio::time::timeout(LIST_TIMEOUT, listing).await {
            Ok(Ok(names)) => names,
            Ok(Err(error)) => return Err(self.failure(&error, false)),
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

    fn name_wanted(&self) -> String {
        format!("set TENURE_DEFAULT_MODEL={}/NAME, or write {0}/NAME as the model", self.protocol.provider().as_str())
    }

    fn client(&self) -> Result<&Client, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let built = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .dns_resolver(Arc::new(Lookups::system()))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .user_agent(concat!("tenure/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| error.to_string())
            .and_then(|http| Client::builder().with_reqwest(http).build().map_err(|error| error.to_string()));
        let client = built.map_err(|error| {
            let sentence = format!("the HTTPS client does not start: {error}");
            Failure::new(Kind::NotReady, sentence, "check that the host has CA certificates (package ca-certificates)")
        })?;
        Ok(self.client.get_or_init(|| client))
    }

    /// `path` is what follows the base URL, for a server that wants no key.
    fn auth(&self, path: &str) -> Result<AuthData, Failure> {
        match &self.key {
            Some(key) => Ok(AuthData::from_single(key.expose_secret())),
            None if self.can_be_asked() => {
                Ok(AuthData::RequestOverride { url: self.url(path), headers: Headers::default() })
            }
            None => Err(Failure::new(
                Kind::Auth,
                format!("there is no key for {}", self.protocol.provider().as_str()),
                format!("set {} and start the daemon again", self.protocol.key_variable()),
            )),
        }
    }

    fn url(&self, path: &str) -> String {
        match self.base_url.split_once('?') {
            Some((base, query)) => format!("{base}{path}?{query}"),
            None => format!("{}{path}", self.base_url),
        }
    }

    fn failure(&self, error: &genai::Error, begun: bool) -> Failure {
        let context = ErrorContext { protocol: self.protocol, base_url: &self.base_url, key: self.key.as_ref(), begun };
        context.failure(provider_error(error))
    }
}

/// One model of a provider.
pub struct Remote {
    name: ModelName,
    client: Arc<ProviderClient>,
}

impl Remote {
    /// `model` is the provider's own name for it, sent as it is.
    pub fn new(client: Arc<ProviderClient>, model: &str) -> Self {
        Remote { name: ModelName::new(client.protocol.provider(), model), client }
    }

    fn address(&self) -> price::Address<'_> {
        match self.client.official {
            true => price::Address::Official,
            false => price::Address::Url(&self.client.base_url),
        }
    }

    fn target(&self) -> Result<ServiceTarget, Failure> {
        let client = &self.client;
        Ok(ServiceTarget {
            endpoint: Endpoint::from_owned(client.base_url.as_str()),
            auth: client.auth("chat/completions")?,
            model: ModelIden::new(adapter(client.protocol), self.name.model.as_str()),
        })
    }

    async fn ask(&self, request: &Request, pieces: &PieceSink) -> Result<Answer, Failure> {
        let spelling = Spelling::of(&request.tools);
        let client = self.client.client()?;
        let chat = chat_request(self.client.protocol, request, &spelling);
        let mut state = StreamState::default();
        let options = options(&self.name, request).with_raw_frame_fn(state.begun_by_frames());
        let target = self.target()?;
        let streaming = async {
            let mut stream = client.exec_chat_stream(target, chat, Some(&options)).await?.stream;
            while let Some(event) = stream.next().await {
                if state.take(event?, pieces) == ControlFlow::Break(()) {
                    break;
                }
            }
            Ok(())
        };
        let outcome = streaming.with_subscriber(NoSubscriber::new()).await;
        pieces.flush();
        outcome.map_err(|error| self.client.failure(&error, state.begun()))?;
        self.answer(state, &spelling)
    }

    fn answer(&self, state: StreamState, spelling: &Spelling) -> Result<Answer, Failure> {
        let server = &self.client.base_url;
        if state.over {
            return Err(malformed(format!("{server} sent more than {ANSWER_BYTES_MAX} bytes in one answer")));
        }
        let Some(end) = state.end else { return Err(self.unfinished(state.begun())) };
        let Some(reason) = &end.captured_stop_reason else { return Err(self.unfinished(true)) };
        let stop = match reason {
            GenaiStop::MaxTokens(_) => StopReason::Length,
            GenaiStop::ContentFilter(_) => {
                let sentence = format!("{} withheld its answer (content filter)", self.name);
                return Err(Failure::new(Kind::Refused, sentence, "change the instruction or choose another model"));
            }
            GenaiStop::Completed(_) | GenaiStop::ToolCall(_) | GenaiStop::StopSequence(_) | GenaiStop::Other(_) => {
                StopReason::End
            }
        };
        let usage = usage(&end);
        let calls = calls(end, stop, spelling, &self.name)?;
        let bytes = state.text.len() + calls.iter().map(ToolCall::bytes).sum::<usize>();
        if bytes > ANSWER_BYTES_MAX {
            return Err(malformed(format!("{server} sent more than {ANSWER_BYTES_MAX} bytes in one answer")));
        }
        if state.text.is_empty() && calls.is_empty() {
            return Err(Failure::new(
                Kind::Empty,
                format!("{} ended its answer without text or calls", self.name),
                "it is asked again; if it stays empty, raise the token limit or choose another model",
            ));
        }
        let cost_micro_usd = price::cost(&self.name, self.address(), &usage);
        let stop = if calls.is_empty() { stop } else { StopReason::Calls };
        Ok(Answer { text: state.text, calls, stop, usage, model: self.name.clone(), cost_micro_usd, warning: None })
    }

    fn unfinished(&self, begun: bool) -> Failure {
        let server = &self.client.base_url;
        match begun {
            true => Failure::new(
                Kind::Truncated,
                format!("the answer of {} broke off in the middle", self.name),
                "it is asked again; the half that came is not used",
            ),
            false => Failure::new(
                Kind::Empty,
                format!("{server} closed its answer without a single event"),
                format!("it is asked again; check that {} serves streaming chats", self.client.protocol.url_variable()),
            ),
        }
    }
}

impl Model for Remote {
    fn name(&self) -> &ModelName {
        &self.name
    }

    fn reserve_micro_usd(&self, request: &Request) -> Option<u64> {
        price::reserve(&self.name, self.address(), request)
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
                Err(_) => Err(Failure::new(
                    Kind::Deadline,
                    format!("{} did not finish its answer in time", self.name),
                    "it is asked again while the execution has time; give the iteration more if this repeats",
                )),
            }
        }
        .boxed()
    }
}

/// What has come of a stream so far.
#[derive(Default)]
struct StreamState {
    text: String,
    end: Option<StreamEnd>,
    /// Any event has come, also one that carries no text.
    begun: Arc<AtomicBool>,
    over: bool,
}

impl StreamState {
    fn begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    fn begun_by_frames(&self) -> impl Fn(&FrameCtx, RawFrameRef<'_>) + Send + Sync + 'static {
        let begun = self.begun.clone();
        move |_, frame| {
            if !frame.data.is_empty() {
                begun.store(true, Ordering::Relaxed);
            }
        }
    }

    fn take(&mut self, event: ChatStreamEvent, pieces: &PieceSink) -> ControlFlow<()> {
        match event {
            ChatStreamEvent::Start | ChatStreamEvent::Heartbeat => return ControlFlow::Continue(()),
            ChatStreamEvent::Chunk(chunk) => {
                self.over = self.text.len() + chunk.content.len() > ANSWER_BYTES_MAX;
                if !self.over {
                    pieces.push(&chunk.content);
                    self.text.push_str(&chunk.content);
                }
            }
            ChatStreamEvent::ToolCallChunk(chunk) => {
                self.over = chunk.tool_call.fn_arguments.as_str().is_some_and(|text| text.len() > ANSWER_BYTES_MAX);
            }
            ChatStreamEvent::ReasoningChunk(_) | ChatStreamEvent::ThoughtSignatureChunk(_) => {}
            ChatStreamEvent::End(end) => {
                self.end = Some(end);
                return ControlFlow::Break(());
            }
        }
        if self.over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn adapter(protocol: Protocol) -> AdapterKind {
    match protocol {
        Protocol::Anthropic => AdapterKind::Anthropic,
        Protocol::OpenAi => AdapterKind::OpenAI,
    }
}

/// What an error of `genai` is to us, whichever of its shapes it comes in.
fn provider_error(error: &genai::Error) -> ProviderError<'_> {
    match error {
        genai::Error::WebStream { error: inner, .. } => match inner.downcast_ref::<genai::Error>() {
            Some(http) => provider_error(http),
            None => ProviderError::Broken(inner.as_ref()),
        },
        genai::Error::HttpError { status, body, headers, .. } => {
            ProviderError::Status { status: *status, headers: headers.as_ref(), body }
        }
        genai::Error::WebModelCall { webc_error, .. } | genai::Error::WebAdapterCall { webc_error, .. } => {
            match webc_error {
                webc::Error::ResponseFailedStatus { status, body, headers } => {
                    ProviderError::Status { status: *status, headers: headers.as_ref(), body }
                }
                webc::Error::Reqwest(inner) => ProviderError::Broken(inner),
                _ => ProviderError::NotTheProtocol,
            }
        }
        genai::Error::ChatResponse { body, .. } => ProviderError::Event(body),
        genai::Error::StreamParse { .. }
        | genai::Error::JsonValueExt(_)
        | genai::Error::SerdeJson(_)
        | genai::Error::InvalidJsonResponseElement { .. } => ProviderError::NotTheProtocol,
        other => ProviderError::Unsendable(other.to_string()),
    }
}

fn options(name: &ModelName, request: &Request) -> ChatOptions {
    // genai reads reasoning levels out of a name's ending and cuts them off: the name goes out as it was written.
    let exact_name = serde_json::json!({ "model": name.model });
    ChatOptions::default()
        .with_max_tokens(request.max_tokens)
        .with_capture_usage(true)
        .with_capture_tool_calls(true)
        .with_extra_body(exact_name)
}

fn chat_request(protocol: Protocol, request: &Request, spelling: &Spelling) -> ChatRequest {
    let mut messages = Vec::with_capacity(request.messages.len() + 1);
    if !request.system.is_empty() {
        messages.push(ChatMessage::system(request.system.as_str()));
    }
    let mut results: Vec<ToolResponse> = Vec::new();
    for message in &request.messages {
        if let Message::Tool { call_id, content, .. } = message {
            results.push(ToolResponse::new(call_id.as_str(), content.as_str()));
            continue;
        }
        take_results(&mut results, &mut messages);
        messages.push(chat_message(message, spelling));
    }
    take_results(&mut results, &mut messages);
    if protocol == Protocol::Anthropic {
        // One mark behind the system text and one behind the newest message: each turn finds the last one's prefix.
        let last = messages.len().saturating_sub(1);
        let marked = messages.into_iter().enumerate().map(|(place, message)| match place == 0 || place == last {
            true => message.with_options(CacheControl::Ephemeral),
            false => message,
        });
        messages = marked.collect();
    }
    let mut chat = ChatRequest::from_messages(messages);
    if !request.tools.is_empty() {
        chat = chat.with_tools(request.tools.iter().map(|tool| {
            genai::chat::Tool::new(spelling.spell(&tool.name))
                .with_description(tool.description.as_str())
                .with_schema(tool.schema.clone())
        }));
    }
    chat
}

/// Anthropic wants all results of one turn in one message.
fn take_results(results: &mut Vec<ToolResponse>, messages: &mut Vec<ChatMessage>) {
    if !results.is_empty() {
        messages.push(ChatMessage::tool(MessageContent::from_tool_responses(std::mem::take(results))));
    }
}

fn chat_message(message: &Message, spelling: &Spelling) -> ChatMessage {
    match message {
        Message::User { text } => ChatMessage::user(text.as_str()),
        Message::Assistant { text, calls } => {
            let mut parts = Vec::with_capacity(calls.len() + 1);
            if !text.is_empty() {
                parts.push(ContentPart::from_text(text.as_str()));
            }
            parts.extend(calls.iter().map(|call| {
                ContentPart::ToolCall(genai::chat::ToolCall {
                    call_id: call.id.clone(),
                    fn_name: spelling.spell(&call.name),
                    fn_arguments: call.arguments.clone(),
                    thought_signatures: None,
                })
            }));
            ChatMessage::assistant(MessageContent::from_parts(parts))
        }
        Message::Tool { call_id, content, .. } => {
            let result = ToolResponse::new(call_id.as_str(), content.as_str());
            ChatMessage::tool(MessageContent::from_tool_responses(vec![result]))
        }
    }
}

fn usage(end: &StreamEnd) -> Usage {
    let Some(counted) = &end.captured_usage else { return Usage::default() };
    let count = |tokens: Option<i32>| tokens.and_then(|tokens| u64::try_from(tokens).ok());
    let details = counted.prompt_tokens_details.as_ref();
    Usage {
        input: count(counted.prompt_tokens),
        output: count(counted.completion_tokens),
        cached: count(details.and_then(|details| details.cached_tokens)),
        cache_written: count(details.and_then(|details| details.cache_creation_tokens)),
    }
}

fn calls(end: StreamEnd, stop: StopReason, spelling: &Spelling, model: &ModelName) -> Result<Vec<ToolCall>, Failure> {
    let asked = end.captured_into_tool_calls().unwrap_or_default();
    if asked.len() > CALLS_MAX {
        return Err(malformed(format!("{model} asks for {} calls at once; the limit is {CALLS_MAX}", asked.len())));
    }
    let mut calls: Vec<ToolCall> = Vec::with_capacity(asked.len());
    for (place, call) in asked.into_iter().enumerate() {
        if call.fn_name.is_empty() {
            return Err(malformed(format!("{model} asks for a call without a name")));
        }
        let arguments = match call.fn_arguments {
            arguments @ serde_json::Value::Object(_) => arguments,
            serde_json::Value::Null => serde_json::json!({}),
            serde_json::Value::String(text) if text.is_empty() && stop != StopReason::Length => serde_json::json!({}),
            _ if stop == StopReason::Length => {
                return Err(Failure::new(
                    Kind::Runaway,
                    format!("the token limit cut the arguments of {} that {model} asks for", call.fn_name),
                    "raise the token limit of an answer, or let the agent write in smaller parts",
                ));
            }
            _ => return Err(malformed(format!("{model} gives {} arguments that are no JSON object", call.fn_name))),
        };
        let id = if call.call_id.is_empty() { format!("call_{place}") } else { call.call_id };
        if calls.iter().any(|other| other.id == id) {
            return Err(malformed(format!("{model} gives two calls the id {id}")));
        }
        calls.push(ToolCall { id, name: spelling.read(&call.fn_name), arguments });
    }
    Ok(calls)
}

fn malformed(sentence: String) -> Failure {
    Failure::new(Kind::Malformed, sentence, "it is asked again; choose another model if this repeats")
}
