//! The bytes of a program's HTTP connection, on their way to hyper: each head is read first by `head`, and bodies are followed
//! to where the next head begins. Must never: hand on a byte of what is malformed, or a second head before the first was
//! taken.
use super::head::{self, Body, Chunks, HEAD_BYTES_MAX, MalformedRequest};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What stands in for a malformed head, so that hyper asks for an answer; the answer is made from what was found.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: malformed.invalid\r\nconnection: close\r\n\r\n";

const CHUNK_BYTES: usize = 8 << 10;

/// The first thing that was found, which is also the last: the connection ends with it.
pub(super) type Found = Arc<OnceLock<MalformedRequest>>;

pub(super) struct RequestFilter<S> {
    inner: S,
    /// Not handed on yet; the first `passed` bytes may be.
    held: Vec<u8>,
    passed: usize,
    pub(super) at: At,
    ended: bool,
    found: Found,
}

#[derive(Clone, Copy)]
pub(super) enum At {
    Head,
    Sized(u64),
    Chunked(Chunks),
    Tunnel,
    /// Behind the stand-in comes nothing.
    MalformedRequest,
}

impl<S> RequestFilter<S> {
    /// `first`: bytes that were read from `inner` already.
    pub(super) fn new(inner: S, first: &[u8]) -> (RequestFilter<S>, Found) {
        let found = Found::default();
        let filter =
            RequestFilter { inner, held: first.to_vec(), passed: 0, at: At::Head, ended: false, found: found.clone() };
        (filter, found)
    }

    /// Lets as much pass as belongs together; false if more must be read first.
    fn pass(&mut self) -> Result<bool, MalformedRequest> {
        if matches!(self.at, At::Head) {
            // Empty lines before a request say nothing.
            while self.held.starts_with(b"\r\n") {
                self.held.drain(..2);
            }
        }
        let held = self.held.len();
        let (count, next) = match self.at {
            At::Head => match head::end(&self.held)? {
                None => return Ok(false),
                Some(end) => match head::read(&self.held[..end])? {
                    Body::Sized(0) => (end, At::Head),
                    Body::Sized(length) => (end, At::Sized(length)),
                    Body::Chunked => (end, At::Chunked(Chunks::Size)),
                    Body::Tunnel => (end, At::Tunnel),
                },
            },
            At::Sized(left) => {
                let count = held.min(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - count as u64;
                (count, if left == 0 { At::Head } else { At::Sized(left) })
            }
            At::Chunked(chunks) => match chunks.step(&self.held)? {
                None => return Ok(false),
                Some((count, Chunks::Over)) => (count, At::Head),
                Some((count, next)) => (count, At::Chunked(next)),
            },
            At::Tunnel | At::MalformedRequest => (held, self.at),
        };
        self.passed = count;
        self.at = next;
        Ok(count > 0)
    }

    fn malformed(&mut self, why: MalformedRequest) {
        let in_body = matches!(self.at, At::Chunked(_));
        let _ = self.found.set(why);
        self.at = At::MalformedRequest;
        self.held.clear();
        if !in_body {
            self.held.extend_from_slice(STAND_IN);
        }
        self.passed = self.held.len();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for RequestFilter<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.passed > 0 {
                let count = this.passed.min(buf.remaining());
                buf.put_slice(&this.held[..count]);
                this.held.drain(..count);
                this.passed -= count;
                return Poll::Ready(Ok(()));
            }
            match this.pass() {
                Ok(true) => continue,
                // hyper ends the connection with the answer; an end here would make it forget to answer.
                Ok(false) if matches!(this.at, At::MalformedRequest) => return Poll::Pending,
                Ok(false) if this.ended => return Poll::Ready(Ok(())),
                Ok(false) => {}
                Err(why) => {
                    this.malformed(why);
                    if this.passed == 0 {
                        return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why.sentence())));
                    }
                    continue;
                }
            }
            let mut chunk = [0u8; CHUNK_BYTES];
            let mut part = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut part))?;
            this.ended = part.filled().is_empty();
            this.held.extend_from_slice(part.filled());
            debug_assert!(
                this.held.len() <= HEAD_BYTES_MAX + CHUNK_BYTES,
                "invariant: a head that is too long is found"
            );
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for RequestFilter<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
