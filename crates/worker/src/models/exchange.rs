//! One HTTP request of a program and its answer, over a stream. Must never: hand on a header that is not named, or a body that is no text.
use super::stream::{ANSWER_TIMEOUT, Call, Cut, Head, Stream, Streams};
use bytes::Bytes;
use futures_util::stream::unfold;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::json;
use std::io;
use std::time::Duration;
use tenure_wire::stream::{FromProgram, HEADER_BYTES_MAX, HEADERS, PATH_BYTES_MAX, REQUEST_BYTES_MAX, room};
use tokio::time::timeout;

/// How long a program may take between two pieces of a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

type Outgoing = UnsyncBoxBody<Bytes, io::Error>;

/// What the exchanges of one jail share.
#[derive(Debug)]
pub(super) struct Exchanges(pub(super) Streams);

/// Why a request gets an answer of the worker's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    TooMany,
    Path,
    Encoded,
    TooLarge,
    NotText,
    Slow,
    Cut,
    NoDaemon,
    NoAnswer,
}

impl From<Cut> for Refused {
    fn from(cut: Cut) -> Refused {
        match cut {
            Cut::NoDaemon => Refused::NoDaemon,
            Cut::NoAnswer | Cut::TooLong => Refused::NoAnswer,
        }
    }
}

impl Refused {
    fn said(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Refused::TooMany => (
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_error",
                "this sandbox has 32 requests open already; wait for one to end",
            ),
            Refused::Path => (StatusCode::URI_TOO_LONG, "invalid_request_error", "the path is longer than 512 bytes"),
            Refused::Encoded => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "invalid_request_error",
                "a compressed body is not read; send it as it is",
            ),
            Refused::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "request_too_large",
                "the body is longer than 16 MiB; send less at once",
            ),
            Refused::NotText => (StatusCode::BAD_REQUEST, "invalid_request_error", "the body is no UTF-8; send JSON"),
            Refused::Slow => (
                StatusCode::REQUEST_TIMEOUT,
                "timeout_error",
                "the body did not go on for 60 s; send the request again",
            ),
            Refused::Cut => (StatusCode::BAD_REQUEST, "invalid_request_error", "the body ended before its end"),
            Refused::NoDaemon => (
                StatusCode::SERVICE_UNAVAILABLE,
                "api_error",
                "the link to the daemon has ended, and this sandbox ends with it",
            ),
            Refused::NoAnswer => {
                (StatusCode::BAD_GATEWAY, "api_error", "the daemon broke the answer off; send the request again")
            }
        }
    }

    /// In a form that the libraries of both kinds of provider read.
    fn response(self) -> Response<Outgoing> {
        let (status, kind, message) = self.said();
        let body = json!({"type": "error", "error": {"type": kind, "message": message, "param": null, "code": null}});
        let mut response =
            Response::new(Full::new(Bytes::from(body.to_string())).map_err(|never| match never {}).boxed_unsync());
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self == Refused::TooMany {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl Exchanges {
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Outgoing> {
        self.exchange(request).await.unwrap_or_else(Refused::response)
    }

    async fn exchange(&self, request: Request<Incoming>) -> Result<Response<Outgoing>, Refused> {
        let place = self.0.place().ok_or(Refused::TooMany)?;
        let call = described(&request)?;
        let mut stream = self.0.open(call, place, ANSWER_TIMEOUT).await?;
        let head = match send(&mut stream, request.into_body()).await? {
            // The answer began before the body had ended, of which no more is read.
            Some(head) => head,
            None => {
                stream.tell(FromProgram::End).await?;
                stream.head().await?
            }
        };
        into_response(stream, head)
    }
}

fn described(request: &Request<Incoming>) -> Result<Call, Refused> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    if path.len() > PATH_BYTES_MAX {
        return Err(Refused::Path);
    }
    let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if request.headers().get(CONTENT_ENCODING).is_some_and(|value| !plain(value)) {
        return Err(Refused::Encoded);
    }
    let header = |name: &&str| {
        let value = request.headers().get(*name)?.to_str().ok()?;
        Some(((*name).to_owned(), value[..value.floor_char_boundary(HEADER_BYTES_MAX)].to_owned()))
    };
    Ok(Call {
        method: request.method().as_str().to_owned(),
        path: path.to_owned(),
        headers: HEADERS.iter().filter_map(header).collect(),
    })
}

/// Sends a body as the window lets it.
async fn send(stream: &mut Stream, mut body: Incoming) -> Result<Option<Head>, Refused> {
    let (mut sent, mut carried) = (0usize, Vec::new());
    while let Some(frame) = timeout(BODY_TIMEOUT, body.frame()).await.map_err(|_| Refused::Slow)? {
        let Ok(bytes) = frame.map_err(|_| Refused::Cut)?.into_data() else { continue };
        sent += bytes.len();
        if sent > REQUEST_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        carried.extend_from_slice(&bytes);
        if let Some(head) = stream.send(&whole_letters(&mut carried)?).await? {
            return Ok(Some(head));
        }
    }
    if carried.is_empty() { Ok(None) } else { Err(Refused::NotText) }
}

fn into_response(stream: Stream, Head { status, headers }: Head) -> Result<Response<Outgoing>, Refused> {
    let status = StatusCode::from_u16(status).map_err(|_| Refused::NoAnswer)?;
    let mut response = Response::new(into_body(stream));
    *response.status_mut() = status;
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// The answer's body; room is given back once a piece was taken.
fn into_body(stream: Stream) -> Outgoing {
    let pieces = unfold(Some((stream, 0usize)), |state| async move {
        let (mut stream, taken) = state?;
        if taken > 0 && stream.tell(FromProgram::Credit { room: taken }).await.is_err() {
            return Some((Err(broken()), None));
        }
        match stream.piece().await {
            Ok(Some(text)) => {
                let taken = room(&text);
                Some((Ok(Frame::data(Bytes::from(text))), Some((stream, taken))))
            }
            Ok(None) => None,
            Err(_) => Some((Err(broken()), None)),
        }
    });
    StreamBody::new(pieces).boxed_unsync()
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the answer broke off")
}

/// The text of all whole letters; what may still become one stays.
fn whole_letters(carried: &mut Vec<u8>) -> Result<String, Refused> {
    let end = match std::str::from_utf8(carried) {
        Ok(_) => carried.len(),
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => return Err(Refused::NotText),
    };
    let rest = carried.split_off(end);
    let text = String::from_utf8(std::mem::replace(carried, rest)).expect("invariant: it was just looked at");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_in_two_pieces_stay_whole_and_what_is_no_text_is_refused() {
        let text = "aé☃𝄞z".as_bytes();
        for cut in 0..=text.len() {
            let mut carried = text[..cut].to_vec();
            let first = whole_letters(&mut carried).unwrap();
            carried.extend_from_slice(&text[cut..]);
            let rest = whole_letters(&mut carried).unwrap();
            assert_eq!((first + &rest).as_bytes(), text, "cut at {cut}");
            assert!(carried.is_empty());
        }
        assert_eq!(whole_letters(&mut b"a\xff".to_vec()), Err(Refused::NotText));
    }
}
