//! One message of the Model Context Protocol to the daemon's `/mcp`, as whoever bridges it to another transport sends it. What the
//! message says is not looked at here.
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use tokio::time::timeout;

use super::{ANSWER_BYTES_MAX, Body, Client, Error};

const PATH: &str = "/mcp";
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
    /// # Errors
    /// No answer came. One that refuses is an answer.
    pub async fn mcp(&self, message: Vec<u8>, headers: &[(&'static str, String)]) -> Result<McpAnswer, Error> {
        self.speak(Method::POST, Some(Body { bytes: message, media: "application/json" }), headers).await
    }

    /// # Errors
    /// As of [`Client::mcp`].
    pub async fn end_mcp(&self, headers: &[(&'static str, String)]) -> Result<McpAnswer, Error> {
        self.speak(Method::DELETE, None, headers).await
    }

    async fn speak(
        &self,
        method: Method,
        body: Option<Body>,
        headers: &[(&'static str, String)],
    ) -> Result<McpAnswer, Error> {
        let mut request = self.request(method, PATH, body, None)?;
        let own = request.headers_mut();
        own.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        for (name, value) in headers {
            let value = HeaderValue::from_str(value)
                .map_err(|error| Error::Broken(format!("the header {name} cannot be written: {error}")))?;
            own.insert(HeaderName::from_static(name), value);
        }
        let answer = async {
            let response = self.send(request).await?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| Error::Broken(error.to_string()))?.to_bytes();
            Ok(McpAnswer { status: parts.status, headers: parts.headers, body })
        };
        timeout(ANSWER_WITHIN, answer).await.map_err(|_| Error::TimedOut(ANSWER_WITHIN.as_secs()))?
    }
}
