//! An answer whose body is bytes that are taken as they come, of any size. An answer that breaks off is an error, never an end.
use std::time::Duration;

use http::{HeaderMap, Method};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use tokio::time::timeout;

use super::{ANSWER_BYTES_MAX, ANSWER_TIMEOUT, Client, Error};

/// Nothing came for so long.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

pub struct Download {
    pub headers: HeaderMap,
    body: Incoming,
}

impl Download {
    pub(super) async fn open(client: &Client, path: &str) -> Result<Download, Error> {
        let request = client.request(Method::GET, path, None, None)?;
        let response = timeout(ANSWER_TIMEOUT, client.send(request)).await;
        let response = response.map_err(|_| Error::TimedOut(ANSWER_TIMEOUT.as_secs()))??;
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_success() {
            return Ok(Download { headers, body: response.into_body() });
        }
        let body = timeout(ANSWER_TIMEOUT, Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect()).await;
        let body = body.map_err(|_| Error::TimedOut(ANSWER_TIMEOUT.as_secs()))?;
        let bytes = body.map_err(|error| Error::Broken(error.to_string()))?.to_bytes();
        Err(match client.decode::<serde_json::Value>((status, bytes)) {
            Ok(_) => Error::Broken(format!("status {status} instead of a file")),
            Err(error) => error,
        })
    }

    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// It broke off: what came is not all.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let frame = timeout(SILENCE_TIMEOUT, self.body.frame()).await;
            match frame.map_err(|_| Error::TimedOut(SILENCE_TIMEOUT.as_secs()))? {
                None => return Ok(None),
                Some(Err(error)) => return Err(Error::Broken(error.to_string())),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }
}
