//! One message of the Model Context Protocol to the daemon's `/mcp`, as whoever bridges it to another transport sends it. What the
//! message says is not looked at here.
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use tokio::time::timeout;

use super::{ANSWER_BYTES_MAX, Body, Client, Error};

const PATH: &str = "/mcp";
const EVENT_STREAM: &str = "text/event-stream";
/// Longer than the daemon waits for a call.
const ANSWER_WITHIN: Duration = Duration::from_secs(160);

/// What came back; the status and the body are the protocol's own.
#[derive(Debug)]
pub struct McpAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Client {
    /// `heard`: what is said before the answer, in its order.
    ///
    /// # Errors
    /// No answer came. One that refuses is an answer.
    pub async fn mcp(
        &self,
        message: Vec<u8>,
        headers: &[(&'static str, String)],
        heard: impl FnMut(&[u8]),
    ) -> Result<McpAnswer, Error> {
        let asking = self.mcp_unbounded(message, headers, heard);
        timeout(ANSWER_WITHIN, asking).await.map_err(|_| Error::TimedOut(ANSWER_WITHIN.as_secs()))?
    }

    /// The same of a message whose answer comes only once whoever asked has left.
    ///
    /// # Errors
    /// As of [`Client::mcp`].
    pub async fn mcp_unbounded(
        &self,
        message: Vec<u8>,
        headers: &[(&'static str, String)],
        heard: impl FnMut(&[u8]),
    ) -> Result<McpAnswer, Error> {
        self.speak(Method::POST, Some(Body { bytes: message, media: "application/json" }), headers, heard).await
    }

    /// What the daemon says unasked, until it says no more.
    ///
    /// # Errors
    /// As of [`Client::mcp`].
    pub async fn listen_mcp(
        &self,
        headers: &[(&'static str, String)],
        heard: impl FnMut(&[u8]),
    ) -> Result<McpAnswer, Error> {
        self.speak(Method::GET, None, headers, heard).await
    }

    /// # Errors
    /// As of [`Client::mcp`].
    pub async fn end_mcp(&self, headers: &[(&'static str, String)]) -> Result<McpAnswer, Error> {
        let ending = self.speak(Method::DELETE, None, headers, |_| ());
        timeout(ANSWER_WITHIN, ending).await.map_err(|_| Error::TimedOut(ANSWER_WITHIN.as_secs()))?
    }

    async fn speak(
        &self,
        method: Method,
        body: Option<Body>,
        headers: &[(&'static str, String)],
        heard: impl FnMut(&[u8]),
    ) -> Result<McpAnswer, Error> {
        let mut request = self.request(method, PATH, body, None)?;
        let own = request.headers_mut();
        own.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        for (name, value) in headers {
            let value = HeaderValue::from_str(value)
                .map_err(|error| Error::Broken(format!("the header {name} cannot be written: {error}")))?;
            own.insert(HeaderName::from_static(name), value);
        }
        let (parts, body) = self.send(request).await?.into_parts();
        let media = parts.headers.get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or_default();
        let body = if media.starts_with(EVENT_STREAM) {
            last_of_stream(body, heard).await?
        } else {
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            body.map_err(|error| Error::Broken(error.to_string()))?.to_bytes()
        };
        Ok(McpAnswer { status: parts.status, headers: parts.headers, body })
    }
}

/// The data of the last event; all before it are handed on as they come. Nothing where there was none.
async fn last_of_stream<B>(mut body: B, mut heard: impl FnMut(&[u8])) -> Result<Bytes, Error>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    // `looked`: so far there is no end of an event.
    let (mut read, mut looked, mut last) = (Vec::new(), 0, None::<Vec<u8>>);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::Broken(error.to_string()))?;
        read.extend_from_slice(frame.data_ref().map_or(&[], |data| data.as_ref()));
        while let Some(end) = read[looked..].windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = read.drain(..looked + end + 2).collect();
            looked = 0;
            let Some(data) = data_of(&event) else { continue };
            // One is known to be the last by the stream's end alone, but an answer has no method.
            if is_notification(&data) {
                heard(&data);
            } else {
                last = Some(data);
            }
        }
        looked = read.len().saturating_sub(1);
        if read.len() > ANSWER_BYTES_MAX {
            return Err(Error::Broken(format!("a message has more than {ANSWER_BYTES_MAX} bytes")));
        }
    }
    Ok(last.unwrap_or_default().into())
}

fn data_of(event: &[u8]) -> Option<Vec<u8>> {
    let lines = event.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data:"));
    let data: Vec<&[u8]> = lines.map(|line| line.strip_prefix(b" ").unwrap_or(line)).collect();
    let data = data.join(&b'\n');
    (!data.trim_ascii().is_empty()).then_some(data)
}

fn is_notification(data: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(data).is_ok_and(|message| message.get("method").is_some())
}
