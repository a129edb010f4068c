//! A jail from its hello to its end: one poll loop over its socket and its programs.
//! Must never: run before every layer is in force and told, block, or go on when its socket has ended.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use seccompiler::BpfProgram;

use super::files::{Answered, Edit, Files};
use super::input::{Feed, FeedState};
use super::ipc;
use super::orphans::{self, StopOthers};
use super::program::{Bounds, Program, rlimits};
use crate::bypass::{self, Check, enforces};
use crate::level::Level;
use crate::native::cgroup::CgroupFd;
use crate::native::tally::Tally;
use crate::protocol::{Answer, Operation, Refusal, Reply, Request, SPAWNS_MAX, Spawn, Stream, decode, encode};
use crate::spec::Spec;
use crate::sys::{self, Reaped};

/// While more than this waits to be sent, no request and no output is read.
const OUTBOX_BYTES_MAX: usize = 4 << 20;
const READ_BYTES: usize = 256 << 10;
/// Reads of 64 KiB that empty the largest pipe.
const LAST_READS: usize = 17;
/// Between two attempts to kill what is left of a program's tree.
const SWEEP_INTERVAL: Duration = Duration::from_millis(3);
/// A tree that is there for so long is swept while the whole jail stands still.
const STUBBORN: Duration = Duration::from_millis(200);
/// If a tree cannot be killed even so by then, the jail ends as a whole, which cannot fail.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(10);

/// What a server is made of, once everything else is in force.
pub(super) struct ServerParts {
    pub(super) spec: Spec,
    pub(super) level: Level,
    /// The jail's end of the protocol's socket; the hello is sent already.
    pub(super) socket: OwnedFd,
    /// The way into the group that only programs enter.
    pub(super) cpu: Option<CgroupFd>,
    /// What each program puts on.
    pub(super) filter: Option<BpfProgram>,
    pub(super) tally: Tally,
    /// This process's `oom_score_adj`, open for writing.
    pub(super) oom_score_adj: Option<File>,
}

pub(super) struct Server {
    socket: OwnedFd,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    /// Requests wait in the inbox because the outbox was full.
    behind: bool,
    signals: OwnedFd,
    spec: Spec,
    bounds: Bounds,
    files: Files,
    programs: BTreeMap<u32, Program>,
    /// Programs whose tree is being killed, and since when.
    ending: BTreeMap<u32, Instant>,
    /// Since when children that no subreaper adopted are being killed.
    orphans: Option<Instant>,
    next_sweep: Option<Instant>,
    /// Since when the whole jail stands still for sweeps.
    stubborn: Option<Instant>,
    tally: Tally,
    oom_score_adj: Option<File>,
}

/// What a ready descriptor belongs to.
enum Source {
    Socket,
    Signals,
    Status(u32),
    Output(u32, Stream),
    Input(u32),
}

impl Server {
    pub(super) fn new(parts: ServerParts) -> io::Result<Self> {
        let ServerParts { spec, level, socket, cpu, filter, tally, oom_score_adj } = parts;
        bypass::serving()?;
        Ok(Self {
            socket,
            inbox: Vec::new(),
            outbox: Vec::new(),
            behind: false,
            signals: sys::child_signals()?,
            bounds: Bounds { limits: rlimits(&spec, level.memory, level.pids), cpu, filter },
            files: Files::open(&spec)?,
            spec,
            programs: BTreeMap::new(),
            ending: BTreeMap::new(),
            orphans: None,
            next_sweep: None,
            stubborn: None,
            tally,
            oom_score_adj,
        })
    }

    /// Until the worker ends the socket.
    pub(super) fn serve(&mut self) -> io::Result<()> {
        loop {
            for source in self.wait()? {
                match source {
                    Source::Socket => {
                        if !self.receive() {
                            return Ok(());
                        }
                        self.perform_all()?;
                    }
                    Source::Signals => self.reap()?,
                    Source::Status(id) => self.hear(id),
                    Source::Output(id, stream) => self.pass_on(id, stream),
                    Source::Input(id) => self.feed(id),
                }
            }
            self.tick()?;
            self.flush()?;
            // Each turn takes a request from the bounded inbox.
            while self.behind && self.outbox.len() <= OUTBOX_BYTES_MAX {
                self.perform_all()?;
                self.flush()?;
            }
        }
    }

    /// Waits until something is ready or due.
    fn wait(&self) -> io::Result<Vec<Source>> {
        let full = self.behind || self.outbox.len() > OUTBOX_BYTES_MAX;
        let mut watched: Vec<(Source, BorrowedFd<'_>, PollFlags)> = Vec::new();
        let mut interest = if full { PollFlags::empty() } else { PollFlags::IN };
        interest.set(PollFlags::OUT, !self.outbox.is_empty());
        watched.push((Source::Socket, self.socket.as_fd(), interest));
        watched.push((Source::Signals, self.signals.as_fd(), PollFlags::IN));
        for (id, program) in &self.programs {
            watched.extend(program.status().map(|fd| (Source::Status(*id), fd, PollFlags::IN)));
            watched.extend(program.waiting().map(|fd| (Source::Input(*id), fd, PollFlags::OUT)));
            for stream in [Stream::Stdout, Stream::Stderr] {
                if !full || program.discards() {
                    watched.extend(program.stream(stream).map(|fd| (Source::Output(*id, stream), fd, PollFlags::IN)));
                }
            }
        }
        let mut fds: Vec<PollFd<'_>> =
            watched.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        let timeout = self.due().map(|due| {
            let left = due.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) }
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        // That the socket has room is no event: it is written to at each turn.
        let is_ready = |(source, found): (&Source, PollFlags)| match source {
            Source::Input(_) => !found.is_empty(),
            Source::Socket | Source::Signals | Source::Status(_) | Source::Output(..) => {
                !(found & !PollFlags::OUT).is_empty()
            }
        };
        let found: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        let all = watched.into_iter().map(|(source, ..)| source).zip(found);
        Ok(all.filter_map(|(source, found)| is_ready((&source, found)).then_some(source)).collect())
    }

    fn due(&self) -> Option<Instant> {
        self.programs.values().filter_map(Program::deadline).chain(self.next_sweep).min()
    }

    /// Reads what the worker asks; false at the end of the socket.
    fn receive(&mut self) -> bool {
        self.inbox.reserve(READ_BYTES);
        match recv(&self.socket, spare_capacity(&mut self.inbox), RecvFlags::DONTWAIT) {
            Ok((0, _)) => return false,
            Ok(_) => {}
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
        true
    }

    /// Does what was asked, as far as the answers find room; the rest waits until some are sent.
    fn perform_all(&mut self) -> io::Result<()> {
        let mut consumed = 0;
        self.behind = false;
        while let Some(frame) = decode::<Request>(&self.inbox[consumed..]).map_err(io::Error::other)? {
            if self.outbox.len() > OUTBOX_BYTES_MAX {
                self.behind = true;
                break;
            }
            consumed += frame.consumed;
            self.perform(frame.header, &frame.body);
        }
        self.inbox.drain(..consumed);
        Ok(())
    }

    fn perform(&mut self, request: Request, body: &[u8]) {
        let Request { id, operation } = request;
        let plain = |answer| Ok((answer, Vec::new()));
        let answered: Option<Answered> = match operation {
            Operation::Read { path, offset, max } => Some(self.files.read(&path, offset, max)),
            Operation::Write { .. } | Operation::Append { .. } => {
                self.files.upload(id, &operation, body).map(|answer| answer.map(plain)).unwrap_or_else(|r| Some(Err(r)))
            }
            Operation::More => {
                self.files.more(id, body).map(|answer| answer.map(plain)).unwrap_or_else(|r| Some(Err(r)))
            }
            Operation::Edit { path, find, replace, expected_count, dry_run } => {
                let edit = Edit { path: &path, find: &find, replace: &replace, expected_count, dry_run };
                Some(self.files.edit(&edit))
            }
            Operation::List { path, max, cursor } => Some(self.files.list(&path, max, cursor.as_deref())),
            Operation::Stat { path } => Some(self.files.stat(&path)),
            Operation::Check { path } => Some(self.files.check(&path)),
            Operation::Delete { path, recursive } => Some(self.files.delete(&path, recursive)),
            Operation::Restore { trashed_as, path } => Some(self.files.restore(&trashed_as, path.as_deref())),
            Operation::Spawn(spawn) => self.spawn(id, &spawn, body).err().map(Err),
            Operation::Input { target, end } => self.input(id, target, body, end).err().map(Err),
            Operation::Resize { target, size } => {
                let feed = self.programs.get_mut(&target).and_then(Program::feed).ok_or(Refusal::NotFound);
                Some(
                    feed.and_then(|feed| feed.resize(size).map_err(super::upload::io))
                        .and_then(|()| plain(Answer::Done)),
                )
            }
            Operation::Signal { target, signal } => {
                Some(self.signal(target, signal).and_then(|()| plain(Answer::Done)))
            }
            Operation::Kill { target } => Some(self.kill(target).and_then(|()| plain(Answer::Done))),
            Operation::Ping => Some(plain(Answer::Pong)),
        };
        match answered {
            Some(Ok((answer, body))) => self.answer(id, answer, &body),
            Some(Err(refusal)) => self.answer(id, Answer::Refused(refusal), &[]),
            None => {}
        }
    }

    fn answer(&mut self, id: u32, answer: Answer, body: &[u8]) {
        let frame = encode(&Reply { id, answer }, body).or_else(|_| {
            let refusal = Refusal::Invalid { reason: "the answer does not fit into a frame; ask for less".to_owned() };
            encode(&Reply { id, answer: Answer::Refused(refusal) }, &[])
        });
        self.outbox.extend_from_slice(&frame.expect("invariant: a refusal fits into a frame"));
    }

    fn spawn(&mut self, id: u32, spawn: &Spawn, stdin: &[u8]) -> Result<(), Refusal> {
        if self.programs.len() >= SPAWNS_MAX || self.programs.contains_key(&id) {
            return Err(Refusal::Busy);
        }
        // Programs are the kernel's first choice when memory runs out; the jail's init is not.
        self.set_oom_score_adj(b"1000");
        let program = Program::start(&self.spec, &self.bounds, spawn, stdin, self.tally.now());
        self.set_oom_score_adj(b"0");
        self.programs.insert(id, program?);
        Ok(())
    }

    /// Takes more for a program to read. It is answered when the program's side has it.
    fn input(&mut self, id: u32, target: u32, bytes: &[u8], end: bool) -> Result<(), Refusal> {
        let feed = self.programs.get_mut(&target).and_then(Program::feed).ok_or(Refusal::NotFound)?;
        if !feed.is_free() {
            return Err(Refusal::Busy);
        }
        feed.give(Some(id), bytes, end);
        self.feed(target);
        Ok(())
    }

    fn feed(&mut self, id: u32) {
        let Some(program) = self.programs.get_mut(&id) else { return };
        match program.feed().map(Feed::push) {
            None | Some(FeedState::Waits) => {}
            Some(FeedState::Taken { request, ended }) => {
                if ended {
                    program.close_feed();
                }
                if let Some(request) = request {
                    self.answer(request, Answer::Done, &[]);
                }
            }
            Some(FeedState::Closed { request }) => {
                program.close_feed();
                if let Some(request) = request {
                    self.answer(request, Answer::Refused(Refusal::NotFound), &[]);
                }
            }
        }
    }

    fn set_oom_score_adj(&self, value: &[u8]) {
        if let Some(file) = &self.oom_score_adj {
            // Without it the limit still holds; only the choice of the victim is the kernel's own.
            let _ = file.write_at(value, 0);
        }
    }

    fn signal(&mut self, target: u32, signal: i32) -> Result<(), Refusal> {
        let group = self.programs.get(&target).and_then(Program::group).ok_or(Refusal::NotFound)?;
        if !(1..=64).contains(&signal) {
            return Err(Refusal::Invalid { reason: "a signal is a number from 1 to 64".to_owned() });
        }
        sys::kill(-group, signal).map_err(super::upload::io)
    }

    fn kill(&mut self, target: u32) -> Result<(), Refusal> {
        self.programs.get_mut(&target).ok_or(Refusal::NotFound)?.kill();
        self.end(target);
        Ok(())
    }

    /// Begins to kill a program's tree, at once.
    fn end(&mut self, id: u32) {
        self.ending.entry(id).or_insert_with(Instant::now);
        self.next_sweep = Some(Instant::now());
    }

    fn hear(&mut self, id: u32) {
        let Some(program) = self.programs.get_mut(&id) else { return };
        let started = program.hear();
        let leftover = program.has_ended() && !program.is_reaped();
        if started {
            self.answer(id, Answer::Started, &[]);
        }
        if leftover {
            // Usually the subreaper leaves at once; only if it does not is there a tree to sweep.
            self.ending.entry(id).or_insert_with(Instant::now);
            self.next_sweep.get_or_insert_with(|| Instant::now() + SWEEP_INTERVAL);
        }
    }

    fn pass_on(&mut self, id: u32, stream: Stream) {
        let bytes = self.programs.get_mut(&id).and_then(|program| program.take_output(stream));
        if let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) {
            self.answer(id, Answer::Output { stream }, &bytes);
        }
    }

    fn reap(&mut self) -> io::Result<()> {
        // One read empties the descriptor enough: all dead children are looked for below.
        let mut signals = [0; 128 * 16];
        match rustix::io::read(&self.signals, &mut signals) {
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        while let Some(dead) = self.dead() {
            let found =
                self.programs.iter_mut().find(|(_, program)| program.subreaper == dead.pid && !program.is_reaped());
            let Some((id, program)) = found else { continue };
            let id = *id;
            program.reaped(dead);
            if dead.status != 0 {
                // The subreaper was killed: what it kept is now init's.
                self.orphans.get_or_insert_with(Instant::now);
                self.next_sweep = Some(Instant::now());
            }
            self.conclude(id);
        }
        Ok(())
    }

    /// The next dead child: a subreaper, or what no subreaper adopted.
    fn dead(&self) -> Option<Reaped> {
        let one = |pid| sys::reap(pid, false).ok().flatten();
        if enforces(Check::Orphans) {
            return one(-1);
        }
        self.programs.values().filter(|program| !program.is_reaped()).find_map(|program| one(program.subreaper))
    }

    /// The subreaper is gone and with it the tree: passes on what is left in the pipes and says how it ended.
    fn conclude(&mut self, id: u32) {
        self.hear(id);
        for stream in [Stream::Stdout, Stream::Stderr] {
            // Bounded: another program may hold the pipe's other end and write for ever.
            for _ in 0..LAST_READS {
                self.pass_on(id, stream);
            }
        }
        let counts = self.tally.now();
        if let Some(mut program) = self.programs.remove(&id) {
            if let Some(request) = program.close_feed() {
                self.answer(request, Answer::Refused(Refusal::NotFound), &[]);
            }
            if self.programs.is_empty() && self.spec.has_own_pids() {
                ipc::clear();
            }
            let answer = program.exit(counts).map_or_else(Answer::Refused, Answer::Exited);
            self.answer(id, answer, &[]);
        }
        self.ending.remove(&id);
    }

    /// What is due: time limits, and sweeps of trees that must go.
    fn tick(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let late: Vec<u32> =
            self.programs.iter().filter(|(_, p)| p.deadline().is_some_and(|d| d <= now)).map(|(id, _)| *id).collect();
        for id in late {
            self.programs.entry(id).and_modify(Program::time_out);
            self.end(id);
        }
        if self.next_sweep.is_none_or(|due| due > now) {
            return Ok(());
        }
        let longest = self.ending.values().copied().chain(self.orphans).map(|since| since.elapsed()).max();
        let is_stubborn = longest.is_some_and(|longest| longest > STUBBORN);
        self.stubborn = is_stubborn.then(|| self.stubborn.unwrap_or_else(Instant::now));
        self.sweep();
        let outlasted = |since: Duration| since > SWEEP_TIMEOUT;
        if longest.is_some_and(outlasted) && self.stubborn.is_some_and(|since| outlasted(since.elapsed())) {
            return Err(io::Error::other("a program's tree cannot be killed: the jail ends as a whole"));
        }
        self.next_sweep = (!self.ending.is_empty() || self.orphans.is_some()).then(|| Instant::now() + SWEEP_INTERVAL);
        Ok(())
    }

    /// Kills what is there of the trees that must go.
    fn sweep(&mut self) {
        let roots: Vec<i32> = self.ending.keys().filter_map(|id| Some(self.programs.get(id)?.subreaper)).collect();
        if !enforces(Check::Orphans) {
            roots.iter().for_each(|subreaper| drop(sys::kill(*subreaper, libc::SIGKILL)));
            self.orphans = None;
            return;
        }
        let stop = match (self.spec.has_own_pids(), self.stubborn) {
            (false, _) => StopOthers::Never,
            (true, None) => StopOthers::IfCrowded,
            (true, Some(_)) => StopOthers::Always,
        };
        if !roots.is_empty() {
            orphans::kill_below(&roots, stop);
        }
        if !self.spec.has_own_pids() {
            // Init's other children are the host's.
            self.orphans = None;
        }
        if self.orphans.is_some() {
            let subreapers: Vec<i32> = self.programs.values().map(|program| program.subreaper).collect();
            if !orphans::kill_orphans(&subreapers, stop) {
                self.orphans = None;
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.outbox.len() {
            match send(&self.socket, &self.outbox[sent..], SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(count) => sent += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.outbox.drain(..sent);
        Ok(())
    }
}
