//! That a server has other tools now, on its way to the daemon. Must never: tell more often than once in a while, whatever a server
//! says, or what a server said: the daemon asks it.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tenure_core::call::Holder;
use tenure_wire::frame::FromWorker;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// What is said meanwhile is told by the same frame.
const GATHERED: Duration = Duration::from_millis(250);
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub(super) struct Announcer {
    frames: mpsc::Sender<FromWorker>,
    holder: Holder,
    server: Arc<str>,
    gathering: Arc<AtomicBool>,
}

impl Announcer {
    pub(super) fn new(frames: mpsc::Sender<FromWorker>, holder: Holder, server: &str) -> Announcer {
        Announcer { frames, holder, server: server.into(), gathering: Arc::default() }
    }

    pub(super) fn tools_changed(&self) {
        if self.gathering.swap(true, Ordering::Relaxed) {
            return;
        }
        let announcer = self.clone();
        tokio::spawn(async move {
            sleep(GATHERED).await;
            announcer.gathering.store(false, Ordering::Relaxed);
            let (holder, server) = (announcer.holder, announcer.server.to_string());
            // Where nobody takes it the connection is gone, and with it the list.
            let _ = timeout(SEND_TIMEOUT, announcer.frames.send(FromWorker::ToolsChanged { holder, server })).await;
        });
    }
}
