//! Streams of one jail to the daemon: one request and its answer each, whoever in the jail made it.
//! Must never: send beyond the window, or take a broken answer for a whole one.
use super::{Opening, StreamLink};
use crate::jail::{JailEvent, Key};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tenure_wire::frame::FromWorker;
use tenure_wire::stream::{FromProgram, OpenStream, PARTS_MAX, STREAMS_MAX, ToProgram, WINDOW, part, room};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

/// How long an answer may take to begin, and between two pieces of it: longer than the longest model call.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(1200);

/// Opens streams; what one jail has open at a time is shared by its handles.
#[derive(Debug, Clone)]
pub(crate) struct Streams {
    key: Key,
    link: StreamLink,
    events: mpsc::Sender<JailEvent>,
    places: Arc<Semaphore>,
}

/// What a request is sent as.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
}

/// Why a stream goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The link has ended.
    NoDaemon,
    /// The daemon broke the answer off.
    NoAnswer,
    /// The answer is longer than whoever asked takes.
    TooLong,
}

/// The beginning of an answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) headers: BTreeMap<String, String>,
}

/// An open stream. Once it is dropped, the connection tells the daemon that the program has gone.
pub(super) struct Stream {
    number: u64,
    parts: mpsc::Receiver<ToProgram>,
    frames: mpsc::Sender<FromWorker>,
    /// Room at the other side.
    left: usize,
    patience: Duration,
    _place: OwnedSemaphorePermit,
}

impl Streams {
    pub(crate) fn new(key: Key, link: StreamLink, events: mpsc::Sender<JailEvent>) -> Streams {
        Streams { key, link, events, places: Arc::new(Semaphore::new(STREAMS_MAX)) }
    }

    /// None: so many are open already that no more may be.
    pub(crate) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// `patience`: how long the answer may take to begin, and to go on.
    pub(super) async fn open(
        &self,
        Call { method, path, headers }: Call,
        place: OwnedSemaphorePermit,
        patience: Duration,
    ) -> Result<Stream, Cut> {
        let Key { holder, iteration } = self.key;
        let open = Box::new(OpenStream { holder, iteration, method, path, headers });
        let (to_program, parts) = mpsc::channel(PARTS_MAX + 2);
        let (number, numbered) = oneshot::channel();
        let opening = Opening { open, to_program, number };
        self.events.send(JailEvent::StreamOpened(opening)).await.map_err(|_| Cut::NoDaemon)?;
        let number = numbered.await.map_err(|_| Cut::NoDaemon)?;
        Ok(Stream { number, parts, frames: self.link.frames.clone(), left: WINDOW, patience, _place: place })
    }

    /// One request of this text, and its whole answer: the status, and at most `answer_max` bytes.
    pub(crate) async fn post(
        &self,
        (place, patience): (OwnedSemaphorePermit, Duration),
        path: String,
        body: &str,
        answer_max: usize,
    ) -> Result<(u16, String), Cut> {
        let call = Call { method: "POST".to_owned(), path, headers: BTreeMap::new() };
        let mut stream = self.open(call, place, patience).await?;
        let Head { status, .. } = match stream.send(body).await? {
            Some(head) => head,
            None => {
                stream.tell(FromProgram::End).await?;
                stream.head().await?
            }
        };
        let mut answer = String::new();
        while let Some(text) = stream.piece().await? {
            if answer.len() + text.len() > answer_max {
                return Err(Cut::TooLong);
            }
            answer.push_str(&text);
            stream.tell(FromProgram::Credit { room: room(&text) }).await?;
        }
        Ok((status, answer))
    }
}

impl Stream {
    pub(super) async fn tell(&self, part: FromProgram) -> Result<(), Cut> {
        let frame = FromWorker::Stream { stream: self.number, part };
        self.frames.send(frame).await.map_err(|_| Cut::NoDaemon)
    }

    async fn next(&mut self) -> Result<ToProgram, Cut> {
        timeout(self.patience, self.parts.recv()).await.map_err(|_| Cut::NoAnswer)?.ok_or(Cut::NoAnswer)
    }

    /// Sends text as the window lets it. An answer that begins before the request's end is given back; no more is sent then.
    pub(super) async fn send(&mut self, text: &str) -> Result<Option<Head>, Cut> {
        let mut rest = text;
        while !rest.is_empty() {
            let (first, after) = part(rest);
            while self.left < room(first) {
                match self.next().await? {
                    ToProgram::Credit { room } => self.left = self.left.saturating_add(room).min(WINDOW),
                    ToProgram::Head { status, headers } => return Ok(Some(Head { status, headers })),
                    ToProgram::Data { .. } | ToProgram::End | ToProgram::Close => return Err(Cut::NoAnswer),
                }
            }
            self.left -= room(first);
            self.tell(FromProgram::Data { text: first.to_owned() }).await?;
            rest = after;
        }
        Ok(None)
    }

    pub(super) async fn head(&mut self) -> Result<Head, Cut> {
        loop {
            match self.next().await? {
                ToProgram::Head { status, headers } => return Ok(Head { status, headers }),
                ToProgram::Credit { .. } => {}
                ToProgram::Data { .. } | ToProgram::End | ToProgram::Close => return Err(Cut::NoAnswer),
            }
        }
    }

    /// The next of the answer's text, for which room is to be given back; None at its end.
    pub(super) async fn piece(&mut self) -> Result<Option<String>, Cut> {
        loop {
            match self.next().await? {
                ToProgram::Data { text } => return Ok(Some(text)),
                ToProgram::End => return Ok(None),
                ToProgram::Credit { .. } => {}
                ToProgram::Head { .. } | ToProgram::Close => return Err(Cut::NoAnswer),
            }
        }
    }
}
