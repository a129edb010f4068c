//! One HTTP exchange of a `network.*` call, redirects followed by hand. Must never: follow one to another scheme, host or port
//! than the call was judged by.
use super::EgressHandle;
use super::gate::{ConnectError, RefusedHost};
use super::network::Stream;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, LOCATION};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::fmt;
use tenure_core::network::host::Misspelt;
use tenure_core::network::url::{Unreadable, Url};
use tokio::task::JoinSet;

const REDIRECTS_MAX: u32 = 10;
const BUFFER_BYTES: usize = 64 << 10;

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct FetchRequest {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The last answer; its connection ends with it.
pub(crate) struct FetchResponse {
    pub(crate) response: Response<Incoming>,
    pub(crate) url: Url,
    pub(crate) redirects: u32,
    /// The answer is a redirect that was not followed.
    pub(crate) unfollowed: Option<Unfollowed>,
    pub(crate) connection: JoinSet<()>,
}

/// A redirect to somewhere that nobody has judged yet.
#[derive(Debug)]
pub(crate) struct Unfollowed {
    /// As the server said it.
    pub(crate) location: String,
    /// What may be asked for in a call of its own.
    pub(crate) target: Result<Url, Unreadable>,
}

impl fmt::Display for Unfollowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Ok(url) => {
                write!(f, "redirects to another host, port or scheme; to follow it, call again with the url {url}")
            }
            Err(why) => write!(f, "redirects to {}, which cannot be followed: {why}", clip(&self.location)),
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum FetchError {
    Denied(ConnectError),
    Tls(String),
    Broken(String),
    /// More than this many redirects.
    Redirects(u32),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FetchError::Denied(denied) => denied.fmt(f),
            FetchError::Tls(why) => write!(f, "no TLS connection: {why}"),
            FetchError::Broken(why) => write!(f, "the server broke off: {why}"),
            FetchError::Redirects(max) => write!(f, "the server redirects more than {max} times"),
        }
    }
}

impl From<ConnectError> for FetchError {
    fn from(denied: ConnectError) -> FetchError {
        FetchError::Denied(denied)
    }
}

impl EgressHandle {
    /// Reads a URL; one whose host is none is a refusal like any other.
    pub(crate) fn read(&self, url: &str) -> Result<Url, UrlError> {
        Url::parse(url).map_err(|why| match why {
            Unreadable::Host(invalid_host) if invalid_host != Misspelt::Port => {
                let authority = url.split_once("//").map_or(url, |(_, rest)| rest);
                let authority = authority.split(['/', '?', '#']).next().unwrap_or(authority);
                UrlError::Refused(self.gate.invalid_host(authority, 0, invalid_host))
            }
            why => UrlError::Malformed(why),
        })
    }

    /// Follows redirects within the origin that was asked; one that leads elsewhere is the answer.
    pub(crate) async fn fetch(&self, mut ask: FetchRequest) -> Result<FetchResponse, FetchError> {
        let mut redirects = 0;
        loop {
            let (response, connection) = self.hop(&ask).await?;
            let Some(location) = redirection(&response) else {
                return Ok(FetchResponse { response, url: ask.url, redirects, unfollowed: None, connection });
            };
            let next = match ask.url.join(&location) {
                Ok(next) if same_origin(&ask.url, &next) => next,
                target => {
                    let unfollowed = Some(Unfollowed { location, target });
                    return Ok(FetchResponse { response, url: ask.url, redirects, unfollowed, connection });
                }
            };
            redirects += 1;
            if redirects > REDIRECTS_MAX {
                return Err(FetchError::Redirects(REDIRECTS_MAX));
            }
            ask = ask.redirected(response.status(), next);
        }
    }

    async fn hop(&self, ask: &FetchRequest) -> Result<(Response<Incoming>, JoinSet<()>), FetchError> {
        self.gate.count_request();
        let metered = self.gate.open(&ask.url.host, ask.url.port).await?;
        if !ask.url.secure {
            return exchange(ask, metered).await;
        }
        let wrapped = self.egress.tls.wrap(&ask.url.host, metered).await;
        exchange(ask, wrapped.map_err(|error| FetchError::Tls(error.to_string()))?).await
    }
}

/// Why a URL is not used.
pub(crate) enum UrlError {
    Refused(RefusedHost),
    Malformed(Unreadable),
}

async fn exchange<S: Stream + 'static>(
    ask: &FetchRequest,
    stream: S,
) -> Result<(Response<Incoming>, JoinSet<()>), FetchError> {
    let broken = |error: hyper::Error| FetchError::Broken(error.to_string());
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(BUFFER_BYTES).handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // Its error is the response's, or its body's.
        let _ = connection.await;
    });
    let malformed = |error: http::Error| FetchError::Broken(error.to_string());
    let uri = ask.url.target.parse::<Uri>().map_err(|error| malformed(error.into()))?;
    let mut request =
        Request::builder().method(&ask.method).uri(uri).body(Full::new(ask.body.clone())).map_err(malformed)?;
    *request.headers_mut() = ask.headers.clone();
    let host = HeaderValue::try_from(ask.url.authority()).map_err(|error| malformed(error.into()))?;
    request.headers_mut().insert(HOST, host);
    let response = sender.send_request(request).await.map_err(broken)?;
    Ok((response, driver))
}

fn same_origin(one: &Url, other: &Url) -> bool {
    (one.secure, &one.host, one.port) == (other.secure, &other.host, other.port)
}

/// Where a response leads, if it leads anywhere.
fn redirection(response: &Response<Incoming>) -> Option<String> {
    match response.status() {
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::SEE_OTHER
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => {
            let location = response.headers().get(LOCATION)?;
            Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
        }
        _ => None,
    }
}

impl FetchRequest {
    fn redirected(mut self, status: StatusCode, next: Url) -> FetchRequest {
        let becomes_get = match status {
            StatusCode::SEE_OTHER => self.method != Method::HEAD,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => self.method == Method::POST,
            _ => false,
        };
        if becomes_get {
            self.method = Method::GET;
            self.body = Bytes::new();
            self.headers.remove(CONTENT_TYPE);
            self.headers.remove(CONTENT_LENGTH);
        }
        self.url = next;
        self
    }
}

fn clip(text: &str) -> String {
    tenure_core::capability::clip(text)
}
