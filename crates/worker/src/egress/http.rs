//! The proxy as HTTP sees it: CONNECT makes a tunnel, a request for an absolute `http` URL is sent on. Each request is judged
//! by itself. Must never: send on a body of what is refused, a header that is meant for this proxy, or a host that differs
//! from the one that was judged.
use super::bypass::Check;
use super::filter::{Found, RequestFilter};
use super::gate::{ConnectError, Gate, RefusedHost};
use super::metered::{MeteredStream, Watch};
use super::network::Stream;
use super::tunnel;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1 as client;
use hyper::ext::ReasonPhrase;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tenure_core::network::host::{Host, Misspelt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long a program may take to send a head, the first one and each later one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a kept connection may take to be ready for another request.
const READY_TIMEOUT: Duration = Duration::from_millis(100);
/// Bytes that each side buffers.
const BUFFER_BYTES: usize = 64 << 10;
/// Longest reason in a status line.
const REASON_BYTES_MAX: usize = 200;

type Outgoing = BoxBody<Bytes, hyper::Error>;
type ConnectionTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Serves one connection until either side ends. `first`: what was read from it already.
pub(super) async fn converse<S: Stream + 'static>(program: S, first: &[u8], gate: &Gate) {
    let (filter, malformed) = RequestFilter::new(program, first);
    let filter = gate.bypass().filtered(filter);
    let (drivers, mut driven) = mpsc::channel::<ConnectionTask>(1);
    let (upgrades, mut upgraded) = mpsc::channel(1);
    let connection = Arc::new(Connection { gate: gate.clone(), malformed, drivers, upgrades, kept: Mutex::new(None) });
    let answer = service_fn(move |request| {
        let connection = Arc::clone(&connection);
        // Looked at before anything is awaited: what is found later belongs to a later request.
        let malformed = connection.malformed.get().copied();
        async move {
            let response = match malformed {
                Some(why) => closing(plain(why.status(), why.sentence())),
                None => connection.answer(request).await,
            };
            Ok::<_, Infallible>(response)
        }
    });
    let serving = server::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(filter), answer)
        .with_upgrades();
    tokio::pin!(serving);
    // The connections outside live and end with this one.
    let mut outside = JoinSet::new();
    loop {
        tokio::select! {
            // How the program ends it is its own affair.
            _ = &mut serving => break,
            Some(driver) = driven.recv() => drop(outside.spawn(driver)),
            Some(_) = outside.join_next() => {}
        }
    }
    if let Ok(upgrade) = upgraded.try_recv() {
        let Upgrade { inside, outside, watch } = upgrade;
        let Ok(inside) = inside.await else { return };
        match outside {
            Side::Tunnel(metered) => tunnel::join(TokioIo::new(inside), *metered, watch).await,
            Side::Upgraded(outside) => {
                if let Ok(outside) = outside.await {
                    tunnel::join(TokioIo::new(inside), TokioIo::new(outside), watch).await;
                }
            }
        }
    }
}

/// Both sides of what is to become a tunnel once the answer is sent.
struct Upgrade {
    inside: OnUpgrade,
    outside: Side,
    watch: Watch,
}

enum Side {
    Tunnel(Box<MeteredStream>),
    Upgraded(OnUpgrade),
}

/// One connection of a program.
struct Connection {
    gate: Gate,
    malformed: Found,
    /// To whoever polls the connections outside.
    drivers: mpsc::Sender<ConnectionTask>,
    upgrades: mpsc::Sender<Upgrade>,
    /// Taken out while a request uses it; requests of one connection come one after another.
    kept: Mutex<Option<IdleConnection>>,
}

/// A connection outside that may take another request to the same place.
struct IdleConnection {
    host: Host,
    port: u16,
    sender: client::SendRequest<Incoming>,
    watch: Watch,
}

/// Why a request gets an answer of our own.
enum ProxyError {
    Denied(ConnectError),
    /// The request itself is at fault.
    Wrong(&'static str),
    Broken(String),
}

impl<D: Into<ConnectError>> From<D> for ProxyError {
    fn from(denied: D) -> ProxyError {
        ProxyError::Denied(denied.into())
    }
}

impl Connection {
    async fn answer(&self, request: Request<Incoming>) -> Response<Outgoing> {
        // Behind a body that nobody reads, or a head that promised a tunnel, there is no next request.
        let last = request.method() == Method::CONNECT
            || request.headers().contains_key(UPGRADE)
            || !request.body().is_end_stream();
        let answered =
            if request.method() == Method::CONNECT { self.connect(request).await } else { self.send_on(request).await };
        match answered {
            Ok(response) => response,
            Err(own) if last => closing(own.response()),
            Err(own) => own.response(),
        }
    }

    async fn connect(&self, mut request: Request<Incoming>) -> Result<Response<Outgoing>, ProxyError> {
        let authority = request.uri().authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
        let (host, port) = self.place(&authority)?;
        let Some(port) = port else { return Err(ProxyError::Wrong("CONNECT names a host and a port")) };
        let metered = self.gate.open(&host, port).await?;
        let watch = metered.watch();
        let upgrade =
            Upgrade { inside: hyper::upgrade::on(&mut request), outside: Side::Tunnel(Box::new(metered)), watch };
        self.upgrades.try_send(upgrade).map_err(|_| ProxyError::Wrong("this connection is a tunnel already"))?;
        Ok(Response::new(empty()))
    }

    async fn send_on(&self, mut request: Request<Incoming>) -> Result<Response<Outgoing>, ProxyError> {
        self.gate.count_request();
        let uri = request.uri().clone();
        match uri.scheme_str() {
            Some("http") => {}
            Some(_) | None if !self.gate.bypass().enforces(Check::Request) => {}
            Some("https") => {
                return Err(ProxyError::Wrong("for an https URL use CONNECT: the proxy does not speak TLS"));
            }
            Some(_) => return Err(ProxyError::Wrong("only http URLs are sent on")),
            None => return Err(ProxyError::Wrong("this is a proxy: name an absolute http URL, or use CONNECT")),
        }
        let authority = uri.authority().map(|authority| authority.as_str());
        let authority = self.gate.bypass().authority(authority, request.headers().get(HOST));
        let (host, port) = self.place(authority.unwrap_or_default())?;
        let port = port.unwrap_or(80);
        if let Some(stated) = request.headers().get(HOST).filter(|_| self.gate.bypass().enforces(Check::Request)) {
            let stated = stated.to_str().ok().and_then(|stated| Host::parse_with_port(stated).ok());
            if stated.map(|(host, port)| (host, port.unwrap_or(80))).as_ref() != Some(&(host.clone(), port)) {
                return Err(ProxyError::Wrong("the Host header differs from the URL"));
            }
        }
        let websocket = wants_websocket(&request);
        let inside = websocket.then(|| hyper::upgrade::on(&mut request));
        let had_upgrade = request.headers().contains_key(UPGRADE);
        rewrite(&mut request, &host, port, websocket)?;
        let (mut response, watch) = self.exchange(&host, port, request).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(inside) = inside.filter(|_| is_websocket(response.headers())) else {
                return Err(ProxyError::Broken("the server changed the protocol unasked".to_owned()));
            };
            let outside = Side::Upgraded(hyper::upgrade::on(&mut response));
            self.upgrades
                .try_send(Upgrade { inside, outside, watch })
                .map_err(|_| ProxyError::Wrong("this connection is a tunnel already"))?;
            strip(response.headers_mut());
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
            response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
            return Ok(response.map(|_| empty()));
        }
        strip(response.headers_mut());
        *response.version_mut() = Version::HTTP_11;
        let response = response.map(|body| body.boxed());
        Ok(if had_upgrade { closing(response) } else { response })
    }

    /// The host and port of an authority; one that cannot be read is refused.
    fn place(&self, authority: &str) -> Result<(Host, Option<u16>), ProxyError> {
        if authority.contains('@') && self.gate.bypass().enforces(Check::Spelling) {
            return Err(ProxyError::Wrong("the URL holds a login; send it in a header"));
        }
        let read = Host::parse_with_port(authority);
        let read = read.or_else(|why| Ok((self.gate.bypass().reread(authority.as_bytes(), why)?, None)));
        read.map_err(|why| match why {
            Misspelt::Port => ProxyError::Wrong("the port is no number from 1 to 65535"),
            why => self.gate.invalid_host(authority, 0, why).into(),
        })
    }

    /// The answer of `host`, over the kept connection where that leads there and still lives.
    async fn exchange(
        &self,
        host: &Host,
        port: u16,
        mut request: Request<Incoming>,
    ) -> Result<(Response<Incoming>, Watch), ProxyError> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut kept) = kept.filter(|kept| kept.host == *host && kept.port == port) {
            // The rules do not change, and the address behind it was judged.
            if matches!(timeout(READY_TIMEOUT, kept.sender.ready()).await, Ok(Ok(()))) {
                match kept.sender.try_send_request(request).await {
                    Ok(response) => return Ok(self.keep(kept, response)),
                    // The server had closed it; nothing was sent.
                    Err(mut error) => match error.take_message() {
                        Some(unsent) => request = unsent,
                        None => return Err(ProxyError::Broken(error.into_error().to_string())),
                    },
                }
            }
        }
        let metered = self.gate.open(host, port).await?;
        let watch = metered.watch();
        let (sender, connection) = client::Builder::new()
            .max_buf_size(BUFFER_BYTES)
            .handshake(TokioIo::new(metered))
            .await
            .map_err(|error| ProxyError::Broken(error.to_string()))?;
        let (idle, connection) = (watch.clone(), connection.with_upgrades());
        let driver = async move {
            tokio::select! {
                _ = connection => {}
                () = idle.idle(tunnel::IDLE) => {}
            }
        };
        self.drivers.send(Box::pin(driver)).await.map_err(|_| ProxyError::Broken("the connection ended".to_owned()))?;
        let mut kept = IdleConnection { host: host.clone(), port, sender, watch };
        let response =
            kept.sender.send_request(request).await.map_err(|error| ProxyError::Broken(error.to_string()))?;
        Ok(self.keep(kept, response))
    }

    fn keep(&self, kept: IdleConnection, response: Response<Incoming>) -> (Response<Incoming>, Watch) {
        let watch = kept.watch.clone();
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        (response, watch)
    }
}

/// From the program's request for the proxy to the proxy's for the server.
fn rewrite(request: &mut Request<Incoming>, host: &Host, port: u16, websocket: bool) -> Result<(), ProxyError> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    *request.uri_mut() = target.parse::<Uri>().map_err(|_| ProxyError::Wrong("the URL's path is malformed"))?;
    *request.version_mut() = Version::HTTP_11;
    let named = if port == 80 { host.to_string() } else { format!("{host}:{port}") };
    let named = HeaderValue::try_from(named).map_err(|_| ProxyError::Wrong("the URL's host is malformed"))?;
    let headers = request.headers_mut();
    strip(headers);
    headers.insert(HOST, named);
    if websocket {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    Ok(())
}

/// Takes out what is meant for the next hop alone, whatever it is called.
fn strip(headers: &mut HeaderMap) {
    const HOP: [&str; 8] =
        ["connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect", "http2-settings"];
    let listed = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let listed: Vec<HeaderName> =
        listed.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect();
    let proxys: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with("proxy-")).cloned().collect();
    // How long the body is must stay known: a list that names it does not make it a matter of one hop.
    let length = |name: &HeaderName| *name != CONTENT_LENGTH && *name != HOST;
    for name in listed.iter().filter(|name| length(name)).chain(&proxys) {
        headers.remove(name);
    }
    for name in HOP {
        headers.remove(name);
    }
}

fn wants_websocket(request: &Request<Incoming>) -> bool {
    request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && request.body().is_end_stream()
        && !request.headers().contains_key(CONTENT_LENGTH)
        && is_websocket(request.headers())
}

fn is_websocket(headers: &HeaderMap) -> bool {
    let says = |name: HeaderName, word: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(word))
    };
    let one = headers.get_all(UPGRADE).iter().count() == 1;
    one && says(UPGRADE, "websocket") && says(CONNECTION, "upgrade")
}

impl ProxyError {
    fn response(&self) -> Response<Outgoing> {
        match self {
            ProxyError::Denied(ConnectError::Refused(refused)) => refusal(refused),
            ProxyError::Denied(denied @ ConnectError::Unresolved { .. }) => {
                plain(StatusCode::BAD_GATEWAY, &denied.to_string())
            }
            ProxyError::Denied(denied @ ConnectError::Unreachable { kind, .. }) => {
                let late = *kind == io::ErrorKind::TimedOut;
                plain(if late { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY }, &denied.to_string())
            }
            ProxyError::Wrong(why) => plain(StatusCode::BAD_REQUEST, why),
            ProxyError::Broken(why) => plain(StatusCode::BAD_GATEWAY, &format!("the server broke off: {why}")),
        }
    }
}

/// The rule stands in the reason too: of a refused CONNECT, programs show only that.
fn refusal(refused: &RefusedHost) -> Response<Outgoing> {
    let mut response = plain(StatusCode::FORBIDDEN, &refused.to_string());
    let printable = |byte: u8| if byte == b' ' || byte.is_ascii_graphic() { byte } else { b'?' };
    let reason = format!("Refused ({})", refused.rule);
    let reason: Vec<u8> = reason.bytes().map(printable).take(REASON_BYTES_MAX).collect();
    if let Ok(reason) = ReasonPhrase::try_from(reason) {
        response.extensions_mut().insert(reason);
    }
    response
}

fn plain(status: StatusCode, sentence: &str) -> Response<Outgoing> {
    let body = Full::new(Bytes::from(format!("tenure: {sentence}\n"))).map_err(|never| match never {});
    let mut response = Response::new(body.boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn closing(mut response: Response<Outgoing>) -> Response<Outgoing> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn empty() -> Outgoing {
    Empty::new().map_err(|never| match never {}).boxed()
}
