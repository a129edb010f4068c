//! One spawned program: a *subreaper* process that adopts whatever the program's descendants abandon, and the program below it.
//! Must never: let a descendant outlive the program's end, or wait for a process in the serving loop.
//!
//! ```text
//! init ── subreaper (child subreaper) ── program (own session) ── …        a daemon that forks twice is adopted by the subreaper
//! ```
//! The subreaper leaves when it has no child left, so its death proves that the whole tree is gone.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::fs::{MemfdFlags, OFlags, fcntl_setfl, memfd_create};
use rustix::pipe::{PipeFlags, pipe_with};
use seccompiler::BpfProgram;

use super::filter::hide_from_program;
use super::input::Feed;
use super::place::Places;
use super::upload::io as refused;
use crate::bypass::{Check, enforces, pass_on_descriptors};
use crate::error::Layer;
use crate::level::Meter;
use crate::native::cgroup::CgroupFd;
use crate::native::tally::Counts;
use crate::protocol::{EGRESS_PORT, Ended, Exit, OWN_LOOPBACK, Refusal, Spawn, Stream};
use crate::spec::{PATH, Spec, WORKSPACE};
use crate::sys::{self, Reaped, Side};

/// Most arguments and most bytes of arguments and environment.
const ARGUMENTS_MAX: usize = 4096;
const READ_BYTES: usize = 64 << 10;
const RECORD_BYTES: usize = 8;

/// What the serving loop knows of one program.
pub(super) struct Program {
    pub(super) subreaper: i32,
    status: Option<OwnedFd>,
    streams: [Option<OwnedFd>; 2],
    feed: Option<Feed>,
    started: Instant,
    deadline: Option<Instant>,
    /// Output that may still be passed on, in bytes.
    budget: u64,
    truncated: bool,
    timed_out: bool,
    killed: bool,
    counts_before: Counts,
    phase: Phase,
    reaped: Option<Reaped>,
}

enum Phase {
    Starting,
    Running { group: i32 },
    NotStarted { errno: i32 },
    Ended(Ended),
}

/// What the subreaper writes to its status pipe, as a tag and a value of 32 bits each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Note {
    Started { group: i32 },
    NotStarted { errno: i32 },
    Ended { status: i32 },
}

impl Note {
    fn bytes(self) -> [u8; RECORD_BYTES] {
        let (tag, value): (i32, i32) = match self {
            Self::Started { group } => (0, group),
            Self::NotStarted { errno } => (1, errno),
            Self::Ended { status } => (2, status),
        };
        let mut bytes = [0; RECORD_BYTES];
        bytes[..4].copy_from_slice(&tag.to_le_bytes());
        bytes[4..].copy_from_slice(&value.to_le_bytes());
        bytes
    }

    fn parse(bytes: [u8; RECORD_BYTES]) -> Option<Self> {
        let number = |at: usize| i32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        match number(0) {
            0 => Some(Self::Started { group: number(4) }),
            1 => Some(Self::NotStarted { errno: number(4) }),
            2 => Some(Self::Ended { status: number(4) }),
            _ => None,
        }
    }
}

/// Everything a program is started with, ready before the fork.
struct Start<'a> {
    candidates: Vec<CString>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    folder: OwnedFd,
    stdin: OwnedFd,
    /// Whether `stdin` is a terminal, which becomes the program's own.
    terminal: bool,
    bounds: &'a Bounds,
}

/// What holds every program, besides what holds the whole jail.
pub(super) struct Bounds {
    pub(super) limits: Vec<(u32, u64)>,
    pub(super) cpu: Option<CgroupFd>,
    pub(super) filter: Option<BpfProgram>,
}

/// The resource limits that every program gets.
pub(super) fn rlimits(spec: &Spec, memory: Meter, pids: Meter) -> Vec<(u32, u64)> {
    if !spec.keeps(Layer::Rlimits) {
        return Vec::new();
    }
    let mut limits =
        vec![(libc::RLIMIT_NOFILE, u64::from(spec.limits.open_files)), (libc::RLIMIT_FSIZE, spec.limits.file_bytes)];
    if memory == Meter::Rlimit {
        limits.push((libc::RLIMIT_DATA, spec.limits.memory_bytes));
    }
    if pids == Meter::Rlimit {
        limits.push((libc::RLIMIT_NPROC, u64::from(spec.limits.pids)));
    }
    limits
}

fn text(value: impl AsRef<OsStr>) -> Result<CString, Refusal> {
    CString::new(value.as_ref().as_bytes())
        .map_err(|_| Refusal::Invalid { reason: "an argument or variable holds a zero byte".to_owned() })
}

/// Later entries win.
fn environment(spec: &Spec, spawn: &Spawn) -> Vec<(String, String)> {
    let fixed = [
        ("PATH", PATH),
        ("HOME", WORKSPACE),
        ("USER", "agent"),
        ("LOGNAME", "agent"),
        ("LANG", "C.UTF-8"),
        ("TMPDIR", "/tmp"),
        // What tools sign with that were told nobody's name, git among them.
        ("EMAIL", "agent@localhost"),
    ];
    let mut all: Vec<(String, String)> = fixed.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    if spec.egress {
        all.extend(proxy_variables());
    }
    for (name, value) in spec.env.iter().chain(spawn.env.iter().map(|(name, value)| (name, value))) {
        match all.iter_mut().find(|(known, _)| known == name) {
            Some(entry) => entry.1.clone_from(value),
            None => all.push((name.clone(), value.clone())),
        }
    }
    all
}

/// What makes programs use the egress listener, their own servers aside. `NODE_USE_ENV_PROXY` has Node do what others do unasked;
/// a SOCKS address would end programs that lack a library for it, and everything that `all_proxy` is for takes HTTP as well.
fn proxy_variables() -> impl Iterator<Item = (String, String)> {
    let proxy = format!("http://127.0.0.1:{EGRESS_PORT}");
    let variables = [
        ("http_proxy", proxy.clone()),
        ("https_proxy", proxy.clone()),
        ("all_proxy", proxy),
        ("no_proxy", OWN_LOOPBACK.join(",")),
    ];
    let twice = |(name, value): (&str, String)| [(name.to_owned(), value.clone()), (name.to_uppercase(), value)];
    variables.into_iter().flat_map(twice).chain([("NODE_USE_ENV_PROXY".to_owned(), "1".to_owned())])
}

impl<'a> Start<'a> {
    fn prepare(spec: &Spec, bounds: &'a Bounds, spawn: &Spawn, stdin: OwnedFd) -> Result<Self, Refusal> {
        let invalid = |reason: &str| Refusal::Invalid { reason: reason.to_owned() };
        let program = spawn.argv.first().filter(|program| !program.is_empty());
        let program = program.ok_or_else(|| invalid("there is no program to run: the argument list is empty"))?;
        if spawn.argv.len() > ARGUMENTS_MAX || spawn.env.len() > ARGUMENTS_MAX {
            return Err(invalid("at most 4096 arguments and 4096 variables are possible"));
        }
        if spawn.env.iter().any(|(name, _)| name.is_empty() || name.contains('=')) {
            return Err(invalid("a variable's name is empty or holds `=`"));
        }
        let variables = environment(spec, spawn);
        let candidates = if program.contains('/') {
            vec![text(program)?]
        } else {
            let path = variables.iter().find(|(name, _)| name == "PATH").map_or(PATH, |(_, value)| value.as_str());
            path.split(':').map(|folder| text(format!("{folder}/{program}"))).collect::<Result<_, _>>()?
        };
        Ok(Self {
            candidates,
            arguments: spawn.argv.iter().map(text).collect::<Result<_, _>>()?,
            environment: variables.iter().map(|(n, v)| text(format!("{n}={v}"))).collect::<Result<_, _>>()?,
            folder: Places::working_folder(spawn.cwd.as_deref())?,
            stdin,
            terminal: spawn.terminal.is_some(),
            bounds,
        })
    }
}

/// A program's standard streams, and this process's ends of them.
struct Standard {
    feed: Option<Feed>,
    stdin: OwnedFd,
    streams: [Option<OwnedFd>; 2],
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Standard {
    fn make(spawn: &Spawn, given: &[u8]) -> io::Result<Self> {
        if let Some(size) = spawn.terminal {
            let (mut feed, out, slave) = Feed::terminal(size, spawn.fed)?;
            if !spawn.fed {
                feed.give(None, given, true);
            }
            let (stdout, stderr) = (slave.try_clone()?, slave.try_clone()?);
            return Ok(Self { feed: Some(feed), stdin: slave, streams: [Some(out), None], stdout, stderr });
        }
        let ((out, stdout), (err, stderr)) = (pipe()?, pipe()?);
        let (feed, stdin) = if spawn.fed {
            let (feed, stdin) = Feed::pipe()?;
            (Some(feed), stdin)
        } else {
            let mut input = File::from(memfd_create("stdin", MemfdFlags::CLOEXEC)?);
            input.write_all(given).and_then(|()| input.rewind())?;
            (None, input.into())
        };
        Ok(Self { feed, stdin, streams: [Some(out), Some(err)], stdout, stderr })
    }
}

/// Its first end does not block.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&ours, OFlags::NONBLOCK)?;
    Ok((ours, theirs))
}

impl Program {
    pub(super) fn start(
        spec: &Spec,
        bounds: &Bounds,
        spawn: &Spawn,
        stdin: &[u8],
        counts_before: Counts,
    ) -> Result<Self, Refusal> {
        let Standard { feed, stdin, streams, stdout, stderr } = Standard::make(spawn, stdin).map_err(refused)?;
        let start = Start::prepare(spec, bounds, spawn, stdin)?;
        let (status, note) = pipe().map_err(refused)?;
        let subreaper = match sys::fork().map_err(refused)? {
            Side::Child => run_subreaper(start, note, stdout, stderr),
            Side::Parent(pid) => pid,
        };
        let started = Instant::now();
        Ok(Self {
            subreaper,
            status: Some(status),
            streams,
            feed,
            started,
            deadline: spawn.timeout_ms.map(|timeout| started + Duration::from_millis(timeout)),
            budget: spawn.output_max.unwrap_or(spec.limits.output_bytes),
            truncated: false,
            timed_out: false,
            killed: false,
            counts_before,
            phase: Phase::Starting,
            reaped: None,
        })
    }

    pub(super) fn status(&self) -> Option<BorrowedFd<'_>> {
        self.status.as_ref().map(AsFd::as_fd)
    }

    pub(super) fn stream(&self, stream: Stream) -> Option<BorrowedFd<'_>> {
        self.streams[stream as usize].as_ref().map(AsFd::as_fd)
    }

    /// What it is fed by, unless its input was given whole or has ended.
    pub(super) fn feed(&mut self) -> Option<&mut Feed> {
        self.feed.as_mut()
    }

    pub(super) fn waiting(&self) -> Option<BorrowedFd<'_>> {
        self.feed.as_ref().and_then(Feed::waiting)
    }

    /// It reads no more; the request that waits for it to read.
    pub(super) fn close_feed(&mut self) -> Option<u32> {
        self.feed.take().and_then(Feed::abandoned)
    }

    /// Whether its output is dropped from now on, so that reading it costs no memory.
    pub(super) fn discards(&self) -> bool {
        self.budget == 0
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(super) fn time_out(&mut self) {
        (self.deadline, self.timed_out) = (None, true);
    }

    pub(super) fn kill(&mut self) {
        self.killed = true;
    }

    pub(super) fn group(&self) -> Option<i32> {
        match self.phase {
            Phase::Running { group } => Some(group),
            Phase::Starting | Phase::NotStarted { .. } | Phase::Ended(_) => None,
        }
    }

    pub(super) fn reaped(&mut self, reaped: Reaped) {
        self.reaped = Some(reaped);
    }

    pub(super) fn is_reaped(&self) -> bool {
        self.reaped.is_some()
    }

    /// Whether the program's own process has ended, so that what is left of its tree must go.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_) | Phase::NotStarted { .. })
    }

    /// Takes what the subreaper noted; true once when the program has started.
    pub(super) fn hear(&mut self) -> bool {
        let mut started = false;
        while let Some(status) = &self.status {
            let mut bytes = [0; RECORD_BYTES];
            match rustix::io::read(status, &mut bytes) {
                Ok(RECORD_BYTES) => match Note::parse(bytes) {
                    Some(Note::Started { group }) => (self.phase, started) = (Phase::Running { group }, true),
                    Some(Note::NotStarted { errno }) => self.phase = Phase::NotStarted { errno },
                    Some(Note::Ended { status }) if !matches!(self.phase, Phase::NotStarted { .. }) => {
                        self.phase = Phase::Ended(ended(status));
                    }
                    Some(Note::Ended { .. }) | None => {}
                },
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                Ok(_) | Err(_) => self.status = None,
            }
        }
        started
    }

    /// One read of a stream: what of it is passed on, or None when nothing is there now.
    pub(super) fn take_output(&mut self, stream: Stream) -> Option<Vec<u8>> {
        let fd = self.streams[stream as usize].as_ref()?;
        let mut bytes = Vec::with_capacity(READ_BYTES);
        match rustix::io::read(fd, spare_capacity(&mut bytes)) {
            Ok(0) => self.streams[stream as usize] = None,
            Ok(count) => {
                let kept = count.min(usize::try_from(self.budget).unwrap_or(usize::MAX));
                self.truncated |= kept < count;
                self.budget -= kept as u64;
                bytes.truncate(kept);
                return Some(bytes);
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(_) => self.streams[stream as usize] = None,
        }
        None
    }

    /// The last word on a program whose subreaper is reaped.
    pub(super) fn exit(&self, counts: Counts) -> Result<Exit, Refusal> {
        let ended = match self.phase {
            Phase::NotStarted { errno } => {
                return Err(match errno {
                    libc::ENOEXEC => {
                        Refusal::Invalid { reason: "it is not a program: no `#!` line and no binary".to_owned() }
                    }
                    libc::ENOENT => Refusal::NotFound,
                    errno => refused(io::Error::from_raw_os_error(errno)),
                });
            }
            Phase::Ended(ended) => ended,
            // The subreaper itself was killed, by the program or for memory.
            Phase::Starting | Phase::Running { .. } => Ended::Signal(libc::SIGKILL),
        };
        let (cpu_micros, max_rss_bytes) =
            self.reaped.map_or((0, 0), |reaped| (reaped.cpu_micros, reaped.rss_max_bytes));
        let counted = counts.since(self.counts_before);
        Ok(Exit {
            ended,
            timed_out: self.timed_out,
            killed: self.killed,
            output_truncated: self.truncated,
            oom: counted.memory_kills > 0,
            pids_refused: counted.pids_refused > 0,
            cpu_throttled_ms: counted.throttled_micros / 1000,
            wall_ms: self.started.elapsed().as_millis() as u64,
            cpu_ms: cpu_micros / 1000,
            max_rss_bytes,
        })
    }
}

fn ended(status: i32) -> Ended {
    if libc::WIFEXITED(status) { Ended::Code(libc::WEXITSTATUS(status)) } else { Ended::Signal(libc::WTERMSIG(status)) }
}

/// The subreaper's life. It holds no end of the program's streams, so that their end is the tree's.
fn run_subreaper(start: Start<'_>, note: OwnedFd, stdout: OwnedFd, stderr: OwnedFd) -> ! {
    let mine = [&note, &stdout, &stderr, &start.folder, &start.stdin].map(AsRawFd::as_raw_fd);
    // The standard ones stay taken, or a new pipe would get their numbers.
    let cpu = start.bounds.cpu.iter().map(AsRawFd::as_raw_fd);
    let run_subreaper: Vec<i32> = [0, 1, 2].into_iter().chain(mine).chain(cpu).collect();
    // Without a pid namespace of its own, the end of the jail is not the end of all in it.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let prepared = sys::close_all_but(&run_subreaper).is_ok()
        && (!enforces(Check::Orphans) || rustix::process::set_child_subreaper(Some(rustix::process::getpid())).is_ok());
    let Ok((result, failure)) = pipe_with(PipeFlags::CLOEXEC) else { sys::leave(70) };
    let mut note = File::from(note);
    let program = match if prepared { sys::fork() } else { Err(io::ErrorKind::Other.into()) } {
        Ok(Side::Child) => {
            let error = become_program(&start, &stdout, &stderr);
            let _ = rustix::io::write(&failure, &error.raw_os_error().unwrap_or(libc::EIO).to_le_bytes());
            sys::leave(127)
        }
        Ok(Side::Parent(pid)) => pid,
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            let _ = note.write_all(&Note::NotStarted { errno }.bytes());
            sys::leave(0)
        }
    };
    drop((failure, stdout, stderr, start));
    let mut errno = [0; 4];
    let first = match File::from(result).read_exact(&mut errno) {
        Ok(()) => Note::NotStarted { errno: i32::from_le_bytes(errno) },
        Err(_) => Note::Started { group: program },
    };
    let _ = note.write_all(&first.bytes());
    loop {
        match sys::reap(-1, true) {
            Ok(Some(dead)) if dead.pid == program => {
                let _ = note.write_all(&Note::Ended { status: dead.status }.bytes());
                if !enforces(Check::Orphans) {
                    sys::leave(0)
                }
            }
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
            Err(_) => sys::leave(0),
        }
    }
}

/// Turns this process into the program; returns only what went wrong.
fn become_program(start: &Start<'_>, stdout: &OwnedFd, stderr: &OwnedFd) -> io::Error {
    let prepare = || -> io::Result<()> {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        rustix::process::setsid()?;
        if start.terminal {
            rustix::process::ioctl_tiocsctty(&start.stdin)?;
        }
        rustix::process::fchdir(&start.folder)?;
        for (number, fd) in [(0, &start.stdin), (1, stdout), (2, stderr)] {
            sys::set_standard(number, fd.as_fd())?;
        }
        sys::cloexec_from(3)?;
        pass_on_descriptors(&[&start.folder, &start.stdin])?;
        if let Some(cgroup) = &start.bounds.cpu {
            cgroup.enter()?;
        }
        for (resource, value) in &start.bounds.limits {
            sys::limit(*resource, *value)?;
        }
        sys::default_signals();
        if let Some(filter) = &start.bounds.filter {
            hide_from_program(filter).map_err(|_| io::Error::last_os_error())?;
        }
        Ok(())
    };
    if let Err(error) = prepare() {
        return error;
    }
    let mut denied = None;
    for candidate in &start.candidates {
        let error = sys::execve(candidate, &start.arguments, &start.environment);
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => {}
            Some(libc::EACCES) => denied = Some(error),
            _ => return error,
        }
    }
    denied.unwrap_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
}
