//! A small blocking speaker of the jail protocol, for tests and one-shot runs. One request at a time.
//! Must never: wait without a deadline, or take a reply for another request's.

use std::io::Write;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use crate::error::Error;
use crate::native::channel;
use crate::protocol::{
    Answer, BODY_BYTES_MAX, Entry, Exit, FrameError, Hello, Operation, Refusal, Reply, Request, Spawn, Stream,
    WriteMode, decode, encode,
};

/// Room for a usual hello; of a longer one the rest is read like any other frame.
const HELLO_BYTES: usize = 4 << 10;
const READ_BYTES: usize = 64 << 10;

/// What a program wrote and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit: Exit,
}

/// The listeners that a jail hands out with its hello.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) egress: Option<TcpListener>,
    pub(crate) service: Option<TcpListener>,
}

impl Listeners {
    /// None where others came than were asked for.
    pub(crate) fn of(egress: bool, service: bool, fds: Vec<OwnedFd>) -> Option<Listeners> {
        if fds.len() != usize::from(egress) + usize::from(service) {
            return None;
        }
        let mut fds = fds.into_iter().map(TcpListener::from);
        let egress = egress.then(|| fds.next()).flatten();
        Some(Listeners { egress, service: fds.next() })
    }
}

/// One side of a jail's socket.
#[derive(Debug)]
pub struct Client {
    socket: UnixStream,
    buffer: Vec<u8>,
    next_id: u32,
    patience: Duration,
}

impl Client {
    /// Every answer must come within `patience`; for `run` it must exceed the program's own time limit.
    pub fn new(socket: UnixStream, patience: Duration) -> Self {
        Self { socket, buffer: Vec::new(), next_id: 1, patience }
    }

    pub(crate) fn into_socket(self) -> UnixStream {
        self.socket
    }

    /// The first frame, and the descriptors that came with its first byte.
    pub(crate) fn hello(&mut self) -> Result<(Hello, Vec<OwnedFd>), Error> {
        let deadline = Instant::now() + self.patience;
        if !channel::readable(&self.socket, self.patience).map_err(Error::io("wait for the jail's hello"))? {
            return Err(Error::Deadline { what: "the jail's hello", millis: self.patience.as_millis() as u64 });
        }
        let Ok(Some((bytes, fds))) = channel::receive_part(&self.socket, HELLO_BYTES) else {
            return Err(Error::JailLost);
        };
        self.buffer.extend_from_slice(&bytes);
        Ok((self.frame::<Hello>(deadline)?.0, fds))
    }

    fn frame<H: serde::de::DeserializeOwned>(&mut self, deadline: Instant) -> Result<(H, Vec<u8>), Error> {
        loop {
            if let Some(frame) = decode::<H>(&self.buffer)? {
                self.buffer.drain(..frame.consumed);
                return Ok((frame.header, frame.body));
            }
            let late = || Error::Deadline { what: "the jail's answer", millis: self.patience.as_millis() as u64 };
            let left =
                deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()).ok_or_else(late)?;
            self.socket.set_read_timeout(Some(left)).map_err(Error::io("set the socket's time limit"))?;
            self.buffer.reserve(READ_BYTES);
            match rustix::io::read(&self.socket, spare_capacity(&mut self.buffer)) {
                Ok(0) => return Err(Error::JailLost),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(late()),
                Err(_) => return Err(Error::JailLost),
            }
        }
    }

    /// Sends one request, its body in chunks, and returns its id.
    pub fn send(&mut self, operation: Operation, body: &[u8]) -> Result<u32, Error> {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1).max(1);
        let mut operation = operation;
        let mut chunks = body.chunks(BODY_BYTES_MAX);
        let mut chunk = chunks.next().unwrap_or(&[]);
        loop {
            let frame = encode(&Request { id, operation }, chunk)?;
            self.socket.write_all(&frame).map_err(|_| Error::JailLost)?;
            let Some(next) = chunks.next() else { return Ok(id) };
            (chunk, operation) = (next, Operation::More);
        }
    }

    /// The next answer to request `id`; those to others are dropped.
    pub fn answer(&mut self, id: u32) -> Result<(Answer, Vec<u8>), Error> {
        let deadline = Instant::now() + self.patience;
        loop {
            let (reply, body) = self.frame::<Reply>(deadline)?;
            if reply.id == id {
                return Ok((reply.answer, body));
            }
        }
    }

    /// The next answer to any request.
    #[expect(clippy::should_implement_trait, reason = "an error is no end: there is a next after it")]
    pub fn next(&mut self) -> Result<(Reply, Vec<u8>), Error> {
        self.frame::<Reply>(Instant::now() + self.patience)
    }

    fn call(&mut self, operation: Operation, body: &[u8]) -> Result<(Answer, Vec<u8>), Error> {
        let id = self.send(operation, body)?;
        match self.answer(id)? {
            (Answer::Refused(refusal), _) => Err(Error::Refused(refusal)),
            answer => Ok(answer),
        }
    }

    /// A whole file of at most `max` bytes.
    pub fn read(&mut self, path: &str, max: u64) -> Result<Vec<u8>, Error> {
        let mut content = Vec::new();
        loop {
            let read =
                Operation::Read { path: path.to_owned(), offset: content.len() as u64, max: BODY_BYTES_MAX as u32 };
            let (answer, body) = self.call(read, &[])?;
            let Answer::Read { eof, .. } = answer else { return Err(unexpected("an answer to read")) };
            content.extend_from_slice(&body);
            if content.len() as u64 > max {
                return Err(Error::Refused(Refusal::TooLarge { limit: max }));
            }
            if eof {
                return Ok(content);
            }
        }
    }

    /// Writes a whole file; true if it was not there before.
    pub fn write(&mut self, path: &str, content: &[u8], mode: WriteMode) -> Result<bool, Error> {
        let write = Operation::Write { path: path.to_owned(), size: content.len() as u64, mode };
        match self.call(write, content)? {
            (Answer::Written { created, .. }, _) => Ok(created),
            _ => Err(unexpected("an answer to write")),
        }
    }

    pub fn append(&mut self, path: &str, content: &[u8]) -> Result<(), Error> {
        let append = Operation::Append { path: path.to_owned(), size: content.len() as u64 };
        self.call(append, content).map(drop)
    }

    /// Replaces text; returns how often.
    pub fn edit(&mut self, path: &str, find: &str, replace: &str, expected_count: Option<u32>) -> Result<u32, Error> {
        let (path, find, replace) = (path.to_owned(), find.to_owned(), replace.to_owned());
        match self.call(Operation::Edit { path, find, replace, expected_count, dry_run: false }, &[])? {
            (Answer::Edited { replaced }, _) => Ok(replaced),
            _ => Err(unexpected("an answer to edit")),
        }
    }

    /// One page of a folder and the cursor of the next.
    pub fn list(
        &mut self,
        path: &str,
        max: u32,
        cursor: Option<String>,
    ) -> Result<(Vec<Entry>, Option<String>), Error> {
        match self.call(Operation::List { path: path.to_owned(), max, cursor }, &[])? {
            (Answer::Listed { entries, next }, _) => Ok((entries, next)),
            _ => Err(unexpected("an answer to list")),
        }
    }

    pub fn stat(&mut self, path: &str) -> Result<Entry, Error> {
        match self.call(Operation::Stat { path: path.to_owned() }, &[])? {
            (Answer::Stat(entry), _) => Ok(entry),
            _ => Err(unexpected("an answer to stat")),
        }
    }

    /// Returns the place in the trash, if it went there.
    pub fn delete(&mut self, path: &str, recursive: bool) -> Result<Option<String>, Error> {
        match self.call(Operation::Delete { path: path.to_owned(), recursive }, &[])? {
            (Answer::Deleted { trash }, _) => Ok(trash),
            _ => Err(unexpected("an answer to delete")),
        }
    }

    /// Returns the path where it lies again.
    pub fn restore(&mut self, trashed_as: &str, path: Option<&str>) -> Result<String, Error> {
        let (trashed_as, path) = (trashed_as.to_owned(), path.map(str::to_owned));
        match self.call(Operation::Restore { trashed_as, path }, &[])? {
            (Answer::Restored { path }, _) => Ok(path),
            _ => Err(unexpected("an answer to restore")),
        }
    }

    pub fn ping(&mut self) -> Result<(), Error> {
        self.call(Operation::Ping, &[]).map(drop)
    }

    /// Runs a program to its end. `stdin` may hold at most `BODY_BYTES_MAX` bytes.
    pub fn run(&mut self, spawn: Spawn, stdin: &[u8]) -> Result<Output, Error> {
        if stdin.len() > BODY_BYTES_MAX {
            return Err(Error::Refused(Refusal::TooLarge { limit: BODY_BYTES_MAX as u64 }));
        }
        let id = self.send(Operation::Spawn(spawn), stdin)?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            match self.answer(id)? {
                (Answer::Started, _) => {}
                (Answer::Output { stream: Stream::Stdout }, body) => stdout.extend_from_slice(&body),
                (Answer::Output { stream: Stream::Stderr }, body) => stderr.extend_from_slice(&body),
                (Answer::Exited(exit), _) => return Ok(Output { stdout, stderr, exit }),
                (Answer::Refused(refusal), _) => return Err(Error::Refused(refusal)),
                _ => return Err(unexpected("an answer to spawn")),
            }
        }
    }
}

fn unexpected(what: &'static str) -> Error {
    Error::Frame(FrameError::Unexpected(what))
}
