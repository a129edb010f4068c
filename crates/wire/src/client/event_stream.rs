//! An execution's event stream. When the connection breaks, it reconnects after the last index that it yielded.
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use http::{Method, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use sse_stream::{Sse, SseStream};
use tokio::time::{sleep, timeout};

use super::{ANSWER_BYTES_MAX, ANSWER_TIMEOUT, Client, Error};
use crate::api::event::{ExecutionEvent, Piece, SSE_EVENT, SSE_PIECE};

/// Joins in a row that may fail before the watcher gives up.
const JOINS_MAX: u32 = 10;
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(3);
/// The daemon sends something at least every 15 seconds.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// What the stream of an execution yields.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamItem {
    Event(Box<ExecutionEvent>),
    /// Plain data; it may be missing or come twice after a broken connection.
    Piece(Piece),
    /// The connection broke and was joined again; no event is missing.
    Rejoined,
}

pub struct EventStream {
    client: Client,
    path: String,
    last: Option<u64>,
    stream: Option<Pin<Box<SseStream<Incoming>>>>,
    failures: u32,
    joined: bool,
    over: bool,
}

impl EventStream {
    pub(super) fn new(client: Client, path: String, after: Option<u64>) -> EventStream {
        EventStream { client, path, last: after, stream: None, failures: 0, joined: false, over: false }
    }

    /// The next thing, or `None` after the execution's end.
    ///
    /// # Errors
    /// A problem that the daemon answers with; `Unreachable` or `Broken` after `JOINS_MAX` joins in a row failed.
    pub async fn next(&mut self) -> Result<Option<StreamItem>, Error> {
        while !self.over {
            let Some(stream) = &mut self.stream else {
                if self.join().await? {
                    return Ok(Some(StreamItem::Rejoined));
                }
                continue;
            };
            match timeout(SILENCE_TIMEOUT, stream.next()).await {
                Ok(Some(Ok(message))) => {
                    if let Some(seen) = self.take(&message)? {
                        return Ok(Some(seen));
                    }
                }
                Ok(Some(Err(_)) | None) | Err(_) => self.stream = None,
            }
        }
        Ok(None)
    }

    /// `true` where an earlier stream had broken.
    async fn join(&mut self) -> Result<bool, Error> {
        match self.open().await {
            Ok(stream) => {
                self.stream = Some(Box::pin(stream));
                Ok(std::mem::replace(&mut self.joined, true))
            }
            Err(error @ (Error::Unreachable { .. } | Error::Broken(_) | Error::TimedOut(_))) => {
                self.failures += 1;
                if !self.joined || self.failures >= JOINS_MAX {
                    return Err(error);
                }
                let doubled = BACKOFF_MIN.saturating_mul(1 << self.failures.min(10));
                sleep(doubled.min(BACKOFF_MAX)).await;
                Ok(false)
            }
            Err(error @ (Error::Problem(_) | Error::Foreign(..) | Error::InClear(_))) => Err(error),
        }
    }

    async fn open(&self) -> Result<SseStream<Incoming>, Error> {
        let mut request = self.client.request(Method::GET, &self.path, None, None)?;
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, http::HeaderValue::from_static("text/event-stream"));
        if let Some(last) = self.last {
            headers.insert("last-event-id", http::HeaderValue::from(last));
        }
        let response = timeout(ANSWER_TIMEOUT, self.client.send(request))
            .await
            .map_err(|_| Error::TimedOut(ANSWER_TIMEOUT.as_secs()))??;
        let status = response.status();
        if status.is_success() {
            return Ok(SseStream::new(response.into_body()));
        }
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let bytes = body.map_err(|error| Error::Broken(error.to_string()))?.to_bytes();
        Err(match self.client.decode::<serde_json::Value>((status, bytes)) {
            Ok(_) => Error::Broken(format!("status {status} instead of an event stream")),
            Err(error) => error,
        })
    }

    fn take(&mut self, message: &Sse) -> Result<Option<StreamItem>, Error> {
        let foreign = |error: serde_json::Error| Error::Foreign(self.client.endpoint.clone(), error.to_string());
        let Some(data) = &message.data else { return Ok(None) };
        match message.event.as_deref() {
            Some(SSE_EVENT) => {
                let event: ExecutionEvent = serde_json::from_str(data).map_err(foreign)?;
                self.failures = 0;
                if self.last.is_some_and(|last| event.index <= last) {
                    return Ok(None);
                }
                self.last = Some(event.index);
                self.over = event.ends();
                Ok(Some(StreamItem::Event(Box::new(event))))
            }
            Some(SSE_PIECE) => serde_json::from_str(data).map(|piece| Some(StreamItem::Piece(piece))).map_err(foreign),
            // A later daemon may send more kinds.
            Some(_) | None => Ok(None),
        }
    }
}
