//! The socket of one jail: the one task that owns it, and the handle that calls ask through.
//! Must never: take an answer for another request's, or hold more of what a jail says than the protocol's bounds.
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tenure_sandbox::protocol::{
    Answer, BODY_BYTES_MAX, FRAME_BYTES_MAX, FrameError, Operation, Refusal, Reply, Request, decode, encode,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// Requests that wait to be sent.
const WAITING_MAX: usize = 64;
/// Answers to one request that wait to be taken; then the jail waits.
const ANSWERS_MAX: usize = 32;

pub(crate) type Answers = mpsc::Receiver<(Answer, Vec<u8>)>;

/// Asks one jail. Its end, and the jail's, show as the end of the answers.
#[derive(Debug, Clone)]
pub(crate) struct JailConnection {
    requests: mpsc::Sender<PendingRequest>,
    last_id: Arc<AtomicU32>,
}

#[derive(Debug)]
struct PendingRequest {
    id: u32,
    operation: Operation,
    body: Vec<u8>,
    /// None: a further chunk of a request that has its answers.
    answers: Option<mpsc::Sender<(Answer, Vec<u8>)>>,
}

/// A write whose content comes piece by piece, so that nobody holds the whole.
#[derive(Debug)]
pub(crate) struct Upload {
    id: u32,
    requests: mpsc::Sender<PendingRequest>,
    answers: Answers,
}

impl Upload {
    /// The next at most `BODY_BYTES_MAX` bytes.
    pub(crate) async fn more(&self, chunk: Vec<u8>) {
        let _ = self
            .requests
            .send(PendingRequest { id: self.id, operation: Operation::More, body: chunk, answers: None })
            .await;
    }

    /// Whether the jail has said its last word already, or is gone.
    pub(crate) fn answered(&self) -> bool {
        !self.answers.is_empty() || self.answers.is_closed()
    }

    pub(crate) async fn answer(mut self) -> Option<(Answer, Vec<u8>)> {
        self.answers.recv().await
    }
}

/// Why a connection ended.
#[derive(Debug)]
pub(crate) enum Disconnect {
    /// The jail's end is closed.
    Ended,
    Broken(FrameError),
    /// Nobody can ask any more.
    Dropped,
}

impl JailConnection {
    /// The task must be spawned; it ends with the socket or with the last handle.
    pub(crate) fn new(socket: UnixStream) -> (JailConnection, impl Future<Output = Disconnect>) {
        let (requests, asked) = mpsc::channel(WAITING_MAX);
        let owner = Owner { asked, open: HashMap::new(), outbox: VecDeque::new() };
        (JailConnection { requests, last_id: Arc::default() }, owner.run(socket))
    }

    /// The answers come in order; their end without a last answer means that the jail is gone.
    pub(crate) async fn ask(&self, operation: Operation, body: Vec<u8>) -> Answers {
        self.upload(operation, body).await.answers
    }

    /// As `ask`, and the request's number, by which others name it.
    pub(crate) async fn ask_as(&self, operation: Operation, body: Vec<u8>) -> (Answers, u32) {
        let Upload { id, answers, .. } = self.upload(operation, body).await;
        (answers, id)
    }

    /// As `ask`, with more of the body to come.
    pub(crate) async fn upload(&self, operation: Operation, body: Vec<u8>) -> Upload {
        let (answers, receiver) = mpsc::channel(ANSWERS_MAX);
        let id = self.last_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        // A request that cannot be sent any more drops its sender, which ends the answers.
        let _ = self.requests.send(PendingRequest { id, operation, body, answers: Some(answers) }).await;
        Upload { id, requests: self.requests.clone(), answers: receiver }
    }
}

struct Owner {
    asked: mpsc::Receiver<PendingRequest>,
    open: HashMap<u32, mpsc::Sender<(Answer, Vec<u8>)>>,
    outbox: VecDeque<u8>,
}

impl Owner {
    async fn run(mut self, mut socket: UnixStream) -> Disconnect {
        let (mut reader, mut writer) = socket.split();
        let (mut buffer, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            let idle = self.outbox.is_empty();
            tokio::select! {
                read = reader.read(&mut chunk) => match read {
                    Ok(0) | Err(_) => return Disconnect::Ended,
                    Ok(count) => {
                        buffer.extend_from_slice(&chunk[..count]);
                        if let Err(error) = self.take(&mut buffer).await {
                            return Disconnect::Broken(error);
                        }
                    }
                },
                asked = self.asked.recv(), if idle => match asked {
                    Some(asked) => self.begin(asked).await,
                    None => return Disconnect::Dropped,
                },
                written = writer.write(self.outbox.as_slices().0), if !idle => match written {
                    Ok(0) | Err(_) => return Disconnect::Ended,
                    Ok(count) => drop(self.outbox.drain(..count)),
                },
            }
        }
    }

    async fn begin(&mut self, asked: PendingRequest) {
        let id = asked.id;
        let mut operation = asked.operation;
        let mut chunks = asked.body.chunks(BODY_BYTES_MAX);
        let mut chunk = chunks.next().unwrap_or(&[]);
        loop {
            match encode(&Request { id, operation }, chunk) {
                Ok(frame) => self.outbox.extend(frame),
                Err(error) => {
                    let reason = format!("the request is too long for the sandbox: {error}");
                    if let Some(answers) = asked.answers {
                        let _ = answers.send((Answer::Refused(Refusal::Invalid { reason }), Vec::new())).await;
                    }
                    return;
                }
            }
            let Some(next) = chunks.next() else { break };
            (chunk, operation) = (next, Operation::More);
        }
        if let Some(answers) = asked.answers {
            self.open.insert(id, answers);
        }
    }

    /// Hands out every whole frame of the buffer.
    async fn take(&mut self, buffer: &mut Vec<u8>) -> Result<(), FrameError> {
        let mut taken = 0;
        while let Some(frame) = decode::<Reply>(&buffer[taken..])? {
            taken += frame.consumed;
            self.hand_out(frame.header, frame.body).await;
        }
        buffer.drain(..taken);
        debug_assert!(buffer.len() <= FRAME_BYTES_MAX + 4, "decode refuses a longer frame by its first bytes");
        Ok(())
    }

    async fn hand_out(&mut self, reply: Reply, body: Vec<u8>) {
        let last = match &reply.answer {
            Answer::Started | Answer::Output { .. } => false,
            Answer::Read { .. }
            | Answer::Written { .. }
            | Answer::Edited { .. }
            | Answer::Listed { .. }
            | Answer::Stat(_)
            | Answer::Deleted { .. }
            | Answer::Restored { .. }
            | Answer::Exited(_)
            | Answer::Done
            | Answer::Pong
            | Answer::Refused(_) => true,
        };
        // An answer that nobody waits for any more is dropped; the request may have been given up.
        if let Some(answers) = self.open.get(&reply.id) {
            let _ = answers.send((reply.answer, body)).await;
        }
        if last {
            self.open.remove(&reply.id);
        }
    }
}
