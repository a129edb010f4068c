//! An execution's event stream. When the connection breaks, it reconnects after the last index that it yielded.
use std::io;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::unfold;
use http::{Method, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Body, Bytes};
use sse_stream::{Sse, SseStream};
use tokio::time::{sleep, timeout};

use super::{ANSWER_BYTES_MAX, ANSWER_TIMEOUT, Client, Error};
use crate::api::event::{ExecutionEvent, Piece, SSE_EVENT, SSE_PIECE};
use crate::api::watch::WatchEvent;

/// Joins in a row that may fail before the watcher gives up.
const JOINS_MAX: u32 = 10;
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(3);
/// The daemon sends something at least every 15 seconds, comments in the stream included.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

type Heard = UnsyncBoxBody<Bytes, io::Error>;

/// What a stream of events yields.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamItem<E = ExecutionEvent> {
    Event(Box<E>),
    /// Plain data; it may be missing or come twice after a broken connection.
    Piece(Piece),
    /// The connection broke, and is looked for again with the next item.
    Broken,
    /// It was joined again; no event is missing.
    Rejoined,
}

/// A committed event as a stream brings it.
pub trait Streamed: serde::de::DeserializeOwned {
    fn index(&self) -> u64;

    /// Nothing comes after it.
    fn is_last(&self) -> bool;
}

impl Streamed for ExecutionEvent {
    fn index(&self) -> u64 {
        self.index
    }

    fn is_last(&self) -> bool {
        self.ends()
    }
}

impl Streamed for WatchEvent {
    fn index(&self) -> u64 {
        self.index
    }

    fn is_last(&self) -> bool {
        false
    }
}

pub struct EventStream<E = ExecutionEvent> {
    client: Client,
    path: String,
    last: Option<u64>,
    stream: Option<Pin<Box<SseStream<Heard>>>>,
    failures: u32,
    joined: bool,
    over: bool,
    events: std::marker::PhantomData<fn() -> E>,
}

impl<E: Streamed> EventStream<E> {
    pub(super) fn new(client: Client, path: String, after: Option<u64>) -> EventStream<E> {
        let events = std::marker::PhantomData;
        EventStream { client, path, last: after, stream: None, failures: 0, joined: false, over: false, events }
    }

    /// The next thing, or `None` after the execution's end.
    ///
    /// # Errors
    /// A problem that the daemon answers with; `Unreachable` or `Broken` after `JOINS_MAX` joins in a row failed.
    pub async fn next(&mut self) -> Result<Option<StreamItem<E>>, Error> {
        while !self.over {
            let Some(stream) = &mut self.stream else {
                if self.join().await? {
                    return Ok(Some(StreamItem::Rejoined));
                }
                continue;
            };
            match stream.next().await {
                Some(Ok(message)) => {
                    if let Some(seen) = self.take(&message)? {
                        return Ok(Some(seen));
                    }
                }
                Some(Err(_)) | None => {
                    self.stream = None;
                    return Ok(Some(StreamItem::Broken));
                }
            }
        }
        Ok(None)
    }

    /// `true` where an earlier stream had broken.
    async fn join(&mut self) -> Result<bool, Error> {
        match open(&self.client, &self.path, self.last).await {
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
            Err(
                error @ (Error::Problem(_)
                | Error::Foreign(..)
                | Error::InClear(_)
                | Error::OtherCertificate { .. }
                | Error::Untrusted { .. }
                | Error::NoTls(_)),
            ) => Err(error),
        }
    }

    fn take(&mut self, message: &Sse) -> Result<Option<StreamItem<E>>, Error> {
        let foreign = |error: serde_json::Error| Error::Foreign(self.client.endpoint.clone(), error.to_string());
        let Some(data) = &message.data else { return Ok(None) };
        match message.event.as_deref() {
            Some(SSE_EVENT) => {
                let event: E = serde_json::from_str(data).map_err(foreign)?;
                self.failures = 0;
                if self.last.is_some_and(|last| event.index() <= last) {
                    return Ok(None);
                }
                self.last = Some(event.index());
                self.over = event.is_last();
                Ok(Some(StreamItem::Event(Box::new(event))))
            }
            Some(SSE_PIECE) => serde_json::from_str(data).map(|piece| Some(StreamItem::Piece(piece))).map_err(foreign),
            // A later daemon may send more kinds.
            Some(_) | None => Ok(None),
        }
    }
}

async fn open(client: &Client, path: &str, last: Option<u64>) -> Result<SseStream<Heard>, Error> {
    let mut request = client.request(Method::GET, path, None, None)?;
    let headers = request.headers_mut();
    headers.insert(header::ACCEPT, http::HeaderValue::from_static("text/event-stream"));
    if let Some(last) = last {
        headers.insert("last-event-id", http::HeaderValue::from(last));
    }
    let response = timeout(ANSWER_TIMEOUT, client.send(request))
        .await
        .map_err(|_| Error::TimedOut(ANSWER_TIMEOUT.as_secs()))??;
    let status = response.status();
    if status.is_success() {
        return Ok(SseStream::new(heard(response.into_body(), SILENCE_TIMEOUT)));
    }
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let bytes = body.map_err(|error| Error::Broken(error.to_string()))?.to_bytes();
    Err(match client.decode::<serde_json::Value>((status, bytes)) {
        Ok(_) => Error::Broken(format!("status {status} instead of an event stream")),
        Err(error) => error,
    })
}

/// The body until it is silent for `silence`. What counts is that bytes come: a stream's comments are no messages, and say
/// that the other side lives.
fn heard<B>(body: B, silence: Duration) -> Heard
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let frames = unfold(Some(body), move |body| async move {
        let mut body = body?;
        match timeout(silence, body.frame()).await {
            Ok(Some(Ok(frame))) => Some((Ok(frame), Some(body))),
            Ok(Some(Err(error))) => Some((Err(io::Error::other(error)), None)),
            Ok(None) => None,
            Err(_) => Some((Err(io::ErrorKind::TimedOut.into()), None)),
        }
    });
    UnsyncBoxBody::new(StreamBody::new(frames))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::body::Frame;

    /// A body that has these bytes after these pauses, and then is silent.
    fn body(parts: Vec<(u64, &'static str)>) -> UnsyncBoxBody<Bytes, io::Error> {
        let frames = unfold(parts.into_iter(), |mut parts| async move {
            let Some((seconds, bytes)) = parts.next() else { return std::future::pending().await };
            sleep(Duration::from_secs(seconds)).await;
            Some((Ok(Frame::data(Bytes::from_static(bytes.as_bytes()))), parts))
        });
        UnsyncBoxBody::new(StreamBody::new(frames))
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_of_comments_alone_lives_on_and_a_silent_one_is_given_up() {
        let comments = (0..40).map(|_| (15, ":\n\n")).chain([(15, "event: event\ndata: {}\n\n")]).collect();
        let begun = tokio::time::Instant::now();
        let mut stream = Box::pin(SseStream::new(heard(body(comments), SILENCE_TIMEOUT)));
        assert_eq!(stream.next().await.unwrap().unwrap().data.as_deref(), Some("{}"));
        assert_eq!(begun.elapsed(), Duration::from_secs(41 * 15));
        assert!(stream.next().await.unwrap().is_err(), "the control: now nothing comes");
        assert_eq!(begun.elapsed(), Duration::from_secs(41 * 15 + 60));
    }
}
