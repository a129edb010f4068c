//! A server that is a program in the jail: one message a line on its stdin and stdout, what it says on stderr kept for the moment
//! when it ends. One task owns it. Must never: let a program that does not read stop what reads it.
use super::super::process::{StartContext, not_started};
use super::announcer::Announcer;
use super::connection::Fault;
use super::message::{self, Incoming, MESSAGE_BYTES_MAX, RpcError};
use super::{CallResult, Surroundings};
use crate::jail_connection::{Answers, JailConnection};
use crate::output::HeadTailBuffer;
use crate::workspace::{Baseline, QuotaWatcher};
use serde_json::Value;
use std::collections::HashMap;
use tenure_core::capability::clip;
use tenure_sandbox::protocol::{Answer, Ended, Operation, Spawn, Stream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Messages that wait for the program to read.
const LINES_MAX: usize = 64;
/// Of one `Input`.
const PIECE_BYTES: usize = 64 << 10;
/// Of what it said on stderr, what is told at its end.
const LAST_WORDS: usize = 400;

#[derive(Debug)]
enum ToProgram {
    Ask { id: u64, line: Vec<u8>, answer: oneshot::Sender<Result<Value, RpcError>>, heard: mpsc::Sender<String> },
    Tell(Vec<u8>),
    TakeBack { id: u64, line: Vec<u8> },
}

#[derive(Debug)]
pub(super) struct Stdio {
    to: mpsc::Sender<ToProgram>,
    dead: CancellationToken,
    /// Why it is, once it is.
    why: tokio::sync::watch::Receiver<String>,
}

struct PendingRequest {
    answer: oneshot::Sender<Result<Value, RpcError>>,
    heard: mpsc::Sender<String>,
}

struct Program {
    number: u32,
    jail: JailConnection,
    answers: Answers,
    quota: QuotaWatcher,
    baseline: Option<Baseline>,
    lines: mpsc::Sender<Vec<u8>>,
    announcer: Announcer,
    open: HashMap<u64, PendingRequest>,
    read: Vec<u8>,
    /// So many of them have no line break.
    looked_at: usize,
    stderr: HeadTailBuffer,
}

fn line(message: &Value) -> Vec<u8> {
    let mut line = message.to_string().into_bytes();
    line.push(b'\n');
    line
}

impl Stdio {
    pub(super) async fn start(around: &Surroundings, command: &[String], announcer: Announcer) -> Result<Stdio, Fault> {
        let ended = |result: CallResult| Fault::Ended(Box::new(result));
        let baseline = match around.quota.begin().await {
            Ok(Ok(baseline)) => baseline,
            Ok(Err(reached)) => return Err(ended(super::super::limit_reached(reached))),
            Err(unseen) => {
                return Err(match super::super::unavailable(unseen) {
                    super::Abort::Ended(result) => ended(result),
                    super::Abort::Gone | super::Abort::Broken(_) => Fault::Gone,
                });
            }
        };
        let mut spawn = Spawn::new(command.iter().cloned());
        (spawn.fed, spawn.output_max) = (true, Some(u64::MAX));
        let (mut answers, number) = around.jail.ask_as(Operation::Spawn(spawn), Vec::new()).await;
        match answers.recv().await {
            Some((Answer::Started, _)) => {}
            Some((Answer::Refused(refusal), _)) => {
                let program = command.first().cloned().unwrap_or_default();
                let attempt = StartContext { command: program, alone: command.len() == 1, backend: &around.backend };
                return Err(ended(not_started(&refusal, &attempt)));
            }
            Some(_) | None => return Err(Fault::Gone),
        }
        let (to, asked) = mpsc::channel(LINES_MAX);
        let (lines, unread) = mpsc::channel(LINES_MAX);
        let (dead, (tell, why)) = (CancellationToken::new(), tokio::sync::watch::channel(String::new()));
        tokio::spawn(feed(around.jail.clone(), number, unread));
        let program = Program {
            number,
            jail: around.jail.clone(),
            answers,
            quota: around.quota.clone(),
            baseline,
            lines,
            announcer,
            open: HashMap::new(),
            read: Vec::new(),
            looked_at: 0,
            stderr: HeadTailBuffer::default(),
        };
        let end = dead.clone().drop_guard();
        tokio::spawn(async move {
            let why = program.run(asked).await;
            let _ = tell.send(why);
            drop(end);
        });
        Ok(Stdio { to, dead, why })
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.dead.is_cancelled()
    }

    async fn send(&self, message: ToProgram) -> Result<(), Fault> {
        if self.to.send(message).await.is_ok() {
            return Ok(());
        }
        // Its task ends before it has said why.
        self.dead.cancelled().await;
        Err(self.lost())
    }

    fn lost(&self) -> Fault {
        let why = self.why.borrow().clone();
        if why.is_empty() { Fault::Gone } else { Fault::Lost(why) }
    }

    pub(super) async fn ask(
        &self,
        id: u64,
        request: Value,
        heard: mpsc::Sender<String>,
    ) -> Result<Result<Value, RpcError>, Fault> {
        let (answer, answered) = oneshot::channel();
        self.send(ToProgram::Ask { id, line: line(&request), answer, heard }).await?;
        match answered.await {
            Ok(answer) => Ok(answer),
            Err(_) => {
                self.dead.cancelled().await;
                Err(self.lost())
            }
        }
    }

    pub(super) async fn tell(&self, message: Value) -> Result<(), Fault> {
        self.send(ToProgram::Tell(line(&message))).await
    }

    pub(super) async fn take_back(&self, id: u64, message: Value) {
        let _ = self.send(ToProgram::TakeBack { id, line: line(&message) }).await;
    }
}

/// Hands on what the program is to read, each piece once the one before is taken.
async fn feed(jail: JailConnection, number: u32, mut unread: mpsc::Receiver<Vec<u8>>) {
    while let Some(line) = unread.recv().await {
        for piece in line.chunks(PIECE_BYTES) {
            let operation = Operation::Input { target: number, end: false };
            let _ = jail.ask(operation, piece.to_vec()).await.recv().await;
        }
    }
}

impl Program {
    /// Until it ends, or nobody can ask any more; and why it ended.
    async fn run(mut self, mut asked: mpsc::Receiver<ToProgram>) -> String {
        let quota = self.quota.clone();
        let baseline = self.baseline.take();
        let over = quota.watch(baseline.as_ref());
        tokio::pin!(over);
        let why = loop {
            tokio::select! {
                answer = self.answers.recv() => match answer {
                    Some((Answer::Output { stream: Stream::Stderr }, bytes)) => self.stderr.push(&bytes),
                    Some((Answer::Output { stream: Stream::Stdout }, bytes)) => {
                        if let Err(why) = self.take(&bytes) {
                            break why;
                        }
                    }
                    Some((Answer::Exited(exit), _)) => {
                        let how = match exit.ended {
                            Ended::Code(code) => format!("its program ended with exit code {code}"),
                            Ended::Signal(signal) => format!("its program was ended by signal {signal}"),
                        };
                        return self.last_words(&how);
                    }
                    Some(_) => {}
                    None => return String::new(),
                },
                message = asked.recv() => match message {
                    Some(message) => if let Err(why) = self.pass_on(message) { break why; },
                    None => break "its jail ended".to_owned(),
                },
                over = &mut over => break match over {
                    Ok(reached) => format!("its program was killed: {}", reached.sentence),
                    Err(_) => "how much of the disk it uses cannot be seen".to_owned(),
                },
            }
        };
        let _ = self.jail.ask(Operation::Kill { target: self.number }, Vec::new()).await;
        let words = self.last_words(&why);
        // A jail whose answers nobody takes reads no requests.
        let mut answers = self.answers;
        tokio::spawn(async move { while answers.recv().await.is_some() {} });
        words
    }

    fn last_words(&mut self, why: &str) -> String {
        let said = std::mem::take(&mut self.stderr).text();
        let said = said.trim();
        let start = said.ceil_char_boundary(said.len().saturating_sub(LAST_WORDS));
        match &said[start..] {
            "" => why.to_owned(),
            said => format!("{why}; it said: {}", said.replace('\n', " / ")),
        }
    }

    fn pass_on(&mut self, message: ToProgram) -> Result<(), String> {
        let line = match message {
            ToProgram::Ask { id, line, answer, heard } => {
                self.open.insert(id, PendingRequest { answer, heard });
                line
            }
            ToProgram::Tell(line) => line,
            ToProgram::TakeBack { id, line } => {
                self.open.remove(&id);
                line
            }
        };
        self.write(line)
    }

    fn write(&self, line: Vec<u8>) -> Result<(), String> {
        self.lines.try_send(line).map_err(|_| "it does not read what it is asked".to_owned())
    }

    /// Whole lines of its stdout. What is no message is skipped: programs print all sorts of things.
    fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.read.extend_from_slice(bytes);
        let (mut begin, mut from) = (0, self.looked_at);
        while let Some(length) = self.read[from..].iter().position(|byte| *byte == b'\n') {
            let line = self.read[begin..from + length].trim_ascii().to_vec();
            begin = from + length + 1;
            from = begin;
            if !line.is_empty() {
                self.hear(&line)?;
            }
        }
        self.read.drain(..begin);
        self.looked_at = self.read.len();
        if self.read.len() > MESSAGE_BYTES_MAX {
            return Err(format!("it wrote a message of more than {MESSAGE_BYTES_MAX} bytes"));
        }
        Ok(())
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), String> {
        match message::read(bytes) {
            Ok(Incoming::Answer { id, result }) => {
                if let Some(asked) = self.open.remove(&id) {
                    let _ = asked.answer.send(result);
                }
            }
            Ok(Incoming::Request { id, method }) => self.write(line(&message::answer(&id, &method)))?,
            Ok(Incoming::Progress { id, text }) => {
                // What nobody takes is dropped.
                if let Some(asked) = self.open.get(&id) {
                    let _ = asked.heard.try_send(text);
                }
            }
            Ok(Incoming::ToolsChanged) => self.announcer.tools_changed(),
            Ok(Incoming::Other) => {}
            Err(why) => {
                self.stderr.push(clip(&format!("({why}) {}", String::from_utf8_lossy(bytes))).as_bytes());
                self.stderr.push(b"\n");
            }
        }
        Ok(())
    }
}
