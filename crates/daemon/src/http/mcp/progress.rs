//! How far a call is, for the client that asked to be told: what its program prints, or what an MCP server says of its progress.
//! Must never: make a call wait for a client, or tell one of another's call.
use rmcp::RoleServer;
use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::service::RequestContext;
use std::sync::Arc;
use std::time::Duration;
use tenure_core::capability::{clip, mcp};
use tenure_core::id::CallId;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use crate::watch::Printed;

/// A client that takes nothing is told nothing more.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct Progress {
    token: ProgressToken,
    printed: Receiver<Arc<Printed>>,
    /// It says how far it is in numbers of its own.
    numbered: bool,
    last: f64,
}

impl Progress {
    /// None where the client did not ask. To be made before the call is, so that nothing falls between.
    pub(super) fn of(
        context: &RequestContext<RoleServer>,
        capability: &str,
        printed: impl FnOnce() -> Receiver<Arc<Printed>>,
    ) -> Option<Progress> {
        let token = context.meta.get_progress_token()?;
        let numbered = mcp::Name::parse(capability).is_some();
        Some(Progress { token, printed: printed(), numbered, last: 0.0 })
    }

    /// Tells until it is dropped, which the call's end does.
    pub(super) async fn tell(&mut self, call: CallId, context: &RequestContext<RoleServer>) {
        loop {
            let printed = match self.printed.recv().await {
                Ok(printed) if printed.call == call => printed,
                Ok(_) | Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return std::future::pending().await,
            };
            for line in printed.text.lines().filter(|line| !line.trim().is_empty()) {
                let Some(told) = self.read(line) else { continue };
                let sent = timeout(SEND_TIMEOUT, context.peer.notify_progress(told)).await;
                if !matches!(sent, Ok(Ok(()))) {
                    return std::future::pending().await;
                }
            }
        }
    }

    /// One that goes no further is none.
    fn read(&mut self, line: &str) -> Option<ProgressNotificationParam> {
        let (progress, total, message) = if self.numbered { numbers(line)? } else { (self.last + 1.0, None, line) };
        if progress <= self.last && self.last > 0.0 {
            return None;
        }
        self.last = progress;
        let mut told = ProgressNotificationParam::new(self.token.clone(), progress);
        told.total = total;
        told.message = (!message.is_empty()).then(|| clip(message));
        Some(told)
    }
}

/// `3/60 sleeping`, as the worker shows what a server says.
fn numbers(line: &str) -> Option<(f64, Option<f64>, &str)> {
    let (figures, message) = line.split_once(' ').unwrap_or((line, ""));
    let (progress, total) = match figures.split_once('/') {
        Some((progress, total)) => (progress, Some(total.parse().ok()?)),
        None => (figures, None),
    };
    Some((progress.parse().ok()?, total, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_of_its_progress_is_read_and_what_says_nothing_is_not() {
        assert_eq!(numbers("3/60 sleeping"), Some((3.0, Some(60.0), "sleeping")));
        assert_eq!(numbers("0.5"), Some((0.5, None, "")));
        assert_eq!(numbers("hello there"), None);
    }
}
