//! A program of the jail that speaks JSON-RPC 2.0, one message a line: an MCP server, or a code agent. What it says on stderr is its
//! log, and kept for the moment when it ends. One task owns it.
//!
//! ```text
//! call ─ask─▶ task ─lines─▶ feed ─▶ stdin          stdout ─▶ task ─▶ the call that waits, or the counterpart
//! ```
//! Must never: let a program that does not read stop what reads it, or hold more of what it says than its bounds.
pub(super) mod message;

use super::process::{StartContext, not_started};
use super::{Abort, limit_reached, unavailable};
use crate::jail_connection::{Answers, JailConnection};
use crate::output::HeadTailBuffer;
use crate::workspace::{Baseline, LimitReached, QuotaWatcher, Unavailable};
use message::{Incoming, MESSAGE_BYTES_MAX, RpcError, Said};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tenure_core::capability::clip;
use tenure_core::manifest::Backend;
use tenure_sandbox::protocol::{Answer, Ended, Exit, Operation, Spawn, Stream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Messages that wait for the program to read.
const LINES_MAX: usize = 64;
/// Of one `Input`.
const PIECE_BYTES: usize = 64 << 10;
/// Of what it said on stderr, what is told at its end.
const LAST_WORDS: usize = 400;
/// How long a jail may take to kill it.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// Whom a program speaks with.
pub(super) trait Counterpart: Send + 'static {
    /// What an open request keeps until its answer comes, and is given back with it.
    type Ear: Send + 'static;
    /// Lines of its stdout that may be no message; with one more it is ended.
    const NOISE_MAX: u32;

    /// The program says something of its own accord. Err: it is ended for that.
    fn hear(&mut self, said: Said, talk: &mut Talk<Self::Ear>) -> Result<(), String>;

    /// What it prints for people.
    fn log(&mut self, _bytes: &[u8]) {}
}

/// Where a program runs, and what keeps it to its limits there.
pub(super) struct Ground<'a> {
    pub(super) jail: &'a JailConnection,
    pub(super) quota: &'a QuotaWatcher,
    pub(super) backend: &'a Backend,
}

/// A running program. Once nobody holds it any more, it is killed.
#[derive(Debug)]
pub(super) struct Program<E> {
    to: mpsc::Sender<ToProgram<E>>,
    last_id: AtomicU64,
    kill: CancellationToken,
    end: watch::Receiver<Option<Arc<ProgramEnd>>>,
}

/// How it ended.
#[derive(Debug)]
pub(super) struct ProgramEnd {
    pub(super) why: EndedBy,
    /// None: it was killed, and its jail has not said so.
    pub(super) exit: Option<Exit>,
    /// The last of its stderr.
    pub(super) said: String,
}

#[derive(Debug)]
pub(super) enum EndedBy {
    Itself,
    /// It was asked for, or nobody held it any more.
    Us,
    /// It does not speak as it must.
    Broken(String),
    Quota(LimitReached),
    Unseen(Unavailable),
    JailGone,
}

/// The end of what is asked, with what it was asked with.
pub(super) type Answered<E> = (Result<Value, RpcError>, E);

#[derive(Debug)]
enum ToProgram<E> {
    Ask { id: u64, message: Value, answer: oneshot::Sender<Answered<E>>, ear: E },
    Tell(Value),
    TakeBack { id: u64, message: Value },
    Close,
}

enum Line {
    Text(Vec<u8>),
    End,
}

/// What waits for a program to read it.
#[derive(Clone)]
pub(super) struct Lines(mpsc::Sender<Line>);

impl Lines {
    /// # Errors
    /// So much waits already that it does not read.
    pub(super) fn say(&self, message: &Value) -> Result<(), String> {
        self.0.try_send(line(message)).map_err(|_| "it does not read what it is asked".to_owned())
    }

    /// Waits for its turn; once the program has ended, nothing is said.
    pub(super) async fn send(&self, message: &Value) {
        let _ = self.0.send(line(message)).await;
    }
}

/// What is under way between a program and its counterpart.
pub(super) struct Talk<E> {
    pub(super) lines: Lines,
    open: HashMap<u64, PendingRequest<E>>,
}

struct PendingRequest<E> {
    answer: oneshot::Sender<Answered<E>>,
    ear: E,
}

impl<E> Talk<E> {
    pub(super) fn ear(&mut self, id: u64) -> Option<&mut E> {
        self.open.get_mut(&id).map(|pending| &mut pending.ear)
    }

    /// Of all that is asked and not answered.
    pub(super) fn ears(&mut self) -> impl Iterator<Item = &mut E> {
        self.open.values_mut().map(|pending| &mut pending.ear)
    }
}

fn line(message: &Value) -> Line {
    let mut line = message.to_string().into_bytes();
    line.push(b'\n');
    Line::Text(line)
}

impl<E: Send + 'static> Program<E> {
    /// # Errors
    /// `Ended`: it does not start, in the words for whoever wanted that.
    pub(super) async fn start<C: Counterpart<Ear = E>>(
        ground: &Ground<'_>,
        command: &[String],
        counterpart: C,
    ) -> Result<Program<E>, Abort> {
        let begun = ground.quota.begin().await.map_err(unavailable)?;
        let baseline = begun.map_err(|reached| Abort::Ended(limit_reached(reached)))?;
        let mut spawn = Spawn::new(command.iter().cloned());
        (spawn.fed, spawn.output_max) = (true, Some(u64::MAX));
        let (mut answers, number) = ground.jail.ask_as(Operation::Spawn(spawn), Vec::new()).await;
        // What a quick one prints, or its end, may come before the word that it started.
        let first = match answers.recv().await {
            Some((Answer::Refused(refusal), _)) => {
                let program = command.first().cloned().unwrap_or_default();
                let attempt = StartContext { command: program, alone: command.len() == 1, backend: ground.backend };
                return Err(Abort::Ended(not_started(&refusal, &attempt)));
            }
            Some(first) => first,
            None => return Err(Abort::Gone),
        };
        let (to, asked) = mpsc::channel(LINES_MAX);
        let (lines, unread) = mpsc::channel(LINES_MAX);
        let (tell, end) = watch::channel(None);
        let kill = CancellationToken::new();
        tokio::spawn(feed(ground.jail.clone(), number, unread));
        let task = Task {
            number,
            jail: ground.jail.clone(),
            answers,
            quota: ground.quota.clone(),
            counterpart,
            talk: Talk { lines: Lines(lines), open: HashMap::new() },
            read: Vec::new(),
            looked_at: 0,
            stderr: HeadTailBuffer::default(),
            noise: 0,
        };
        let killed = kill.clone();
        tokio::spawn(async move {
            let end = task.run(first, asked, killed, baseline).await;
            let _ = tell.send(Some(Arc::new(end)));
        });
        Ok(Program { to, last_id: AtomicU64::new(0), kill, end })
    }

    pub(super) fn is_alive(&self) -> bool {
        self.end.borrow().is_none() && self.end.has_changed().is_ok()
    }

    pub(super) fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Its end follows.
    pub(super) fn kill(&self) {
        self.kill.cancel();
    }

    /// Once it has ended.
    pub(super) async fn ended(&self) -> Arc<ProgramEnd> {
        let mut end = self.end.clone();
        let ended = end.wait_for(Option::is_some).await.ok().and_then(|end| (*end).clone());
        ended.unwrap_or_else(|| Arc::new(ProgramEnd { why: EndedBy::JailGone, exit: None, said: String::new() }))
    }

    async fn send(&self, message: ToProgram<E>) -> Result<(), Arc<ProgramEnd>> {
        match self.to.send(message).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.ended().await),
        }
    }

    /// # Errors
    /// It ended first.
    pub(super) async fn ask(&self, id: u64, message: Value, ear: E) -> Result<Answered<E>, Arc<ProgramEnd>> {
        let (answer, answered) = oneshot::channel();
        self.send(ToProgram::Ask { id, message, answer, ear }).await?;
        match answered.await {
            Ok(answered) => Ok(answered),
            Err(_) => Err(self.ended().await),
        }
    }

    /// # Errors
    /// It has ended.
    pub(super) async fn tell(&self, message: Value) -> Result<(), Arc<ProgramEnd>> {
        self.send(ToProgram::Tell(message)).await
    }

    /// Nobody waits any more for the answer to a request, which the program is told by `message`.
    pub(super) async fn take_back(&self, id: u64, message: Value) {
        let _ = self.send(ToProgram::TakeBack { id, message }).await;
    }

    /// It reads the end of its stdin once it has read what was said.
    pub(super) async fn close(&self) {
        let _ = self.send(ToProgram::Close).await;
    }
}

impl ProgramEnd {
    /// For whoever asked it something. None: its jail is gone, of which the jail's own end tells.
    pub(super) fn sentence(&self) -> Option<String> {
        let how = match &self.why {
            EndedBy::JailGone => return None,
            EndedBy::Us => "its program was ended".to_owned(),
            EndedBy::Broken(why) => why.clone(),
            EndedBy::Quota(reached) => format!("its program was killed: {}", reached.sentence),
            EndedBy::Unseen(_) => "how much of the disk it uses cannot be seen".to_owned(),
            EndedBy::Itself => match self.exit.as_ref().map(|exit| exit.ended) {
                Some(Ended::Code(code)) => format!("its program ended with exit code {code}"),
                Some(Ended::Signal(signal)) => format!("its program was ended by signal {signal}"),
                None => "its program ended".to_owned(),
            },
        };
        Some(match self.said.as_str() {
            "" => how,
            said => format!("{how}; it said: {}", said.replace('\n', " / ")),
        })
    }
}

/// Hands on what the program is to read, each piece once the one before is taken.
async fn feed(jail: JailConnection, program: u32, mut unread: mpsc::Receiver<Line>) {
    while let Some(line) = unread.recv().await {
        let Line::Text(line) = line else {
            let _ = jail.ask(Operation::Input { target: program, end: true }, Vec::new()).await.recv().await;
            return;
        };
        for piece in line.chunks(PIECE_BYTES) {
            let operation = Operation::Input { target: program, end: false };
            // One that reads no more is none that ends.
            let _ = jail.ask(operation, piece.to_vec()).await.recv().await;
        }
    }
}

struct Task<C: Counterpart> {
    number: u32,
    jail: JailConnection,
    answers: Answers,
    quota: QuotaWatcher,
    counterpart: C,
    talk: Talk<C::Ear>,
    read: Vec<u8>,
    /// So many of them have no line break.
    looked_at: usize,
    stderr: HeadTailBuffer,
    noise: u32,
}

impl<C: Counterpart> Task<C> {
    async fn run(
        mut self,
        (first, bytes): (Answer, Vec<u8>),
        asked: mpsc::Receiver<ToProgram<C::Ear>>,
        kill: CancellationToken,
        baseline: Option<Baseline>,
    ) -> ProgramEnd {
        let (why, mut exit) = match self.answered(first, &bytes) {
            Some(ended) => ended,
            None => self.talk(asked, kill, baseline).await,
        };
        // Whoever waits hears at the end why no answer comes; nothing more is asked of it.
        self.talk.open.clear();
        if exit.is_none() && !matches!(why, EndedBy::JailGone) {
            exit = self.put_down().await;
        }
        let said = self.stderr.text();
        let said = said.trim();
        let start = said.ceil_char_boundary(said.len().saturating_sub(LAST_WORDS));
        ProgramEnd { why, exit, said: said[start..].to_owned() }
    }

    /// Until it ends, or is to.
    async fn talk(
        &mut self,
        mut asked: mpsc::Receiver<ToProgram<C::Ear>>,
        kill: CancellationToken,
        baseline: Option<Baseline>,
    ) -> (EndedBy, Option<Exit>) {
        let quota = self.quota.clone();
        let over = quota.watch(baseline.as_ref());
        tokio::pin!(over);
        loop {
            tokio::select! {
                answer = self.answers.recv() => {
                    let Some((answer, bytes)) = answer else { return (EndedBy::JailGone, None) };
                    if let Some(ended) = self.answered(answer, &bytes) {
                        return ended;
                    }
                }
                message = asked.recv() => match message.map(|message| self.pass_on(message)) {
                    Some(Ok(())) => {}
                    Some(Err(why)) => return (EndedBy::Broken(why), None),
                    None => return (EndedBy::Us, None),
                },
                () = kill.cancelled() => return (EndedBy::Us, None),
                over = &mut over => return match over {
                    Ok(reached) => (EndedBy::Quota(reached), None),
                    Err(unseen) => (EndedBy::Unseen(unseen), None),
                },
            }
        }
    }

    /// What the jail says of it. Its end, or why it is to end.
    fn answered(&mut self, answer: Answer, bytes: &[u8]) -> Option<(EndedBy, Option<Exit>)> {
        match answer {
            Answer::Output { stream: Stream::Stderr } => self.log(bytes),
            Answer::Output { stream: Stream::Stdout } => {
                return self.take(bytes).err().map(|why| (EndedBy::Broken(why), None));
            }
            Answer::Exited(exit) => return Some((EndedBy::Itself, Some(exit))),
            _ => {}
        }
        None
    }

    /// Kills it. What it still says is taken meanwhile: a jail whose answers nobody takes reads no requests.
    async fn put_down(&mut self) -> Option<Exit> {
        let jail = self.jail.clone();
        let killing = jail.ask(Operation::Kill { target: self.number }, Vec::new());
        let following = async {
            while let Some((answer, bytes)) = self.answers.recv().await {
                match answer {
                    Answer::Exited(exit) => return Some(exit),
                    Answer::Output { stream: Stream::Stderr } => self.log(&bytes),
                    _ => {}
                }
            }
            None
        };
        let both = async { tokio::join!(killing, following).1 };
        timeout(KILL_TIMEOUT, both).await.ok().flatten()
    }

    fn pass_on(&mut self, message: ToProgram<C::Ear>) -> Result<(), String> {
        let message = match message {
            ToProgram::Ask { id, message, answer, ear } => {
                self.talk.open.insert(id, PendingRequest { answer, ear });
                message
            }
            ToProgram::Tell(message) => message,
            ToProgram::TakeBack { id, message } => {
                self.talk.open.remove(&id);
                message
            }
            ToProgram::Close => {
                let _ = self.talk.lines.0.try_send(Line::End);
                return Ok(());
            }
        };
        self.talk.lines.say(&message)
    }

    fn log(&mut self, bytes: &[u8]) {
        self.stderr.push(bytes);
        self.counterpart.log(bytes);
    }

    /// Whole lines of its stdout.
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
                if let Some(PendingRequest { answer, ear }) = self.talk.open.remove(&id) {
                    let _ = answer.send((result, ear));
                }
            }
            Ok(Incoming::Said(said)) => self.counterpart.hear(said, &mut self.talk)?,
            // Programs print all sorts of things.
            Err(why) => {
                let shown = clip(&format!("({why}) {}", String::from_utf8_lossy(bytes)));
                self.log(format!("{shown}\n").as_bytes());
                self.noise = self.noise.saturating_add(1);
                if self.noise > C::NOISE_MAX {
                    let what = "lines on its stdout that are no messages; what it prints for people belongs on stderr";
                    return Err(format!("it wrote more than {} {what}", C::NOISE_MAX));
                }
            }
        }
        Ok(())
    }
}
