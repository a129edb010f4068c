//! The bytes of an answer: a stream of events, one JSON body, or a page for people, told apart by how they begin.

use super::{Decoder, EVENT_BYTES_MAX, Flow, Reply, STREAM_BYTES_MAX, Wire, WireError};
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use sse_stream::SseByteStream;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::timeout;

/// How long the end of a stream is waited for once the answer itself has ended.
const TAIL_TIMEOUT: Duration = Duration::from_secs(5);
const BOM: &[u8] = b"\xEF\xBB\xBF";
/// Bytes of nothing before an answer begins.
const BLANK_BYTES_MAX: usize = 64 * 1024;

/// Reads one answer. `offered`: the names of tools as the provider was sent them. `text` is called with each piece.
///
/// # Errors
/// Why there is no answer.
pub async fn read<S, E>(
    wire: Wire,
    offered: BTreeSet<String>,
    body: S,
    text: &mut (dyn FnMut(&str) + Send),
) -> Result<Reply, WireError>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
    E: std::error::Error + Send + Sync + 'static,
{
    let mut body = body;
    let begin = beginning(&mut body).await?;
    let first = begin.strip_prefix(BOM).unwrap_or(&begin).trim_ascii_start().first().copied();
    match first {
        None | Some(b'<') => Err(WireError::Nothing),
        Some(b'{' | b'[') => whole(wire, offered, begin, body, text).await,
        Some(_) => events(wire, offered, begin, body, text).await,
    }
}

/// What comes until the first byte that says what it is.
async fn beginning<S, E>(body: &mut S) -> Result<Vec<u8>, WireError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::error::Error + Send + Sync + 'static,
{
    let mut begin = Vec::new();
    loop {
        let known = begin.strip_prefix(BOM).unwrap_or(&begin);
        let undecided = BOM.starts_with(&begin) || known.trim_ascii_start().is_empty();
        if !undecided {
            return Ok(begin);
        }
        if begin.len() > BLANK_BYTES_MAX {
            return Err(WireError::NotTheProtocol);
        }
        match body.next().await {
            Some(Ok(bytes)) => begin.extend_from_slice(&bytes),
            Some(Err(error)) => return Err(WireError::Broken { error: Box::new(error), begun: false }),
            None => return Ok(begin),
        }
    }
}

async fn whole<S, E>(
    wire: Wire,
    offered: BTreeSet<String>,
    begin: Vec<u8>,
    mut rest: S,
    text: &mut (dyn FnMut(&str) + Send),
) -> Result<Reply, WireError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::error::Error + Send + Sync + 'static,
{
    let mut bytes = begin;
    while let Some(more) = rest.next().await {
        let more = more.map_err(|error| WireError::Broken { error: Box::new(error), begun: true })?;
        if bytes.len() + more.len() > EVENT_BYTES_MAX {
            return Err(WireError::TooLarge);
        }
        bytes.extend_from_slice(&more);
    }
    let body = String::from_utf8_lossy(bytes.strip_prefix(BOM).unwrap_or(&bytes));
    let mut decoder = Decoder::new(wire, offered);
    decoder.take_whole(&body, text)?;
    Ok(decoder.into_reply())
}

async fn events<S, E>(
    wire: Wire,
    offered: BTreeSet<String>,
    begin: Vec<u8>,
    rest: S,
    text: &mut (dyn FnMut(&str) + Send),
) -> Result<Reply, WireError>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
    E: std::error::Error + Send + Sync + 'static,
{
    let mut bounds = Bounds::default();
    let bytes = stream::once(std::future::ready(Ok(Bytes::from(begin)))).chain(rest);
    let bounded = bytes.map(move |bytes| bounds.pass(&bytes.map_err(|error| BodyError::Broken(Box::new(error)))?));
    // The last event may lack the empty line that ends it.
    let ended = bounded.chain(stream::once(std::future::ready(Ok(Bytes::from_static(b"\n\n")))));
    let mut events = SseByteStream::new(Box::pin(ended));
    let mut decoder = Decoder::new(wire, offered);
    loop {
        let next = match decoder.has_end() {
            false => events.next().await,
            // The answer is whole: only its counts may be missing.
            true => timeout(TAIL_TIMEOUT, events.next()).await.unwrap_or(None),
        };
        let Some(event) = next else { break };
        let event = event.map_err(|error| broken(error, decoder.begun()))?;
        match decoder.take(event.event.as_deref(), event.data.as_deref().unwrap_or_default(), text) {
            Ok(Flow::More) => {}
            Ok(Flow::Over) => break,
            // Half an event at the end of all bytes was cut; in their midst it is no protocol.
            Err(WireError::NotTheProtocol) if decoder.begun() && events.next().await.is_none() => {
                return Err(WireError::Cut);
            }
            Err(error) => return Err(error),
        }
    }
    if decoder.begun() { Ok(decoder.into_reply()) } else { Err(WireError::Nothing) }
}

#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("an event is too large")]
    TooLarge,
    #[error("{0}")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn broken(error: sse_stream::Error, begun: bool) -> WireError {
    match error {
        sse_stream::Error::Body(error) => match error.downcast::<BodyError>() {
            Ok(error) => match *error {
                BodyError::TooLarge => WireError::TooLarge,
                BodyError::Broken(error) => WireError::Broken { error, begun },
            },
            Err(error) => WireError::Broken { error, begun },
        },
        _ => WireError::NotTheProtocol,
    }
}

/// Counts what goes to the parser, which keeps an event whole: none grows beyond its bound. Bytes that are no UTF-8
/// become the sign for such, since the parser would end the stream at them.
#[derive(Default)]
struct Bounds {
    total: usize,
    /// Since the last empty line.
    event: usize,
    line: usize,
    /// The line feed of a line that a carriage return has ended is no line of its own.
    returned: bool,
    /// The first bytes of a letter whose others are not here yet.
    carried: Vec<u8>,
}

impl Bounds {
    fn pass(&mut self, bytes: &[u8]) -> Result<Bytes, BodyError> {
        self.total += bytes.len();
        if self.total > STREAM_BYTES_MAX {
            return Err(BodyError::TooLarge);
        }
        for byte in bytes {
            self.event += 1;
            match byte {
                b'\n' if self.returned => {}
                b'\n' | b'\r' => {
                    if self.line == 0 {
                        self.event = 0;
                    }
                    self.line = 0;
                }
                _ => self.line += 1,
            }
            self.returned = *byte == b'\r';
            if self.event > EVENT_BYTES_MAX {
                return Err(BodyError::TooLarge);
            }
        }
        Ok(self.readable(bytes))
    }

    fn readable(&mut self, bytes: &[u8]) -> Bytes {
        if self.carried.is_empty() && bytes.is_ascii() {
            return Bytes::copy_from_slice(bytes);
        }
        let mut all = std::mem::take(&mut self.carried);
        all.extend_from_slice(bytes);
        let mut readable = String::with_capacity(all.len());
        let mut chunks = all.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            readable.push_str(chunk.valid());
            let is_last = chunks.peek().is_none();
            match chunk.invalid() {
                [] => {}
                cut if is_last && is_beginning(cut) => self.carried = cut.to_vec(),
                _ => readable.push(char::REPLACEMENT_CHARACTER),
            }
        }
        Bytes::from(readable)
    }
}

/// Whether these bytes can still become a letter.
fn is_beginning(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_in_two_packets_stay_whole_and_others_become_the_sign_for_none() {
        let text = "aé☃𝄞z".as_bytes();
        for cut in 0..=text.len() {
            let mut bounds = Bounds::default();
            let parts = [bounds.readable(&text[..cut]), bounds.readable(&text[cut..])].concat();
            assert_eq!(parts, text, "cut at {cut}");
        }
        let mut bounds = Bounds::default();
        let parts = [bounds.readable(b"a\xff"), bounds.readable(b"b\xe2\x98"), bounds.readable(b"c")].concat();
        assert_eq!(String::from_utf8(parts).unwrap(), "a\u{fffd}b\u{fffd}c");
    }

    #[test]
    fn an_event_without_end_is_left_at_its_bound() {
        let mut bounds = Bounds::default();
        let line = vec![b'x'; 64 * 1024];
        let passed = (0..).take_while(|_| bounds.pass(&line).is_ok()).count();
        assert_eq!(passed, EVENT_BYTES_MAX / line.len());
        let mut bounds = Bounds::default();
        let event = [&vec![b'x'; 1024 * 1024][..], b"\n\n"].concat();
        let passed = (0..).take_while(|_| bounds.pass(&event).is_ok()).count();
        assert_eq!(passed, STREAM_BYTES_MAX / event.len(), "and so is a stream");
    }
}
