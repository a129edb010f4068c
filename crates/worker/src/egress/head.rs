//! The head of an HTTP/1 request as raw bytes, and the frames of its body, read so strictly that there is one reading only.
//! Must never: let through what two readers could cut apart in different places.

/// Bytes of a head with its line ends, and headers in it.
pub(super) const HEAD_BYTES_MAX: usize = 32 << 10;
pub(super) const HEADERS_MAX: usize = 64;
/// Of one line between the pieces of a chunked body, and of all that follows its last piece.
const CHUNK_LINE_MAX: usize = 256;
const TRAILER_BYTES_MAX: usize = 8 << 10;

/// Why a request is answered without looking at where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MalformedRequest {
    TooLarge,
    TooManyHeaders,
    RequestLine,
    Http2,
    /// A line feed or carriage return alone, NUL, or another control character.
    Control,
    /// A header line that begins with a blank.
    Folded,
    HeaderName,
    SeveralHosts,
    ContentLength,
    TransferEncoding,
    /// Both say how long the body is.
    TwoLengths,
    Chunk,
}

impl MalformedRequest {
    pub(super) fn status(self) -> http::StatusCode {
        match self {
            MalformedRequest::TooLarge | MalformedRequest::TooManyHeaders => {
                http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            MalformedRequest::Http2 => http::StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            MalformedRequest::RequestLine
            | MalformedRequest::Control
            | MalformedRequest::Folded
            | MalformedRequest::HeaderName
            | MalformedRequest::SeveralHosts
            | MalformedRequest::ContentLength
            | MalformedRequest::TransferEncoding
            | MalformedRequest::TwoLengths
            | MalformedRequest::Chunk => http::StatusCode::BAD_REQUEST,
        }
    }

    pub(super) fn sentence(self) -> &'static str {
        match self {
            MalformedRequest::TooLarge => "the request's head is larger than 32 KiB",
            MalformedRequest::TooManyHeaders => "the request has more than 64 headers",
            MalformedRequest::RequestLine => "the first line is no HTTP/1.1 request line",
            MalformedRequest::Http2 => "this proxy speaks HTTP/1.1; use that, or CONNECT for HTTP/2 over TLS",
            MalformedRequest::Control => "a line does not end in CRLF, or holds a control character",
            MalformedRequest::Folded => "a header is continued on a second line",
            MalformedRequest::HeaderName => "a header's name is malformed",
            MalformedRequest::SeveralHosts => "the request has several Host headers",
            MalformedRequest::ContentLength => "Content-Length is repeated or is no number",
            MalformedRequest::TransferEncoding => {
                "Transfer-Encoding is something else than chunked, or not of HTTP/1.1"
            }
            MalformedRequest::TwoLengths => "the request has both Transfer-Encoding and Content-Length",
            MalformedRequest::Chunk => "the chunked body is malformed",
        }
    }
}

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// Also of length 0.
    Sized(u64),
    Chunked,
    /// The connection is no HTTP any more, if the answer agrees.
    Tunnel,
}

/// How many bytes at the front of `bytes` are line ends before a request, and whether a whole head follows: its end.
pub(super) fn end(bytes: &[u8]) -> Result<Option<usize>, MalformedRequest> {
    let found = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
    match found {
        Some(end) if end <= HEAD_BYTES_MAX => Ok(Some(end)),
        None if bytes.len() < HEAD_BYTES_MAX => {
            // What can never become a head is not waited for.
            let bare = bytes.windows(2).any(|two| two[1] == b'\n' && two[0] != b'\r') || bytes.first() == Some(&b'\n');
            if bare { Err(MalformedRequest::Control) } else { Ok(None) }
        }
        Some(_) | None => Err(MalformedRequest::TooLarge),
    }
}

/// Reads a whole head, its last empty line included.
pub(super) fn read(head: &[u8]) -> Result<Body, MalformedRequest> {
    if head.starts_with(b"PRI * HTTP/2") {
        return Err(MalformedRequest::Http2);
    }
    let text = head.strip_suffix(b"\r\n\r\n").ok_or(MalformedRequest::Control)?;
    let mut lines = Lines { rest: Some(text) };
    let (connect, get, newer) = request_line(lines.next().ok_or(MalformedRequest::RequestLine)??)?;
    let mut told = RequestLine::default();
    for (number, line) in lines.enumerate() {
        if number >= HEADERS_MAX {
            return Err(MalformedRequest::TooManyHeaders);
        }
        told.take(line?)?;
    }
    let body = match (told.length, told.chunked) {
        (Some(_), true) => return Err(MalformedRequest::TwoLengths),
        (None, true) if !newer => return Err(MalformedRequest::TransferEncoding),
        (None, true) => Body::Chunked,
        (Some(length), false) => Body::Sized(length),
        (None, false) => Body::Sized(0),
    };
    let bare = body == Body::Sized(0) && told.length.is_none();
    match (connect, bare) {
        (true, true) => Ok(Body::Tunnel),
        (true, false) => Err(MalformedRequest::RequestLine),
        (false, true) if get && newer && told.websocket => Ok(Body::Tunnel),
        (false, _) => Ok(body),
    }
}

/// The lines of a head, each checked for how it ends.
struct Lines<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], MalformedRequest>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest?;
        let (line, after) = match rest.windows(2).position(|two| two == b"\r\n") {
            Some(at) => (&rest[..at], Some(&rest[at + 2..])),
            None => (rest, None),
        };
        self.rest = after;
        let control = |byte: &u8| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f;
        Some(if line.iter().any(control) { Err(MalformedRequest::Control) } else { Ok(line) })
    }
}

/// Whether it is a CONNECT, a GET, and of HTTP/1.1.
fn request_line(line: &[u8]) -> Result<(bool, bool, bool), MalformedRequest> {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(MalformedRequest::RequestLine);
    };
    if method.is_empty() || !method.iter().all(u8::is_ascii_alphabetic) || target.is_empty() {
        return Err(MalformedRequest::RequestLine);
    }
    let newer = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return Err(MalformedRequest::RequestLine),
    };
    Ok((method == b"CONNECT", method == b"GET", newer))
}

#[derive(Default)]
struct RequestLine {
    hosts: u32,
    length: Option<u64>,
    chunked: bool,
    websocket: bool,
}

impl RequestLine {
    fn take(&mut self, line: &[u8]) -> Result<(), MalformedRequest> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(MalformedRequest::Folded);
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or(MalformedRequest::HeaderName)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        if name.is_empty() || !name.iter().all(token) {
            return Err(MalformedRequest::HeaderName);
        }
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
            if self.hosts > 1 {
                return Err(MalformedRequest::SeveralHosts);
            }
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let digits = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
            let number = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
            let length = number.filter(|_| digits && self.length.is_none());
            self.length = Some(length.ok_or(MalformedRequest::ContentLength)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(MalformedRequest::TransferEncoding);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.websocket |= value.eq_ignore_ascii_case(b"websocket");
        }
        Ok(())
    }
}

/// Where in a chunked body its reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunks {
    Size,
    Piece(u64),
    /// The line end after a piece.
    PieceEnd,
    /// Behind the last piece, with the bytes of trailers so far.
    Trailer(usize),
    Over,
}

impl Chunks {
    /// How many bytes at the front of `bytes` are read by this, and where its reader stands then; None: more are needed.
    pub(super) fn step(self, bytes: &[u8]) -> Result<Option<(usize, Chunks)>, MalformedRequest> {
        match self {
            Chunks::Over => Ok(None),
            Chunks::Piece(left) => {
                let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - count as u64;
                let next = if left == 0 { Chunks::PieceEnd } else { Chunks::Piece(left) };
                Ok((count > 0).then_some((count, next)))
            }
            Chunks::PieceEnd => match bytes {
                [b'\r', b'\n', ..] => Ok(Some((2, Chunks::Size))),
                [] | [b'\r'] => Ok(None),
                _ => Err(MalformedRequest::Chunk),
            },
            Chunks::Size => {
                let Some(line) = line(bytes, CHUNK_LINE_MAX)? else { return Ok(None) };
                let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
                let size = std::str::from_utf8(&line[..digits]).ok().filter(|_| (1..=15).contains(&digits));
                let size = size.and_then(|size| u64::from_str_radix(size, 16).ok()).ok_or(MalformedRequest::Chunk)?;
                // An extension says nothing that anyone needs; it may stand there.
                if !matches!(line.get(digits), None | Some(b';')) {
                    return Err(MalformedRequest::Chunk);
                }
                let next = if size == 0 { Chunks::Trailer(0) } else { Chunks::Piece(size) };
                Ok(Some((line.len() + 2, next)))
            }
            Chunks::Trailer(so_far) => {
                let Some(line) = line(bytes, TRAILER_BYTES_MAX - so_far)? else { return Ok(None) };
                let next = if line.is_empty() { Chunks::Over } else { Chunks::Trailer(so_far + line.len() + 2) };
                if !line.is_empty() {
                    RequestLine::default().take(line)?;
                }
                match next {
                    Chunks::Trailer(so_far) if so_far >= TRAILER_BYTES_MAX => Err(MalformedRequest::Chunk),
                    next => Ok(Some((line.len() + 2, next))),
                }
            }
        }
    }
}

/// The first line, without its end.
fn line(bytes: &[u8], max: usize) -> Result<Option<&[u8]>, MalformedRequest> {
    let end = bytes.iter().position(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f);
    match end {
        Some(at) if bytes[at] == b'\r' && at <= max => match bytes.get(at + 1) {
            Some(b'\n') => Ok(Some(&bytes[..at])),
            Some(_) => Err(MalformedRequest::Chunk),
            None => Ok(None),
        },
        None if bytes.len() <= max => Ok(None),
        Some(_) | None => Err(MalformedRequest::Chunk),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Body, MalformedRequest> {
        read(text.as_bytes())
    }

    #[test]
    fn a_head_that_two_readers_could_read_in_two_ways_is_none() {
        let with =
            |header: &str| head(&format!("POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\n{header}\r\n\r\n"));
        assert_eq!(with("Content-Length: 5"), Ok(Body::Sized(5)));
        assert_eq!(with("Transfer-Encoding: Chunked"), Ok(Body::Chunked));
        let refused = [
            ("Content-Length: 5\r\nTransfer-Encoding: chunked", MalformedRequest::TwoLengths),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5", MalformedRequest::TwoLengths),
            ("Content-Length: 5\r\nContent-Length: 5", MalformedRequest::ContentLength),
            ("Content-Length: 5, 5", MalformedRequest::ContentLength),
            ("Content-Length: +5", MalformedRequest::ContentLength),
            ("Content-Length: 0x5", MalformedRequest::ContentLength),
            ("Content-Length:", MalformedRequest::ContentLength),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", MalformedRequest::TransferEncoding),
            ("Transfer-Encoding: gzip, chunked", MalformedRequest::TransferEncoding),
            ("Transfer-Encoding: identity", MalformedRequest::TransferEncoding),
            ("Transfer-Encoding : chunked", MalformedRequest::HeaderName),
            ("X: a\r\n Transfer-Encoding: chunked", MalformedRequest::Folded),
            ("X: a\nTransfer-Encoding: chunked", MalformedRequest::Control),
            ("X: a\rTransfer-Encoding: chunked", MalformedRequest::Control),
            ("X: a\0", MalformedRequest::Control),
            ("X", MalformedRequest::HeaderName),
            ("Host: b.example", MalformedRequest::SeveralHosts),
        ];
        for (header, why) in refused {
            assert_eq!(with(header), Err(why), "{header:?}");
        }
        let many = vec!["X: y"; HEADERS_MAX].join("\r\n");
        assert_eq!(with(&many), Err(MalformedRequest::TooManyHeaders));
        for line in [
            "GET  http://a/ HTTP/1.1",
            "GET http://a/",
            "GET http://a/ HTTP/1.2",
            " GET / HTTP/1.1",
            "G\tT / HTTP/1.1",
            "GET http://a/ HTTP/1.1 ",
        ] {
            assert!(head(&format!("{line}\r\n\r\n")).is_err(), "{line:?}");
        }
        assert_eq!(head("PRI * HTTP/2.0\r\n\r\n"), Err(MalformedRequest::Http2));
        assert_eq!(
            head("POST http://a/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Err(MalformedRequest::TransferEncoding)
        );
        assert_eq!(head("CONNECT a.example:443 HTTP/1.1\r\n\r\n"), Ok(Body::Tunnel));
        assert_eq!(
            head("CONNECT a.example:443 HTTP/1.1\r\nContent-Length: 1\r\n\r\n"),
            Err(MalformedRequest::RequestLine)
        );
        let upgrade = "http://a/ HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
        assert_eq!(head(&format!("GET {upgrade}\r\n")), Ok(Body::Tunnel));
        assert_eq!(head(&format!("GET {upgrade}Content-Length: 9\r\n\r\n")), Ok(Body::Sized(9)));
    }

    #[test]
    fn an_endless_head_is_not_waited_for() {
        assert_eq!(end(b"GET http://a/ HTTP/1.1\r\n"), Ok(None));
        assert_eq!(end(b"GET http://a/ HTTP/1.1\n"), Err(MalformedRequest::Control));
        assert_eq!(end(&vec![b'a'; HEAD_BYTES_MAX - 1]), Ok(None));
        assert_eq!(end(&vec![b'a'; HEAD_BYTES_MAX]), Err(MalformedRequest::TooLarge));
        assert_eq!(end(b"a\r\n\r\nrest"), Ok(Some(5)));
    }

    fn chunks(mut bytes: &[u8]) -> Result<(bool, usize), MalformedRequest> {
        let mut at = Chunks::Size;
        while let Some((count, next)) = at.step(bytes)? {
            bytes = &bytes[count..];
            at = next;
        }
        Ok((at == Chunks::Over, bytes.len()))
    }

    #[test]
    fn a_chunked_body_ends_in_one_place_only() {
        assert_eq!(chunks(b"5\r\nhello\r\n0\r\n\r\nGET"), Ok((true, 3)));
        assert_eq!(chunks(b"5;a=b\r\nhello\r\n0;x\r\nT: 1\r\n\r\n"), Ok((true, 0)));
        assert_eq!(chunks(b"5\r\nhel"), Ok((false, 0)));
        let refused: [&[u8]; 10] = [
            b"5\nhello",
            b"5\r\nhello0\r\n",
            b"5\r\nhello\n0\r\n",
            b" 5\r\n",
            b"0x5\r\n",
            b"-5\r\n",
            b"5 \r\n",
            b"\r\n",
            b"fffffffffffffffff\r\n",
            b"0\r\nT: 1\n\r\n",
        ];
        for body in refused {
            assert!(chunks(body).is_err(), "{}", String::from_utf8_lossy(body));
        }
        assert!(chunks(&[b"5;".as_slice(), &[b'a'; 300]].concat()).is_err());
        assert!(chunks(&[b"0\r\nT: ".as_slice(), &[b'a'; 9000]].concat()).is_err());
    }
}
