//! One connection to a place outside, counted and paced. Must never: be made but by the gate.
use super::gate::Counts;
use super::network::Stream;
use super::rate_limit::RateLimiter;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};

pub struct MeteredStream {
    stream: Box<dyn Stream>,
    counts: Arc<Counts>,
    pace: Option<Arc<RateLimiter>>,
    watch: Watch,
    reading: Turn,
    writing: Turn,
    _permit: OwnedSemaphorePermit,
}

/// When one direction may go on.
#[derive(Default)]
struct Turn(Option<Pin<Box<Sleep>>>);

impl Turn {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(sleep) = &mut self.0 {
            ready!(sleep.as_mut().poll(cx));
            self.0 = None;
        }
        Poll::Ready(())
    }
}

/// Tells when bytes last moved.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    began: Instant,
    /// Milliseconds since `began`.
    moved: Arc<AtomicU64>,
}

impl Watch {
    fn new() -> Watch {
        Watch { began: Instant::now(), moved: Arc::new(AtomicU64::new(0)) }
    }

    fn note(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(now, Ordering::Relaxed);
    }

    /// Ends once nothing has moved for `limit`.
    pub(super) async fn idle(&self, limit: Duration) {
        loop {
            let until = self.began + Duration::from_millis(self.moved.load(Ordering::Relaxed)) + limit;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

impl MeteredStream {
    pub(super) fn new(
        stream: Box<dyn Stream>,
        counts: Arc<Counts>,
        pace: Option<Arc<RateLimiter>>,
        permit: OwnedSemaphorePermit,
    ) -> MeteredStream {
        let (reading, writing) = (Turn::default(), Turn::default());
        MeteredStream { stream, counts, pace, watch: Watch::new(), reading, writing, _permit: permit }
    }

    pub(super) fn watch(&self) -> Watch {
        self.watch.clone()
    }

    fn portion(&self) -> usize {
        self.pace.as_ref().map_or(usize::MAX, |pace| pace.portion())
    }

    fn moved(&self, bytes: usize) -> Turn {
        self.watch.note();
        let until = self.pace.as_ref().and_then(|pace| pace.charge(bytes, Instant::now()));
        Turn(until.map(|until| Box::pin(sleep_until(until))))
    }
}

impl AsyncRead for MeteredStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.reading.poll(cx));
        let portion = this.portion().min(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(portion));
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
        let count = part.filled().len();
        buf.advance(count);
        if count > 0 {
            this.counts.received_bytes.fetch_add(count as u64, Ordering::Relaxed);
            this.reading = this.moved(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MeteredStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.writing.poll(cx));
        let part = &bytes[..bytes.len().min(this.portion())];
        let count = ready!(Pin::new(&mut this.stream).poll_write(cx, part))?;
        this.counts.sent_bytes.fetch_add(count as u64, Ordering::Relaxed);
        this.writing = this.moved(count);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
