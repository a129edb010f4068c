//! A server behind the egress, by Streamable HTTP: a request is one POST, whose answer is one message or a stream that ends with it.
//! Must never: reach what the agent's programs could not, or follow the server to another host.
use super::super::program::message::{MESSAGE_BYTES_MAX, RpcError};
use super::announcer::Announcer;
use super::connection::Fault;
use super::login::Login;
use super::message::{self, Era, Incoming};
use crate::egress::EgressHandle;
use crate::egress::fetch::{FetchError, FetchRequest, FetchResponse, UrlError};
use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use sse_stream::SseStream;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use tenure_core::capability::clip;
use tenure_core::network::url::Url;
use tokio::sync::mpsc;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("tenure/", env!("CARGO_PKG_VERSION")));
const BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Of a stream that ends with one answer.
const STREAM_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;

#[derive(Debug)]
pub(super) struct Http {
    egress: EgressHandle,
    url: Url,
    /// What the answer to the greeting said; none where the server keeps none.
    session: OnceLock<HeaderValue>,
    ended: AtomicBool,
    announcer: Announcer,
}

impl Http {
    pub(super) fn new(egress: EgressHandle, url: &str, announcer: Announcer) -> Result<Http, Fault> {
        let url = egress.read(url).map_err(|error| match error {
            UrlError::Refused(told) => Fault::Unreachable(told.to_string()),
            UrlError::Malformed(why) => Fault::Unreachable(why.to_string()),
        })?;
        Ok(Http { egress, url, session: OnceLock::new(), ended: AtomicBool::new(false), announcer })
    }

    /// A session that the server has ended is greeted anew.
    pub(super) fn is_alive(&self) -> bool {
        !self.ended.load(Ordering::Relaxed)
    }

    fn headers(&self, era: &Era, message: &Value) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, AGENT);
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(ACCEPT, BOTH);
        let method = message["method"].as_str().unwrap_or_default();
        let params = &message["params"];
        let named = params["name"].as_str().or_else(|| params["uri"].as_str());
        let own = [(VERSION, Some(era.version())), (METHOD, Some(method)), (NAME, named)];
        for (name, value) in own {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        }
        if let Some(session) = self.session.get() {
            headers.insert(SESSION, session.clone());
        }
        headers
    }

    async fn post(&self, era: &Era, message: &Value, login: Option<&Login>) -> Result<FetchResponse, Fault> {
        let (mut headers, body) = (self.headers(era, message), Bytes::from(message.to_string()));
        if let Some(login) = login {
            headers.insert(login.name.clone(), login.value.clone());
        }
        let fetch = FetchRequest { method: Method::POST, url: self.url.clone(), headers, body };
        let mut answered = self.egress.fetch(fetch).await.map_err(unreachable)?;
        Login::can_look_through(login, answered.response.headers())?;
        if let Some(unfollowed) = &mut answered.unfollowed {
            let mut told = match login {
                // Where it leads may hold the value.
                Some(login) => {
                    login.clean(&mut unfollowed.location);
                    format!("it redirects to {}, where no secret is sent", clip(&unfollowed.location))
                }
                None => format!("it {unfollowed}"),
            };
            if let Some(login) = login {
                login.clean(&mut told);
            }
            return Err(Fault::Unreachable(told));
        }
        if let Some(session) = answered.response.headers().get(SESSION) {
            let _ = self.session.set(session.clone());
        }
        Ok(answered)
    }

    pub(super) async fn tell(&self, era: &Era, message: Value, login: Option<&Login>) -> Result<(), Fault> {
        self.post(era, &message, login).await.map(drop)
    }

    pub(super) async fn ask(
        &self,
        (era, id): (&Era, u64),
        request: Value,
        heard: mpsc::Sender<String>,
        login: Option<&Login>,
    ) -> Result<Result<Value, RpcError>, Fault> {
        let FetchResponse { response, connection, .. } = self.post(era, &request, login).await?;
        let (head, body) = response.into_parts();
        let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let streams = kind.starts_with("text/event-stream");
        if head.status == StatusCode::NOT_FOUND && self.session.get().is_some() {
            self.ended.store(true, Ordering::Relaxed);
            return Err(Fault::Lost("it ended the session; the next call begins a new one".to_owned()));
        }
        if !head.status.is_success() && !kind.starts_with("application/json") {
            return Err(self.refused(era, head.status, login.is_some()));
        }
        let body = Limited::new(body, if streams { STREAM_BYTES_MAX } else { MESSAGE_BYTES_MAX });
        let answer = if streams {
            let mut events = SseStream::new(body.map_err(std::io::Error::other).boxed_unsync());
            loop {
                let event = match events.next().await {
                    Some(Ok(event)) => event,
                    Some(Err(error)) => return Err(Fault::Lost(format!("its stream broke off: {error}"))),
                    None => return Err(Fault::Lost("its stream ended without an answer".to_owned())),
                };
                let Some(data) = event.data.filter(|data| !data.trim().is_empty()) else { continue };
                match message::read(&Login::cleaned(login, data.as_bytes())).map_err(Fault::Protocol)? {
                    Incoming::Answer { id: of, result } if of == id => break Ok(result),
                    Incoming::Request { id, method } => self.tell(era, message::answer(&id, &method), login).await?,
                    Incoming::Progress { id: of, text } if of == id => drop(heard.try_send(text)),
                    Incoming::ToolsChanged => self.announcer.tools_changed(),
                    Incoming::Answer { .. } | Incoming::Progress { .. } | Incoming::Other => {}
                }
            }
        } else {
            let bytes = body.collect().await.map_err(|error| Fault::Lost(format!("its answer broke off: {error}")))?;
            match message::read(&Login::cleaned(login, &bytes.to_bytes())) {
                Ok(Incoming::Answer { id: of, result }) if of == id => Ok(result),
                Ok(_) => Err(Fault::Protocol("it answered with something else".to_owned())),
                Err(_) if !head.status.is_success() => Err(self.refused(era, head.status, login.is_some())),
                Err(why) => Err(Fault::Protocol(why)),
            }
        };
        drop(connection);
        answer
    }

    /// A server without greetings may refuse one in its own way.
    fn refused(&self, era: &Era, status: StatusCode, with_login: bool) -> Fault {
        let message = format!("HTTP {status}");
        match status {
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
                if *era != Era::Stateless =>
            {
                Fault::Refused { code: i64::from(status.as_u16()), message }
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let told = if with_login {
                    "it does not take the secret that it was sent: `tenure secret rotate` gives it another value"
                } else {
                    "it wants a login: name a secret with it in the manifest, under `secret`, and bind it"
                };
                Fault::Unreachable(format!("{message}: {told}"))
            }
            _ => Fault::Unreachable(clip(&message)),
        }
    }
}

fn unreachable(error: FetchError) -> Fault {
    Fault::Unreachable(error.to_string())
}
