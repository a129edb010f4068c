//! What of requests and answers is told to whoever debugs: method, path, status, time. Must never: tell a header or a body,
//! where keys and inputs are.
use std::sync::OnceLock;
use std::time::Instant;

use http::{Request, StatusCode};

type Tell = fn(&str);

static TELL: OnceLock<Tell> = OnceLock::new();

/// From now on each request of this process is told by `tell`; the first call counts.
pub fn trace_requests(tell: Tell) {
    let _ = TELL.set(tell);
}

/// One request on its way.
pub(super) struct Trace(Option<(Tell, String, Instant)>);

impl Trace {
    pub(super) fn begin<B>(endpoint: &impl std::fmt::Display, request: &Request<B>) -> Trace {
        Trace(TELL.get().map(|tell| {
            let line = format!("{} {} at {endpoint}", request.method(), request.uri());
            tell(&format!("> {line}"));
            (*tell, line, Instant::now())
        }))
    }

    pub(super) fn answered(self, status: StatusCode) {
        self.end(&status.to_string());
    }

    pub(super) fn failed(self, why: &dyn std::fmt::Display) {
        self.end(&why.to_string());
    }

    fn end(self, how: &str) {
        if let Some((tell, line, began)) = self.0 {
            tell(&format!("< {how} to {line} after {} ms", began.elapsed().as_millis()));
        }
    }
}
