//! Which requests of which sessions are being answered, so that a client can take one back. As many are held as requests are open.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::RequestId;
use tenure_core::id::SessionId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Held for microseconds, never across an await.
#[derive(Debug, Default)]
pub(in crate::http) struct InFlight {
    requests: Mutex<HashMap<(SessionId, RequestId), CancellationToken>>,
    listeners: Listeners,
}

/// Clients without sessions that listen.
#[derive(Debug)]
struct Listeners(Arc<Semaphore>);

impl Default for Listeners {
    fn default() -> Listeners {
        Listeners(Arc::new(Semaphore::new(LISTENERS_MAX)))
    }
}

const LISTENERS_MAX: usize = 64;

/// One request, until it is dropped.
pub(super) struct Entry<'a> {
    all: &'a InFlight,
    key: (SessionId, RequestId),
    pub(super) taken_back: CancellationToken,
}

impl InFlight {
    pub(super) fn enter(&self, session: SessionId, request: RequestId) -> Entry<'_> {
        let (key, taken_back) = ((session, request), CancellationToken::new());
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), taken_back.clone());
        Entry { all: self, key, taken_back }
    }

    /// A place among the clients that listen; none where all are taken.
    pub(super) fn listen(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.listeners.0).try_acquire_owned().ok()
    }

    /// One that has been answered, or never was, is nothing to take back.
    pub(super) fn take_back(&self, session: SessionId, request: &RequestId) {
        let entries = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken_back) = entries.get(&(session, request.clone())) {
            taken_back.cancel();
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.all.requests.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
