//! The network group. It runs in the worker, through the gate of its jail: whoever reads what it got sits inside. Must never:
//! reach what the jail's programs could not, or let a downloaded byte into the work folder before it was checked.
mod credentialed;
mod download;

pub(super) use credentialed::{can_be_looked_through, credentialed_request, header, refused as secret_refused};
pub(super) use download::download;

use super::{Abort, CallContext, CallResult, PerformResult, invalid};
use crate::egress::fetch::{FetchError, FetchRequest, FetchResponse, UrlError};
use crate::egress::gate::{ConnectError, JudgedAddress, RefusedHost};
use crate::output::HeadTailBuffer;
use bytes::Bytes;
use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tenure_core::network::host::Host;
use tenure_wire::scrub::Scrubber;
use tokio::time::{Instant, timeout_at};

/// For a call that names no time, and most that one may name.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const REQUEST_TIMEOUT_MAX: Duration = Duration::from_secs(300);
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a body that are read when the caller names no bound, and most that it may name. What is shown is less.
const READ_BYTES: u64 = 1 << 20;
const READ_BYTES_MAX: u64 = 16 << 20;
const BODY_BYTES_MAX: usize = 1 << 20;
const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 4096;
const AGENT: HeaderValue = HeaderValue::from_static(concat!("tenure/", env!("CARGO_PKG_VERSION")));

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpRequest {
    url: String,
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    timeout_ms: Option<u64>,
    max_bytes: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lookup {
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PortCheck {
    host: String,
    port: u16,
    timeout_ms: Option<u64>,
}

pub(super) async fn http_request(context: &CallContext, wanted: HttpRequest, deadline: Instant) -> PerformResult {
    request(context, wanted, FetchSettings::default(), deadline).await
}

/// In what a request with a secret differs from one without.
#[derive(Default)]
struct FetchSettings {
    header: Option<(HeaderName, HeaderValue)>,
    shown: Shown,
    secret: bool,
}

/// How an answer is shown.
#[derive(Default)]
enum Shown {
    #[default]
    AsItIs,
    /// Values are taken out before anything is cut.
    Without(Scrubber),
}

async fn request(
    context: &CallContext,
    wanted: HttpRequest,
    settings: FetchSettings,
    deadline: Instant,
) -> PerformResult {
    let method = match wanted.method.as_deref() {
        None | Some("GET") => Method::GET,
        Some("HEAD") => Method::HEAD,
        Some("POST") => Method::POST,
        Some("PUT") => Method::PUT,
        Some("PATCH") => Method::PATCH,
        Some("DELETE") => Method::DELETE,
        Some("OPTIONS") => Method::OPTIONS,
        Some(_) => return Err(invalid("`method` is one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")),
    };
    if wanted.body.len() > BODY_BYTES_MAX {
        return Err(invalid(format!("`body` may have {BODY_BYTES_MAX} bytes")));
    }
    let url = context.egress.read(&wanted.url).map_err(unread)?;
    let mut headers = headers(&wanted.headers)?;
    headers.extend(settings.header);
    let ask = FetchRequest { method, url, headers, body: Bytes::from(wanted.body) };
    let max = wanted.max_bytes.unwrap_or(READ_BYTES).min(READ_BYTES_MAX);
    let until = until(wanted.timeout_ms, REQUEST_TIMEOUT, REQUEST_TIMEOUT_MAX, deadline);
    let asking = async {
        let answered = context.egress.fetch(ask).await.map_err(failed)?;
        if settings.secret {
            can_be_looked_through(answered.response.headers())?;
        }
        shown(answered, max, &settings.shown).await
    };
    timeout_at(until, asking).await.unwrap_or_else(|_| Ok(late()))
}

/// The answer as the model sees it: the head and the tail of a long body.
async fn shown(answered: FetchResponse, max: u64, how: &Shown) -> PerformResult {
    let FetchResponse { response, url, redirects, unfollowed, connection } = answered;
    let (head, mut body) = response.into_parts();
    let (mut kept, mut size, mut cut) = (HeadTailBuffer::default(), 0u64, false);
    let mut scrubbed = match how {
        Shown::AsItIs => None,
        Shown::Without(scrubber) => Some(scrubber.stream()),
    };
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| failed(FetchError::Broken(error.to_string())))?;
        let Ok(bytes) = frame.into_data() else { continue };
        let left = usize::try_from(max - size).unwrap_or(usize::MAX);
        cut = bytes.len() > left;
        let part = &bytes[..bytes.len().min(left)];
        match &mut scrubbed {
            None => kept.push(part),
            Some(stream) => kept.push(&stream.push(part)),
        }
        size += part.len() as u64;
        if cut {
            break;
        }
    }
    drop(connection);
    if let Some(stream) = scrubbed
        && !cut
    {
        // Of a body that was cut, what may be the beginning of a value stays away.
        kept.push(&stream.end());
    }
    let left_out = kept.left_out() > 0;
    let (body, encoding) = kept.encoded();
    let mut result = json!({
        "status": head.status.as_u16(),
        "url": url.to_string(),
        "redirects": redirects,
        "headers": told(&head.headers, how),
        "body": body,
        "encoding": encoding,
        "size": size,
        "truncated": cut || left_out,
    });
    if let Some(mut unfollowed) = unfollowed {
        if let Shown::Without(scrubber) = how {
            scrubber.string(&mut unfollowed.location);
        }
        // Whole, unlike among the headers: it may be asked for next.
        if let Ok(target) = &unfollowed.target {
            result["location"] = target.to_string().into();
        }
        result["redirect"] = format!("the server {unfollowed}").into();
    }
    Ok(CallResult::done(result))
}

pub(super) async fn dns_lookup(context: &CallContext, wanted: Lookup, deadline: Instant) -> PerformResult {
    let host = read_host(context, &wanted.name, 0)?;
    if let Host::Address(address) = host {
        return Err(invalid(format!("{address} is an address already; `name` is a host name")));
    }
    let looking = context.egress.gate.look_up(&host);
    let found = match timeout_at(deadline.min(Instant::now() + CHECK_TIMEOUT), looking).await {
        Ok(found) => found.map_err(|denied| failed(denied.into()))?,
        Err(_) => return Ok(late()),
    };
    let row = |JudgedAddress { address, against }: &JudgedAddress| match against {
        None => json!({ "address": address.to_string() }),
        Some(rule) => json!({ "address": address.to_string(), "refused": rule.to_string() }),
    };
    let addresses: Vec<Value> = found.iter().map(row).collect();
    Ok(CallResult::done(json!({ "name": host.to_string(), "addresses": addresses })))
}

pub(super) async fn port_check(context: &CallContext, wanted: PortCheck, deadline: Instant) -> PerformResult {
    if wanted.port == 0 {
        return Err(invalid("`port` is from 1 to 65535"));
    }
    let host = read_host(context, &wanted.host, wanted.port)?;
    let until = until(wanted.timeout_ms, CHECK_TIMEOUT, CHECK_TIMEOUT, deadline);
    match timeout_at(until, context.egress.gate.open(&host, wanted.port)).await {
        Ok(Ok(_)) => Ok(CallResult::done(json!({ "open": true }))),
        Ok(Err(ConnectError::Unreachable { why, .. })) => Ok(CallResult::done(json!({ "open": false, "why": why }))),
        Ok(Err(denied)) => Err(failed(denied.into())),
        Err(_) => Ok(CallResult::done(json!({ "open": false, "why": "no answer in time" }))),
    }
}

fn read_host(context: &CallContext, text: &str, port: u16) -> Result<Host, Abort> {
    Host::parse(text).map_err(|why| refused(&context.egress.gate.invalid_host(text, port, why)))
}

fn until(stated_ms: Option<u64>, usual: Duration, max: Duration, deadline: Instant) -> Instant {
    deadline.min(Instant::now() + stated_ms.map_or(usual, Duration::from_millis).min(max))
}

/// The caller's headers, without those that only the worker may set.
fn headers(stated: &BTreeMap<String, String>) -> Result<HeaderMap, Abort> {
    if stated.len() > HEADERS_MAX {
        return Err(invalid(format!("at most {HEADERS_MAX} headers are possible")));
    }
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, AGENT);
    for (name, value) in stated {
        let name: HeaderName = name.parse().map_err(|_| invalid(format!("{name:?} is no header's name")))?;
        if is_ours(&name) {
            return Err(invalid(format!("the header `{name}` is set by the worker alone")));
        }
        let value = HeaderValue::from_str(value).ok().filter(|value| value.len() <= HEADER_BYTES_MAX);
        headers.insert(name.clone(), value.ok_or_else(|| invalid(format!("the value of `{name}` cannot be sent")))?);
    }
    Ok(headers)
}

/// Headers that only the worker may set.
fn is_ours(name: &HeaderName) -> bool {
    const OURS: [&str; 10] = [
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "accept-encoding",
    ];
    OURS.contains(&name.as_str()) || name.as_str().starts_with("proxy-")
}

/// Headers of an answer, several of one name joined.
fn told(headers: &HeaderMap, how: &Shown) -> Value {
    let mut told = Map::new();
    for name in headers.keys() {
        let values: Vec<_> =
            headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let mut line = values.join(", ");
        if let Shown::Without(scrubber) = how {
            scrubber.string(&mut line);
        }
        told.insert(name.to_string(), json!(tenure_core::capability::clip(&line)));
    }
    Value::Object(told)
}

fn unread(unread: UrlError) -> Abort {
    match unread {
        UrlError::Refused(told) => refused(&told),
        UrlError::Malformed(why) => invalid(why),
    }
}

fn refused(told: &RefusedHost) -> Abort {
    Abort::Ended(CallResult::failed("network_refused", told.to_string()))
}

fn failed(fault: FetchError) -> Abort {
    let code = match &fault {
        FetchError::Denied(ConnectError::Refused(told)) => return refused(told),
        FetchError::Denied(ConnectError::Unresolved { .. }) => "unresolved",
        FetchError::Denied(ConnectError::Unreachable { .. }) => "unreachable",
        FetchError::Tls(_) => "tls",
        FetchError::Broken(_) => "broken_off",
        FetchError::Redirects(_) => "too_many_redirects",
    };
    Abort::Ended(CallResult::failed(code, fault.to_string()))
}

fn late() -> CallResult {
    CallResult::timed_out("the server did not answer in time; what it did with the request is not known")
}
